"""securegen run-local prs with a model that its owner keeps: private, encrypted, or under a vendor's key."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securegen.cli.progress import progress
from securegen.cli.prs import SMALL_MODELS
from securegen.cli.run_local_parties import parties, run_party
from securegen.cli.score_options import score_words
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.scores import private as steps
from securegen.engines.ckks.scores import vendor_model
from securegen.engines.ckks.scores.encrypted_model import challenge
from securegen.engines.ckks.scores.messages import Announcement, make_request, read_invitation, write_request
from securegen.io.envelope import DRAWN_COST
from securegen.io.output import copy_file
from securegen.record.receipt import Party, Receipt
from securegen.record.run_log import RunLog, folder_bytes, peak_rss_bytes, print_end
from securegen.scores.study import ScoreInputs, write_table
from securegen.study.build import Inputs, open_genotypes


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
        passphrase = secrets.token_hex(32).encode()
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            prefix = at["owner"] / "study"
            key = steps.encrypt_for(invitation, reader, prefix, encryptor=encryptor, progress=report)
            with log.stage("keygen"):  # the key itself is made with the first ciphertexts
                secret_key.write_secret(at["owner"] / "key.secret", key, passphrase=passphrase, cost=DRAWN_COST)
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
                      f"the cohort's variants{counts_sent(at['modeller'])}, which blocks have missing calls; no genotype, "
                      "no score"),
            ),
            ("ring learning with errors at 128 bits", "the model owner computes the score it promised: the genotype "
             "owner cannot verify it, and sends nothing decrypted back", f"encryption by {encryptor}"),
            (inputs.table(out),), (SMALL_MODELS, CAPPED.format(invitation.cap)),
        )  # fmt: skip
        _finish(
            log, receipt, sizes, served, key.public.parameters, inputs, invitation, reader, genotypes, encryptor,
            blur=invitation.blinding.blur, margin=invitation.blinding.margin_bits,
        )  # fmt: skip


def run_encrypted_model(
    genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, encryptor: str, keep_files: bool,
    rules: dict[str, Any],
) -> None:  # fmt: skip
    """Genotype owner in this process; model owner and evaluator each in others, in folders of their own."""
    score, privacy = score_words(inputs), privacy_words(rules)
    with parties(out, "owner", "modeller", "evaluator", keep=keep_files, log=log) as at:
        modeller, evaluator = at["modeller"], at["evaluator"]
        with log.stage("match"):
            reader = open_genotypes(genotypes, log)
            write_request(make_request(reader, inputs.imputation), modeller / "study.request")
            run_party(evaluator, "prs-step", "challenge", "--out", "study")
            copy_file(evaluator / "study.challenge", modeller / "study.challenge")
            run_party(
                modeller, "prs-step", "invite", "--request", "study.request", "--challenge", "study.challenge", *score,
                *privacy, "--out", "study",
            )  # fmt: skip
        invitation = read_invitation(modeller / "study.invitation")
        log(steps.describe(invitation))
        passphrase = secrets.token_hex(32).encode()
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            prefix = at["owner"] / "study"
            key = steps.encrypt_for(invitation, reader, prefix, encryptor=encryptor, progress=report)
            with log.stage("keygen"):  # the key itself is made with the first ciphertexts
                secret_key.write_secret(at["owner"] / "key.secret", key, passphrase=passphrase, cost=DRAWN_COST)
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
            (inputs.table(out),), (SMALL_MODELS, CAPPED.format(invitation.cap)),
        )  # fmt: skip
        _finish(
            log, receipt, sizes, served, key.public.parameters, inputs, invitation, reader, genotypes, encryptor,
            blur=invitation.blinding.blur, margin=invitation.blinding.margin_bits,
        )  # fmt: skip


def run_vendor(
    genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, encryptor: str, keep_files: bool,
    rules: dict[str, Any],
) -> None:  # fmt: skip
    """Hospital in this process; vendor in others that are given the scoring file, and make the keys."""
    score, privacy = score_words(inputs), privacy_words(rules)
    passphrase = {"SECUREGEN_PASSPHRASE": secrets.token_hex(32)}
    with parties(out, "hospital", "vendor", keep=keep_files, log=log) as at:
        hospital, vendor = at["hospital"], at["vendor"]
        with log.stage("match"):
            reader = open_genotypes(genotypes, log)
            write_request(make_request(reader, inputs.imputation), vendor / "study.request")
            challenge(hospital / "study.challenge")
            copy_file(hospital / "study.challenge", vendor / "study.challenge")
        # keys and the encrypted model are made by one step of the vendor
        with log.stage("encrypt"):
            offered = run_party(
                vendor, "prs-step", "offer", "--request", "study.request", "--challenge", "study.challenge", *score,
                *privacy, "--encryptor", encryptor, "--out", "study", environment=passphrase,
            )  # fmt: skip
            (vendor / "study.offer").rename(hospital / "study.offer")
        log.seconds["keygen"] = offered["seconds"]["keygen"]
        about = vendor_model.read_offer(hospital / "study.offer")
        parameters = about.parameters(len(reader.samples), reader.dosage_grid)
        log(
            f"ring dimension {parameters.key.ring.n}, {len(parameters.key.ring.primes)} primes, {parameters.batch} people a key"
        )
        with log.stage("score"):
            vendor_model.blind_scores(
                hospital / "study.offer", hospital / "study.challenge", reader, vendor / "study.blinded",
                hospital / "study.masks",
            )  # fmt: skip
        with log.stage("decrypt"):
            served = run_party(
                vendor, "prs-step", "answer", "--blinded", "study.blinded", "--private", "study.private", *score,
                *privacy, "--out", "study", environment=passphrase,
            )  # fmt: skip
            table = vendor_model.unmask_scores(
                vendor / "study.rounded", hospital / "study.offer", hospital / "study.masks", reader
            )  # fmt: skip
        write_table(out, reader.samples, table, inputs, log)
        sizes = {n: folder_bytes(vendor / f"study.{n}") for n in ("request", "blinded", "rounded")}
        sizes["offer"] = folder_bytes(hospital / "study.offer")
        receipt = Receipt(
            "scores, CKKS, vendor's key",
            (
                Party("hospital", "genotypes and the encrypted model",
                      "its scores, which variants and how many replies the model has; no weight, no direction"),
                Party("vendor", "weights and keys",
                      f"the cohort's variants{counts_sent(vendor)}, the number of people; no genotype, no score"),
            ),
            ("ring learning with errors at 128 bits", "the vendor answers with the rounded coefficient: the hospital "
             "cannot verify it", f"encryption by {encryptor}"),
            (inputs.table(out),), (SMALL_MODELS, CAPPED.format(about.cap)),
        )  # fmt: skip
        _finish(
            log, receipt, sizes, served, parameters.key, inputs, about, reader, genotypes, encryptor,
            blur=about.blur, margin=parameters.margin_bits,
        )  # fmt: skip


def counts_sent(modeller: Path) -> str:
    """What the request told about the cohort beside its variants."""
    return ", their allele counts" if (modeller / "study.request" / "counts.npy").exists() else ""


CAPPED = "each score is an equation in the weights: {} replies to one client is the cap of this model"


def _finish(
    log: RunLog, receipt: Receipt, sizes: dict[str, int], served: dict[str, Any], parameters, inputs: ScoreInputs,
    invitation: Announcement, reader, genotypes: Inputs, encryptor: str, *, blur: int, margin: float,
) -> None:  # fmt: skip
    """PREFIX.log and PREFIX.run.json of a run whose model the genotype owner does not know."""
    log.note(receipt.lines())
    log.write(
        receipt=receipt.to_json(), engine="ckks", bytes=sizes, encryptor=encryptor, covariates=0, phenotypes=[],
        parameters=parameters.to_json() | {"bits": inputs.bits, "digits": inputs.digits},
        planned_noise_margin_bits=margin,
        inputs=genotypes.digests() | inputs.digests(), samples=len(reader.samples), samples_stored=len(reader.samples),
        variants=len(invitation.variant), missing=invitation.imputation, scores=list(invitation.names),
        promise={
            name: {"deviation_units": blur, "exponent": exponent}
            for name, exponent in zip(invitation.names, invitation.exponent, strict=True)
        },
        cap=invitation.cap,
        peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]),
    )  # fmt: skip
    print_end(log, [inputs.table(log.out)])


SETTINGS: dict[str, Callable[..., None]] = {
    "--private-model": run_private,
    "--encrypted-model": run_encrypted_model,
    "--vendor-key": run_vendor,
}
