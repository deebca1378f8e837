"""Two-sided p-values and −log10 p that stay finite where p underflows float64."""

from __future__ import annotations

import numpy as np

_LN10 = np.log(10.0)
_TINY = 1e-280  # below it, the logarithm is computed directly


def chisq_1(chisq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper tail of χ² with one degree of freedom: (p, −log10 p), float64 arrays of the shape of `chisq`.

    >>> p, log10p = chisq_1(np.array([3.841458820694124, 1e5]))
    >>> round(float(p[0]), 12), round(float(log10p[1]), 3)
    (0.05, 21717.322)
    """
    from scipy import special  # slow to import: not at the start of every command

    log_p = special.log_ndtr(-np.sqrt(chisq)) + np.log(2.0)
    return special.erfc(np.sqrt(chisq / 2)), np.abs(log_p) / _LN10


def student_t(t: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided tail of Student's t: (p, −log10 p), float64 arrays.

    Where p < 1e-280: log of the regularised incomplete beta function I_x(df/2, 1/2), x = df/(df+t²), by its continued
    fraction (Abramowitz and Stegun 26.5.8).

    >>> p, log10p = student_t(np.array([2.0, 1e4]), np.array([10.0, 100.0]))
    >>> round(float(p[0]), 10), round(float(log10p[1]), 6)
    (0.0733880348, 301.099167)
    """
    from scipy import special

    t, df = np.abs(np.asarray(t, np.float64)), np.asarray(df, np.float64)
    df = np.broadcast_to(df, t.shape)
    p = np.minimum(2 * special.stdtr(df, -t), 1.0)
    with np.errstate(divide="ignore"):
        log10p = np.abs(np.log10(p))
    small = p < _TINY
    if small.any():
        log10p = np.where(small, 0.0, log10p)
        log10p[small] = -_log_incomplete_beta(df[small] / 2, t[small] ** 2 / df[small]) / _LN10
    return p, log10p


def f_of_two(f: np.ndarray, df: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper tail of F with 2 and df degrees of freedom, (1 + 2F/df)^(−df/2): (p, −log10 p), float64 arrays.

    >>> p, log10p = f_of_two(np.array([3.0, 1e9]), 10)
    >>> round(float(p[0]), 10), round(float(log10p[1]), 6)
    (0.0953674316, 41.50515)
    """
    log10p = df / 2 * np.log1p(2 * f / df) / _LN10
    return 10.0**-log10p, log10p


def _log_incomplete_beta(a: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """ln I_x(a, 1/2) at x = 1/(1+odds), by modified Lentz with a fixed number of steps."""
    from scipy import special

    b, x = 0.5, 1 / (1 + odds)
    log_front = -a * np.log1p(odds) + b * (np.log(odds) - np.log1p(odds)) - np.log(a) - special.betaln(a, b)
    c, d = np.ones_like(a), 1 / (1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, 200):
        step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / (1 + step * d), 1 + step / c
        h = h * d * c
        step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + step * d), 1 + step / c
        h = h * d * c
    out: np.ndarray = log_front + np.log(h)
    return out


def chisq_1_inverse(log10p: np.ndarray) -> np.ndarray:
    """χ² with one degree of freedom whose upper tail is 10^−log10p, also where that underflows. Inverse of `chisq_1`.

    >>> chisq_1_inverse(np.array([1.3010299956639813, 21717.32239477])).round(2).tolist()
    [3.84, 100000.0]
    """
    from scipy import special

    out: np.ndarray = special.ndtri_exp(-np.asarray(log10p, np.float64) * _LN10 - np.log(2.0)) ** 2
    return out


def chisq_1_limit(p: float) -> float:
    """χ² with one degree of freedom whose upper tail is p.

    >>> round(chisq_1_limit(0.05), 6)
    3.841459
    """
    from scipy import special

    return float(special.chdtri(1, p))


def t_squared(p: float, df: int) -> float:
    """T² whose two-sided p-value is p.

    >>> round(t_squared(0.05, 10), 6)
    4.964603
    """
    from scipy import special

    return float(special.stdtrit(df, p / 2) ** 2)
