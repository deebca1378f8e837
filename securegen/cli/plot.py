"""securegen plot"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from securegen.cli.command import Function, common_options, rehearses, report, stop_rehearsal
from securegen.cli.report import outcome_options

if TYPE_CHECKING:
    from securegen.report.gather import Run

KINDS = ("manhattan", "qq", "density", "calibration", "cost", "noise")


def pictures(run: Run, chosen: tuple[str, ...], width: int | None) -> Iterator[tuple[str, Function]]:
    """(end of the file's name, function that draws) of every picture that the run has something for."""
    from securegen.plot.association import manhattan, qq
    from securegen.plot.run import cost_bars, costs, noise_margin
    from securegen.plot.scores import calibration, score_density

    size = {} if width is None else {"width": width}
    for result in (r for r in run.results if r.whole):
        for kind, draw in (("manhattan", manhattan), ("qq", qq)):
            if kind in chosen:
                yield f"{result.phenotype}.{kind}", lambda draw=draw, result=result: draw(result.tests, **size)
    for score in run.scores:
        for kind, draw_score in (("density", score_density), ("calibration", calibration)):
            if kind in chosen and (kind == "density" or score.outcome is not None):
                yield f"{score.name}.{kind}", lambda draw=draw_score, score=score: draw(score, **size)
    if "cost" in chosen and ((c := costs(run.record)).seconds or c.size):
        yield "cost", lambda: cost_bars(run.record, **size)
    if "noise" in chosen and run.record.get("planned_noise_margin_bits") is not None:
        yield "noise", lambda: noise_margin(run.record, **size)


def draw_all(
    run: Run,
    out: str,
    *,
    chosen: tuple[str, ...] = KINDS,
    width: int | None = None,
    formats: tuple[str, ...] = ("png",),
    rehearse: bool = False,
) -> list[str]:
    """Draw and write pictures; returns their paths. rehearse: under --dry-run, stop before the first. Raises UsageError
    where the run has nothing for any of them."""
    from securegen.errors import UsageError
    from securegen.plot.canvas import require_matplotlib, write

    require_matplotlib()
    todo = [
        (draw, [f"{out}.{name.replace('/', '_')}.{kind}" for kind in formats])
        for name, draw in pictures(run, chosen, width)
    ]
    if not todo:
        raise UsageError(f"{run.prefix} has nothing for {', '.join(chosen)}")
    paths = [path for _, named in todo for path in named]
    if rehearse:
        stop_rehearsal(paths)
    for draw, named in todo:
        figure = draw()
        for path in named:
            write(path, figure)
    return paths


@click.command()
@click.argument("prefix", metavar="PREFIX")
@click.option("--only", "chosen", type=click.Choice(KINDS), multiple=True, help="Only these pictures [all there are].")
@click.option("--width", type=click.IntRange(300, 6000), metavar="PIXELS", help="Width; type and layout follow it.")
@click.option("--format", "formats", default="png", show_default=True, metavar="A,B", help="png, svg, pdf.")
@outcome_options
@click.option("--out", metavar="PREFIX", help="Prefix of the pictures [PREFIX].")
@common_options
@rehearses
def command(
    prefix: str, chosen: tuple[str, ...], width: int | None, formats: str, pheno: str | None,
    pheno_name: tuple[str, ...] | None, reference: str | None, out: str | None,
) -> None:  # fmt: skip
    """Pictures of a finished run: Manhattan, QQ, scores, cost, planned noise.

    PREFIX is what the run was given as --out, or one table of results or scores. It needs the extra securegen[plot].
    """
    from securegen.errors import UsageError
    from securegen.plot.canvas import FORMATS
    from securegen.report.gather import open_run

    kinds = tuple(formats.split(","))
    if set(kinds) - set(FORMATS):
        raise UsageError(f"--format {formats}: choose from {', '.join(FORMATS)}")
    run = open_run(prefix, pheno=pheno, pheno_name=pheno_name, reference=reference)
    paths = draw_all(run, out or run.prefix, chosen=chosen or KINDS, width=width, formats=kinds, rehearse=True)
    report(paths, outputs=paths)
