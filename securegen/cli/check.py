"""securegen check"""

from __future__ import annotations

import click

from securegen.cli import former
from securegen.cli.command import common_options, dry_run, rehearses, report, stop_rehearsal
from securegen.errors import SecuregenError
from securegen.python.tables import compare
from securegen.results.concordance import TOLERANCE, TOP, Concordance


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--exact", is_flag=True, help="Compare the text: every character must be equal.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=TOLERANCE,
    show_default=True,
    metavar="X",
    help="Largest difference: of BETA over max(SE, |BETA|), of SE over SE, of the statistic and LOG10_P over max(1, value).",
)
@click.option(
    "--match-by", cls=former.Option, former="--match", type=click.Choice(["auto", "id", "position"]), default="auto",
    show_default=True, help="Match rows by position and alleles, or by id.",
)  # fmt: skip
@click.option("--common", is_flag=True, help="Ignore variants that only one of the tables has.")
@click.option("--top", type=click.IntRange(1), default=TOP, show_default=True, help="Number of top hits to compare.")
@click.option("--plot", metavar="FILE", help="Scatter plot of both tables (.png, .svg or .pdf).")
@common_options
@rehearses
def command(
    a: str, b: str, exact: bool, tolerance: float, match_by: str, common: bool, top: int, plot: str | None,
) -> None:  # fmt: skip
    """Compare two tables of results: are they the same, and if not, where?

    A and B may list different variants, in a different order, and test the other allele. The exit code is 0 when no
    difference is beyond the tolerance, 1 when one is.
    """
    if exact:
        found = compare(a, b, exact=True, plot=plot)
        where = found.reasons[0] if found.reasons else None
        stop_rehearsal([])
        report(f"{a} and {b} differ" if where else "identical", agree=found.agree, first_difference=where)
        if where:
            raise SecuregenError(f"{a} and {b} differ: {where}")
        return
    if plot:
        from securegen.plot.canvas import require_matplotlib

        require_matplotlib()
    found = compare(
        a, b, plot=None if dry_run() else plot, tolerance=tolerance, match_by=match_by, common=common, top=top
    )
    stop_rehearsal([plot] if plot else [])
    result, reasons = found.concordance, list(found.reasons)
    assert result is not None
    said = [*lines(result), *_verdict(result, reasons, tolerance)]
    facts = {**result.to_json(), "tolerance": tolerance, "agree": found.agree, "reasons": reasons}
    report(said, **facts, outputs=[plot] if plot else [])
    if reasons:
        compared = any(d.rows for d in result.differences)
        verdict = f"differ beyond {tolerance:g}" if compared else "cannot be compared"
        raise SecuregenError(f"{a} and {b} {verdict}: {'; '.join(reasons)}")


def _verdict(result: Concordance, reasons: list[str], tolerance: float) -> list[str]:
    """The answer in words, and why the tables may differ."""
    if not reasons:
        return [f"agree within {tolerance:g}"]
    if not any(d.rows for d in result.differences):
        return ["nothing could be compared"]
    return [f"differ beyond {tolerance:g}", *(f"perhaps because {cause}" for cause in result.causes)]


def lines(result: Concordance) -> list[str]:
    """The comparison for people."""
    out = [f"{len(result.names)} variants matched ({result.flipped} with the other tested allele)"]
    if result.only_a or result.only_b:
        out[0] += f"; {result.only_a} only in A, {result.only_b} only in B"
    out.append(f"{'':<10} {'rows':>9} {'median |A-B|':>13} {'max |A-B|':>12} {'in tolerance units':>19}")
    for d in result.differences:
        out.append(f"{d.name:<10} {d.rows:>9} {d.median:>13.3g} {d.largest:>12.3g} {d.scaled:>19.3g}")
    ranks = "" if result.spearman != result.spearman else f"; Spearman correlation of LOG10_P {result.spearman:.6f}"
    out.append(f"top {result.top} hits: {result.shared} in both{ranks}")
    for d in result.differences:
        if d.worst:
            rows = ", ".join(f"{result.names[i]} ({d.a[i]:.6g}, {d.b[i]:.6g})" for i in d.worst[:3])
            out.append(f"largest differences of {d.name}: {rows}")
    return out
