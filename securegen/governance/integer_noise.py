"""Noise on whole numbers, and choice among them, by OpenDP: the least that keeps ε and δ, drawn from the operating system.

Pure ε: discrete Laplace; with δ: discrete Gaussian (Canonne, Kamath and Steinke 2020). Of several scores the k largest: with
exponential noise by ε, with Gumbel noise by ε and δ. There is no seed. Whoever draws twice has spent ε twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

from securegen.errors import MissingExtraError

_WIDEST: Final = 1e8  # of searched scales, in units of the distance


def load_opendp() -> ModuleType:
    """OpenDP, which draws. Raises MissingExtraError: no other stands in for it."""
    try:
        import opendp.prelude as dp
    except ImportError:
        raise MissingExtraError("opendp", "dp") from None
    dp.enable_features("contrib")
    module: ModuleType = dp
    return module


@functools.lru_cache(64)
def adding(delta: float | None, scale: float) -> Any:
    """The measurement that adds noise to each whole number of a list."""
    dp = load_opendp()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    if delta is not None:
        return dp.m.make_gaussian(domain, dp.l2_distance(T=float), scale=scale)
    return dp.m.make_laplace(domain, dp.l1_distance(T="i64"), scale=scale)


@functools.lru_cache(64)
def choosing(delta: float | None, k: int, scale: float) -> Any:
    """The measurement that names the k largest of a list of scores."""
    dp = load_opendp()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    measure = dp.max_divergence() if delta is None else dp.zero_concentrated_divergence()
    return dp.m.make_noisy_top_k(domain, dp.linf_distance(T="i64"), measure, k=k, scale=scale)


def least_scale(
    make: Callable[[float], Any], distance: float, epsilon: float, delta: float | None, *, guess: float = 1.0
) -> float:
    """The least scale that OpenDP bounds by ε (and δ). distance: how far one person moves what is measured; guess: times
    distance/ε, of which pure ε needs hardly more."""
    if delta is None:
        scale = guess * distance / epsilon
        while make(scale).map(distance) > epsilon:
            scale *= 1 + 1e-12
        return scale
    dp = load_opendp()
    found = dp.binary_search_param(
        lambda scale: dp.c.make_fix_delta(dp.c.make_zCDP_to_approxDP(make(scale)), delta),
        d_in=distance, d_out=(epsilon, delta), bounds=(0.1 * distance, _WIDEST * distance),
    )  # fmt: skip
    return float(found)


def variance(delta: float | None, scale: float) -> float:
    """Of the noise on a number, in its units squared. The discrete Gaussian's is at most σ²."""
    return scale**2 if delta is not None else 0.5 / math.sinh(0.5 / scale) ** 2


def norm(squared: int) -> float:
    """The root of a whole number, never below it."""
    return math.nextafter(math.sqrt(squared), math.inf)


def drawn_sums(values: Sequence[int], scale: float, delta: float | None) -> list[int]:
    """Fresh draws around whole numbers below 2⁶²."""
    out: list[int] = adding(delta, scale)(list(values)) if len(values) else []
    return out
