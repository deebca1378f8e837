"""securegen run-local prs: every role of a score run on this machine, through the files of a deployment."""

from __future__ import annotations

import secrets

import click

from securegen.cli import options as opt
from securegen.cli.command import dry_run, rehearses, stop_rehearsal
from securegen.cli.form_options import gzip_option
from securegen.cli.progress import progress
from securegen.cli.prs import SMALL_MODELS, run_plain
from securegen.cli.run_local_parties import parties, run_party
from securegen.cli.runlog import CommandLog
from securegen.cli.score_options import (
    ScoreCommand,
    plot_option,
    plot_scores,
    privacy_options,
    score_inputs,
    score_options,
)
from securegen.errors import UsageError
from securegen.record.receipt import Party, Receipt
from securegen.record.run_log import RunLog, folder_bytes, peak_rss_bytes, print_end
from securegen.scores.study import ScoreInputs, open_scores, write_scores
from securegen.study.build import Inputs


def run_public(
    genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, encryptor: str, keep_files: bool
) -> None:
    """Owner in this process, server in another that is given two folders and no key."""
    from securegen.engines.ckks import keys
    from securegen.engines.ckks.owner import secret_key
    from securegen.engines.ckks.scores import public as steps
    from securegen.engines.ckks.scores.parameters import margin_bits
    from securegen.engines.ckks.scores.weights import stored_weights
    from securegen.io.envelope import DRAWN_COST

    with parties(out, "owner", "server", keep=keep_files, log=log) as at:
        with log.stage("match"):
            study = open_scores(genotypes, inputs, log=log, out=out)
        with log.stage("keygen"):
            passphrase = secrets.token_bytes(32).hex().encode()
            key = steps.generate_score_key(study.plan, len(study.reader.samples))
            secret_key.write_secret(at["owner"] / "key.secret", key, passphrase=passphrase, cost=DRAWN_COST)
            keys.write_public(at["owner"] / "key.public", key.public)
        p, norm = key.public.parameters, stored_weights(study.plan).norm
        log(
            f"ring dimension {p.ring.n}, {len(p.ring.primes)} primes, {p.pack} samples × {p.block_variants} rows a "
            f"ciphertext; planned noise margin {margin_bits(p, norm):.1f} bits"
        )
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            sent = steps.encrypt_scores(study, key, at["owner"] / "study", encryptor=encryptor, progress=report)
            for folder in (sent.cohort, sent.model):
                folder.rename(at["server"] / folder.name)
        served = run_party(
            at["server"], "prs", "--cohort", "study.cohort", "--model", "study.model", "--out", "study"
        )  # fmt: skip
        with log.stage("decrypt"):
            _, sums = steps.decrypt_scores(at["server"] / "study.results", key, sent.owner)
        write_scores(out, study.reader.samples, sums, inputs, log)
        sizes = {n: folder_bytes(at["server"] / f"study.{n}") for n in ("cohort", "model", "results")}
        sizes["public_key"] = (at["owner"] / "key.public").stat().st_size
        log.seconds["score"] = served["seconds"]["score"]
        receipt = Receipt(
            "outsourced scores, CKKS, public model",
            (
                Party("owner", "the secret key, genotypes and weights", "the scores, after verification"),
                Party("server", "ciphertexts and weights",
                      "numbers of samples and variants, which blocks have missing calls; no genotype, no score"),
            ),
            ("ring learning with errors at 128 bits; nothing of the server but availability",
             f"encryption by {encryptor}"),
            (inputs.table(out),), (SMALL_MODELS,),
        )  # fmt: skip
        log.note(receipt.lines())
        log.write(
            receipt=receipt.to_json(), engine="ckks", bytes=sizes, encryptor=encryptor,
            parameters=p.to_json() | {"bits": inputs.bits, "digits": inputs.digits},
            planned_noise_margin_bits=margin_bits(p, norm),
            peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]), **study.record(),
        )  # fmt: skip
        print_end(log, [inputs.table(out), f"{out}.match.tsv"])


@click.command(cls=ScoreCommand)
@click.option("--engine", type=click.Choice(["plain", "ckks", "mpc"]), required=True, help="How sums are computed.")
@opt.genotype_options()
@score_options()
@click.option("--private-model", is_flag=True, help="The weights stay with the model owner; the replies are capped.")
@click.option("--encrypted-model", is_flag=True, help="Private, and encrypted for an evaluator that sees neither side.")
@click.option("--vendor-key", is_flag=True, help="A vendor encrypts the model; the genotypes stay in the clear here.")
@privacy_options
@opt.encryptor_option
@click.option("--keep-files", is_flag=True, help="Keep the encrypted files (keys are deleted all the same).")
@plot_option
@gzip_option
@opt.run_options
@rehearses
def prs(
    engine, private_model, encrypted_model, vendor_key, client, ledger, allow_model, reply_cap, encryptor, keep_files, plot,
    out, threads, memory, quiet, **options,
) -> None:  # fmt: skip
    """Polygenic scores with every role as its own process, through the files of a deployment.

    It never prompts: keys are its own, under random passphrases, and deleted at the end.
    """
    opt.use_threads(threads)
    inputs, genotypes = score_inputs(options), opt.inputs_from(options)
    settings = {"--private-model": private_model, "--encrypted-model": encrypted_model, "--vendor-key": vendor_key}
    chosen = [flag for flag, given in settings.items() if given]
    if len(chosen) > 1 or (chosen and engine != "ckks"):
        raise UsageError(f"{' and '.join(chosen)}: one of them at a time, with --engine ckks")
    log = CommandLog(out, " ".join(["run-local prs --engine", engine, *chosen]), quiet=quiet, private=True)
    if dry_run():
        open_scores(genotypes, inputs, log=log)
        matches = [] if chosen or engine == "mpc" else [f"{out}.match.tsv"]
        stop_rehearsal([inputs.table(out), *matches, *log.files])
    if engine == "plain":
        run_plain(genotypes, inputs, out, log)
    elif chosen:
        from securegen.cli.run_local_private import SETTINGS

        rules = {"client": client, "ledger": ledger, "allow_model": allow_model, "reply_cap": reply_cap}
        SETTINGS[chosen[0]](genotypes, inputs, out, log, encryptor=encryptor, keep_files=keep_files, rules=rules)
    elif engine == "mpc":
        from securegen.cli.run_mpc_prs import run_mpc_scores

        run_mpc_scores(genotypes, inputs, out, log, keep_files=keep_files)
    else:
        run_public(genotypes, inputs, out, log, encryptor=encryptor, keep_files=keep_files)
    if plot:
        plot_scores(out, inputs, log)
