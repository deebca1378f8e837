"""Density and calibration plots of polygenic scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from securegen.model import FloatArray
from securegen.plot import canvas
from securegen.plot.canvas import BLUE, DARK, GREY, INK, LIGHT, ORANGE
from securegen.plot.distribution import MARKS, Density, density, tenths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Scores:
    """One score of N people: total, (N,) float64 released sums; reference: (R,) sums of a reference panel; outcome:
    (N,) float64, 0/1 or a quantitative trait, NaN where missing; risk: (N,) predicted probabilities."""

    name: str
    total: FloatArray
    reference: FloatArray | None = None
    outcome: FloatArray | None = None
    outcome_name: str = ""
    risk: FloatArray | None = None

    @property
    def binary(self) -> bool:
        """Whether the outcome is cases and controls."""
        if self.outcome is None:
            return False
        seen = set(self.outcome[np.isfinite(self.outcome)].tolist())
        return seen == {0.0, 1.0}


def groups_of(scores: Scores) -> Mapping[str, FloatArray]:
    """The curves of a density plot by name: everybody, or controls and cases."""
    if not scores.binary:
        return {"cohort": scores.total}
    assert scores.outcome is not None
    return {"controls": scores.total[scores.outcome == 0], "cases": scores.total[scores.outcome == 1]}


def score_density(scores: Scores, *, width: int = 1000, height: int | None = None) -> Figure:
    """Distribution of a score, cases and controls apart where they are known, over that of the reference panel.

    The upper axis marks percentiles of the reference panel, or of the cohort without one. width, height: pixels.
    Raises InputError for scores that do not vary, MissingExtraError without matplotlib.
    """
    curves = {name: density(values) for name, values in groups_of(scores).items()}
    reference = density(scores.reference) if scores.reference is not None else None
    marked = reference or density(scores.total)
    colours = {"cohort": BLUE, "controls": BLUE, "cases": ORANGE}

    def paint(axes: Axes, narrow: bool) -> None:
        if reference is not None:
            axes.fill_between(
                reference.x, reference.y, color=LIGHT, alpha=0.35, lw=0, label=_label("reference", reference)
            )
        for name, curve in curves.items():
            dash = (0, (6, 2)) if name == "cases" else "-"
            axes.plot(curve.x, curve.y, color=colours[name], lw=2, ls=dash, label=_label(name, curve), zorder=3)
            if reference is None and len(curves) == 1:
                axes.fill_between(curve.x, curve.y, color=colours[name], alpha=0.15, lw=0)
        drawn = (*curves.values(), *([reference] if reference else []))
        room = 1.14 + 0.11 * len(drawn) if narrow else 1.28
        axes.set_ylim(0, room * max(float(c.y.max()) for c in drawn))
        _percentiles(axes, marked, 1.04 / room, narrow)
        axes.set_xlabel(f"{canvas.shorten(scores.name, 30)} (sum)")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylabel("density")
        axes.legend(loc="upper right" if not narrow else "upper left", ncols=1, handlelength=1.6)
        axes.set_title(canvas.shorten(scores.name, 18 if narrow else 40))
        axes.set_title(
            f"percentiles of the {'reference' if reference else 'cohort'}", loc="right", color=GREY, fontsize="x-small",
            fontweight="normal",
        )  # fmt: skip

    return canvas.draw(paint, width=width, height=height or int(width * (0.85 if width < canvas.NARROW else 0.5)))


def _label(name: str, curve: Density) -> str:
    return f"{name} (n = {curve.samples:,})"


def _percentiles(axes: Axes, curve: Density, top: float, narrow: bool) -> None:
    """Thin lines at percentiles, named at `top` of the axes' height."""
    for percent, value in zip(MARKS, curve.marks, strict=True):
        if narrow and percent in (25, 75):
            continue
        axes.axvline(value, ymax=top, color=GREY, lw=0.9, ls=(0, (2, 2)), zorder=1)
        axes.annotate(
            f"{percent:g} %", (value, top), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="center", va="bottom", fontsize="x-small", color=GREY,
        )  # fmt: skip


def calibration(scores: Scores, *, width: int = 800, height: int | None = None) -> Figure:
    """Observed outcome by tenths of predicted risk (with the line of perfect calibration), or of the score without one.

    Bars are 95 % intervals: Wilson for shares of cases, Student for means. width, height: pixels. Raises InputError
    when there is no outcome for two groups of people, MissingExtraError without matplotlib.
    """
    assert scores.outcome is not None
    by_risk = scores.risk is not None and scores.binary
    t = tenths(scores.risk if by_risk else scores.total, scores.outcome)  # type: ignore[arg-type]
    trait = canvas.shorten(scores.outcome_name or "outcome", 30)

    def paint(axes: Axes, narrow: bool) -> None:
        x = t.predicted if by_risk else np.arange(1, len(t.people) + 1)
        axes.errorbar(
            x, t.observed, yerr=[t.observed - t.low, t.high - t.observed], fmt="o", ms=5 if narrow else 6.5, color=DARK,
            ecolor=DARK, elinewidth=1.2, capsize=2.5, zorder=3,
        )  # fmt: skip
        low, high = float(np.nanmin(t.low)), float(np.nanmax(t.high))
        if by_risk:
            edge = [min(low, float(x.min())), max(high, float(x.max()))]
            axes.plot(edge, edge, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1, label="perfect calibration")
            axes.set_xlabel("mean predicted risk of each tenth")
            axes.legend(loc="upper left")
        else:
            overall = float(np.average(t.observed, weights=t.people))
            axes.axhline(overall, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
            axes.annotate(
                "all", (1, overall), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize="small", color=GREY,
            )  # fmt: skip
            axes.set_xticks(x)
            axes.set_xlabel(f"tenth of {canvas.shorten(scores.name, 24)}")
        axes.set_ylabel(f"share of cases ({trait})" if t.binary else f"mean {trait}")
        n = int(t.people.sum())
        axes.set_title(f"{canvas.shorten(scores.name, 24)}, n = {n:,}", color=INK)

    return canvas.draw(paint, width=width, height=height or int(width * (0.9 if width < canvas.NARROW else 0.7)))
