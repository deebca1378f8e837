"""A logistic model of covariates alone under Firth's penalty, l + ½ log|CᵀWC| (Firth 1993)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securegen.errors import DesignError

Array = NDArray[np.float64]
STEPS = 200
CONVERGED = 1e-10  # of a penalised score, in units of its root information


def logistic(eta: Array) -> Array:
    """1/(1 + e^-η)."""
    out: Array = 1 / (1 + np.exp(-np.clip(eta, -700, 700)))
    return out


def firth_null(cases: np.ndarray, covariates: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    """(n,) linear predictor that solves Cᵀ(y − p + h(½ − p)) = 0, h the leverages. cases: (n,) bool; covariates: (n, K).

    Raises DesignError where it does not converge.
    """
    basis, told = np.linalg.qr(covariates)[0], 0.0 if offset is None else offset
    b = np.zeros(basis.shape[1])
    for _ in range(STEPS):
        p = logistic(basis @ b + told)
        w = p * (1 - p)
        root = np.linalg.qr(basis * np.sqrt(w)[:, None])
        h = (root[0] * root[0]).sum(axis=1)
        inner = np.linalg.solve(root[1].T, basis.T @ (cases - p + h * (0.5 - p)))
        if float(np.abs(inner).max()) < CONVERGED:
            out: np.ndarray = basis @ b + told
            return out
        step = np.linalg.solve(root[1], inner)
        b = b + step * min(1.0, 5 / max(float(np.abs(basis @ step).max()), 1e-300))
    raise DesignError(f"the null model under Firth's penalty does not converge in {STEPS} steps: leave a covariate out")
