"""Options of the score commands, in plink2's words: --score FILE [i j k] takes column numbers after the file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securegen.cli.command import Function, dry_run, stop_rehearsal
from securegen.cli.options import apply_options
from securegen.cli.part_options import JOIN
from securegen.cli.progress import progress
from securegen.errors import UsageError
from securegen.record.run_log import RunLog, print_end
from securegen.scores.parts import SUMS
from securegen.scores.study import ScoreInputs, open_scores
from securegen.study.held import held
from securegen.study.inputs import Inputs

if TYPE_CHECKING:
    from securegen.engines.ckks.scores.promises import PrivacyRules
    from securegen.engines.score_protocol import ScoreEngine

FIELDS = tuple(f.name for f in fields(ScoreInputs))
HEADER_WORDS = ("header", "header-read")  # a header is recognised by itself


class ScoreCommand(click.Command):
    """Rewrites `--score FILE 1 2 4 no-mean-imputation` to options that click can parse."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        out: list[str] = []
        at, plain = 0, False
        while at < len(args):
            out.append(args[at])
            at += 1
            if out[-1] != "--score" or at == len(args):
                continue
            out.append(args[at])
            at += 1
            numbers = []
            while at < len(args) and not args[at].startswith("-"):
                word = args[at]
                if word.isdecimal():
                    numbers.append(word)
                elif word == "no-mean-imputation":
                    plain = True
                elif word not in HEADER_WORDS:
                    raise click.UsageError(f"--score FILE is followed by column numbers, not by {word!r}", ctx)
                at += 1
            if numbers:
                out += ["--score-col-nums", ",".join(numbers)]
        return super().parse_args(ctx, out + ["--imputation", "none"] * plain)


