"""securegen run-local prs: every role of a score run on this machine, through the files of a deployment."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import rehearses
from securegen.cli.form_options import gzip_option
from securegen.cli.part_options import part_options, part_out, spread
from securegen.cli.runlog import CommandLog
from securegen.cli.score_options import (
    ScoreCommand,
    of_parts,
    plot_option,
    privacy_options,
    run_engine,
    score_inputs,
    score_options,
)
from securegen.errors import UsageError


@click.command(cls=ScoreCommand)
@click.option("--engine", type=click.Choice(["plain", "ckks", "mpc"]), required=True, help="How sums are computed.")
@opt.genotype_options()
@score_options()
@click.option("--private-model", is_flag=True, help="The weights stay with the model owner, who caps the replies.")
@click.option(
    "--encrypted-model", is_flag=True, help="As --private-model, and encrypted for an evaluator that sees neither side."
)
@click.option("--vendor-key", is_flag=True, help="A vendor encrypts the model; the genotypes stay in the clear here.")
@privacy_options
@opt.encryptor_option
@click.option("--keep-files", is_flag=True, help="Keep the encrypted files (keys are deleted all the same).")
@plot_option
@gzip_option
@part_options
@opt.run_options
@rehearses
def prs(
    engine: str, private_model: bool, encrypted_model: bool, vendor_key: bool, client: str,
    ledger: str | None, allow_small_model: tuple[str, ...], reply_cap: int | None, encryptor: str, keep_files: bool,
    plot: bool, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Polygenic scores with every role as its own process, through the files of a deployment.

    It never prompts: keys are its own, under random passphrases, and deleted at the end.
    """
    from securegen.engines.scores import SCORE_ENGINES

    opt.use_threads(threads)
    hidden = {"private-model": private_model, "encrypted-model": encrypted_model, "vendor-key": vendor_key}
    chosen = [name for name, given in hidden.items() if given]
    if len(chosen) > 1 or (chosen and engine != "ckks"):
        raise UsageError(f"{' and '.join(f'--{name}' for name in chosen)}: one of them at a time, with --engine ckks")
    if of_parts(options, plot=plot) and engine != "plain":
        raise UsageError(f"--blocks and --executor are for --engine plain, not for {engine}")
    words = " ".join(["run-local prs --engine", engine, *(f"--{name}" for name in chosen)])
    log = CommandLog(part_out(out, options["blocks"]), words, quiet=quiet, private=True)
    if spread(options, log):
        return
    inputs, genotypes = score_inputs(options), opt.inputs_from(options)
    made: Any = SCORE_ENGINES[(*chosen, engine)[0]]
    own = {"encryptor": encryptor, "keep_files": keep_files, "client": client, "ledger": ledger,
           "allow_small_model": allow_small_model, "reply_cap": reply_cap}  # fmt: skip
    run_engine(made(**{f.name: own[f.name] for f in fields(made)}), genotypes, inputs, log.out, log, plot=plot)
