"""What a run cost and how safe its rounding was planned to be, from PREFIX.run.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from securegen.plot import canvas
from securegen.plot.canvas import BLUE, DARK, FAINT, INK, LIGHT, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGES = ("plan", "match", "keygen", "encrypt", "offline", "online", "gwas", "score", "decrypt")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
WITHIN = {"offline", "online"}  # parts of another stage


@dataclass(frozen=True)
class Costs:
    """seconds: name and wall time of each stage in order; total: of the run; size: name and bytes of each file or
    sender; sent: whether those are messages; rounds: of messages, where they are counted."""

    seconds: tuple[tuple[str, float], ...]
    total: float
    size: tuple[tuple[str, int], ...]
    sent: bool
    rounds: int | None


def costs(record: Mapping[str, Any]) -> Costs:
    """Stages and sizes of a run.json record.

    >>> costs({"seconds": {"gwas": 2.0, "plan": 1, "total": 4}, "bytes": {"sent": {"ada": 5}, "dealer": 7, "rounds": 3}})
    Costs(seconds=(('plan', 1.0), ('gwas', 2.0)), total=4.0, size=(('ada', 5), ('dealer', 7)), sent=True, rounds=3)
    """
    took = {str(k): float(v) for k, v in record.get("seconds", {}).items()}
    total = took.pop("total", sum(took.values()))
    order = [s for s in STAGES if s in took] + sorted(set(took) - set(STAGES))
    sizes = dict(record.get("bytes", {}))
    rounds = sizes.pop("rounds", None)
    sent = sizes.pop("sent", None)
    named = {**(sent or {}), **sizes}
    size = tuple((str(k), int(v)) for k, v in named.items())
    return Costs(tuple((s, took[s]) for s in order), total, size, sent is not None, rounds)


def human_bytes(size: float) -> str:
    """A size in decimal units.

    >>> human_bytes(451), human_bytes(61940749), human_bytes(1529e6)
    ('451 B', '61.9 MB', '1.53 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def human_seconds(seconds: float) -> str:
    """A time.

    >>> human_seconds(0.083), human_seconds(12.9166), human_seconds(5000)
    ('83 ms', '12.9 s', '1 h 23 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def cost_bars(record: Mapping[str, Any], *, width: int = 1000, height: int | None = None) -> Figure:
    """Seconds and bytes of each stage as bars with their numbers; side by side where there is room.

    record: of run.json; width, height: pixels. Raises MissingExtraError without matplotlib.
    """
    c = costs(record)
    sizes = [(name.replace("_", " "), float(v), human_bytes(v)) for name, v in c.size]
    panels = [
        (f"seconds (total {human_seconds(c.total)})", [(s, v, human_seconds(v)) for s, v in c.seconds], DARK),
        ("bytes sent" if c.sent else "bytes", sizes, BLUE),
    ]
    panels = [p for p in panels if p[1]]
    narrow = width < canvas.NARROW
    rows = sum(len(p[1]) for p in panels) if narrow else max((len(p[1]) for p in panels), default=1)
    line = 26 if narrow else 24 + width // 100
    height = height or rows * line + (70 * len(panels) if narrow else 80)
    with canvas.style(width):
        figure = canvas.blank(width=width, height=height)
        ratios: dict[str, Any] = {"height_ratios": [len(p[1]) + 1.2 for p in panels]} if narrow else {}
        grid = figure.subplots(len(panels) if narrow else 1, 1 if narrow else len(panels), squeeze=False, **ratios)
        for axes, (title, bars, colour) in zip(grid.flat, panels, strict=True):
            _bars(axes, title, bars, colour, len(bars) if narrow else rows)
        return figure


def _bars(axes: Axes, title: str, bars: list[tuple[str, float, str]], colour: str, rows: int) -> None:
    names = [canvas.shorten(name, 16) for name, _, _ in bars]
    top = max(value for _, value, _ in bars) or 1.0
    tints = [LIGHT if name in WITHIN else colour for name, _, _ in bars]
    axes.barh(range(len(bars)), [value for _, value, _ in bars], color=tints, height=0.62)
    axes.set_yticks(range(len(bars)), names)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0, top * 1.3)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for row, (_, value, text) in enumerate(bars):
        axes.annotate(text, (value, row), xytext=(4, 0), textcoords="offset points", va="center", color=INK)
    axes.set_title(title)


def noise_margin(record: Mapping[str, Any], *, width: int = 1000, height: int | None = None) -> Figure | None:
    """How far the planned bound of the noise stays below ½, where rounding would go wrong; None without a plan.

    From `planned_noise_margin_bits` alone, which the parameters fix before anything is encrypted. Raises
    MissingExtraError without matplotlib.
    """
    margin = record.get("planned_noise_margin_bits")
    if margin is None:
        return None
    margin = float(margin)
    bound = -1 - margin  # log2, in units of the sum
    floor = min(bound - 5, -8)
    right = -1 + (-1 - floor) * (0.42 if width < canvas.NARROW else 0.2)

    def paint(axes: Axes, narrow: bool) -> None:
        axes.axvspan(-1, right, color=VERMILION, alpha=0.14, lw=0)
        axes.axvline(-1, color=VERMILION, lw=2)
        axes.barh([0], [bound - floor], left=floor, height=0.34, color=DARK, zorder=3)
        axes.annotate("", (-1, 0), (bound, 0), arrowprops={"arrowstyle": "<->", "color": INK, "lw": 1.2, "shrinkA": 0,
                                                             "shrinkB": 0})  # fmt: skip
        axes.annotate(
            f"planned margin\n{margin:.1f} bits", ((bound - 1) / 2 if margin > 5 else -1, 0),
            xytext=(0 if margin > 5 else -6, 14), textcoords="offset points", ha="center" if margin > 5 else "right",
            va="bottom", zorder=4,
        )  # fmt: skip
        axes.annotate("bound of\nthe noise", (bound, -0.24), ha="right", va="top", color=DARK, fontsize="small")
        axes.annotate(
            "rounding\ncould fail",
            (-1, -0.24),
            xytext=(5, 0),
            textcoords="offset points",
            ha="left",
            va="top",
            color=VERMILION,
            fontsize="small",
        )
        axes.set_xlim(floor, right)
        axes.set_ylim(-0.72, 0.75)
        step = 2 if -floor < 16 else 4 if -floor < 32 else 8
        ticks = list(range(-1, int(floor), -step))
        axes.set_xticks(ticks, ["½" if t == -1 else "2" + str(t).translate(_RAISED) for t in ticks])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(
            "distance of a decrypted number from its integer" if not narrow else "distance from the integer"
        )

    return canvas.draw(paint, width=width, height=height or (230 if width < canvas.NARROW else 200 + width // 16))
