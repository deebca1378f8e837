"""Which pictures a finished run has something for, and their files. Needs securegen[plot]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from securegen.errors import UsageError
from securegen.plot.canvas import FORMATS, require_matplotlib, write
from securegen.report.gather import Run, label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("manhattan", "qq", "density", "calibration", "cost", "noise")
Todo = list[tuple["Callable[[], Figure]", list[str]]]


def pictures(run: Run, chosen: Sequence[str], width: int | None) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """(end of the file's name, function that draws) of every picture that the run has something for."""
    from securegen.plot.association import manhattan, qq
    from securegen.plot.run import cost_bars, costs, noise_margin
    from securegen.plot.scores import calibration, score_density

    size: dict[str, Any] = {} if width is None else {"width": width}
    for result in (r for r in run.results if r.whole):
        for kind, draw in (("manhattan", manhattan), ("qq", qq)):
            if kind in chosen:
                yield f"{label_of(run, result)}.{kind}", partial(draw, result.tests, **size)
    for score in run.scores:
        drawers: tuple[tuple[str, Callable[..., Any]], ...] = (("density", score_density), ("calibration", calibration))
        for kind, draw_score in drawers:
            if kind in chosen and (kind == "density" or score.outcome is not None):
                yield f"{score.name}.{kind}", partial(draw_score, score, **size)
    if "cost" in chosen and ((c := costs(run.record)).seconds or c.size):
        yield "cost", partial(cost_bars, run.record, **size)
    if "noise" in chosen and run.record.get("planned_noise_margin_bits") is not None:
        margin: Callable[..., Any] = noise_margin  # there is one
        yield "noise", partial(margin, run.record, **size)


def planned(
    run: Run, out: str, *, chosen: Sequence[str] = KINDS, width: int | None = None, formats: Sequence[str] = ("png",)
) -> Todo:
    """Pictures to draw and the files of each. Raises UsageError for kinds and formats that there are not, and where the run
    has nothing for any of them; MissingExtraError."""
    require_matplotlib()
    for name, given, known in (("only", chosen, KINDS), ("formats", formats, FORMATS)):
        odd = [g for g in given if g not in known]
        if odd or not given:
            raise UsageError(f"`{name}` {', '.join(map(str, odd))}: choose from {', '.join(known)}")
    todo = [
        (draw, [f"{out}.{name.replace('/', '_')}.{kind}" for kind in formats])
        for name, draw in pictures(run, chosen, width)
    ]
    if not todo:
        raise UsageError(f"{run.prefix} has nothing for {', '.join(chosen)}")
    return todo


def paths_of(todo: Todo) -> list[str]:
    """The files of all pictures."""
    return [path for _, named in todo for path in named]


def write_pictures(todo: Todo) -> list[str]:
    """Draw and write; returns the paths."""
    for draw, named in todo:
        figure = draw()
        for path in named:
            write(path, figure)
    return paths_of(todo)
