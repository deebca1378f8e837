"""securegen prs-step: one party's step of encrypted scores (docs/explanation/prs-protocols.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli import passphrases, prs_step_parties
from securegen.cli.asking import asking_from, opening_options
from securegen.cli.command import Group, writes
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


@click.group(cls=Group)
def command() -> None:
    """One party's step of encrypted scores: who runs which step is in docs/explanation/prs-protocols.md."""


@command.command(cls=ScoreCommand)
@opt.genotype_options()
@score_options()
@opt.encryptor_option
@passphrases.passphrase_options
@opt.run_options
@writes(
    "{out}.cohort",
    "{out}.model",
    "{out}.owner",
    "{out}.secret",
    "{out}.public",
    "{out}.match.tsv",
    "{out}.log",
    "{out}.run.json",
)
def encrypt(
    passphrase_file: str | None, encryptor: str, out: str, threads: int | None, memory: int | None, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Owner, public model: make a key, encrypt the variants that the scores use.

    OUT.cohort and OUT.model go to the server (securegen prs --cohort --model); OUT.secret and OUT.owner stay. A killed run
    goes on where it stopped: run the same command again.
    """
    from securegen.engines.ckks.owner.begun_key import keep_key
    from securegen.engines.ckks.scores import steps
    from securegen.scores.study import open_scores
    from securegen.study.held import held

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step encrypt", quiet=quiet)
    with log.stage("match"):
        inputs = opt.inputs_from(options)
        with held(inputs, log) as waiting:
            study = open_scores(inputs, score_inputs(options), log=waiting, out=out, haploid=False)
        steps.check_means(study, out, log)
    with log.stage("keygen"):
        key = replace(steps.generate_key(study), policy=steps.pin_beside(inputs, out))
        secret = passphrases.passphrase(passphrase_file, confirm=True)
        key = keep_key(out, key, passphrase=secret, begun=steps.begun(out))
    with log.stage("encrypt"), progress("encrypting", quiet=quiet) as report:
        sent = steps.encrypt(study, key, out, encryptor=encryptor, progress=report, log=log)
    if steps.tells_means(study):  # which passed the door
        waiting.tell()
    log(f"for the server: {sent.cohort}, {sent.model}, and {out}.public to know them by (securegen prs --public); keep "
        f"{out}.secret and {sent.owner}")  # fmt: skip
    log.write(engine="ckks", parameters=key.public.parameters.to_json(), **study.record())


@command.command()
@click.option("--key", "key_file", required=True, metavar="FILE", help="OUT.secret of prs-step encrypt.")
@passphrases.passphrase_options
@click.option("--owner", required=True, metavar="FOLDER", help="OUT.owner of prs-step encrypt.")
@click.option("--results", required=True, metavar="FOLDER", help="The results that the server returned.")
@click.option("--key-still-trusted", is_flag=True, help="Decrypt although a result failed verification under this key.")
@click.option("--digits", type=click.IntRange(1, 17), default=6, show_default=True, help="Significant digits.")
@opening_options
@gzip_option
@opt.run_options
@writes("{out}.sscore", "{out}.log", "{out}.run.json")
def decrypt(
    key_file: str, passphrase_file: str | None, owner: str, results: str, key_still_trusted: bool, digits: int, gzip: bool,
    out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Owner, public model: decrypt, verify and write OUT.sscore. Nothing is written before every score is verified."""
    from securegen.engines.ckks.owner import secret_key
    from securegen.engines.ckks.scores import steps
    from securegen.scores.released_table import write_scores
    from securegen.scores.study import ScoreInputs

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step decrypt", quiet=quiet, private=True)
    with log.stage("decrypt"):
        key = secret_key.read_secret(key_file, passphrase=passphrases.passphrase_for(key_file, passphrase_file))
        gate = steps.gate_of_key(key, owner, asking_from(options), digits=digits, log=log)
        samples, sums = steps.decrypt(
            results, key, owner, key_still_trusted=key_still_trusted, digits=digits, gate=gate
        )
    write_scores(out, samples, sums, ScoreInputs((), digits=digits, gzip=gzip), log, gate=gate)
    log.write(engine="ckks", scores=list(sums.plan.names), **gate.record())


@command.command()
@opt.genotype_options()
@click.option(
    "--imputation",
    type=click.Choice(["cohort", "file", "none"]),
    default="cohort",
    show_default=True,
    help="How to fill missing calls; the cohort's means need 50 people or more.",
)
@opt.run_options
@writes("{out}.request", "{out}.log", "{out}.run.json")
def request(imputation: str, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any) -> None:
    """Genotype owner, private model: OUT.request, the variants of the cohort, for the model owner."""
    from securegen.engines.ckks.scores import steps
    from securegen.study.genotypes import held_genotypes

    log = CommandLog(out, "prs-step request", quiet=quiet)
    inputs = opt.inputs_from(options)
    with log.stage("match"):
        reader, waiting = held_genotypes(inputs, log)
        made = steps.request(reader, f"{out}.request", imputation=imputation, inputs=inputs, log=log)
        if made.counts is not None:  # which passed the door
            waiting.tell()
    sent = "and their allele counts" if made.counts is not None else "and no genotypes"
    log(f"for the model owner: {out}.request: {len(made.variants)} variants, {made.samples} people, {sent}")
    log.write(engine="ckks")


@command.command(cls=ScoreCommand)
@folder_option("request", "The folder that the genotype owner sent.")
@click.option("--challenge", metavar="FILE", help="The evaluator's challenge, where the model is to be encrypted.")
@score_options()
@privacy_options
@opt.run_options
@writes("{out}.invitation", "{out}.private", "{out}.log", "{out}.run.json")
def invite(
    request: str, challenge: str | None, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any
) -> None:
    """Model owner, private or encrypted model: OUT.invitation for the genotype owner; OUT.private stays."""
    from securegen.engines.ckks.scores import steps

    log = CommandLog(out, "prs-step invite", quiet=quiet)
    rules, inputs = rules_from(options), score_inputs(options)
    with log.stage("match"):
        made = steps.invite(request, inputs, rules, f"{out}.invitation", f"{out}.private", challenge=challenge, log=log)
    p = made.parameters
    log.write(engine="ckks", parameters=p.to_json(), cap=made.cap, deviation=made.blinding.blur)


@command.command()
@folder_option("invitation", "The folder that the model owner sent.")
@opt.genotype_options()
@opt.encryptor_option
@passphrases.passphrase_options
@opt.run_options
@writes("{out}.cohort", "{out}.publickey", "{out}.secret", "{out}.owner", "{out}.log", "{out}.run.json")
def accept(
    invitation: str, passphrase_file: str | None, encryptor: str, out: str, threads: int | None, memory: int | None,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Genotype owner, private model: a fresh key; OUT.cohort and OUT.publickey for the model owner.

    A killed run goes on where it stopped: run the same command again.
    """
    from securegen.engines.ckks.owner.begun_key import keep_key
    from securegen.engines.ckks.scores import steps
    from securegen.study.genotypes import held_genotypes

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step accept", quiet=quiet)
    with log.stage("encrypt"), progress("encrypting", quiet=quiet) as report:
        steps.refuse_accepted(out)
        inputs = opt.inputs_from(options)
        reader, _ = held_genotypes(inputs, log)  # the door is where scores are opened
        key = replace(steps.key_for(invitation, reader), policy=steps.pin_beside(inputs, out))
        secret = passphrases.passphrase(passphrase_file, confirm=True)
        key = keep_key(out, key, passphrase=secret, begun=True, told=False)
        steps.accept(invitation, reader, out, key=key, encryptor=encryptor, progress=report, asking=inputs.asking)
    log(f"for the model owner: {out}.cohort, {out}.publickey; keep {out}.secret and {out}.owner")
    log.write(engine="ckks", parameters=key.public.parameters.to_json())


@command.command(cls=ScoreCommand)
@folder_option("cohort", "Encrypted genotypes.")
@folder_option("publickey", "The encryption key that came with them.")
@folder_option("private", "OUT.private of prs-step invite.")
@score_options()
@privacy_options
@opt.run_options
@writes("{out}.replies", "{out}.log", "{out}.run.json")
def reply(
    cohort: str, publickey: str, private: str, out: str, threads: int | None, memory: int | None, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Model owner, private model: charge the replies, then write OUT.replies for the genotype owner."""
    from securegen.engines.ckks.scores import steps

    opt.use_threads(threads)
    log = CommandLog(out, "prs-step reply", quiet=quiet)
    rules, inputs = rules_from(options), score_inputs(options)
    with log.stage("score"), progress("scoring", unit="chunks", quiet=quiet) as report:
        steps.reply(cohort, publickey, private, inputs, rules, f"{out}.replies", progress=report)
    log.write(engine="ckks", role="model owner", bytes={"replies": folder_bytes(Path(f"{out}.replies"))})


@command.command("open")
@click.option("--key", "key_file", required=True, metavar="FILE", help="OUT.secret of prs-step accept.")
@passphrases.passphrase_options
@folder_option("owner", "OUT.owner of prs-step accept.")
@folder_option("invitation", "The invitation that the model owner sent.")
@folder_option("replies", "The replies that the model owner sent.")
@opt.genotype_options()
@gzip_option
@opt.run_options
@writes("{out}.sscore", "{out}.log", "{out}.run.json")
def open_(
    key_file: str, passphrase_file: str | None, owner: str, invitation: str, replies: str, gzip: bool, out: str,
    threads: int | None, memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Genotype owner, private model: decrypt the scores and write OUT.sscore."""
    from securegen.engines.ckks.owner import secret_key
    from securegen.engines.ckks.scores import steps
    from securegen.scores.released_table import write_table
    from securegen.scores.study import ScoreInputs
    from securegen.study.genotypes import held_genotypes

    log = CommandLog(out, "prs-step open", quiet=quiet, private=True)
    with log.stage("decrypt"):
        key = secret_key.read_secret(key_file, passphrase=passphrases.passphrase_for(key_file, passphrase_file))
        inputs = opt.inputs_from(options)
        gate = steps.gate_of_key(key, owner, inputs.asking, inputs.files().values(), log=log)
        reader, waiting = held_genotypes(inputs, log)
        gate = replace(steps.for_invitation(gate, invitation), allowed=waiting.tell)
        table = steps.open_replies(invitation, replies, key, owner, reader, gate=gate)
    write_table(out, reader.samples, table, ScoreInputs((), gzip=gzip), log, gate=gate)
    log.write(engine="ckks", scores=list(table.names), **gate.record())


for _more in prs_step_parties.COMMANDS:
    command.add_command(_more)
