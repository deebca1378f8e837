"""Upper tails of Σ λ χ²₁ by an integral along a contour through the saddlepoint.

P(Q > q) = 1/(2πi) ∫ e^{K(t) − tq}/t dt with K(t) = −½ Σ ln(1 − 2tλ), along t = c + s(ix + bx²): c is the saddlepoint, kept away
from the pole at 0 (left of it the residue 1 is added), s its width 1/√K''(c), b = K‴(c)s³/6 the bend of steepest descent, √2/3
for one λ and √(2/m)/3 for m equal ones, x = sinh u. The integrand is analytic about the contour and dies like a Gaussian, so the
trapezoidal rule converges exponentially: nodes are doubled until nothing changes, to a relative error of about 1e-14 of any tail.
Branches: each factor of Π(1 − 2tλ) turns by less than π, turns are counted.

The λ may be the eigenvalues of diag(w) + zzᵀ without being known: Π(1 − 2tλ) = E(t) Π(1 − 2tw), E(t) = 1 − 2t Σ z²/(1 − 2tw).
As λ and w interlace, E turns by less than π too.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

SETTLED = 1e-7  # relative change at the last doubling of nodes, and its root before: what is left is about its square
_FIRST, _MOST = 12, 768  # steps of the trapezoidal rule
_DECAY = 80.0  # twice the exponent at which the contour ends
_BEND = math.sqrt(2.0) / 3  # of one λ, the most
_NEAR = 0.05  # of the width, over which K'' is compared
_SAFE = 300.0  # ln of the size of a product, whose square is a float64
NO_RANK = np.empty(0)  # z² where the λ are w


@njit(cache=True, nogil=True)
def _derivatives(t, w, g):
    """K' and K'' at t, and the smallest of the factors that must be positive."""
    first = second = s1 = s2 = s3 = 0.0
    least = 1.0
    for j in range(len(w)):
        r = 1 / (1 - 2 * t * w[j])
        first += w[j] * r
        second += w[j] * r * w[j] * r
        least = min(least, 1 - 2 * t * w[j])
        if len(g):
            s1 += g[j] * r
            s2 += g[j] * r * r
            s3 += g[j] * r * r * w[j] * r
    if len(g) and least > 0:
        e = 1 - 2 * t * s1
        least = min(least, e)
        first += s2 / e
        second += 2 * s3 / e + s2 / e * s2 / e
    return first, 2 * second, least


@njit(cache=True, nogil=True)
def _saddlepoint(q, w, g):
    """Where Σ λ/(1 − 2tλ) = q, for λ ≤ 1: between (1 − m/q)/2 and (1 − 1/q)/2. Newton on the reciprocal, nearly a line."""
    low, high = 0.5 * (1 - len(w) / q), 0.5 * (1 - 1 / q)
    t = high
    second = 1.0
    for _ in range(100):
        first, second, least = _derivatives(t, w, g)
        if not least > 0:  # rounding of the largest λ
            high = t
            t = 0.5 * (low + high)
            continue
        if first > q:
            high = t
        else:
            low = t
        new = t - (first - q) * first / (q * second)
        if not low <= new <= high:
            new = 0.5 * (low + high)
        # the contour may pass beside the saddlepoint: exactness comes from the nodes
        if abs(new - t) <= 1e-6 * (1 - 2 * t) or new == t:
            return new, second
        t = new
    return t, second


@njit(cache=True, nogil=True)
def _bend(c, s, w, g):
    """b of the contour."""
    h = _NEAR * s
    _, left, _ = _derivatives(c - h, w, g)
    _, right, least = _derivatives(c + h, w, g)
    return min(max((right - left) / (2 * h) * s**3 / 6, 0.0), _BEND) if least > 0 else _BEND


@njit(cache=True, nogil=True)
def _log_size(t, q, w, g):
    """ln |e^{K(t) − tq}|."""
    log, product, e = 0.0, 1.0, complex(1.0, 0.0)
    for j in range(len(w)):
        a = 1 - 2 * t * w[j]
        product *= a.real * a.real + a.imag * a.imag
        if len(g):
            e -= 2 * t * g[j] / a
        if not 1e-200 < product < 1e200:
            log += math.log(product)
            product = 1.0
    return -0.25 * (log + math.log(product) + math.log(e.real * e.real + e.imag * e.imag)) - t.real * q


@njit(cache=True, nogil=True)
def _end(b, c, s, q, w, g):
    """x at which the integrand has died."""
    x = math.sqrt(_DECAY / max(1.0, 2 * b * s * q))
    least = _log_size(complex(c, 0.0), q, w, g) - 0.5 * _DECAY
    for _ in range(60):
        if not _log_size(complex(c + b * s * x * x, s * x), q, w, g) > least:
            break
        x *= 1.25
    return x


