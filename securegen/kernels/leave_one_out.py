"""Leave-one-out predictions of ridge regression, person by person and in one order: a person's numbers do not depend on
who else is there, nor on threads."""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range


def fits(z: np.ndarray, cross: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fitted values Σ_k z_ik cross_k w_kl and leverages h_il = Σ_k z_ik² w_kl, both (N, L), of ridge regression.

    z: (N, B) float64, people in the eigenvectors of the Gram matrix; cross: (B,) Σ_i z_ik y_i; weight: (B, L)
    1/(eigenvalue + penalty) for L penalties.
    """
    out, leverage = np.empty((2, len(z), weight.shape[1]))
    over_range(len(z), lambda a, b: _fit(z[a:b], cross, weight, out[a:b], leverage[a:b]), least=256)
    return out, leverage


def without_own(
    w: np.ndarray, hw: np.ndarray, b: np.ndarray, left: np.ndarray, group: np.ndarray, groups: int
) -> np.ndarray:
    """Σ over the columns of each group of w_ij (b_j − hw_ij left_i): predictions (N, groups) with each person's own
    coefficients. w, hw: (N, R) float64; b: (R,); left: (N,); group: (R,) int64."""
    out = np.zeros((len(w), groups))
    over_range(len(w), lambda a, c: _without(w[a:c], hw[a:c], b, left[a:c], group, out[a:c]), least=256)
    return out


@njit(cache=True, nogil=True)
def _fit(z, cross, weight, out, leverage):
    people, size = z.shape
    penalties = weight.shape[1]
    for i in range(people):
        for l in range(penalties):
            h, p = 0.0, 0.0
            for k in range(size):
                scaled = z[i, k] * weight[k, l]
                h += z[i, k] * scaled
                p += scaled * cross[k]
            leverage[i, l] = h
            out[i, l] = p


@njit(cache=True, nogil=True)
def _without(w, hw, b, left, group, out):
    people, size = w.shape
    for i in range(people):
        for j in range(size):
            out[i, group[j]] += w[i, j] * (b[j] - hw[i, j] * left[i])
