"""securegen prs"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import check_input, dry_run, folder_there, rehearses, stop_rehearsal
from securegen.cli.form_options import gzip_option
from securegen.cli.part_options import JOIN, part_options, part_out, spread
from securegen.cli.progress import progress
from securegen.cli.public_option import public_option, warn_without
from securegen.cli.runlog import CommandLog
from securegen.cli.score_options import ScoreCommand, of_parts, plot_option, run_engine, score_inputs, score_options
from securegen.cli.stores import refuse_store, stores
from securegen.errors import UsageError
from securegen.io.genotypes import genotypes_given
from securegen.io.store_urls import is_url
from securegen.record.run_log import folder_bytes


@click.command(cls=ScoreCommand)
@click.option("--cohort", metavar="FOLDER", help="Encrypted cohort (server side).")
@click.option("--model", metavar="FOLDER", help="Public model for that cohort (server side).")
@public_option
@opt.genotype_options()
@score_options(required=False)
@plot_option
@gzip_option
@part_options
@opt.run_options
@rehearses
@stores("cohort", "model", "out")
def command(
    cohort: str | None, model: str | None, public: str | None, plot: bool, out: str, threads: int | None,
    memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Polygenic scores: on genotypes in the clear or, as the server, on an encrypted cohort.

    In the clear it writes OUT.sscore in plink2's columns and OUT.match.tsv, which says of every row of the scoring
    files whether it was used. As the server it reads --cohort and --model, needs no key and can use none, and writes OUT.results.
    """
    opt.use_threads(threads)
    if bool(cohort) == genotypes_given(options) or bool(cohort) != bool(model):
        raise UsageError(
            "give either genotypes (--bfile …) and --score (in the clear) or --cohort and --model (as the server)"
        )
    if not cohort:
        refuse_store(out)
    of_parts(options, plot=plot)
    log = CommandLog(part_out(out, options["blocks"]), "prs", quiet=quiet, private=True)
    if cohort and model and (options["score"] or plot):
        raise UsageError("the server reads the weights from --model, not from --score, and sees no score to --plot")
    if spread(options, log):
        return
    if cohort and model:
        serve(cohort, model, public, log, options["blocks"])
    else:
        from securegen.engines.plain.scores import PlainScores

        run_engine(PlainScores(), opt.inputs_from(options), score_inputs(options), log.out, log, plot=plot)


def serve(cohort: str, model: str, public: str | None, log: CommandLog, blocks: str | None) -> None:
    """The server's side, with its log and record."""
    from securegen.engines.ckks.cohort import cohort_of
    from securegen.engines.ckks.scores.public import score_encrypted
    from securegen.engines.ckks.scores.public_model import read_model

    cohort, model = folder_there(cohort, "cohort"), folder_there(model, "model")
    warn_without(public, log)
    if dry_run():
        read_model(model, cohort_of(cohort, public).public)
        for folder in (cohort, model):
            if not is_url(folder):
                check_input(Path(folder))
        stop_rehearsal([f"{log.place}.results", *log.files])
    with log.stage("score"), progress("scoring", unit="chunks", quiet=log.quiet) as report:
        results = score_encrypted(cohort, model, f"{log.place}.results", progress=report, blocks=blocks, public=public)
    size = folder_bytes(results)
    log.stored = [os.fspath(results)] if is_url(results) else []
    told = JOIN if blocks else f"for the owner: securegen prs-step decrypt --results {results} …"
    log(f"wrote {results} ({size / 1e6:.1f} MB); {told}")
    log.write(engine="ckks", role="server", bytes={"results": size}, **({"blocks": blocks} if blocks else {}))
