"""securegen run-local prs: every role of a score run on this machine, through the files of a deployment."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.progress import progress
from securegen.cli.prs import SMALL_MODELS, run_plain
from securegen.cli.score_options import ScoreCommand, privacy_options, score_inputs, score_options, score_words
from securegen.errors import SecuregenError, UsageError
from securegen.governance.receipt import Party, Receipt
from securegen.provenance import RunLog, folder_bytes, peak_rss_bytes
from securegen.score_study import ScoreInputs, open_scores, write_match, write_scores
from securegen.study import Inputs


@contextlib.contextmanager
def parties(out: str, *names: str, keep: bool, log: RunLog) -> Iterator[dict[str, Path]]:
    """A folder for each party beside OUT, removed at the end; secret keys are removed in any case."""
    base = Path(f"{out}.parties")
    base.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{base.name}.", dir=base.parent))
    folders = {name: work / name for name in names}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    try:
        yield folders
    finally:
        if keep:
            log(f"kept {work}")
            for path in work.rglob("*.secret"):
                path.unlink()
        else:
            shutil.rmtree(work, ignore_errors=True)


def run_party(folder: Path, *words: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command as its own process in a party's folder, with nothing of this process's environment but the path.

    Returns what it wrote to its run.json (--out party). Raises SecuregenError with its message and exit code.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("SECUREGEN_")}
    inherited["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    run = subprocess.run(
        [sys.executable, "-m", "securegen", *words, "--quiet"], cwd=folder, env=inherited | (environment or {}),
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if run.returncode:
        message = run.stderr.strip().removeprefix("Error: ")
        error = SecuregenError(f"the {folder.name} process: {message}")
        error.exit_code = run.returncode if run.returncode > 0 else 1
        raise error
    out = words[words.index("--out") + 1]
    return json.loads((folder / f"{out}.run.json").read_text())


def run_public(
    genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, encryptor: str, keep_files: bool
) -> None:
    """Owner in this process, server in another that is given two folders and no key."""
    from securegen import encrypted_scores as steps
    from securegen.ckks import keys
    from securegen.ckks.prs_parameters import margin_bits
    from securegen.ckks.prs_weights import stored_weights

    keys.lock_down_process()
    with parties(out, "owner", "server", keep=keep_files, log=log) as at:
        with log.stage("match"):
            study = open_scores(genotypes, inputs, log=log)
            write_match(out, study.matches, study.reader.variants, log)
        with log.stage("keygen"):
            passphrase = secrets.token_bytes(32).hex().encode()
            key = steps.generate_score_key(study.plan, len(study.reader.samples))
            keys.write_secret(at["owner"] / "key.secret", key, passphrase=passphrase)
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
            (f"{out}.sscore",), (SMALL_MODELS,),
        )  # fmt: skip
        log.note(receipt.lines())
        log.write(
            receipt=receipt.to_json(), engine="ckks", bytes=sizes, encryptor=encryptor,
            parameters=p.to_json() | {"bits": inputs.bits, "digits": inputs.digits},
            planned_noise_margin_bits=margin_bits(p, norm),
            peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]), **study.record(),
        )  # fmt: skip


def privacy_words(rules: dict[str, Any]) -> list[str]:
    """The model owner's decisions for its process. Without --ledger, this rehearsal counts from zero."""
    out = ["--client", rules["client"], "--ledger", str(Path(rules["ledger"] or "ledger.json").absolute())]
    if not rules["ledger"]:
        out[-1] = "ledger.json"
    out += [word for name in rules["allow_model"] for word in ("--allow-small-model", name)]
    return out if rules["reply_cap"] is None else [*out, "--reply-cap", str(rules["reply_cap"])]


