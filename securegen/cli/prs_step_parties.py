"""Steps of encrypted models (evaluator) and of vendors' keys, for securegen prs-step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli import passphrases
from securegen.cli.command import writes
from securegen.cli.form_options import gzip_option
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.cli.score_options import (
    ScoreCommand,
    folder_option,
    privacy_options,
    rules_from,
    score_inputs,
    score_options,
)
from securegen.record.run_log import folder_bytes


@click.command()
@opt.run_options
@writes("{out}.challenge", "{out}.log", "{out}.run.json")
def challenge(out: str, threads: int | None, memory: int | None, quiet: bool) -> None:
    """Evaluator, or hospital of a vendor's model: OUT.challenge, a nonce for the other party; keep it."""
    from securegen.engines.ckks.scores import steps

    log = CommandLog(out, "prs-step challenge", quiet=quiet)
    steps.challenge(f"{out}.challenge")
    log.write(engine="ckks")


@click.command("encrypt-model", cls=ScoreCommand)
@folder_option("publickey", "The genotype owner's encryption key.")
@folder_option("private", "OUT.private of prs-step invite.")
@score_options()
@privacy_options
@opt.run_options
@writes("{out}.encmodel", "{out}.log", "{out}.run.json")
def encrypt_model(
    publickey: str, private: str, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any
) -> None:
    """Model owner, encrypted model: charge the replies, then write OUT.encmodel for the evaluator."""
    from securegen.engines.ckks.scores import steps

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step encrypt-model", quiet=quiet)
    rules, inputs = rules_from(options), score_inputs(options)
    with log.stage("encrypt"):
        steps.encrypt_model(publickey, private, inputs, rules, f"{out}.encmodel")
    log.write(engine="ckks", role="model owner")


@click.command()
@folder_option("cohort", "Encrypted genotypes.")
@folder_option("publickey", "The encryption key that came with them.")
@folder_option("model", "OUT.encmodel of prs-step encrypt-model.")
@click.option("--challenge", required=True, metavar="FILE", help="This evaluator's challenge for this run.")
@opt.run_options
@writes("{out}.replies", "{out}.log", "{out}.run.json")
def evaluate(
    cohort: str,
    publickey: str,
    model: str,
    challenge: str,
    out: str,
    threads: int | None,
    memory: int | None,
    quiet: bool,
) -> None:
    """Evaluator, encrypted model: multiply, blind, and write OUT.replies for the genotype owner."""
    from securegen.engines.ckks.scores import steps

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step evaluate", quiet=quiet)
    with log.stage("score"), progress("scoring", unit="chunks", quiet=quiet) as report:
        steps.evaluate(cohort, publickey, model, challenge, f"{out}.replies", progress=report)
    log.write(engine="ckks", role="evaluator", bytes={"replies": folder_bytes(Path(f"{out}.replies"))})


