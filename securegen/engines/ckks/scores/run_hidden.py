"""Models that their owner keeps, with every role on this machine: private, encrypted, or under a vendor's key.

Who holds the genotypes is this process; the model's owner and the evaluator are others, in folders of their own, which are
given the scoring file, or ciphertexts, and no key of the genotypes'.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores import private, vendor_model
from securegen.engines.ckks.scores.encrypted_model import challenge
from securegen.engines.ckks.scores.messages import (
    Announcement,
    Invitation,
    make_request,
    read_invitation,
    write_request,
)
from securegen.engines.governed import door_of_scores, gate_of_scores
from securegen.engines.score_protocol import Bars, genotypes_of, no_bars
from securegen.errors import UsageError
from securegen.governance.gate import Gate
from securegen.io.envelope import DRAWN_COST
from securegen.io.output import copy_file
from securegen.local.launcher import given, party_folders, run_inside
from securegen.model import SelectableReader
from securegen.record import score_receipts
from securegen.record.receipt import Receipt
from securegen.record.run_log import RunLog, folder_bytes, peak_rss_bytes
from securegen.scores.released_table import write_table
from securegen.scores.study import ScoreInputs, ScoreStudy, digests
from securegen.study import checks
from securegen.study.held import held
from securegen.study.inputs import Inputs
from securegen.vocabulary import DEFAULT_ENCRYPTOR

# Fields of ScoreInputs that the model's owner is told: the others are for the table, which it does not write.
_TOLD = (
    "score", "score_col_nums", "genome_build", "match_by", "keep_ambiguous", "strand_flips", "min_overlap", "imputation",
    "weight_bits", "digits", "min_variants", "allow_small_score",
)  # fmt: skip


@dataclass(frozen=True)
class HiddenModel:
    """What the three have in common. client, ledger, allow_small_model, reply_cap: the rules of the model's owner
    (`PrivacyRules`); without a ledger this rehearsal counts from zero; keep_files: keep the encrypted files."""

    encryptor: str = DEFAULT_ENCRYPTOR
    keep_files: bool = False
    client: str = "client"
    ledger: str | os.PathLike[str] | None = None
    allow_small_model: tuple[str, ...] = ()
    reply_cap: int | None = None
    matches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "ledger", checks.path("ledger", self.ledger) or None)
        object.__setattr__(self, "allow_small_model", checks.names("allow_small_model", self.allow_small_model) or ())
        checks.whole("reply_cap", self.reply_cap, 1, None)
        if not isinstance(self.client, str) or not self.client:
            raise UsageError(f"`client` takes a name as text, not {self.client!r}")

    def check(self, genotypes: Inputs, inputs: ScoreInputs) -> None:
        """Raise UsageError for several scoring files."""
        private.refuse_several(inputs)

    def told(self, inputs: ScoreInputs) -> dict[str, Any]:
        """The options of a step of the model's owner."""
        options = given(inputs, *_TOLD)
        options["score"] = [os.path.abspath(path) for path in inputs.score]
        if inputs.score_col_nums:
            options["score_col_nums"] = [",".join(map(str, inputs.score_col_nums))]
        ledger = os.path.abspath(self.ledger) if self.ledger else "ledger.json"
        return options | {
            "client": self.client, "ledger": ledger, "allow_small_model": self.allow_small_model or None,
            "reply_cap": self.reply_cap,
        }  # fmt: skip

    def ask(
        self, genotypes: Inputs, inputs: ScoreInputs, study: ScoreStudy | None, gate: Gate, log: RunLog, request: Path
    ) -> tuple[SelectableReader, Gate]:
        """The genotype owner's request, and its genotypes, behind the door that lets scores of these people out."""
        with held(genotypes, log) as waiting:
            reader = genotypes_of(genotypes, study, waiting)
        gate = door_of_scores(gate, waiting, reader, inputs.imputation)
        write_request(make_request(reader, inputs.imputation), request)
        return reader, gate

    def encrypted(
        self, invitation: Invitation, reader: SelectableReader, owner: Path, log: RunLog, bars: Bars
    ) -> SecretKey:
        """The genotype owner's step: study.cohort and study.publickey in its folder, under a key of its own."""
        passphrase = secrets.token_hex(32).encode()
        with bars("encrypting") as progress:
            key = private.encrypt_for(invitation, reader, owner / "study", encryptor=self.encryptor, progress=progress)
        with log.stage("keygen"):  # the key itself is made with the first ciphertexts
            secret_key.write_secret(owner / "key.secret", key, passphrase=passphrase, cost=DRAWN_COST)
        return key

    def finish(
        self, log: RunLog, made: Callable[..., Receipt], sizes: dict[str, int], served: dict[str, Any],
        parameters: Parameters, genotypes: Inputs, inputs: ScoreInputs, announced: Announcement, reader: SelectableReader,
        *, request: Path, blur: int, margin: float, gate: Gate,
    ) -> None:  # fmt: skip
        """PREFIX.log and PREFIX.run.json of a run whose model the genotype owner does not know."""
        counts = (request / "counts.npy").exists()
        receipt = made(inputs.table(log.out), self.encryptor, cap=announced.cap, counts=counts).with_decisions(
            gate.lines()
        )
        log.note(receipt.lines())
        log.write(
            receipt=receipt.to_json(), engine="ckks", bytes=sizes, encryptor=self.encryptor, covariates=0, phenotypes=[],
            parameters=parameters.to_json() | {"bits": inputs.weight_bits, "digits": inputs.digits},
            planned_noise_margin_bits=margin,
            inputs=digests(genotypes, inputs), samples=len(reader.samples),
            samples_stored=len(reader.samples), variants=len(announced.variant), missing=announced.imputation,
            scores=list(announced.names),
            promise={
                name: {"deviation_units": blur, "exponent": exponent}
                for name, exponent in zip(announced.names, announced.exponent, strict=True)
            },
            cap=announced.cap, peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]), **gate.record(),
        )  # fmt: skip


