"""What SKAT-O needs of one covariance matrix: mixtures for a grid of ρ, and the integral over the part that they share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from securegen.kernels.mixture_tail import NO_RANK, SETTLED, log_tail
from securegen.kernels.tridiagonal import EPSILON, eigenvalues, tridiagonal

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_STEEP, _DEPTH, _GONE = 5.0, 16, 40.0  # of ln of the integrand: a panel is halved above, how often, what is left out
_PANELS = 1 << 12
_ROUGH = 1e-4  # of the integrand, as SETTLED


class RhoMixtures(NamedTuple):
    """For R values of ρ: log_p: (R,) ln of the tail of Q_ρ; matched: (R, 3) mean, half the variance and degrees of freedom of
    the χ² that has the mixture's skewness, or its kurtosis (Liu et al. 2009). rest: eigenvalues of K − zzᵀ/1ᵀz, z = K1; powers:
    1ᵀz, zᵀz and zᵀKz."""

    log_p: np.ndarray
    matched: np.ndarray
    rest: np.ndarray
    powers: np.ndarray


def rho_mixtures(s: np.ndarray, k: np.ndarray, rho: np.ndarray, negligible: float) -> RhoMixtures:
    """Of scores s (m,) with covariance k (m, m), m ≥ 2: Q_ρ = (1 − ρ)sᵀs + ρ(Σs)². Eigenvalues of K below `negligible` of the
    mean positive one are left out.

    RKR of R² = (1 − ρ)I + ρ11ᵀ has the eigenvalues of (1 − ρ)K + ρvvᵀ, v = K^½1: with those of K, λ, and v in the basis of its
    eigenvectors u, where v² = λ(uᵀ1)², every ρ costs a tail alone. In a basis that begins with 1/√m and in which K is
    tridiagonal, uᵀ1 is the first component of u, and K − zzᵀ/1ᵀz is what follows the first row.
    """
    log_p, matched, powers = np.empty(len(rho)), np.empty((len(rho), 3)), np.empty(3)
    rest = _rho_mixtures(np.ascontiguousarray(s), np.ascontiguousarray(k), rho, negligible, log_p, matched, powers)
    return RhoMixtures(log_p, matched, rest, powers)


def log_shared(a: np.ndarray, b: np.ndarray, values: np.ndarray) -> float:
    """ln ∫ P(Σ λ χ²₁ > min(a − bx)) dχ²₁(x), 1 where that is below 0. a, b > 0: lines; values: λ > 0."""
    return float(_log_shared(a, b, np.ascontiguousarray(values)))


@njit(cache=True, nogil=True)
def _is_kept(values, negligible):
    """Eigenvalues above a share of the mean positive one."""
    total, count = 0.0, 0
    for v in values:
        if v > 0:
            total += v
            count += 1
    return (values > 0) & (values > negligible * total / max(count, 1))


@njit(cache=True, nogil=True)
def _largest(w, g):
    """The largest eigenvalue of diag(w) + zzᵀ, g = z²: Newton from the left of where 1 = Σ z²/(x − w), a concave function.

    A z² that w + z² may lose in rounding is left out: there w is an eigenvalue, as of variants of one frequency that nobody
    carries together, whose differences vary most."""
    x = (w + g).max()
    least = 8 * EPSILON * x
    for _ in range(60):
        f, slope = 1.0, 0.0
        for j in range(len(w)):
            if g[j] > least:
                r = g[j] / (x - w[j])
                f -= r
                slope += r / (x - w[j])
        if not f < 0 or x - f / slope <= x * (1 + 4 * EPSILON):
            break
        x -= f / slope
    return x


@njit(cache=True, nogil=True)
def _matched(w, g):
    """Mean, half the variance and degrees of freedom of the χ² that is like Σ λ χ²₁, λ of diag(w) + zzᵀ, g = z²."""
    h0 = h1 = h2 = h3 = c1 = c2 = c3 = c4 = 0.0
    for j in range(len(w)):
        square = w[j] * w[j]
        c1 += w[j]
        c2 += square
        c3 += square * w[j]
        c4 += square * square
        h0 += g[j]
        h1 += g[j] * w[j]
        h2 += g[j] * square
        h3 += g[j] * square * w[j]
    c1 += h0
    c2 += 2 * h1 + h0 * h0
    c3 += 3 * h2 + 3 * h0 * h1 + h0**3
    c4 += 4 * h3 + 4 * h0 * h2 + 2 * h1 * h1 + 4 * h0 * h0 * h1 + h0**4
    s1, s2 = c3 / c2**1.5, c4 / (c2 * c2)
    if s1 * s1 <= s2:
        return c1, c2, 1 / s2
    x = 1 / (s1 - math.sqrt(s1 * s1 - s2))
    return c1, c2, x * x - 2 * (s1 * x - 1) * x * x


@njit(cache=True, nogil=True)
def _rho_mixtures(s, k, rho, negligible, log_p, matched, powers):
    m = len(s)
    diagonal, beside = tridiagonal(k)
    squares, sum_s = (s * s).sum(), s.sum()
    values, first = eigenvalues(diagonal.copy(), beside.copy())
    kept = _is_kept(values, negligible)
    values, first = values[kept], first[kept]
    ones = m * first * first * values  # squares of what K^½1 is in the basis of the eigenvectors
    for i in range(len(rho)):
        if not len(values):
            log_p[i] = 0.0
            matched[i] = np.nan
            continue
        r = rho[i]
        w, g = (1 - r) * values, r * ones
        if r == 0:
            g = NO_RANK
            top = w.max()
        else:
            top = _largest(w, g)
        log_p[i] = log_tail(((1 - r) * squares + r * sum_s * sum_s) / top, w / top, g / top, SETTLED)
        c1, c2, df = _matched(w / top, r * ones / top)
        matched[i, 0], matched[i, 1], matched[i, 2] = c1 * top, c2 * top * top, df
    t11, t12, t22 = diagonal[0], beside[0], diagonal[1]
    powers[0], powers[1] = m * t11, m * (t11 * t11 + t12 * t12)
    powers[2] = m * (t11 * (t11 * t11 + t12 * t12) + t12 * t12 * (t11 + t22))
    if not t11 > 0:
        return diagonal[:0]
    rest, e = diagonal[1:].copy(), beside[1:].copy()
    rest[0] -= t12 * t12 / t11
    rest, _ = eigenvalues(rest, e)
    return rest[_is_kept(rest, negligible)]


@njit(cache=True, nogil=True)
def _lowest(a, b, x):
    best = np.inf
    for i in range(len(a)):
        best = min(best, a[i] - b[i] * x)
    return best


@njit(cache=True, nogil=True)
def _knots(a, b, most):
    """Where the smallest of the lines changes, from 0 to where it is 0, at most to `most`."""
    end = min(max((a / b).min(), 0.0), most)
    here = 0
    for i in range(len(a)):
        if a[i] < a[here] or (a[i] == a[here] and b[i] > b[here]):
            here = i
    out = [0.0]
    x = 0.0
    while True:
        nearest, following = np.inf, -1
        for i in range(len(a)):
            if b[i] > b[here]:
                cross = (a[i] - a[here]) / (b[i] - b[here])
                if cross < nearest:
                    nearest, following = cross, i
        if following < 0 or max(nearest, x) >= end:
            break
        x = max(nearest, x)
        if x > out[-1]:
            out.append(x)
        here = following
    out.append(end)
    return out


@njit(cache=True, nogil=True)
def _log_shared(a, b, values):
    top = values.max()
    w = values / top
    # what is farther is below e^−_GONE of the whole; a line that hardly falls would leave panels too wide to halve
    knots = _knots(a, b, 2 * (_GONE - log_tail(a.min() / top, w, NO_RANK, _ROUGH)))
    end = knots[-1]
    beyond = math.log(math.erfc(math.sqrt(end / 2))) if end < 1400 else -end / 2 - 0.5 * math.log(math.pi * end / 2)
    if not end > 0:
        return 0.0
    edges, heights = np.empty(_PANELS), np.empty(_PANELS)
    count = len(knots)
    for i in range(count):
        edges[i] = math.sqrt(knots[i])
        heights[i] = log_tail(_lowest(a, b, knots[i]) / top, w, NO_RANK, _ROUGH) - knots[i] / 2
    best = heights[:count].max()
    for _ in range(_DEPTH):
        added = 0
        new_edges, new_heights = np.empty(_PANELS), np.empty(_PANELS)
        for i in range(count):
            new_edges[i + added], new_heights[i + added] = edges[i], heights[i]
            if i + 1 == count or 2 * count >= _PANELS:
                continue
            wide = abs(heights[i + 1] - heights[i]) > _STEEP or edges[i + 1] - edges[i] > 1.0
            if wide and max(heights[i], heights[i + 1]) > best - _GONE:
                u = 0.5 * (edges[i] + edges[i + 1])
                added += 1
                new_edges[i + added] = u
                new_heights[i + added] = log_tail(_lowest(a, b, u * u) / top, w, NO_RANK, _ROUGH) - u * u / 2
                best = max(best, new_heights[i + added])
        edges, heights, count = new_edges, new_heights, count + added
        if not added:
            break
    total = 0.0
    for i in range(count - 1):
        if max(heights[i], heights[i + 1]) > best - _GONE:
            half, middle = 0.5 * (edges[i + 1] - edges[i]), 0.5 * (edges[i] + edges[i + 1])
            for j in range(len(_NODES)):
                u = middle + half * _NODES[j]
                height = log_tail(_lowest(a, b, u * u) / top, w, NO_RANK, _ROUGH) - u * u / 2
                total += half * _WEIGHTS[j] * math.exp(height - best)
    inner = best + math.log(total) + 0.5 * math.log(2 / math.pi) if total > 0 else -np.inf
    high = max(inner, beyond)
    return high + math.log(math.exp(inner - high) + math.exp(beyond - high))
