"""What all pictures share: colours, type sizes for a width in pixels, and files that are written whole.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; every difference of colour is also
one of position, line or label. Text from files is drawn as it is, never read as mathematics.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securegen.errors import MissingExtraError, UsageError
from securegen.io.output import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK, LIGHT = "#1f4e79", "#79a7cf"  # neighbours: one hue, far apart in lightness
BLUE, ORANGE, VERMILION, GREEN, GREY = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#6b7280"
INK, FAINT = "#1a1d21", "#d5d9de"
DPI = 100  # pixels an inch: a width of 800 is 8 inches
NARROW = 560
FORMATS = ("png", "svg", "pdf")

PAD = 0.07  # inches around everything

Draw = Callable[["Axes", bool], None]


def require_matplotlib() -> None:
    """Raise MissingExtraError where matplotlib is absent."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None


@contextmanager
def style(width: int) -> Iterator[None]:
    """Type and line sizes for a picture `width` pixels wide, shown at that size."""
    require_matplotlib()
    import matplotlib

    size = 9 + 3.2 * min(max((width - 400) / 1200, 0), 1.5)
    text: Any = {
        "font.family": ["DejaVu Sans"], "font.size": size, "axes.titlesize": size * 1.12, "axes.labelsize": size,
        "xtick.labelsize": size * 0.92, "ytick.labelsize": size * 0.92, "legend.fontsize": size * 0.92,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": size * 0.9,
        "text.color": INK, "text.parse_math": False, "axes.labelcolor": INK, "axes.edgecolor": GREY,
        "xtick.color": INK, "ytick.color": INK,
    }  # fmt: skip
    lines: Any = {
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "xtick.major.width": 0.8,
        "ytick.major.width": 0.8, "legend.frameon": False, "lines.linewidth": 1.3, "figure.facecolor": "white",
        "text.hinting": "none",  # with it, text with a halo is wider than measured, and covers its point
        "svg.hashsalt": "securegen", "svg.fonttype": "path", "pdf.fonttype": 42, "savefig.facecolor": "white",
        "axes.formatter.use_mathtext": False, "axes.unicode_minus": True, "path.simplify": True,
    }  # fmt: skip
    with matplotlib.rc_context(text | lines), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
        yield


def blank(*, width: int, height: int) -> Figure:
    """An empty figure of width × height pixels. Call within `style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def draw(painter: Draw, *, width: int, height: int) -> Figure:
    """A figure of width × height pixels with one pair of axes; painter(axes, narrow) fills it. Needs no `style`."""
    with style(width):
        figure = blank(width=width, height=height)
        painter(figure.add_subplot(), width < NARROW)
        return figure


def encode(figure: Figure, kind: str, *, scale: float = 1.0) -> bytes:
    """The bytes of a picture, the same for the same figure. kind: png, svg or pdf; scale: pixels of a PNG for one of the
    figure's."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {
        "png": {"dpi": DPI * scale, "metadata": {"Software": None}},
        "svg": {"dpi": 200, "metadata": {"Date": None, "Creator": None}},
        "pdf": {"dpi": 300, "metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    }[kind]
    with style(int(figure.get_figwidth() * DPI)):
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def shorten(text: str, length: int = 24) -> str:
    """Text of a label, at most `length` characters.

    >>> shorten("1:12345:ACGTACGTACGTACGT:A", 12)
    '1:12345:ACG…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def write(path: str | Path, figure: Figure, *, scale: float = 1.0) -> None:
    """Write a picture in the format that the file's name says, whole or not at all.

    Raises UsageError for another ending, StorageError when the file system refuses.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"{path}: a picture ends in .{', .'.join(FORMATS)}")
    content = encode(figure, kind, scale=scale)
    with atomic(path) as stream:
        stream.write(content)
