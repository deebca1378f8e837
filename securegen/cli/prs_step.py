"""securegen prs-step: one party's step of encrypted scores (docs/prs-protocols.md)."""

from __future__ import annotations

import time

import click

from securegen.cli import options as opt
from securegen.cli.progress import progress
from securegen.cli.score_options import ScoreCommand, score_inputs, score_options
from securegen.errors import VerificationError
from securegen.provenance import RunLog


@click.group()
def command() -> None:
    """One party's step of encrypted scores: who runs which step is in docs/prs-protocols.md."""


@command.command(
    cls=ScoreCommand, epilog="Example:  securegen prs-step encrypt --bfile cohort --score weights.tsv --out enc"
)
@opt.genotype_options()
@score_options()
@opt.encryptor_option
@opt.passphrase_options
@opt.run_options
def encrypt(passphrase_file, encryptor, out, threads, memory, quiet, **options) -> None:
    """Owner, public model: make a key, encrypt the variants that the scores use.

    OUT.cohort and OUT.model go to the server (securegen prs --cohort --model); OUT.secret and OUT.owner stay.
    """
    from securegen.ckks import keys
    from securegen.encrypted_scores import encrypt_scores, generate_score_key
    from securegen.score_study import open_scores, write_match

    keys.lock_down_process()
    opt.use_threads(threads)
    log = RunLog(out, "prs-step encrypt", quiet=quiet)
    with log.stage("match"):
        study = open_scores(opt.inputs_from(options), score_inputs(options), log=log)
        write_match(out, study.matches, study.reader.variants, log)
    with log.stage("keygen"):
        key = generate_score_key(study.plan, len(study.reader.samples))
        keys.write_secret(f"{out}.secret", key, passphrase=opt.passphrase(passphrase_file, confirm=True))
        keys.write_public(f"{out}.public", key.public)
    with log.stage("encrypt"), progress("encrypting", quiet=quiet) as report:
        sent = encrypt_scores(study, key, out, encryptor=encryptor, progress=report)
    log(f"for the server: {sent.cohort}, {sent.model}; keep {out}.secret and {sent.owner}")
    log.write(engine="ckks", parameters=key.public.parameters.to_json(), **study.record())


@command.command(
    epilog="Example:  securegen prs-step decrypt --key enc.secret --owner enc.owner --results enc.results --out result"
)
@click.option("--key", "key_file", required=True, metavar="FILE", help="OUT.secret of prs-step encrypt.")
@opt.passphrase_options
@click.option("--owner", required=True, metavar="FOLDER", help="OUT.owner of prs-step encrypt.")
@click.option("--results", required=True, metavar="FOLDER", help="What the server returned.")
@click.option("--key-still-trusted", is_flag=True, help="Decrypt although a result failed verification under this key.")
@click.option("--digits", type=click.IntRange(1, 17), default=6, show_default=True, help="Significant digits.")
@opt.run_options
def decrypt(key_file, passphrase_file, owner, results, key_still_trusted, digits, out, threads, memory, quiet) -> None:
    """Owner, public model: decrypt, verify and write OUT.sscore. Nothing is written before every score is verified."""
    from securegen.ckks import keys
    from securegen.encrypted_scores import decrypt_scores
    from securegen.score_release import refuse_small_models
    from securegen.score_study import ScoreInputs, write_scores

    keys.lock_down_process()
    opt.use_threads(threads)
    log = RunLog(out, "prs-step decrypt", quiet=quiet)
    keys.refuse_retired(key_file, still_trusted=key_still_trusted)
    with log.stage("decrypt"):
        key = keys.read_secret(key_file, passphrase=opt.passphrase(passphrase_file))
        try:
            samples, sums = decrypt_scores(results, key, owner)
        except VerificationError:
            keys.retire(key_file, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {results} failed verification")
            raise
    if digits > 6:  # fewer were checked when the scores were planned
        refuse_small_models(sums.plan, digits=digits)
    write_scores(out, samples, sums, ScoreInputs((), digits=digits), log)
    log.write(engine="ckks", scores=list(sums.plan.names))
