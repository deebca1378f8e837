"""The normal equations of a variant g and its product h = (g − ḡ)·e with a covariate, and how far rounding may move them.

Two kinds of error, told apart in docs/explanation/precision.md: sums of h with a column come from a product that was
rounded (`System`, `partial`), and covariates and phenotype themselves are rounded, which turns vectors (`turns`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.interaction import InteractionModel, arranged
from securegen.model import ImputedSums
from securegen.stats import algebra, linear
from securegen.stats.algebra import Entry
from securegen.stats.imputed import as_float, spread


@dataclass(frozen=True)
class System:
    """Products of V variants and their interactions, (V,) float64 each, and how far rounding may move them.

    gg, gh, hh: after projecting on C; ug, uh: with y; yy: of y. e_gh, e_hh, d_h: bounds of the errors of gh, hh and uh that
    the rounding of products leaves, the rest being exact for the integer columns. variance, own: of g and h before
    projecting; g, h, y: coefficients on C; loose: a bound of what the rounding of products moves |Σ h_k δc_k|; trace: of the
    inverse of CᵀC.
    """

    gg: np.ndarray
    gh: np.ndarray
    hh: np.ndarray
    ug: np.ndarray
    uh: np.ndarray
    yy: float
    e_gh: np.ndarray
    e_hh: np.ndarray
    d_h: np.ndarray
    variance: np.ndarray
    own: np.ndarray
    g: list[np.ndarray]
    h: list[np.ndarray]
    y: list[Entry]
    loose: np.ndarray
    trace: float
    regular: bool


def system(sums: ImputedSums, model: InteractionModel) -> System:
    """The normal equations after projecting on the covariates. Where a number means nothing it is NaN, or negative."""
    weighted = sums.weighted
    assert weighted is not None
    k, place, people = len(model.gram), model.place, model.samples
    n, total, first = np.maximum(sums.called, 1), sums.dosage, model.gram[0]
    unit = 2.0**model.bits / 5
    parts = [2.0**shift for shift in model.shifts]
    gg = spread(sums.called, sums.square, total).astype(np.float64) / n

    at = {j: i - 1 for i, j in enumerate(arranged(range(2 * k + 1), place))}  # in sums.cross

    def crossed(j: int, whole: int) -> np.ndarray:
        return linear.centred_cross(sums.cross[:, at[j]], total, whole, n)

    def quadratic(j: int, whole: int) -> np.ndarray:
        """Σ (g − ḡ)² x."""
        wide, squared, cross = (v.astype(object) for v in (total, weighted[:, at[j]], sums.cross[:, at[j]]))
        return as_float(squared + wide * (wide * whole - 2 * cross), n * n)

    cg = [crossed(j, first[j]) for j in range(1, k)]
    yg = crossed(k, model.cty[0])
    h1 = cg[place - 1] / unit
    ch = [parts[j - 1] * crossed(k + j, model.totals[j - 1]) - h1 * (first[j] / people) for j in range(1, k)]
    yh = parts[k - 1] * crossed(2 * k, model.totals[k - 1]) - h1 * (model.cty[0] / people)
    gh = quadratic(place, first[place]) / unit
    raw = parts[place - 1] * quadratic(k + place, model.totals[place - 1]) / unit
    own = raw - h1 * h1 / people

    a = [
        [linear.centre_exactly(model.gram[i][j], first[i], first[j], people) for j in range(1, k)] for i in range(1, k)
    ]
    cy = [linear.centre_exactly(model.cty[i], first[i], model.cty[0], people) for i in range(1, k)]
    lower, scale, regular = algebra.cholesky(a)
    zg, zh, zy = (algebra.forward(lower, scale, x) for x in (cg, ch, cy))
    yy = linear.centre_exactly(model.yty, model.cty[0], model.cty[0], people) - algebra.dot(zy, zy)
    coefficients = [algebra.backward(lower, scale, z) for z in (zg, zh, zy)]
    unit_rows = ([1.0 if i == j else 0.0 for i in range(k - 1)] for j in range(k - 1))
    trace = float(sum(algebra.dot(z, z) for z in (algebra.forward(lower, scale, e) for e in unit_rows)))

    # errors of the products' sums: half an integer per person, of people whose g is not ḡ
    reach = np.sqrt(people * gg)
    e1 = 0.5 * reach / unit
    xi = [0.5 * parts[j - 1] * reach + e1 * abs(first[j]) / people for j in range(1, k)]
    zeta = 0.5 * parts[k - 1] * reach + e1 * abs(model.cty[0]) / people
    longest = np.sqrt(np.maximum(raw, 0) + 0.5 * parts[place - 1] * gg / unit) + 0.5 * np.sqrt(gg) / unit
    e_own = 0.5 * (np.sqrt(gg) * longest + parts[place - 1] * gg) / unit + (2 * np.abs(h1) + e1) * e1 / people
    size = algebra.dot(xi, xi)

    def moved(own: Sequence[Entry]) -> np.ndarray:
        out: np.ndarray = algebra.dot([np.abs(v) for v in own], xi)
        return out

    return System(
        gg - algebra.dot(zg, zg), gh - algebra.dot(zg, zh), own - algebra.dot(zh, zh),
        yg - algebra.dot(zg, zy), yh - algebra.dot(zh, zy), float(yy),
        0.5 * gg / unit + moved(coefficients[0]), e_own + 2 * moved(coefficients[1]) + size * trace,
        zeta + moved(coefficients[2]), gg, own, coefficients[0], coefficients[1], coefficients[2],
        np.sqrt(people * size * sum(r * r for r in model.rounding)) * trace, trace, bool(regular),
    )  # fmt: skip


@dataclass(frozen=True)
class Partial:
    """One regressor after projecting on the covariates and on the other one.

    w: its square, o: its product with y, slope: on the other; other: coefficient of y on the other alone; yy: what that
    leaves of y; with bounds of their errors. x = T/√df, and how far it may be from that of exact products.
    """

    w: np.ndarray
    o: np.ndarray
    slope: np.ndarray
    other: np.ndarray
    yy: np.ndarray
    w_error: np.ndarray
    o_error: np.ndarray
    slope_error: np.ndarray
    other_error: np.ndarray
    yy_error: np.ndarray
    x: np.ndarray
    x_error: np.ndarray


def partial(
    v: Sequence[np.ndarray], u: Sequence[np.ndarray], yy: float, e: Sequence[np.ndarray], d: Sequence[np.ndarray]
) -> Partial:
    """v: (own, mixed, other) products, u: (own, other) with y; e, d: bounds of their errors, of which d[0] and d[1]."""
    (own, mixed, other), (u_own, u_other), (e_own, e_mixed, e_other), (d_own, d_other) = v, u, e, d
    slope, room = mixed / other, np.maximum(other - e_other, 0)
    w, o, b = own - mixed * slope, u_own - slope * u_other, u_other / other
    d_slope, d_b = (e_mixed + np.abs(slope) * e_other) / room, (d_other + np.abs(b) * e_other) / room
    far = np.abs(slope) + d_slope
    dw = e_own + 2 * far * e_mixed + far * far * e_other
    do = d_own + far * d_other + d_slope * np.abs(u_other)
    left = yy - b * u_other
    dy = d_b * np.abs(u_other) + (np.abs(b) + d_b) * d_other
    x = tangent(o, w * left)
    moved = [
        np.abs(tangent(o + i * do, np.maximum(w + j * dw, 0) * np.maximum(left + j * dy, 0)) - x)
        for i in (-1, 1) for j in (-1, 1)
    ]  # fmt: skip
    error = np.max(moved, axis=0)
    return Partial(w, o, slope, b, left, dw, do, d_slope, d_b, dy, x, np.where(np.isnan(error), np.inf, error))


def tangent(o: np.ndarray, length: Entry) -> np.ndarray:
    """o/√(length − o²): of the angle whose sine is o/√length; infinite where there is none."""
    rest = length - o * o
    return np.where(rest > 0, o / np.sqrt(rest), np.inf)


def off(coefficients: Sequence[Entry], model: InteractionModel) -> np.ndarray:
    """Largest norm of Σ_k coefficient_k·δc_k over the samples."""
    out: np.ndarray = np.sqrt(model.samples) * algebra.dot([np.abs(c) for c in coefficients], model.rounding)
    return out


def less(a: Sequence[Entry], slope: Entry, b: Sequence[Entry]) -> list[Entry]:
    """a − slope·b, entry by entry."""
    return [x - slope * y for x, y in zip(a, b, strict=True)]


def turns(
    model: InteractionModel, s: System, add: Partial, by: Partial, shift: float, hh0: np.ndarray
) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """Of each row what `rounding.t_error_bound` takes: how far rounding turns y and the regressor, and τ²."""
    squares = model.samples * sum(r * r for r in model.rounding)
    read, y_own = model.reading * np.sqrt(s.variance), model.y_rounding * np.sqrt(model.samples)
    h0 = [h + shift * g for h, g in zip(s.h, s.g, strict=True)]
    far0, far = off(h0, model) + read + s.loose, off(s.g, model)
    w_add, w_by = (np.sqrt(np.maximum(p.w - p.w_error, 0)) for p in (add, by))
    y_add, y_by = (np.sqrt(np.maximum(p.yy - p.yy_error, 0)) for p in (add, by))

    def turned(
        own: Sequence[Entry],
        slope: np.ndarray,
        error: np.ndarray,
        other: Sequence[Entry],
        loose: Entry,
        whole: np.ndarray,
    ) -> np.ndarray:
        """Of a column less its slope on the other regressor. loose: of that one; whole: its length."""
        out: np.ndarray = off(less(own, slope, other), model) + (np.abs(slope) + error) * loose + error * whole
        return out

    of_h = (turned(s.h, by.slope, by.slope_error, s.g, 0.0, far) + read + s.loose) / w_by
    of_g = turned(s.g, add.slope, add.slope_error, h0, read + s.loose, far0) / w_add
    y_of_add = (turned(s.y, add.other, add.other_error, h0, read + s.loose, far0) + y_own) / y_add
    y_of_by = (turned(s.y, by.other, by.other_error, s.g, 0.0, far) + y_own) / y_by
    tau = np.sqrt(squares * (s.trace + algebra.dot(h0, h0) / hh0)) + read / np.sqrt(hh0)
    return [
        ([y_of_add, of_g], tau * tau),
        ([y_of_by, of_h], squares * (s.trace + algebra.dot(s.g, s.g) / s.gg)),
        ([(off(s.y, model) + y_own) / np.sqrt(s.yy), np.hypot(far / np.sqrt(s.gg), of_h)],
         np.full(len(s.gg), squares * s.trace)),
    ]  # fmt: skip