@dataclass(frozen=True)
class PrivateModelScores(HiddenModel):
    """The weights stay with the model's owner, who computes on ciphertexts; the replies are capped."""

    name: ClassVar[str] = "private-model"

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Writes OUT.sscore, OUT.log and OUT.run.json."""
        told = self.told(inputs)
        gate = gate_of_scores(self.name, genotypes, inputs, log)
        with party_folders(out, "owner", "modeller", keep=self.keep_files, log=log) as at:
            owner, modeller = at["owner"], at["modeller"]
            with log.stage("match"):
                reader, gate = self.ask(genotypes, inputs, study, gate, log, modeller / "study.request")
                run_inside(modeller, "prs-step", "invite", request="study.request", out="study", **told)
            invitation = read_invitation(modeller / "study.invitation")
            log(private.describe(invitation))
            with log.stage("encrypt"):
                key = self.encrypted(invitation, reader, owner, log, bars)
                for part in ("cohort", "publickey"):
                    (owner / f"study.{part}").rename(modeller / f"study.{part}")
            served = run_inside(
                modeller, "prs-step", "reply", cohort="study.cohort", publickey="study.publickey",
                private="study.private", out="study", **told,
            )  # fmt: skip
            log.seconds["score"] = served["seconds"]["score"]
            with log.stage("decrypt"):
                replies = modeller / "study.replies"
                table = private.open_scores_for(invitation, replies, key, owner / "study.owner", reader)
            write_table(out, reader.samples, table, inputs, log, gate=gate)
            names = ("request", "invitation", "cohort", "publickey", "replies")
            sizes = {n: folder_bytes(modeller / f"study.{n}") for n in names}
            self.finish(
                log, score_receipts.private_model, sizes, served, key.public.parameters, genotypes, inputs, invitation,
                reader, request=modeller / "study.request", blur=invitation.blinding.blur,
                margin=invitation.blinding.margin_bits, gate=gate,
            )  # fmt: skip


@dataclass(frozen=True)
class EncryptedModelScores(HiddenModel):
    """The weights are encrypted for an evaluator that sees neither side."""

    name: ClassVar[str] = "encrypted-model"

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Writes OUT.sscore, OUT.log and OUT.run.json."""
        told = self.told(inputs)
        gate = gate_of_scores(self.name, genotypes, inputs, log)
        with party_folders(out, "owner", "modeller", "evaluator", keep=self.keep_files, log=log) as at:
            owner, modeller, evaluator = at["owner"], at["modeller"], at["evaluator"]
            with log.stage("match"):
                reader, gate = self.ask(genotypes, inputs, study, gate, log, modeller / "study.request")
                run_inside(evaluator, "prs-step", "challenge", out="study")
                copy_file(evaluator / "study.challenge", modeller / "study.challenge")
                run_inside(
                    modeller, "prs-step", "invite", request="study.request", challenge="study.challenge", out="study",
                    **told,
                )  # fmt: skip
            invitation = read_invitation(modeller / "study.invitation")
            log(private.describe(invitation))
            with log.stage("encrypt"):
                key = self.encrypted(invitation, reader, owner, log, bars)
                shutil.copytree(owner / "study.publickey", modeller / "study.publickey")
                for part in ("cohort", "publickey"):
                    (owner / f"study.{part}").rename(evaluator / f"study.{part}")
                run_inside(
                    modeller, "prs-step", "encrypt-model", publickey="study.publickey", private="study.private",
                    out="study", **told,
                )  # fmt: skip
                (modeller / "study.encmodel").rename(evaluator / "study.encmodel")
            served = run_inside(
                evaluator, "prs-step", "evaluate", cohort="study.cohort", publickey="study.publickey",
                model="study.encmodel", challenge="study.challenge", out="study",
            )  # fmt: skip
            log.seconds["score"] = served["seconds"]["score"]
            with log.stage("decrypt"):
                replies = evaluator / "study.replies"
                table = private.open_scores_for(invitation, replies, key, owner / "study.owner", reader)
            write_table(out, reader.samples, table, inputs, log, gate=gate)
            sizes = {n: folder_bytes(modeller / f"study.{n}") for n in ("request", "invitation")}
            sizes |= {n: folder_bytes(evaluator / f"study.{n}") for n in ("cohort", "publickey", "encmodel", "replies")}
            self.finish(
                log, score_receipts.encrypted_model, sizes, served, key.public.parameters, genotypes, inputs, invitation,
                reader, request=modeller / "study.request", blur=invitation.blinding.blur,
                margin=invitation.blinding.margin_bits, gate=gate,
            )  # fmt: skip


