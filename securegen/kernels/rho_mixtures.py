"""What SKAT-O needs of one covariance matrix: mixtures for a grid of ρ, and the integral over the part that they share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from securegen.kernels.mixture_tail import SETTLED, log_tail

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_STEEP, _DEPTH, _GONE = 5.0, 16, 40.0  # of ln of the integrand: a panel is halved above, how often, what is left out
_PANELS = 1 << 12
_ROUGH = 1e-4  # of the integrand, as SETTLED
_EPSILON = 2.0**-53


class RhoMixtures(NamedTuple):
    """For R values of ρ: log_p: (R,) ln of the tail of Q_ρ; matched: (R, 3) mean, half the variance and degrees of freedom of
    the χ² that has the mixture's skewness, or its kurtosis (Liu et al. 2009). rest: eigenvalues of K − zzᵀ/1ᵀz, z = K1; powers:
    1ᵀz, zᵀz and zᵀKz."""

    log_p: np.ndarray
    matched: np.ndarray
    rest: np.ndarray
    powers: np.ndarray


def rho_mixtures(s: np.ndarray, k: np.ndarray, rho: np.ndarray, negligible: float) -> RhoMixtures:
    """Of scores s (m,) with covariance k (m, m): Q_ρ = (1 − ρ)sᵀs + ρ(Σs)² against the eigenvalues of its trace form above
    `negligible` of the mean positive one.

    In a basis that begins with 1/√m and in which K is tridiagonal, so is RKR of every ρ, R² = (1 − ρ)I + ρ11ᵀ, and K − zzᵀ/1ᵀz is
    what follows the first row.
    """
    log_p, matched, powers = np.empty(len(rho)), np.empty((len(rho), 3)), np.empty(3)
    rest = _rho_mixtures(np.ascontiguousarray(s), np.ascontiguousarray(k), rho, negligible, log_p, matched, powers)
    return RhoMixtures(log_p, matched, rest, powers)


def log_shared(a: np.ndarray, b: np.ndarray, values: np.ndarray) -> float:
    """ln ∫ P(Σ λ χ²₁ > min(a − bx)) dχ²₁(x), 1 where that is below 0. a, b > 0: lines; values: λ > 0."""
    return float(_log_shared(a, b, np.ascontiguousarray(values)))


@njit(cache=True, nogil=True)
def _reflect(a, v, first):
    """HAH of a symmetric matrix, H = I − 2vvᵀ of a unit vector that is 0 before `first`."""
    m, least = len(a), max(first - 1, 0)  # rows and columns before are tridiagonal already
    w = np.zeros(m)
    half = 0.0
    for i in range(least, m):
        for j in range(first, m):
            w[i] += a[i, j] * v[j]
        half += v[i] * w[i]
    for i in range(least, m):
        w[i] = 2 * (w[i] - half * v[i])
    for i in range(least, m):
        for j in range(least, m):
            a[i, j] -= v[i] * w[j] + w[i] * v[j]


@njit(cache=True, nogil=True)
def _tridiagonal(k):
    """Diagonal and the one beside it of K in a basis whose first vector is 1/√m."""
    a, m = k.copy(), len(k)
    v = np.zeros(m)
    for column in range(-1, m - 2):
        first = column + 1
        v[:] = 0.0
        size = 0.0
        for i in range(first, m):
            v[i] = 1.0 if column < 0 else a[i, column]
            size += v[i] * v[i]
        size = math.sqrt(size)
        if size == 0.0:
            continue
        v[first] += size if v[first] >= 0 else -size
        norm = 0.0
        for i in range(first, m):
            norm += v[i] * v[i]
        norm = math.sqrt(norm)
        for i in range(first, m):
            v[i] /= norm
        _reflect(a, v, first)
    diagonal, beside = np.empty(m), np.empty(max(m - 1, 0))
    for i in range(m):
        diagonal[i] = a[i, i]
        if i:
            beside[i - 1] = a[i, i - 1]
    return diagonal, beside


@njit(cache=True, nogil=True)
def _eigenvalues(diagonal, beside):
    """Of a symmetric tridiagonal matrix, by implicit QL steps without roots (Pal, Walker, Kahan; LAPACK's dsterf); both arrays
    are overwritten."""
    n = len(diagonal)
    d, e = diagonal, np.zeros(n)
    largest = 0.0
    for i in range(n):
        largest = max(largest, abs(d[i]))
        if i < n - 1:
            e[i] = beside[i] * beside[i]
            largest = max(largest, abs(beside[i]))
    gone = (_EPSILON * 1e-3 * largest) ** 2
    for start in range(n):
        for _ in range(60):
            m = start
            while m < n - 1 and e[m] > max(gone, _EPSILON * _EPSILON * abs(d[m] * d[m + 1])):
                m += 1
            if m == start:
                break
            p = d[start]
            root = math.sqrt(e[start])
            shift = (d[start + 1] - p) / (2 * root)
            r = math.sqrt(shift * shift + 1.0)
            shift = p - root / (shift + (r if shift >= 0 else -r))
            c, s = 1.0, 0.0
            gamma = d[m] - shift
            p = gamma * gamma
            for i in range(m - 1, start - 1, -1):
                square = e[i]
                r = p + square
                if i != m - 1:
                    e[i + 1] = s * r
                before, old = c, gamma
                c, s = p / r, square / r
                gamma = c * (d[i] - shift) - s * old
                d[i + 1] = old + (d[i] - gamma)
                p = gamma * gamma / c if c != 0.0 else before * square
            e[start] = s * p
            d[start] = shift + gamma
    return d


@njit(cache=True, nogil=True)
def _positive_part(values, negligible):
    """Eigenvalues above a share of the mean positive one."""
    total, count = 0.0, 0
    for v in values:
        if v > 0:
            total += v
            count += 1
    return values[values > negligible * total / max(count, 1)] if count else values[:0]


@njit(cache=True, nogil=True)
def _rho_mixtures(s, k, rho, negligible, log_p, matched, powers):
    m = len(s)
    diagonal, beside = _tridiagonal(k)
    squares, sum_s = (s * s).sum(), s.sum()
    for i in range(len(rho)):
        r = rho[i]
        a, first = math.sqrt(1 - r), math.sqrt(1 - r + m * r)
        d, e = diagonal * (a * a), beside * (a * a)
        d[0] = diagonal[0] * first * first
        e[0] = beside[0] * first * a
        values = _positive_part(_eigenvalues(d, e), negligible)
        if not len(values):
            log_p[i] = 0.0
            matched[i] = np.nan
            continue
        top = values.max()
        scaled = values / top
        log_p[i] = log_tail(((1 - r) * squares + r * sum_s * sum_s) / top, scaled, SETTLED)
        c1 = c2 = c3 = c4 = 0.0
        for v in scaled:
            c1 += v
            c2 += v * v
            c3 += v * v * v
            c4 += v * v * v * v
        s1, s2 = c3 / c2**1.5, c4 / (c2 * c2)
        if s1 * s1 <= s2:
            df = 1 / s2
        else:
            x = 1 / (s1 - math.sqrt(s1 * s1 - s2))
            df = x * x - 2 * (s1 * x - 1) * x * x
        matched[i, 0], matched[i, 1], matched[i, 2] = c1 * top, c2 * top * top, df
    t11, t12, t22 = diagonal[0], beside[0], diagonal[1]
    powers[0], powers[1] = m * t11, m * (t11 * t11 + t12 * t12)
    powers[2] = m * (t11 * (t11 * t11 + t12 * t12) + t12 * t12 * (t11 + t22))
    if not t11 > 0:
        return diagonal[:0]
    rest, e = diagonal[1:].copy(), beside[1:].copy()
    rest[0] -= t12 * t12 / t11
    return _positive_part(_eigenvalues(rest, e), negligible)


@njit(cache=True, nogil=True)
def _lowest(a, b, x):
    best = np.inf
    for i in range(len(a)):
        best = min(best, a[i] - b[i] * x)
    return best


@njit(cache=True, nogil=True)
def _knots(a, b):
    """Where the smallest of the lines changes, from 0 to where it is 0."""
    end = max((a / b).min(), 0.0)
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
    knots = _knots(a, b)
    end = knots[-1]
    beyond = math.log(math.erfc(math.sqrt(end / 2))) if end < 1400 else -end / 2 - 0.5 * math.log(math.pi * end / 2)
    if not end > 0:
        return 0.0
    edges, heights = np.empty(_PANELS), np.empty(_PANELS)
    count = len(knots)
    for i in range(count):
        edges[i] = math.sqrt(knots[i])
        heights[i] = log_tail(_lowest(a, b, knots[i]) / top, w, _ROUGH) - knots[i] / 2
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
                new_heights[i + added] = log_tail(_lowest(a, b, u * u) / top, w, _ROUGH) - u * u / 2
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
                height = log_tail(_lowest(a, b, u * u) / top, w, _ROUGH) - u * u / 2
                total += half * _WEIGHTS[j] * math.exp(height - best)
    inner = best + math.log(total) + 0.5 * math.log(2 / math.pi) if total > 0 else -np.inf
    high = max(inner, beyond)
    return high + math.log(math.exp(inner - high) + math.exp(beyond - high))
