"""Pictures of measured costs for the pages, as SVG of 360 pixels: two stand side by side, and one fits a phone.

What was measured is filled, a formula within what was measured is a line, and what is computed is dashed or hollow. A
picture follows the reader's light or dark scheme, and holds the numbers that it shows, so that a test can tell an old one.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from securegen.plot import canvas
from securegen.plot.canvas import BLUE, DARK, FAINT, GREEN, GREY, INK, ORANGE, VERMILION
from securegen.plot.run import human_bytes, human_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 375  # of the figure at 100 pixels an inch: 360 of CSS at 96
PAPER = "#ffffff"
BY_NIGHT = {
    PAPER: "#131416", INK: "#e6e8eb", GREY: "#9aa3af", FAINT: "#3a3f47", DARK: "#79a7cf", BLUE: "#56b4e9",
    VERMILION: "#ff8a4c", GREEN: "#3ccb9c", ORANGE: "#f0c04a",
}  # fmt: skip
STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (GREY, "D"))
LABEL = {"fontsize": "small", "color": GREY}


@dataclass(frozen=True)
class Curve:
    """measured: points (x, y); formula: y of an x, or None; planned: points that a plan computed before."""

    name: str
    measured: tuple[tuple[float, float], ...]
    formula: Callable[[float], float] | None = None
    planned: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Picture:
    """alt: what it shows, in words; data: the numbers of it; paint: draws it."""

    name: str
    alt: str
    data: Any
    paint: Callable[[], Figure]

    @property
    def link(self) -> str:
        return f"![{self.alt}](pictures/{self.name}.svg)"

    def svg(self) -> str:
        """The file, the same for the same numbers and version of matplotlib."""
        import matplotlib

        told = json.dumps({"data": self.data, "matplotlib": matplotlib.__version__}, ensure_ascii=False)
        buffer = io.StringIO()
        with canvas.style(WIDTH):
            figure = self.paint()
            with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
                figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Description": told})
        text = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
        text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, Arial, sans-serif")
        text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
        return text.replace("</style>", f"\n{_by_night()}</style>", 1)


def numbers_of(svg: str) -> dict[str, Any]:
    """`data` and `matplotlib` of a file that `Picture.svg` made."""
    from xml.etree import ElementTree

    told = next(e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}description"))
    found: dict[str, Any] = json.loads(told.text or "{}")
    return found


def _by_night() -> str:
    rules = "".join(
        f'[style*="{what}: {day}"]{{{what}:{night}!important}}'
        for day, night in BY_NIGHT.items()
        for what in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme:dark){{{rules}}}"


def count(value: float) -> str:
    """A number of people or variants.

    >>> count(16_000), count(10e6), count(24)
    ('16k', '10M', '24')
    """
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


def times(ratio: float) -> str:
    """
    >>> times(0.618), times(7.64), times(523.4)
    ('0.62 ×', '7.6 ×', '523 ×')
    """
    return f"{ratio:.0f} ×" if ratio >= 100 else f"{ratio:.2g} ×"


UNITS = {"seconds": human_seconds, "bytes": human_bytes}
TICKS: dict[str, Callable[[float], str]] = {
    "seconds": lambda v: f"{v:,.3g} s" if v < 1000 else f"{v:,.0f} s",
    "bytes": human_bytes,
}


def rounded(points: Sequence[tuple[float, float]]) -> list[list[float]]:
    return [[float(f"{x:.4g}"), float(f"{y:.4g}")] for x, y in points]


def curves(
    name: str, title: str, below: str, along: str, unit: str, members: Sequence[Curve], *, until: float | None = None
) -> Picture:
    """Costs against a size, both logarithmic. below: a line under the title; along: name of the size; unit: seconds or
    bytes; until: how far formulas go on beyond what was measured."""
    ends = {c.name: (min(x for x, _ in c.measured), max(x for x, _ in c.measured)) for c in members}
    last = until or max(high for _, high in ends.values())
    drawn = []
    for c in members:
        low, high = ends[c.name]
        formula = c.formula or (lambda x: float("nan"))
        within, beyond = ([(x, formula(x)) for x in _between(a, b)] if c.formula else [] for a, b in
                          ((low, high), (high, max(high, last))))  # fmt: skip
        drawn.append((c, within, beyond if last > high else []))
    data = {
        c.name: {"measured": rounded(c.measured), "formula": rounded(w[:1] + w[-1:]), "computed": rounded(b[-1:]),
                 "planned": rounded(c.planned)}
        for c, w, b in drawn
    }  # fmt: skip
    told = "; ".join(
        f"{c.name} {UNITS[unit](c.measured[0][1])} at {count(c.measured[0][0])}, {UNITS[unit](c.measured[-1][1])} at "
        f"{count(c.measured[-1][0])}" + (f", computed {UNITS[unit](b[-1][1])} at {count(b[-1][0])}" if b else "")
        for c, _, b in drawn
    )

    def paint() -> Figure:
        figure = canvas.blank(width=WIDTH, height=330)
        axes = figure.add_subplot()
        for (c, within, beyond), (colour, marker) in zip(drawn, STYLES, strict=False):
            axes.plot(*zip(*within, strict=True), color=colour, lw=1.4) if within else None
            axes.plot(*zip(*beyond, strict=True), color=colour, lw=1.4, ls=(0, (4, 3))) if beyond else None
            if c.planned:
                axes.plot(*zip(*c.planned, strict=True), color=colour, marker=marker, ms=5, mfc=PAPER, lw=1.0,
                          ls=(0, (4, 3)))  # fmt: skip
            axes.plot(*zip(*c.measured, strict=True), color=colour, marker=marker, ms=5, ls="none", label=c.name)
        first, edge = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
        room = (last / first) ** 0.05
        if last > edge:
            axes.axvspan(edge * room**0.5, last * room, color=FAINT, alpha=0.35, lw=0)
            axes.annotate("computed", (last, 0.02), xycoords=("data", "axes fraction"), ha="right", **LABEL)
        _scales(axes, unit, (first / room, last * room))
        axes.set_xlabel(along)
        _title(axes, title, below)
        figure.legend(loc="outside lower left", ncols=len(members), handletextpad=0.1, columnspacing=0.9, borderpad=0.1)
        return figure

    return Picture(name, f"{title}, {below}: {told}.", data, paint)


def _between(a: float, b: float, steps: int = 24) -> list[float]:
    return [a * (b / a) ** (i / steps) for i in range(steps + 1)]


def _scales(axes: Axes, unit: str, across: tuple[float, float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    points = [float(y) for line in axes.lines for y in line.get_ydata()]
    up = min(points) / 2, max(points) * 2
    axes.set(xscale="log", yscale="log", xlim=across, ylim=up)
    for axis, (low, high), text in ((axes.xaxis, across, count), (axes.yaxis, up, TICKS[unit])):
        axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0), numticks=9))
        axis.set_major_formatter(FuncFormatter(lambda v, _, text=text: text(v)))
        axis.set_minor_locator(NullLocator())
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)


def _title(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, pad=20)
    axes.annotate(below, (0, 1), xycoords="axes fraction", xytext=(0, 6), textcoords="offset points", **LABEL)


def ratios(name: str, title: str, below: str, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> Picture:
    """How many times as long as securegen others take for the same work. groups: a task and (other, ratio)."""
    groups = [(task, sorted(others, key=lambda o: o[1])) for task, others in groups]
    data = {task: [[other, float(f"{ratio:.3g}")] for other, ratio in others] for task, others in groups}
    told = "; ".join(
        f"{task}: " + ", ".join(f"{other} {times(ratio)}" for other, ratio in others) for task, others in groups
    )

    def paint() -> Figure:
        rows = sum(len(others) + 1 for _, others in groups)
        figure = canvas.blank(width=WIDTH, height=95 + 19 * rows)
        axes = figure.add_subplot()
        every = [ratio for _, others in groups for _, ratio in others]
        low, high = min(0.8, *every), max(1.25, *every)
        axes.set_xscale("log")
        at = 0.0
        places, names = [], []
        for task, others in groups:
            axes.annotate(task, (0, at), xycoords=("axes fraction", "data"), xytext=(2, 0), textcoords="offset points",
                          va="center", fontsize="small", fontweight="bold")  # fmt: skip
            axes.plot([1, 1], [at + 0.5, at + len(others) + 0.5], color=INK, lw=1)
            for other, ratio in others:
                at += 1
                axes.barh(at, ratio - 1, left=1, height=0.66, color=DARK if ratio >= 1 else ORANGE, lw=0)
                side = 1 if ratio >= 1 else -1
                axes.annotate(times(ratio), (ratio, at), xytext=(3 * side, 0), textcoords="offset points",
                              ha="left" if side > 0 else "right", va="center", fontsize="small")  # fmt: skip
                places.append(at)
                names.append(other)
            at += 1.25
        room = (high / low) ** 0.3  # for the numbers at the bars' ends
        axes.set_xlim(low / (room if low < 0.8 else 1.05), high * room)
        axes.set_ylim(at - 0.6, -0.7)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([])
        axes.minorticks_off()
        axes.spines[["bottom", "left"]].set_visible(False)
        _title(axes, title, below)
        return figure

    return Picture(name, f"{title}, {below}. {told}.", data, paint)


def computed_bars(name: str, title: str, panels: Sequence[tuple[str, Sequence[tuple[str, float, str]]]]) -> Picture:
    """Bars of what no run measured: hollow. panels: a heading and (bar, value, text)."""
    panels = [(heading, list(bars)) for heading, bars in panels]
    data = {heading: [[bar, text] for bar, _, text in bars] for heading, bars in panels}
    told = "; ".join(f"{heading}: " + ", ".join(f"{bar} {text}" for bar, _, text in bars) for heading, bars in panels)

    def paint() -> Figure:
        height: Any = {"height_ratios": [len(bars) + 0.8 for _, bars in panels]}
        figure = canvas.blank(width=WIDTH, height=50 + sum(45 + 24 * len(bars) for _, bars in panels))
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold")
        for axes, (heading, bars) in zip(
            figure.subplots(len(panels), 1, squeeze=False, **height).flat, panels, strict=True
        ):
            top = max(value for _, value, _ in bars) or 1.0
            axes.barh(range(len(bars)), [value for _, value, _ in bars], height=0.62, facecolor=PAPER, edgecolor=DARK,
                      lw=1.1, ls=(0, (4, 3)))  # fmt: skip
            for row, (_, value, text) in enumerate(bars):
                axes.annotate(text, (value, row), xytext=(4, 0), textcoords="offset points", va="center")
            axes.set_yticks(range(len(bars)), [bar for bar, _, _ in bars])
            axes.set_ylim(len(bars) - 0.5, -0.5)
            axes.set_xlim(0, top * 1.35)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.set_title(heading, fontweight="normal", fontsize="medium", pad=4)
        return figure

    return Picture(name, f"{title}. {told}.", data, paint)
