"""securegen prs"""

from __future__ import annotations

import click

from securegen.cli import options as opt
from securegen.cli.score_options import ScoreCommand, score_inputs, score_options
from securegen.governance.receipt import Party, Receipt
from securegen.provenance import RunLog
from securegen.score_study import ScoreInputs, open_scores, write_match, write_scores
from securegen.study import Inputs

SMALL_MODELS = "scores of few variants give the genotypes away to whoever knows the weights"


@click.command(cls=ScoreCommand, epilog="Example:  securegen prs --bfile cohort --score weights.tsv 1 2 4 --out result")
@opt.genotype_options()
@score_options()
@opt.run_options
def command(out, threads, memory, quiet, **options) -> None:
    """Polygenic scores in the clear: OUT.sscore in plink2's columns, OUT.match.tsv with a word for every row."""
    opt.use_threads(threads)
    inputs = score_inputs(options)
    run_plain(opt.inputs_from(options), inputs, out, RunLog(out, "prs", quiet=quiet))


def run_plain(genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog) -> None:
    """The plain engine, with its log and record."""
    from securegen.scores import plain_scores

    with log.stage("match"):
        study = open_scores(genotypes, inputs, log=log)
        write_match(out, study.matches, study.reader.variants, log)
    with log.stage("score"):
        sums = plain_scores(study.reader, study.plan)
    write_scores(out, study.reader.samples, sums, inputs, log)
    owner = Party("owner", "genotypes and weights", "everything")
    receipt = Receipt("scores in the clear", (owner,), (), (f"{out}.sscore",), (SMALL_MODELS,))
    log.write(
        receipt=receipt.to_json(), engine="plain", parameters={"bits": inputs.bits, "digits": inputs.digits}, bytes={},
        planned_noise_margin_bits=None, **study.record(),
    )  # fmt: skip