@dataclass(frozen=True)
class VendorKeyScores(HiddenModel):
    """A vendor encrypts the model under keys of its own; the genotypes stay in the clear at the hospital."""

    name: ClassVar[str] = "vendor-key"

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Writes OUT.sscore, OUT.log and OUT.run.json."""
        told = self.told(inputs)
        gate = gate_of_scores(self.name, genotypes, inputs, log)
        passphrase = {"SECUREGEN_PASSPHRASE": secrets.token_hex(32)}
        with party_folders(out, "hospital", "vendor", keep=self.keep_files, log=log) as at:
            hospital, vendor = at["hospital"], at["vendor"]
            with log.stage("match"):
                reader, gate = self.ask(genotypes, inputs, study, gate, log, vendor / "study.request")
                challenge(hospital / "study.challenge")
                copy_file(hospital / "study.challenge", vendor / "study.challenge")
            # keys and the encrypted model are made by one step of the vendor
            with log.stage("encrypt"):
                offered = run_inside(
                    vendor, "prs-step", "offer", environment=passphrase, request="study.request",
                    challenge="study.challenge", encryptor=self.encryptor, out="study", **told,
                )  # fmt: skip
                (vendor / "study.offer").rename(hospital / "study.offer")
            log.seconds["keygen"] = offered["seconds"]["keygen"]
            about = vendor_model.read_offer(hospital / "study.offer")
            own = about.parameters(len(reader.samples), reader.dosage_grid)
            log(f"ring dimension {own.key.ring.n}, {len(own.key.ring.primes)} primes, {own.batch} people per key")
            with log.stage("score"):
                vendor_model.blind_scores(
                    hospital / "study.offer", hospital / "study.challenge", reader, vendor / "study.blinded",
                    hospital / "study.masks",
                )  # fmt: skip
            with log.stage("decrypt"):
                served = run_inside(
                    vendor, "prs-step", "answer", environment=passphrase, blinded="study.blinded",
                    private="study.private", out="study", **told,
                )  # fmt: skip
                table = vendor_model.unmask_scores(
                    vendor / "study.rounded", hospital / "study.offer", hospital / "study.masks", reader
                )
            write_table(out, reader.samples, table, inputs, log, gate=gate)
            sizes = {n: folder_bytes(vendor / f"study.{n}") for n in ("request", "blinded", "rounded")}
            sizes["offer"] = folder_bytes(hospital / "study.offer")
            self.finish(
                log, score_receipts.vendor_key, sizes, served, own.key, genotypes, inputs, about, reader,
                request=vendor / "study.request", blur=about.blur, margin=own.margin_bits, gate=gate,
            )  # fmt: skip
