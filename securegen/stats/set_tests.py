"""Tests of a set of variants: SKAT, SKAT-O, ACAT-V and ACAT-O, from scores S and their covariance K.

SKAT (Wu et al. 2011): Q = Σ w²S² against Σ λ χ²₁, λ the eigenvalues of wKw, w the density of Beta(1, 25) at the frequency. SKAT-O
(Lee et al. 2012): the smallest P of Q_ρ = (1 − ρ) Σ w²S² + ρ (Σ wS)² over eight ρ, and its own P by integrating over the part
that they share. ACAT (Liu et al. 2019): P-values as Cauchy variables. Tails of mixtures are those of `kernels.mixture_tail`.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

import numpy as np

from securegen.kernels.cauchy import cauchy
from securegen.kernels.rho_mixtures import RhoMixtures, log_shared, rho_mixtures
from securegen.stats.pvalue import chisq_1
from securegen.stats.set_scores import SetScores
from securegen.vocabulary import SET_TESTS

SKAT, SKATO, SKATO_ACAT, ACATV, ACATO = SET_TESTS
RHO: Final = np.array([0, 0.1**2, 0.2**2, 0.3**2, 0.4**2, 0.5**2, 0.5, 0.999])  # regenie's, whose last stands for 1
ENDS: Final = np.array([0, 0.999])
NEGLIGIBLE: Final = 1e-5  # of the mean positive eigenvalue
LARGEST_P: Final = 0.999  # of what is combined
SMALLEST: Final = -690.0  # ln P, below which SKAT-O is its upper bound
_LN10: Final = np.log(10.0)


def beta_weights(frequency: np.ndarray) -> np.ndarray:
    """Density of Beta(1, 25) at the frequency of the rarer allele: 25 (1 − f)^24."""
    out: np.ndarray = 25 * (1 - frequency) ** 24
    return out


def acat(log10p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """−log10 of the P of Σ w tan((½ − p)π), for −log10 p and weights ≥ 0 (None: equal ones).

    >>> round(acat(np.array([2.0, 0.5])), 6), round(acat(np.array([400.0, 1.0])), 6)
    (1.708176, 399.69897)
    """
    return float(cauchy(log10p, np.ones(len(log10p)) if weights is None else weights, LARGEST_P))


def set_tests(scores: SetScores, frequency: np.ndarray, wanted: Set[str]) -> dict[str, float]:
    """−log10 P of the wanted tests, NaN where the set has no usable row.

    frequency: (k,) of the counted allele, above ½ where the other is rarer. With `acato` alone it combines ρ of 0 and 1, with
    `skato` or `skato-acat` all eight, as regenie does.
    """
    usable = scores.usable
    rows = np.flatnonzero(usable)
    if not len(rows):
        return dict.fromkeys(wanted, np.nan)
    here, share = (scores, frequency) if usable.all() else (scores.take(rows), frequency[rows])
    sign = np.where(share > 0.5, -1.0, 1.0)  # the other allele is counted: the intercept takes the constant out
    rarer = np.minimum(share, 1 - share)
    w = beta_weights(rarer)
    turned = sign * w
    s, k = turned * here.scores, turned[:, None] * turned * here.covariance
    half = -int(np.frexp(np.trace(k))[1]) // 2
    s, k = np.ldexp(s, half), np.ldexp(k, 2 * half)  # exact, and no P depends on it: powers of K stay numbers
    _, single = chisq_1(here.scores**2 / np.diag(here.covariance))
    if len(rows) == 1:
        return dict.fromkeys(wanted, float(single[0]))
    rho = RHO if wanted & {SKATO, SKATO_ACAT} else ENDS if ACATO in wanted else RHO[:1]
    found = {ACATV: acat(single, w * w * rarer * (1 - rarer))} if wanted & {ACATV, ACATO} else {}
    if wanted - {ACATV}:
        mixtures = rho_mixtures(s, k, rho, NEGLIGIBLE)
        each = -mixtures.log_p / _LN10
        found[SKAT] = float(each[0])
        if SKATO in wanted:
            found[SKATO] = -_optimal(float(np.trace(k)), mixtures) / _LN10
        if SKATO_ACAT in wanted:
            found[SKATO_ACAT] = acat(each)
        if ACATO in wanted:
            found[ACATO] = acat(np.array([found[ACATV], *each]))
    return {name: found[name] for name in wanted}


def _optimal(trace: float, found: RhoMixtures) -> float:
    """ln of SKAT-O's P (Lee et al. 2012), at most ln of eight times the smallest P. found: of all ρ; trace: of K."""
    from scipy import special  # slow to import

    smallest = float(found.log_p.min())
    most = min(smallest + np.log(len(RHO)), 0.0)
    (g1, g2, g3), rest = found.powers.tolist(), found.rest
    if smallest < SMALLEST:
        return float(most)
    centre, spread = float(rest.sum()), 2 * float(rest @ rest)
    if not min(g1, centre) > 1e-12 * trace:  # all ρ test one direction, or what is not in the sum: that does not vary
        return smallest
    mean, half, df = found.matched.T
    quantile = mean + (special.chdtri(df, np.exp(smallest)) - df) * np.sqrt(half / df)
    factor = np.sqrt(spread / (spread + max(4 * (g3 / g1 - (g2 / g1) ** 2), 0.0)))
    shared = g1 * RHO + g2 / g1 * (1 - RHO)
    inside = log_shared(quantile / (1 - RHO) * factor + centre * (1 - factor), shared / (1 - RHO) * factor, rest)
    return float(min(inside, most))