@click.command(cls=ScoreCommand)
@folder_option("request", "The folder that the hospital sent.")
@click.option("--challenge", required=True, metavar="FILE", help="The hospital's challenge.")
@score_options()
@privacy_options
@opt.encryptor_option
@passphrases.passphrase_options
@opt.run_options
@writes("{out}.offer", "{out}.private", "{out}.log", "{out}.run.json")
def offer(
    request: str,
    challenge: str,
    passphrase_file: str | None,
    encryptor: str,
    out: str,
    threads: int | None,
    memory: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Vendor: OUT.offer, the model encrypted under a fresh key for every batch of people; OUT.private stays."""
    from securegen.engines.ckks.scores import steps

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step offer", quiet=quiet)
    rules, inputs = rules_from(options), score_inputs(options)
    with log.stage("keygen"):
        steps.offer(
            request, challenge, inputs, rules, f"{out}.offer", f"{out}.private",
            passphrase=passphrases.passphrase(passphrase_file, confirm=True), encryptor=encryptor, log=log,
        )  # fmt: skip
    log.write(engine="ckks", role="vendor")


@click.command()
@folder_option("offer", "The folder that the vendor sent.")
@click.option("--challenge", required=True, metavar="FILE", help="This hospital's challenge.")
@opt.genotype_options()
@opt.run_options
@writes("{out}.blinded", "{out}.masks", "{out}.log", "{out}.run.json")
def blind(
    offer: str, challenge: str, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any
) -> None:
    """Hospital: OUT.blinded for the vendor; OUT.masks stays."""
    from securegen.engines.ckks.scores import steps
    from securegen.study.genotypes import held_genotypes

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step blind", quiet=quiet)
    inputs = opt.inputs_from(options)
    reader, _ = held_genotypes(inputs, log)  # the door is where scores are opened
    with log.stage("score"):
        steps.blind(offer, challenge, reader, f"{out}.blinded", f"{out}.masks", inputs=inputs)
    log.write(engine="ckks", role="hospital")


@click.command(cls=ScoreCommand)
@folder_option("blinded", "The folder that the hospital sent.")
@folder_option("private", "OUT.private of prs-step offer.")
@score_options()
@privacy_options
@passphrases.passphrase_options
@opt.run_options
@writes("{out}.rounded", "{out}.log", "{out}.run.json")
def answer(
    blinded: str,
    private: str,
    passphrase_file: str | None,
    out: str,
    threads: int | None,
    memory: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Vendor: charge the replies, round one coefficient per person into OUT.rounded, forget the keys."""
    from securegen.engines.ckks.scores import steps

    log = CommandLog(out, "prs-step answer", quiet=quiet)
    rules, inputs = rules_from(options), score_inputs(options)
    with log.stage("decrypt"):
        secret = passphrases.passphrase(passphrase_file)
        steps.answer(blinded, private, inputs, rules, f"{out}.rounded", passphrase=secret)
    log.write(engine="ckks", role="vendor")


@click.command()
@folder_option("rounded", "The rounded answers that the vendor sent.")
@folder_option("offer", "The offer that the vendor sent.")
@folder_option("masks", "OUT.masks of prs-step blind.")
@opt.genotype_options()
@gzip_option
@opt.run_options
@writes("{out}.sscore", "{out}.log", "{out}.run.json")
def unmask(
    rounded: str,
    offer: str,
    masks: str,
    gzip: bool,
    out: str,
    threads: int | None,
    memory: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Hospital: take the masks away and write OUT.sscore."""
    from securegen.engines.ckks.scores import steps
    from securegen.engines.governed import gate_of_inputs
    from securegen.scores.released_table import write_table
    from securegen.scores.study import ScoreInputs
    from securegen.study.genotypes import held_genotypes

    log = CommandLog(out, "prs-step unmask", quiet=quiet, private=True)
    inputs = opt.inputs_from(options)
    reader, waiting = held_genotypes(inputs, log)
    gate = steps.for_offer(gate_of_inputs("vendor-key", inputs, log, more=[masks]), offer, masks)
    gate = replace(gate, allowed=waiting.tell)
    table = steps.unmask(rounded, offer, masks, reader, gate=gate)
    write_table(out, reader.samples, table, ScoreInputs((), gzip=gzip), log, gate=gate)
    log.write(engine="ckks", scores=list(table.names), **gate.record())


@click.command()
@folder_option("private", "OUT.private of prs-step invite or offer.")
@click.option("--ledger", required=True, metavar="FILE", help="The ledger that holds the reservation.")
@opt.run_options
@writes("{out}.log", "{out}.run.json")
def withdraw(private: str, ledger: str, out: str, threads: int | None, memory: int | None, quiet: bool) -> None:
    """Model owner or vendor: never answer an invitation or offer, and give back what it reserved, all but one answer."""
    from securegen.engines.ckks.scores import steps

    log = CommandLog(out, "prs-step withdraw", quiet=quiet)
    steps.withdraw(private, ledger)
    log(f"{private} is withdrawn: the answers it reserved in {ledger} are free again, all but one")
    log.write(engine="ckks", role="model owner")


COMMANDS = (challenge, encrypt_model, evaluate, offer, blind, answer, unmask, withdraw)