def run_private(
    genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, encryptor: str, keep_files: bool,
    rules: dict[str, Any],
) -> None:  # fmt: skip
    """Genotype owner in this process, model owner in others that are given the scoring file and no key."""
    from securegen import private_scores as steps
    from securegen.ckks import keys
    from securegen.ckks.prs_messages import make_request, read_invitation, write_request
    from securegen.score_study import write_table
    from securegen.study import open_genotypes

    keys.lock_down_process()
    score, privacy = score_words(inputs), privacy_words(rules)
    with parties(out, "owner", "modeller", keep=keep_files, log=log) as at:
        with log.stage("match"):
            reader = open_genotypes(genotypes, log)
            write_request(make_request(reader, inputs.imputation), at["modeller"] / "study.request")
            run_party(
                at["modeller"], "prs-step", "invite", "--request", "study.request", *score, *privacy, "--out", "study"
            )
        invitation = read_invitation(at["modeller"] / "study.invitation")
        log(steps.describe(invitation))
        with log.stage("keygen"):
            passphrase = secrets.token_bytes(32).hex().encode()
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            prefix = at["owner"] / "study"
            key = steps.encrypt_for(invitation, reader, prefix, encryptor=encryptor, progress=report)
            keys.write_secret(at["owner"] / "key.secret", key, passphrase=passphrase)
            for part in ("cohort", "publickey"):
                Path(f"{prefix}.{part}").rename(at["modeller"] / f"study.{part}")
        served = run_party(
            at["modeller"], "prs-step", "reply", "--cohort", "study.cohort", "--publickey", "study.publickey",
            "--private", "study.private", *score, *privacy, "--out", "study",
        )  # fmt: skip
        with log.stage("decrypt"):
            replies = at["modeller"] / "study.replies"
            table = steps.open_scores_for(invitation, replies, key, at["owner"] / "study.owner", reader)
        write_table(out, reader.samples, table, inputs, log)
        names = ("request", "invitation", "cohort", "publickey", "replies")
        sizes = {n: folder_bytes(at["modeller"] / f"study.{n}") for n in names}
        log.seconds["score"] = served["seconds"]["score"]
        receipt = Receipt(
            "scores, CKKS, private model",
            (
                Party("genotype owner", "the secret key and genotypes",
                      "its scores, which variants and how many replies the model has; no weight, no direction"),
                Party("model owner", "weights and ciphertexts",
                      f"the cohort's variants{counts_sent(at['modeller'])}, which blocks have missing calls; no genotype, no score"),
            ),
            ("ring learning with errors at 128 bits", "the model owner computes the score it promised: the genotype "
             "owner cannot verify it, and sends nothing decrypted back", f"encryption by {encryptor}"),
            (f"{out}.sscore",), (SMALL_MODELS, CAPPED.format(invitation.cap)),
        )  # fmt: skip
        _finish(log, receipt, sizes, served, key.public.parameters, inputs, invitation, reader, genotypes, encryptor)


def run_encrypted_model(
    genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, encryptor: str, keep_files: bool,
    rules: dict[str, Any],
) -> None:  # fmt: skip
    """Genotype owner in this process; model owner and evaluator each in others, in folders of their own."""
    from securegen import private_scores as steps
    from securegen.ckks import keys
    from securegen.ckks.prs_messages import make_request, read_invitation, write_request
    from securegen.score_study import write_table
    from securegen.study import open_genotypes

    keys.lock_down_process()
    score, privacy = score_words(inputs), privacy_words(rules)
    with parties(out, "owner", "modeller", "evaluator", keep=keep_files, log=log) as at:
        modeller, evaluator = at["modeller"], at["evaluator"]
        with log.stage("match"):
            reader = open_genotypes(genotypes, log)
            write_request(make_request(reader, inputs.imputation), modeller / "study.request")
            run_party(evaluator, "prs-step", "challenge", "--out", "study")
            shutil.copy(evaluator / "study.challenge", modeller)
            run_party(
                modeller, "prs-step", "invite", "--request", "study.request", "--challenge", "study.challenge", *score,
                *privacy, "--out", "study",
            )  # fmt: skip
        invitation = read_invitation(modeller / "study.invitation")
        log(steps.describe(invitation))
        with log.stage("keygen"):
            passphrase = secrets.token_bytes(32).hex().encode()
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            prefix = at["owner"] / "study"
            key = steps.encrypt_for(invitation, reader, prefix, encryptor=encryptor, progress=report)
            keys.write_secret(at["owner"] / "key.secret", key, passphrase=passphrase)
            shutil.copytree(f"{prefix}.publickey", modeller / "study.publickey")
            for part in ("cohort", "publickey"):
                Path(f"{prefix}.{part}").rename(evaluator / f"study.{part}")
            run_party(
                modeller, "prs-step", "encrypt-model", "--publickey", "study.publickey", "--private", "study.private",
                *score, *privacy, "--out", "study",
            )  # fmt: skip
            (modeller / "study.encmodel").rename(evaluator / "study.encmodel")
        served = run_party(
            evaluator, "prs-step", "evaluate", "--cohort", "study.cohort", "--publickey", "study.publickey", "--model",
            "study.encmodel", "--challenge", "study.challenge", "--out", "study",
        )  # fmt: skip
        with log.stage("decrypt"):
            table = steps.open_scores_for(
                invitation, evaluator / "study.replies", key, at["owner"] / "study.owner", reader
            )  # fmt: skip
        write_table(out, reader.samples, table, inputs, log)
        sizes = {n: folder_bytes(modeller / f"study.{n}") for n in ("request", "invitation")}
        sizes |= {n: folder_bytes(evaluator / f"study.{n}") for n in ("cohort", "publickey", "encmodel", "replies")}
        log.seconds["score"] = served["seconds"]["score"]
        receipt = Receipt(
            "scores, CKKS, encrypted model",
            (
                Party("genotype owner", "the secret key and genotypes",
                      "its scores, which variants and how many replies the model has; no weight, no direction"),
                Party("model owner", "weights", f"the cohort's variants{counts_sent(modeller)}; no genotype, no score"),
                Party("evaluator", "ciphertexts of both",
                      "numbers of samples and variants, bounds, which blocks have missing calls"),
            ),
            ("ring learning with errors at 128 bits", "evaluator and genotype owner do not collude: together they hold "
             "the encrypted weights and the key", "the evaluator computes the product it promised: nobody can verify it",
             f"encryption by {encryptor}"),
            (f"{out}.sscore",), (SMALL_MODELS, CAPPED.format(invitation.cap)),
        )  # fmt: skip
        _finish(log, receipt, sizes, served, key.public.parameters, inputs, invitation, reader, genotypes, encryptor)


