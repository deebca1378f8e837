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


def firth_null(cases: np.ndarray, covariates: np.ndarray, offset: np.ndarray | None, mean: np.ndarray) -> np.ndarray:
    """(n,) linear predictor that solves Cᵀ(y − p + h(½ − p)) = 0, h the leverages. cases: (n,) bool; covariates: (n, K); mean:
    (n,) of the model without the penalty, from which it begins.

    Raises DesignError where it does not converge.
    """
    basis, told = np.linalg.qr(covariates)[0], 0.0 if offset is None else offset
    b = basis.T @ (np.log(mean) - np.log1p(-mean) - told)
    for _ in range(STEPS):
        p = logistic(basis @ b + told)
        w = p * (1 - p)
        try:
            whitened = np.linalg.inv(np.linalg.cholesky((basis.T * w) @ basis))  # L⁻¹ of BᵀWB = LLᵀ
        except np.linalg.LinAlgError:
            break
        h = w * ((basis @ whitened.T) ** 2).sum(axis=1)
        inner = whitened @ (basis.T @ (cases - p + h * (0.5 - p)))
        if float(np.abs(inner).max()) < CONVERGED:
            out: np.ndarray = basis @ b + told
            return out
        step = whitened.T @ inner
        b = b + step * min(1.0, 5 / max(float(np.abs(basis @ step).max()), 1e-300))
    raise DesignError(f"the null model under Firth's penalty does not converge in {STEPS} steps: leave a covariate out")
