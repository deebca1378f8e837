"""Scatter plots of two result tables against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from securegen.errors import InputError
from securegen.plot import canvas
from securegen.plot.canvas import DARK, GREY
from securegen.plot.genome import thin
from securegen.results.concordance import Concordance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("BETA", "LOG10_P")


def scatter(
    result: Concordance, names: tuple[str, str] = ("A", "B"), *, width: int = 1200, height: int | None = None
) -> Figure:
    """β and −log10 p of every matched variant, second table against first, with the line of equality.

    names: of the tables; width, height: pixels. Raises InputError where neither is in both tables, MissingExtraError without
    matplotlib.
    """
    chosen = [d for d in result.differences if d.name in SHOWN and d.rows]
    if not chosen:
        raise InputError(f"no row of {names[0]} and {names[1]} has β or P in both: there is nothing to plot")
    narrow = width < canvas.NARROW
    rows, columns = (len(chosen), 1) if narrow else (1, len(chosen))
    with canvas.style(width):
        figure = canvas.blank(width=width, height=height or int(width / columns * 0.95 * rows))
        for axes, d in zip(figure.subplots(rows, columns, squeeze=False).flat, chosen, strict=True):
            both = np.isfinite(d.a) & np.isfinite(d.b)
            x, y = d.a[both], d.b[both]
            shown = thin(x, y)
            edge = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
            axes.plot(edge, edge, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
            axes.scatter(x[shown], y[shown], s=10, c=DARK, linewidths=0, alpha=0.7, rasterized=True, zorder=2)
            label = {"LOG10_P": "−log₁₀ P", "BETA": "β"}[d.name]
            axes.set_xlabel(f"{label}, {canvas.shorten(names[0], 40)}")
            axes.set_ylabel(f"{label}, {canvas.shorten(names[1], 40)}")
            axes.set_title(
                f"{d.rows:,} variants, largest difference {d.largest:.2g}", fontsize="medium", fontweight="normal"
            )
        return figure
