"""How far rounded columns move T of linear regression, for certain and for every variant.

docs/explanation/precision.md has the proof.

In units of integers and centred: C are the covariates as in the files, Ĉ the integer columns, g the genotypes with coefficients
α on Ĉ, r the residual of the phenotype, δ the rounding errors of its column. Then u = g̃ᵀr + ĝᵀδ but for what is below, and √v
differs from |g̃| by at most η = √(αᵀDα), D the products of the covariates' rounding errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.linear import LinearModel
from securegen.stats import algebra
from securegen.stats.algebra import Entry

FLOAT = 1e-9  # of T, for float64 after the sums
WIDER = 1 + 1e-9  # of a bound that float64 computes


@dataclass(frozen=True)
class Moved:
    """turn: the largest share of y that its rounding is, and with what was read, `turned`; size: η/√v; tau: τ' of
    projections; more: of the cosine, beside these; length: of y, squared. Numbers, or (V,)."""

    turn: Entry
    turned: Entry
    size: np.ndarray
    tau: Entry
    more: np.ndarray
    length: Entry

    def sine(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest sine that may stand behind a computed one of s >= 0, and that of the angle by which y may turn."""
        least = (np.sqrt(np.maximum(1 - self.tau**2, 0)) - self.size) * (1 - self.length)
        most = (s + (self.size + self.tau) * self.turn + self.more) / least
        turned = self.turned / (1 - self.length)
        good = (least > 0) & (most < 1) & (self.length < 1) & (turned < 1)
        return np.where(good, most * WIDER, 1.0), np.where(good, turned * WIDER, 1.0)


def moved(
    model: LinearModel,
    factor: tuple[list[list[Entry]], list[Entry]],
    z: tuple[list[Entry], list[Entry]],
    v: np.ndarray,
    variance: np.ndarray,
    y_left: Entry,
    used: Entry,
    absent: np.ndarray | None,
) -> Moved:
    """factor: L and D of the covariates' Gram matrix; z: forward solutions of g's and y's products with them; v, variance: of
    g with and without the covariates projected out; y_left: of y; used: samples; absent: norm of y over those who have no
    call where the others alone are used, NaN for a variant without."""
    people, y = np.sqrt(used), np.sqrt(y_left)
    alpha = [np.abs(a) for a in algebra.backward(*factor, z[0])]
    signed = algebra.backward(*factor, z[0])
    inverse = [algebra.backward(*factor, algebra.forward(*factor, e)) for e in _unit_rows(len(alpha))]
    width = range(len(alpha))
    eta = np.sqrt(np.maximum(form(signed, model.error_gram), 0)) * WIDER
    kappa = people * algebra.dot(alpha, model.unread)
    tau_read = people * algebra.dot([np.sqrt(np.maximum(inverse[k][k], 0)) for k in width], model.unread)
    own = np.sqrt(np.maximum(sum(model.error_gram[i][j] * inverse[j][i] for i in width for j in width), 0))
    tau, tau_read = _sine_of(own * WIDER + tau_read), _sine_of(tau_read)
    turn, size, read = model.y_moved / y, (eta + kappa) / np.sqrt(v), kappa / np.sqrt(v)
    loose = people * model.loose / y
    more = (1 + 2 * turn) * (read + tau_read * (tau + size)) + np.sqrt(variance / v) * loose
    length = tau_read**2 + 2 * tau_read * turn + 2 * tau * turn**2 + 2 * loose
    if absent is not None:  # y of the called people is not orthogonal to the covariates: exact but for their rounding
        along = np.sqrt(algebra.dot(z[1], z[1])) / y + turn + 2 * tau
        few = np.isnan(absent)
        more = more + np.where(few, 0, (tau + size) * along + size * (absent / y + turn))
        length = length + np.where(few, 0, 6 * along * tau)
    return Moved(turn, turn + people * model.y_unread / y, size, tau, more, length)


def t_bound(t: np.ndarray, df: Entry, off: Moved) -> np.ndarray:
    """Bound of |ΔT|, T = √df·tan θ against exact reals. Infinite where θ could reach π/2."""
    x = np.abs(t) / np.sqrt(df)
    most, turned = off.sine(x / np.sqrt(1 + x * x))
    far, tangent = _tangent(most), _tangent(turned)
    room = 1 - far * tangent
    bound = np.sqrt(df) * (np.maximum(far - x, 0) + (1 + far * far) * tangent / room)
    return np.where((most < 1) & (room > 0), bound, np.inf) + FLOAT


def root_bound(t: np.ndarray, length: Entry, off: Moved) -> np.ndarray:
    """Bound of |Δt|, t = u/(√v σ₀) with a null variance. length: ‖ỹ‖/σ₀, so that t = length·sin θ; the length moves by the
    share of y that its rounding is, and σ₀ by less."""
    sine = np.minimum(np.abs(t) / length, 1.0)
    most, turned = off.sine(sine)
    least = np.maximum(2 * sine - most, 0)
    moved = (most - sine) + np.sqrt(1 - least * least) * turned + most * (1 - np.sqrt(1 - turned * turned))
    share = off.turned + off.length
    bound = (length * moved + 2 * np.abs(t) * share) * (1 + 2 * share)
    return np.where((turned < 1) & (share < 0.1), bound, np.inf) + FLOAT


def t_error_bound(t: np.ndarray, df: Entry, turn: Sequence[np.ndarray], tau_squared: Entry) -> np.ndarray:
    """Bound of |ΔT| of a row of an interaction, whose product with y has rounded covariates in it.

    turn: ‖η_y‖/‖ỹ‖ and ‖η_g‖/‖g̃‖, η = δ + Σ|γ_k| δc_k with δ the rounding of the column itself and γ its coefficients on
    C: T = √df tan θ, and θ moves by at most asin of both and 3τ²√(1 + T²/df). Infinite where θ could reach π/2.
    """
    x = np.abs(t) / np.sqrt(df)
    angle = sum(np.arcsin(np.minimum(r, 1)) for r in turn) + 3 * tau_squared * np.sqrt(1 + x * x)
    tangent = np.tan(np.minimum(angle, 1.5))
    room = 1 - x * tangent
    return np.where((angle < 1.5) & (room > 0), np.sqrt(df) * (1 + x * x) * tangent / room, np.inf) + FLOAT


def left_of_exact_fit(off: Moved, explained: np.ndarray, y: Entry) -> np.ndarray:
    """Largest root of the residual sum of squares of a phenotype that is a multiple of the variant's residual. explained: of
    y's norm, by the variant."""
    share = 2 * (off.size + off.tau) + (off.size + off.tau) ** 2 + 2 * off.more + off.length
    out: np.ndarray = off.turned * y + explained * np.sqrt(np.maximum(share, 0)) + 1e-7 * y
    return out


def _unit_rows(k: int) -> list[list[float]]:
    return [[1.0 if i == j else 0.0 for i in range(k)] for j in range(k)]


def form(a: Sequence[Entry], gram: Sequence[Sequence[float]]) -> Entry:
    """aᵀ·gram·a."""
    return sum((a[i] * a[j] * gram[i][j] for i in range(len(a)) for j in range(len(a))), 0.0)


def _sine_of(tau: Entry) -> Entry:
    """τ' = τ/(1 − τ): the largest share of a vector orthogonal to rounded columns that the columns take from it."""
    return np.where(tau < 0.5, tau / np.maximum(1 - tau, 0.5), 1.0)


def _tangent(sine: np.ndarray) -> np.ndarray:
    out: np.ndarray = sine / np.sqrt(np.maximum(1 - sine * sine, 1e-24))
    return out
