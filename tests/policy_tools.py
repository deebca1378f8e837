"""Policies for tests: made, changed and signed as a steward does, beside a copy of a small cohort."""

from __future__ import annotations

import hmac
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from support import Cohort

import securegen as sg
from securegen.governance import policy_file, signing
from securegen.governance.policy import Policy
from securegen.governance.policy_draft import draft

FORMER = "securegen ledger 2"
EASY = {"limits.minor_alleles": 0, "budgets.columns_share": 0.16}  # as where nothing governs, for 90 people


def not_across_midnight() -> None:
    """Wait where a day, by UTC, ends within two minutes: what is counted by the day is counted in one."""
    left = 86_400 - time.time() % 86_400
    if left < 120:
        time.sleep(left + 0.1)


@dataclass(frozen=True)
class Ruled:
    """A folder with a cohort, a policy and keys of who may ask."""

    folder: Path
    cohort: Cohort

    @property
    def policy(self) -> Path:
        return self.folder / "policy.toml"

    def key(self, name: str) -> str:
        return str(self.folder / "keys" / f"{name}.secret")

    def write(self, version: int = 1, **settings: object) -> Policy:
        """A signed policy of these settings, by key with __ for a dot. Replaces the one that is there."""
        steward = signing.read_identity(self.key("steward"))
        people = [
            {"name": n, "key": signing.read_identity(self.key(n)).verify_key.hex(), "role": r}
            for n, r in (("steward", "owner"), ("anna", "analyst"), ("otto", "auditor"))
        ]
        if any("_per_" in key for key in settings):
            not_across_midnight()
        chosen = EASY | {k.replace("__", "."): v for k, v in settings.items()} | {"version": version}
        self.policy.write_text(draft("Test", steward.verify_key.hex(), people, chosen))
        return policy_file.sign_policy(self.policy, steward)

    def study(self, pheno_name: object = "QT", **more: object) -> sg.Study:
        c = self.cohort
        return sg.open_study(c.bfile, pheno=c.pheno, pheno_name=pheno_name, covar=c.covar, **more)

    def words(self, *more: object) -> list[object]:
        return [*self.cohort.options(), *more]

    def results(self, prefix: str) -> list[str]:
        """What lies beside a prefix, logs aside."""
        return sorted(p.name for p in self.folder.glob(f"{prefix}.*") if not p.name.endswith((".log", ".lock")))


def make_ruled(folder: Path, cohort: Cohort) -> Ruled:
    """A copy of a cohort in a folder, with keys and no policy yet."""
    (folder / "keys").mkdir(parents=True)
    for end in ("bed", "bim", "fam"):
        shutil.copy(f"{cohort.bfile}.{end}", folder / f"cohort.{end}")
    for name in ("pheno", "covar"):
        shutil.copy(getattr(cohort, name), folder / f"{name}.tsv")
    for name in ("steward", "anna", "otto", "stranger"):
        key = signing.generate()
        signing.write_identity(folder / "keys" / f"{name}.secret", key)
        signing.write_verify_key(folder / "keys" / f"{name}.pub", key)
    own = replace(
        cohort, bfile=str(folder / "cohort"), pheno=str(folder / "pheno.tsv"), covar=str(folder / "covar.tsv")
    )
    return Ruled(folder, own)


def write_former(path: Path, content: dict, changes: int = 0) -> None:
    """A ledger of format 2, under the key beside it. changes: 0 as of before they were counted."""
    said = json.dumps({"format": FORMER} | content)
    key = bytes.fromhex(path.with_name(f"{path.name}.key").read_text())
    told = b"ledger\0" + (f"{changes} {said}" if changes else said).encode()
    counted = {"changes": changes} if changes else {}
    path.write_text(json.dumps({"content": said, "hmac": hmac.digest(key, told, "sha256").hex()} | counted) + "\n")
