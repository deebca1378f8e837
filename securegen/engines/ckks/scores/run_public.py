"""A public model on encrypted genotypes with both roles on this machine: the owner here, the server in a process of its own.

The server is given two folders and no key.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import ClassVar

from securegen.engines.ckks import keys
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.scores import public as steps
from securegen.engines.ckks.scores.parameters import margin_bits
from securegen.engines.ckks.scores.weights import stored_weights
from securegen.engines.governed import door_of_scores, gate_of_scores
from securegen.engines.score_protocol import Bars, no_bars
from securegen.io.envelope import DRAWN_COST
from securegen.local.launcher import party_folders, run_inside
from securegen.record.run_log import RunLog, folder_bytes, peak_rss_bytes
from securegen.record.score_receipts import public_model
from securegen.scores.released_table import write_scores
from securegen.scores.study import ScoreInputs, ScoreStudy, open_scores
from securegen.study.held import held
from securegen.study.inputs import Inputs
from securegen.vocabulary import DEFAULT_ENCRYPTOR


@dataclass(frozen=True)
class CkksScores:
    """A server scores ciphertexts with weights that it may see. keep_files: keep the encrypted files."""

    encryptor: str = DEFAULT_ENCRYPTOR
    keep_files: bool = False
    name: ClassVar[str] = "ckks"
    matches: ClassVar[bool] = True

    def check(self, genotypes: Inputs, inputs: ScoreInputs) -> None:
        """Nothing is refused."""

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Writes OUT.sscore, OUT.log and OUT.run.json, and OUT.match.tsv where `study` is not opened yet."""
        gate = gate_of_scores(self.name, genotypes, inputs, log)
        with party_folders(out, "owner", "server", keep=self.keep_files, log=log) as at:
            with log.stage("match"), held(genotypes, log) as waiting:
                study = study or open_scores(genotypes, inputs, log=waiting, out=out, haploid=False)
            gate = door_of_scores(gate, waiting, study.two_copies, inputs.imputation, study.plan.names)
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
            with log.stage("encrypt"), bars("encrypting") as progress:
                sent = steps.encrypt_here(
                    study, key, at["owner"] / "study", encryptor=self.encryptor, progress=progress
                )
                for folder in (sent.cohort, sent.model):
                    folder.rename(at["server"] / folder.name)
            served = run_inside(at["server"], "prs", cohort="study.cohort", model="study.model", out="study")
            log.seconds["score"] = served["seconds"]["score"]
            with log.stage("decrypt"):
                _, sums = steps.decrypt_scores(at["server"] / "study.results", key, sent.owner, gate=gate)
            write_scores(out, study.reader.samples, sums, inputs, log, gate=gate)
            sizes = {n: folder_bytes(at["server"] / f"study.{n}") for n in ("cohort", "model", "results")}
            sizes["public_key"] = (at["owner"] / "key.public").stat().st_size
            receipt = public_model(inputs.table(out), self.encryptor).with_decisions(gate.lines())
            log.note(receipt.lines())
            log.write(
                receipt=receipt.to_json(), engine="ckks", bytes=sizes, encryptor=self.encryptor,
                parameters=p.to_json() | {"bits": inputs.weight_bits, "digits": inputs.digits},
                planned_noise_margin_bits=margin_bits(p, norm),
                peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]), **study.record(), **gate.record(),
            )  # fmt: skip
