"""The outsourced engine as a choice: the owner encrypts here, a server without a key computes in a process of its own."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from securegen.engines.ckks import keys, steps
from securegen.engines.ckks.describe import describe
from securegen.engines.ckks.owner import secret_key
from securegen.engines.governed import check_tables, gate_of_study
from securegen.engines.protocol import KEEP_FILES, Engine, EngineRun, option, study_facts
from securegen.engines.score_protocol import Bars, no_bars
from securegen.engines.sets import gate_of_sets, write_study_sets
from securegen.io.envelope import DRAWN_COST
from securegen.local.launcher import party_folders, run_inside
from securegen.model import Sums
from securegen.record.association_receipts import outsourced_receipt
from securegen.record.run_log import RunLog, folder_bytes, peak_rss_bytes
from securegen.results.forms import TableForm
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.study.inputs import Log
from securegen.study.opening import Study
from securegen.study.strata import close_people
from securegen.vocabulary import DEFAULT_ENCRYPTOR

ENCRYPTORS = ("own", "seal")


@dataclass(frozen=True)
class Ckks(Engine):
    """Outsourced under CKKS. encryptor: who encrypts; keep_files: leave ciphertexts beside the tables; threads and memory
    (MB of sums): of the server."""

    name: ClassVar[str] = "ckks"
    conditions: ClassVar[bool] = True
    codings: ClassVar[bool] = True
    corrections: ClassVar[bool] = True
    masks: ClassVar[bool] = True
    quality: ClassVar[bool] = True

    encryptor: str = option(
        DEFAULT_ENCRYPTOR,
        "Encryptor: own (half of the bytes, from a seed) or Microsoft SEAL.",
        choices=ENCRYPTORS,
    )
    keep_files: bool = option(False, KEEP_FILES)
    threads: int | None = None
    memory: int | None = None

    def describe(self, study: Study, log: Log) -> None:
        describe(steps.plan(study), study.strata, log)

    def sums(self, study: Study) -> Iterator[Sums]:
        """Encrypted, summed by the server's step, verified and decrypted here. Raises VerificationError."""
        with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
            key = steps.generate_key(steps.plan(study))
            made = steps.encrypt(study, key, f"{folder}/study", encryptor=self.encryptor)
            results = steps.associate(made.cohort, made.design, f"{folder}/results")
            yield from steps.decrypt_sums(results, key, made.owner)

    def run(
        self, study: Study, out: str, form: TableForm, log: RunLog, *, filters: Filters | None = None,
        qc_only: bool = False, bars: Bars = no_bars,
    ) -> EngineRun:  # fmt: skip
        """Encrypt, associate in the server's process, verify and decrypt. Raises as `Engine.run`, VerificationError."""
        tables: list[Summary] = []
        gate = gate_of_study(self.name, study, log, qc_only=qc_only)
        check_tables(gate, study, qc_only=qc_only)
        of_sets = gate_of_sets(gate, study)
        with log.stage("plan"):
            plan = steps.plan(study)
            describe(plan, study.strata, log)
        with private_files(), party_folders(out, "owner", "server", keep=self.keep_files, log=log) as at:
            owner, server = at["owner"], at["server"]
            with log.stage("keygen"):
                passphrase = secrets.token_bytes(32).hex().encode()
                made_key = steps.generate_key(plan)
                secret_key.write_secret(owner / "key.secret", made_key, passphrase=passphrase, cost=DRAWN_COST)
                key = secret_key.read_secret(owner / "key.secret", passphrase=passphrase)
                keys.write_public(owner / "key.public", key.public)
            with log.stage("encrypt"), bars("encrypting") as report:
                made = steps.encrypt(study, key, owner / "study", encryptor=self.encryptor, progress=report)
                for folder in (made.cohort, made.design):
                    os.rename(folder, server / folder.name)
            served = run_inside(
                server, "gwas", cohort="study.cohort", design="study.design", out="study", threads=self.threads,
                memory=self.memory,
            )  # fmt: skip
            log.seconds["gwas"] = served["seconds"]["gwas"]
            with log.stage("decrypt"):
                results, files = server / "study.results", []
                genotypes = study.reader if study.inputs.corrects else None
                correct = steps.corrector(key, made.owner, None, genotypes)
                tables = steps.decrypt_tables(
                    results, key, made.owner, out, filters=filters, log=log, gate=gate, correct=correct,
                    **vars(form),
                )  # fmt: skip
                if qc_only:
                    files = steps.decrypt_qc(results, key, made.owner, out, gzip=form.gzip, gate=gate)
                opened = steps.read_design(key, made.owner)
            if not qc_only:
                files += write_study_sets(study, out, form, of_sets)  # by the owner, in the clear
            sizes = {n: folder_bytes(server / f"study.{n}") for n in ("cohort", "design", "results")}
            sizes["public_key"] = (owner / "key.public").stat().st_size
        paths = [*files, *(t.path for t in tables)]
        receipt = outsourced_receipt(
            paths,
            self.encryptor,
            opened.line(),
            close_people(study.strata),
            strata=len(opened.strata),
            packed=key.public.parameters.packed,
        ).with_decisions(gate.lines())
        if correct is not None:
            receipt = receipt.corrected(correct.line())
        facts = study_facts(study) | {
            **(correct.record() if correct is not None else {}), "design": opened.record(), "encryptor": self.encryptor,
            "parameters": key.public.parameters.to_json() | {"bits": plan.workload.bits},
            "planned_noise_margin_bits": plan.parameters.margin_bits,
            "peak_rss_bytes": max(peak_rss_bytes(), served["peak_rss_bytes"]),
        }  # fmt: skip
        return EngineRun(self.name, tuple(tables), tuple(files), receipt, sizes, facts, governance=gate.record())


@contextmanager
def private_files() -> Iterator[None]:
    """What is written meanwhile is for its owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