@njit(cache=True, nogil=True)
def _sum_of_nodes(first, step, count, b, c, s, q, w, g, log_base, run, work):
    """Σ over u = first + i·step of Im(e^{K(t) − tq − (K(c) − cq)}/t · dt/du), half of it at u = 0, where the contour mirrors."""
    tr, ti, pr, pi, turns, logs, er, ei = work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7]
    up, down = math.exp(first), math.exp(-first)
    times = math.exp(step)
    for i in range(count):
        x = 0.5 * (up - down)
        up, down = up * times, down / times
        tr[i], ti[i] = c + b * s * x * x, s * x
        pr[i], pi[i], turns[i], logs[i] = 1.0, 0.0, 0.0, 0.0
        er[i], ei[i] = 1.0, 0.0
    since = 0
    for j in range(len(w) + (len(g) > 0)):
        if j < len(w):
            twice = 2 * w[j]
            if len(g):
                double = 2 * g[j]
                for i in range(count):
                    ar, ai = 1 - twice * tr[i], -twice * ti[i]
                    scale = double / (ar * ar + ai * ai)
                    er[i] -= scale * (tr[i] * ar + ti[i] * ai)
                    ei[i] -= scale * (ti[i] * ar - tr[i] * ai)
        for i in range(count):
            if j < len(w):
                ar, ai = 1 - twice * tr[i], -twice * ti[i]
            else:
                ar, ai = er[i], ei[i]
            r, m = pr[i], pi[i]
            nr, nm = r * ar - m * ai, r * ai + m * ar
            turns[i] += 1.0 if (m < 0) & (nm > 0) else 0.0
            pr[i], pi[i] = nr, nm
        since += 1
        if since == run:
            since = 0
            for i in range(count):
                size = abs(pr[i]) + abs(pi[i])
                logs[i] += math.log(size)
                pr[i], pi[i] = pr[i] / size, pi[i] / size
    total = 0.0
    for i in range(count):
        angle = math.atan2(pi[i], pr[i]) - 2 * math.pi * turns[i]
        size = math.exp(-0.5 * (logs[i] + 0.5 * math.log(pr[i] * pr[i] + pi[i] * pi[i]) - log_base) - (tr[i] - c) * q)
        phase = -0.5 * angle - ti[i] * q
        vr, vi = size * math.cos(phase), size * math.sin(phase)
        bottom = tr[i] * tr[i] + ti[i] * ti[i]
        fr, fi = (vr * tr[i] + vi * ti[i]) / bottom, (vi * tr[i] - vr * ti[i]) / bottom
        x = ti[i] / s
        share = 0.5 if x == 0.0 else 1.0
        total += share * (fr + 2 * b * fi * x) * s * math.sqrt(1 + x * x)  # Im of (fr + i fi)(i + 2bx)s cosh u
    return total


@njit(cache=True, nogil=True)
def _log_product(t, w, g, run):
    """ln Π(1 − 2tλ) of a real t."""
    log, product, e = 0.0, 1.0, 1.0
    for j in range(len(w)):
        factor = 1 - 2 * t * w[j]
        product *= factor
        if len(g):
            e -= 2 * t * g[j] / factor
        if (j + 1) % run == 0:
            log += math.log(product)
            product = 1.0
    return log + math.log(product) + math.log(e)


@njit(cache=True, nogil=True)
def log_tail(q, w, g, settled):
    """ln P(Σ λ_j χ²₁ > q), 0 where q ≤ 0. The λ are w, or the eigenvalues of diag(w) + zzᵀ with g = z²; their largest is 1.

    settled: as `SETTLED`.
    """
    if not q > 0:
        return 0.0
    c, curvature = _saddlepoint(q, w, g)
    s = 1 / math.sqrt(curvature)
    if abs(c) < 0.5 * s:
        c = -0.5 * s if c < 0 or 0.5 * s > 0.3 else 0.5 * s
    b = _bend(c, s, w, g)
    end = _end(b, c, s, q, w, g)
    far = abs(c) + b * s * end * end + s * end  # of the contour
    run = max(1, int(_SAFE / max(math.log(1 + 2 * far), math.log(10 * max(q, 1.0)))))
    log_base = _log_product(c, w, g, run)
    top = math.asinh(end)
    work = np.empty((8, _MOST))
    steps = _FIRST
    total = _sum_of_nodes(0.0, top / steps, steps + 1, b, c, s, q, w, g, log_base, run, work)
    value, change = total * top / steps, np.inf
    while steps < _MOST:
        total += _sum_of_nodes(0.5 * top / steps, top / steps, steps, b, c, s, q, w, g, log_base, run, work)
        steps *= 2
        last, before, value = change, value, total * top / steps
        change, size = abs(value - before), settled * abs(value)
        # an error that oscillates may pass a single comparison by chance
        if change <= settled * size or (change <= size and last * math.sqrt(settled) <= size):
            break
    log_scale = -c * q - 0.5 * log_base
    if c > 0:
        return log_scale + math.log(value / math.pi)
    return math.log1p(value / math.pi * math.exp(log_scale))