def numbers(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> tuple[int, ...] | None:
    if len(set(value)) > 1:
        raise click.UsageError("every --score takes the same column numbers, or none", ctx)
    if not value:
        return None
    try:
        return tuple(int(n) for n in value[0].replace(" ", ",").split(","))
    except ValueError:
        raise click.UsageError(f"--score-col-nums takes numbers separated by commas, not {value[0]!r}", ctx) from None


def score_options(required: bool = True) -> Function:
    """Scoring files, matching, integers, release."""
    options = [
        click.option(
            "--score", multiple=True, required=required, metavar="FILE [i j k]",
            help="Scoring file; i j k: columns of id, effect allele, weight (more weights: more scores).",
        ),
        click.option("--score-col-nums", multiple=True, callback=numbers, metavar="i,j,k",
                     help="The same columns as numbers."),
        click.option("--genome-build", metavar="BUILD", help="Genome build of the cohort: refuse scoring files on another one."),
        click.option("--match-by", type=click.Choice(["auto", "id", "position"]), default="auto", show_default=True,
                     help="How variants are found."),
        click.option("--keep-ambiguous", is_flag=True,
                     help="Use A/T and C/G variants found by position, with alleles as labelled."),
        click.option("--strand-flips/--no-strand-flips", default=True, show_default=True,
                     help="Match alleles on the other strand where only these fit."),
        click.option("--min-overlap", type=click.FloatRange(0, 1), default=0.75, show_default=True, metavar="F",
                     help="Smallest share of a file's rows that must be scored."),
        click.option("--imputation", type=click.Choice(["cohort", "file", "none"]), default="cohort",
                     show_default=True, help="Missing calls: the cohort's mean, the file's frequency, or nothing."),
        click.option("--weight-bits", type=click.IntRange(16, 40),
                     help="Bits of a score's largest weight [as many as the released digits need]."),
        click.option("--digits", type=click.IntRange(1, 17), default=6, show_default=True,
                     help="Significant digits that are released."),
        click.option("--min-variants", type=click.IntRange(1), metavar="N",
                     help="Smallest number of variants in a score [3^N above 10^(digits + 1)]."),
        click.option("--allow-small-score", multiple=True, metavar="NAME",
                     help="Release this score although it has fewer variants."),
        click.option("--reference", metavar="FILE", help="A .sscore file to compare with: adds percentiles and z-scores."),
        click.option("--risk-intercept", type=float, metavar="X",
                     help="Add 1/(1 + exp(-(X + slope * score)))."),
        click.option("--risk-slope", type=float, default=1.0, show_default=True, metavar="X"),
    ]  # fmt: skip
    return apply_options(options)


def score_inputs(options: dict[str, Any]) -> ScoreInputs:
    """Take the score options out of the options of a command."""
    values = {name: options.pop(name) for name in FIELDS if name in options}
    if not values["score"]:
        raise UsageError("no scoring file was given: --score FILE")
    return ScoreInputs(**values)


def _with_matplotlib(_: click.Context, __: click.Parameter, value: bool) -> bool:
    if value:  # before anything is computed
        from securegen.plot.canvas import require_matplotlib

        require_matplotlib()
    return value


def plot_option(command: Function) -> Function:
    """--plot"""
    text = "Also draw OUT.<SCORE>.density.png (needs securegen[plot])."
    return click.option("--plot", is_flag=True, callback=_with_matplotlib, help=text)(command)


def plot_scores(out: str, inputs: ScoreInputs, log: RunLog) -> None:
    """Density of every score of a finished run, over the reference's where there is one."""
    from securegen.report.gather import open_run
    from securegen.report.pictures import planned, write_pictures

    for path in write_pictures(planned(open_run(out, reference=inputs.reference), out, chosen=("density",))):
        log(f"wrote {path}")
    log.save_lines()


def of_parts(options: Mapping[str, Any], *, plot: bool) -> bool:
    """Whether a part, or all parts apart, is asked for. Raises UsageError for a picture of it."""
    asked = bool(options["blocks"] or options["executor"])
    if plot and asked:
        raise UsageError("parts are not drawn: leave --plot out; securegen plot draws the scores when they are joined")
    return asked


def run_engine(
    engine: ScoreEngine, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, plot: bool
) -> None:
    """Check, rehearse or run an engine, and say how it ended."""
    engine.check(genotypes, inputs)
    matches = [f"{out}.match.tsv"] if engine.matches else []
    table = inputs.table(out) if genotypes.blocks is None else f"{out}{SUMS}"
    if dry_run():
        from securegen.engines.governed import door_of_scores, gate_of_scores

        gate = gate_of_scores(engine.name, genotypes, inputs, log)
        with held(genotypes, log) as waiting:
            study = open_scores(genotypes, inputs, log=waiting, haploid=engine.name == "plain")
        door_of_scores(gate, waiting, study.reader, inputs.imputation, study.plan.names)
        stop_rehearsal([table, *matches, *log.files])
    engine.run(genotypes, inputs, out, log, bars=functools.partial(progress, quiet=log.quiet))
    print_end(log, [table, *matches], None if genotypes.blocks is None else JOIN)
    if plot:
        plot_scores(out, inputs, log)


def privacy_options(command: Function) -> Function:
    """What the owner of a private model decides."""
    return apply_options(
        [
            click.option("--client", default="client", show_default=True, metavar="NAME",
                         help="The model owner's name for the client; replies are counted under it."),
            click.option("--ledger", metavar="FILE", help="The model owner's file of replies."),
            click.option("--allow-small-model", multiple=True, metavar="NAME",
                         help="Answer for this score with fewer than 20 non-zero weights per person."),
            click.option("--reply-cap", type=click.IntRange(1), metavar="N",
                         help="Replies in the model's life [non-zero weights × bits / (10 × bits of a score)]."),
        ]
    )(command)  # fmt: skip


def folder_option(name: str, text: str) -> Function:
    """A folder that another step wrote."""
    return click.option(f"--{name}", required=True, metavar="FOLDER", help=text)


def rules_from(options: dict[str, Any]) -> PrivacyRules:
    """What the model owner decides, from the options."""
    from securegen.engines.ckks.scores.promises import PrivacyRules

    ledger, client = options.pop("ledger"), options.pop("client")
    if not ledger:
        raise UsageError("--ledger FILE is needed: the replies of a private model are counted there")
    return PrivacyRules(Path(ledger), client, options.pop("allow_small_model"), options.pop("reply_cap"))