def counts_sent(modeller: Path) -> str:
    """What the request told about the cohort beside its variants."""
    return ", their allele counts" if (modeller / "study.request" / "counts.npy").exists() else ""


CAPPED = "each score is an equation in the weights: {} replies to one client is the cap of this model"


def _finish(
    log: RunLog, receipt: Receipt, sizes: dict[str, int], served: dict[str, Any], parameters, inputs: ScoreInputs,
    invitation, reader, genotypes: Inputs, encryptor: str,
) -> None:  # fmt: skip
    """PREFIX.log and PREFIX.run.json of a run whose model the genotype owner does not know."""
    for name, size in sizes.items():
        log(f"  {name:<12} {size / 1e6:10.3f} MB")
    log.note(receipt.lines())
    blinding = invitation.blinding
    log.write(
        receipt=receipt.to_json(), engine="ckks", bytes=sizes, encryptor=encryptor, covariates=0, phenotypes=[],
        parameters=parameters.to_json() | {"bits": inputs.bits, "digits": inputs.digits},
        # of ½ over the largest flooding where it rounds away, else none: the integer is released to within `deviation`
        planned_noise_margin_bits=blinding.margin_bits if blinding.exact else None,
        inputs=genotypes.digests() | inputs.digests(), samples=len(reader.samples), samples_stored=len(reader.samples),
        variants=len(invitation.variant), missing=invitation.imputation, scores=list(invitation.names),
        promise={"deviation_units": blinding.deviation, "exponent": list(invitation.exponent)}, cap=invitation.cap,
        peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]),
    )  # fmt: skip


@click.command(
    cls=ScoreCommand,
    epilog="Example:  securegen run-local prs --engine ckks --bfile cohort --score weights.tsv --out result",
)
@click.option("--engine", type=click.Choice(["plain", "ckks"]), required=True, help="How sums are computed.")
@opt.genotype_options()
@score_options()
@click.option("--private-model", is_flag=True, help="The weights stay with the model owner; the replies are capped.")
@click.option("--encrypted-model", is_flag=True, help="Private, and encrypted for an evaluator that sees neither side.")
@privacy_options
@opt.encryptor_option
@click.option("--keep-files", is_flag=True, help="Keep the encrypted files (keys are deleted all the same).")
@opt.run_options
def prs(engine, private_model, encrypted_model, client, ledger, allow_model, reply_cap, encryptor, keep_files, out, threads, memory, quiet,
        **options) -> None:  # fmt: skip
    """Polygenic scores with every role as its own process, through the files of a deployment.

    It never prompts: keys are its own, under random passphrases, and deleted at the end.
    """
    opt.use_threads(threads)
    inputs, genotypes = score_inputs(options), opt.inputs_from(options)
    settings = {"--private-model": private_model, "--encrypted-model": encrypted_model}
    chosen = [flag for flag, given in settings.items() if given]
    if len(chosen) > 1 or (chosen and engine != "ckks"):
        raise UsageError(f"{' and '.join(chosen)}: one of them at a time, with --engine ckks")
    log = RunLog(out, " ".join(["run-local prs --engine", engine, *chosen]), quiet=quiet)
    if engine == "plain":
        run_plain(genotypes, inputs, out, log)
    elif chosen:
        run = {"--private-model": run_private, "--encrypted-model": run_encrypted_model}[chosen[0]]
        rules = {"client": client, "ledger": ledger, "allow_model": allow_model, "reply_cap": reply_cap}
        run(genotypes, inputs, out, log, encryptor=encryptor, keep_files=keep_files, rules=rules)
    else:
        run_public(genotypes, inputs, out, log, encryptor=encryptor, keep_files=keep_files)
