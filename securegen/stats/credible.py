"""Which variant of a region is the causal one, if one is: approximate Bayes factors and their credible set.

With a prior N(0, W) on the effect, the Bayes factor of an effect against none is √(1 − s)·exp(s z²/2), s = W/(SE² + W)
(Wakefield 2009). If exactly one variant of the region has an effect, each as likely before, its probability is its share of the
sum (Maller et al. 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINARY_SD, QUANTITATIVE_SD = 0.2, 0.15  # of an effect: log odds, and standard deviations of the trait


@dataclass(frozen=True, eq=False, repr=False)
class CredibleSet:
    """index: (S,) int64, variants of the set, most probable first; probability: (M,) of every variant; log_factor: (M,)
    natural logarithms of their Bayes factors; cumulative: (S,) probabilities of the set, summed in its order."""

    index: np.ndarray
    probability: np.ndarray
    log_factor: np.ndarray
    cumulative: np.ndarray


def log_bayes_factor(beta: np.ndarray, se: np.ndarray, prior_variance: float) -> np.ndarray:
    """ln of the Bayes factor of each effect against none. beta, se: (M,); prior_variance: of effects, in units of beta²."""
    share = prior_variance / (se * se + prior_variance)
    rest = se * se / (se * se + prior_variance)  # 1 − share, of which a small one would have no digits
    with np.errstate(divide="ignore"):
        log_rest = np.where(share < 0.5, np.log1p(-share), np.log(rest))
    out: np.ndarray = 0.5 * log_rest + 0.5 * share * (beta / se) ** 2
    return out


def credible_set(beta: np.ndarray, se: np.ndarray, prior_variance: float, coverage: float) -> CredibleSet:
    """The fewest variants that together have this probability; of equals the first in the file.

    >>> credible_set(np.array([0.0, 1.0]), np.array([0.1, 0.1]), 0.04, 0.95).index.tolist()
    [1]
    """
    factor = log_bayes_factor(beta, se, prior_variance)
    weight = np.exp(factor - factor.max())
    probability = weight / weight.sum()
    order = np.argsort(-factor, kind="stable")
    cumulative = np.minimum(np.cumsum(probability[order]), 1.0)
    needed = min(int(np.searchsorted(cumulative, coverage)) + 1, len(order))
    return CredibleSet(order[:needed], probability, factor, cumulative[:needed])


def trait_variance(beta: np.ndarray, se: np.ndarray, frequency: np.ndarray, people: np.ndarray) -> float:
    """The variance of a quantitative trait, less what covariates explain, by the table of its linear regressions: the median
    over variants of 2f(1 − f)(n SE² + β²); NaN where no row has all of them."""
    spread = 2 * frequency * (1 - frequency)
    values = spread * (people * se * se + beta * beta)
    values = values[np.isfinite(values) & (spread > 0)]
    return float(np.median(values)) if len(values) else float("nan")
