"""Exact test of Hardy–Weinberg equilibrium on the X chromosome (Graffelman and Weir 2016).

Of all genotypes of females and alleles of males with the observed number of alleles: equilibrium in females and equal
frequencies in both sexes, jointly. It is plink2's `--hardy` on X.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

TIE = 1e-9  # configurations this close to the observed one, in log probability, count as equally likely
NEGLIGIBLE = 1e-18


def exact_test_x(
    het: np.ndarray, hom_a: np.ndarray, hom_b: np.ndarray, male_a: np.ndarray, male_b: np.ndarray
) -> np.ndarray:
    """Natural logarithm of the exact p-value of each variant: (V,) counts of females' genotypes and males' alleles ->
    (V,) float64. Nobody called, or one allele only: 0 (p = 1)."""
    counts = np.stack([np.asarray(c, np.int64) for c in (het, hom_a, hom_b, male_a, male_b)], axis=1)
    out = np.zeros(len(counts))
    if not len(counts):
        return out
    most = int((2 * counts[:, :3].sum(1) + counts[:, 3:].sum(1)).max())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
    over_range(len(counts), lambda first, last: _exact(counts, log_factorial, first, last, out), least=16)
    return out


@njit(inline="always")
def _log_p(f, females, males, a_total, male, het):
    """Log probability, up to a constant, of `male` alleles A in males and `het` heterozygous females."""
    hom = (a_total - male - het) // 2
    return het * 0.6931471805599453 - f[male] - f[males - male] - f[hom] - f[het] - f[females - het - hom]


@njit(inline="always")
def _tail(f, females, males, a_total, male, het, step, last, bound):
    """Sum of exp(log p − bound) from `het` on in steps of ±2 as far as it matters; probabilities fall in this direction."""
    p = math.exp(_log_p(f, females, males, a_total, male, het) - bound)
    total = 0.0
    while True:
        total += p
        if p <= total * NEGLIGIBLE or het == last:
            return total
        hom = (a_total - male - het) // 2
        other = females - het - hom
        if step > 0:
            p *= 4.0 * hom * other / ((het + 2.0) * (het + 1.0))
        else:
            p *= het * (het - 1.0) / (4.0 * (hom + 1.0) * (other + 1.0))
        het += step


@njit(cache=True, nogil=True)
def _likeliest(f, females, males, a_total, male, least, most):
    """The likeliest number of heterozygous females beside so many alleles in males, of the parity of `least`."""
    rest = a_total - male
    mode = int(rest * (2.0 * females - rest) / max(2.0 * females - 1.0, 1.0))
    mode += (mode - least) % 2
    mode = min(max(mode, least), most)
    for step in (2, -2):
        while least <= mode + step <= most and _log_p(f, females, males, a_total, male, mode + step) > _log_p(
            f, females, males, a_total, male, mode
        ):
            mode += step
    return mode


@njit(cache=True, nogil=True)
def _beyond(f, females, males, a_total, male, mode, step, end, bound):
    """As `_tail`, from the first number behind the mode that is at most as likely as what was observed."""
    a, b = 0, (end - mode) // step + 1
    while b - a > 1:
        c = (a + b) // 2
        if _log_p(f, females, males, a_total, male, mode + step * c) <= bound:
            b = c
        else:
            a = c
    het = mode + step * b
    return _tail(f, females, males, a_total, male, het, step, end, bound) if (end - het) * step >= 0 else 0.0


@njit(cache=True, nogil=True)
def _exact(counts, f, first, last, out):
    for j in range(first, last):
        het, hom_a, hom_b, male_a, male_b = counts[j]
        females, males = het + hom_a + hom_b, male_a + male_b
        a_total = 2 * hom_a + het + male_a
        everything = 2 * females + males
        if a_total == 0 or a_total == everything:
            continue
        seen = _log_p(f, females, males, a_total, male_a, het)
        bound = seen + TIE
        constant = f[females] + f[males] + f[a_total] + f[everything - a_total] - f[everything]
        low, high = max(0, a_total - 2 * females), min(males, a_total)
        middle = min(max(int(round(a_total * males / everything)), low), high)
        tail = 0.0
        for direction in (1, -1):
            male = middle if direction > 0 else middle - 1
            while low <= male <= high:
                rest = a_total - male
                least, most = rest % 2, min(rest, 2 * females - rest)
                mode = _likeliest(f, females, males, a_total, male, least, most)
                if _log_p(f, females, males, a_total, male, mode) <= bound:
                    part = _tail(f, females, males, a_total, male, mode, 2, most, bound)
                    if mode > least:
                        part += _tail(f, females, males, a_total, male, mode - 2, -2, least, bound)
                else:
                    part = _beyond(f, females, males, a_total, male, mode, 2, most, bound)
                    part += _beyond(f, females, males, a_total, male, mode, -2, least, bound)
                tail += part
                # all that such a number of alleles in males can still add, and fewer further out
                whole = f[2 * females] - f[rest] - f[2 * females - rest] - f[females] - f[male] - f[males - male]
                if tail > 0 and whole - bound < math.log(tail) - 44.0 and direction * (male - middle) > 0:
                    break
                male += direction
        out[j] = min(math.log(tail) + bound + constant, 0.0)
