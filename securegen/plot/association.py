"""Manhattan and QQ plots of one table of results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from securegen.model import FloatArray, IntArray
from securegen.plot import canvas
from securegen.plot.canvas import DARK, FAINT, GREY, INK, LIGHT, VERMILION
from securegen.plot.genome import GENOME_WIDE, SUGGESTIVE, GenomeAxis, genome_axis, lead_variants, thin
from securegen.plot.quantiles import qq_quantiles
from securegen.stats.qc import lambda_gc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEEP = 40.0  # above this −log10 p the axis is compressed
KNEE = 15.0


@dataclass(frozen=True)
class Associations:
    """M tests of one phenotype: chromosome and id, (M,) text; position, (M,) int64; log10p, (M,) float64 −log10 p, NaN
    where there is none, never infinite; people: how many were analysed, 0 where that is not known; test: which of several
    tests of a variant these are, empty for the only one."""

    phenotype: str
    chromosome: np.ndarray
    position: IntArray
    id: np.ndarray
    log10p: FloatArray
    people: int = 0
    test: str = ""

    @property
    def name(self) -> str:
        """The phenotype, and which of several tests."""
        return f"{self.phenotype}, {self.test}" if self.test else self.phenotype

    @property
    def title(self) -> str:
        """Phenotype, people and variants."""
        people = f"n = {self.people:,}, " if self.people else ""
        return f"{self.name}: {people}{len(self.id):,} variants"

    @cached_property
    def inflation(self) -> float:
        return lambda_gc(self.log10p)

    @cached_property
    def axis(self) -> GenomeAxis:
        return genome_axis(self.chromosome, self.position)

    def leads(self, *, threshold: float = SUGGESTIVE, count: int = 10) -> list[int]:
        """`lead_variants` of these tests."""
        return lead_variants(self.axis.index, self.position, self.log10p, threshold=threshold, count=count)


def compress(y: FloatArray) -> FloatArray:
    """−log10 p as drawn on a compressed axis: itself up to KNEE, above it KNEE·(1 + ln(y/KNEE)).

    >>> compress(np.array([10.0, 15.0, 15 * np.e])).tolist()
    [10.0, 15.0, 30.0]
    """
    y = np.asarray(y, np.float64)
    return np.where(y <= KNEE, y, KNEE * (1 + np.log(np.maximum(y, KNEE) / KNEE)))


def _uncompress(y: FloatArray) -> FloatArray:
    y = np.asarray(y, np.float64)
    return np.where(y <= KNEE, y, KNEE * np.exp(np.minimum(np.maximum(y, KNEE) / KNEE - 1, 50)))


def _log10p_axis(axes: Axes, top: float, observed: str) -> None:
    """Scale and label the vertical axis; compressed where the strongest p is far below the others."""
    axes.set_ylabel(observed)
    if top > STEEP:
        from matplotlib.ticker import FixedLocator, NullLocator

        axes.set_yscale("function", functions=(compress, _uncompress))
        high = [v * 10.0**e for e in range(1, 9) for v in (1, 2, 5) if KNEE < v * 10.0**e <= top * 1.3]
        axes.yaxis.set_major_locator(FixedLocator([0, 5, 10, *high[:: 1 + len(high) // 6]]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.axhline(KNEE, color=FAINT, lw=0.8, zorder=0)
        axes.set_ylabel(f"{observed}  (log scale above {KNEE:g})")
    highest = _uncompress(compress(np.array(top)) * 1.14) if top > STEEP else max(top * 1.14, 1.0)
    axes.set_ylim(0, float(highest))


def _lines(axes: Axes, narrow: bool) -> None:
    """Lines at 5e-8 and 1e-5, named outside the right edge."""
    for p, dash, name, colour in (
        (GENOME_WIDE, "-", "genome-wide", VERMILION),
        (SUGGESTIVE, (0, (4, 3)), "suggestive", GREY),
    ):
        axes.axhline(-np.log10(p), color=colour, ls=dash, lw=1, zorder=1)
        axes.annotate(
            f"{p:.0e}".replace("e-0", "e-") if narrow else f"{name}\n{p:.0e}".replace("e-0", "e-"), (1, -np.log10(p)),
            xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points", ha="left",
            va="bottom" if p == GENOME_WIDE else "top", fontsize="x-small", color=colour, linespacing=1.1,
        )  # fmt: skip


def manhattan(tests: Associations, *, width: int = 1600, height: int | None = None) -> Figure:
    """−log10 p along the genome: chromosomes in natural order, lines at 5e-8 and 1e-5, the strongest loci by id.

    width, height: pixels at 100 an inch; height by default 0.42 of a wide picture, 0.8 of a narrow one. Raises
    MissingExtraError without matplotlib.
    """
    height = height or int(width * (0.8 if width < canvas.NARROW else 0.42))
    axis, kept = tests.axis, np.flatnonzero(np.isfinite(tests.log10p))
    x, y, chromosome = axis.x[kept], tests.log10p[kept], axis.index[kept]
    top = float(y.max(initial=8.0))

    def paint(axes: Axes, narrow: bool) -> None:
        _log10p_axis(axes, max(top, 8.0), "−log₁₀ P")
        size = (5 if narrow else 9) if len(kept) < 50_000 else (3 if narrow else 5)
        shown = thin(x, compress(y) if top > STEEP else y, columns=2 * width, rows=2 * height)
        hit = y[shown] >= -np.log10(GENOME_WIDE)
        colour = np.where(chromosome[shown] % 2 == 0, DARK, LIGHT)
        for part, paint_with, area in ((~hit, colour[~hit], size), (hit, VERMILION, 2 * size)):
            axes.scatter(x[shown][part], y[shown][part], s=area, c=paint_with, linewidths=0, rasterized=True, zorder=3)
        _lines(axes, narrow)
        span = max(float(axis.stop[-1]) if len(axis.stop) else 1.0, 1.0)
        axes.set_xlim(-0.012 * span, 1.012 * span)
        _chromosome_ticks(axes, axis, narrow)
        axes.set_title(canvas.shorten(tests.title, 44 if narrow else 90))
        named = [
            (float(axis.x[i]), float(tests.log10p[i]), str(tests.id[i])) for i in tests.leads(count=4 if narrow else 10)
        ]
        _name(axes, named, x[shown], y[shown], narrow)

    return canvas.draw(paint, width=width, height=height)


def _bare(name: str) -> str:
    return name[3:] if name.lower().startswith("chr") else name


def _chromosome_ticks(axes: Axes, axis: Any, narrow: bool) -> None:
    """One tick a chromosome, its name where there is room; positions where there is only one."""
    if len(axis.names) == 1:
        from matplotlib.ticker import MaxNLocator

        low, high = axis.first[0] / 1e6, (axis.first[0] + axis.stop[0]) / 1e6
        ticks = [t for t in MaxNLocator(5 if narrow else 9).tick_values(low, high) if low <= t <= high]
        axes.set_xticks([1e6 * (t - low) for t in ticks], [f"{t:.6g}" for t in ticks])
        axes.set_xlabel(f"position on chromosome {canvas.shorten(_bare(axis.names[0]), 20)} (Mb)")
        return
    span = max(float(axis.stop[-1]) if len(axis.stop) else 1.0, 1.0)
    need, last, names = (0.06 if narrow else 0.018) * span, -np.inf, []
    for name, centre in zip(axis.names, axis.centre, strict=True):
        bare = _bare(name)
        room = centre - last >= need * max(1, len(bare) / 2)
        names.append(canvas.shorten(bare, 8) if room else "")
        last = centre if room else last
    axes.set_xticks(axis.centre, names)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("chromosome")


def _name(axes: Axes, hits: list[tuple[float, float, str]], x: FloatArray, y: FloatArray, narrow: bool) -> None:
    """Write ids beside their points, each where it covers no other label and, if it can, no point (x, y)."""
    from matplotlib.patheffects import withStroke

    figure: Any = axes.figure
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    points = axes.transData.transform(np.column_stack([x, y]))
    frame = axes.get_window_extent(renderer)
    lines = axes.transData.transform([(0.0, -np.log10(p)) for p in (GENOME_WIDE, SUGGESTIVE)])[:, 1]
    halo = [withStroke(linewidth=2.5, foreground="white")]
    places = [(0, 5, "center"), (6, 0, "left"), (-6, 0, "right"), (6, 8, "left"), (-6, 8, "right"), (0, 18, "center"),
              (14, 18, "left"), (-14, 18, "right"), (0, 30, "center")]  # fmt: skip
    taken: list[Any] = []
    for at_x, at_y, label in hits:
        tried: list[tuple[int, int, Any, Any]] = []
        for dx, dy, align in places:
            text = axes.annotate(
                canvas.shorten(label, 18 if narrow else 26), (at_x, at_y), xytext=(dx, dy), textcoords="offset points",
                ha=align, va="bottom" if dy else "center", fontsize="small", color=INK, zorder=7,
                path_effects=halo, arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6} if dy > 5 else None,
            )  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent(renderer)
            covered = int(((points > box.min) & (points < box.max)).all(axis=1).sum())
            box = box.padded(3)
            inside = box.x0 >= frame.x0 - 3 and box.x1 <= frame.x1 + 5 and box.y1 <= frame.y1 + 9
            struck = ((lines > box.y0 + 3) & (lines < box.y1 - 3)).any()  # through a line nobody reads
            if inside and not struck and not any(box.overlaps(other) for other in taken):
                tried.append((covered, len(tried), text, box))
            else:
                text.remove()
        for rank, (_, _, text, box) in enumerate(sorted(tried, key=lambda t: t[:2])):
            if rank:
                text.remove()
            else:
                taken.append(box)


def qq(tests: Associations, *, width: int = 700, height: int | None = None) -> Figure:
    """Observed against expected −log10 p with the 95 % band of uniform p-values, and λ_GC.

    width, height: pixels; a square by default. Raises MissingExtraError without matplotlib.
    """
    q = qq_quantiles(tests.log10p)
    top = float(q.observed.max(initial=1.0))

    def paint(axes: Axes, narrow: bool) -> None:
        _log10p_axis(axes, max(top, float(q.high.max(initial=1.0))), "observed −log₁₀ P")
        edge = float(q.expected.max(initial=1.0)) * 1.03
        axes.fill_between(q.expected, q.low, q.high, color=LIGHT, alpha=0.35, lw=0, label="95 % band", zorder=1)
        axes.plot([0, edge], [0, edge], color=GREY, lw=1, zorder=2)
        axes.scatter(
            q.expected, q.observed, s=8 if narrow else 12, c=DARK, linewidths=0, rasterized=True, zorder=3,
            label=f"{q.tests:,} tests",
        )  # fmt: skip
        axes.set_xlim(0, edge)
        axes.set_xlabel("expected −log₁₀ P")
        axes.set_title(canvas.shorten(tests.name, 22 if narrow else 40))
        handles, labels = axes.get_legend_handles_labels()
        legend = axes.legend(handles, labels, loc="upper left", alignment="left")
        legend.set_title(f"λ$_{{GC}}$ = {tests.inflation:.3f}")
        legend.get_title().set_parse_math(True)

    return canvas.draw(paint, width=width, height=height or width)
