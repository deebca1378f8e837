"""Polygenic scores between parties that do not show each other genotypes or weights: four settings, step by step.

`python encrypted_prs.py --setting private --bfile COHORT --score WEIGHTS.tsv --out RESULT` gives every party a folder and
runs its steps there, each as a process of its own; only the messages below are copied from folder to folder.

| setting | parties | who holds the key |
|---|---|---|
| public | owner (genotypes, public weights), server | owner |
| private | owner (genotypes), modeller (weights) | owner |
| encrypted | owner (genotypes), modeller (weights), evaluator | owner |
| vendor | hospital (genotypes), vendor (weights) | vendor |

Who learns what: docs/explanation/prs-protocols.md. The one with genotypes learns the scores; nobody else learns a score, a
genotype or a weight. In the encrypted setting owner and evaluator must not collude.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """party runs `securegen` with these words; then the named files go to other parties: (file, to)."""

    party: str
    words: str
    sends: tuple[tuple[str, str], ...] = ()


MODEL = "{score} --ledger ledger.json --client {client}"
SETTINGS = {
    "public": (
        Step("owner", "prs-step encrypt {bfile} {score} --out x", (("x.cohort", "server"), ("x.model", "server"))),
        Step("server", "prs --cohort x.cohort --model x.model --out x", (("x.results", "owner"),)),
        Step("owner", "prs-step decrypt --key x.secret --owner x.owner --results x.results --out {out}"),
    ),
    "private": (
        Step("owner", "prs-step request {bfile} --out x", (("x.request", "modeller"),)),
        Step("modeller", f"prs-step invite --request x.request {MODEL} --out x", (("x.invitation", "owner"),)),
        Step("owner", "prs-step accept --invitation x.invitation {bfile} --out x",
             (("x.cohort", "modeller"), ("x.publickey", "modeller"))),
        Step("modeller", f"prs-step reply --cohort x.cohort --publickey x.publickey --private x.private {MODEL} --out x",
             (("x.replies", "owner"),)),
        Step("owner", "prs-step open --key x.secret --owner x.owner --invitation x.invitation --replies x.replies "
             "{bfile} --out {out}"),
    ),
    "encrypted": (
        Step("evaluator", "prs-step challenge --out x", (("x.challenge", "modeller"),)),
        Step("owner", "prs-step request {bfile} --out x", (("x.request", "modeller"),)),
        Step("modeller", f"prs-step invite --request x.request --challenge x.challenge {MODEL} --out x",
             (("x.invitation", "owner"),)),
        Step("owner", "prs-step accept --invitation x.invitation {bfile} --out x",
             (("x.publickey", "modeller"), ("x.publickey", "evaluator"), ("x.cohort", "evaluator"))),
        Step("modeller", f"prs-step encrypt-model --publickey x.publickey --private x.private {MODEL} --out x",
             (("x.encmodel", "evaluator"),)),
        Step("evaluator", "prs-step evaluate --cohort x.cohort --publickey x.publickey --model x.encmodel "
             "--challenge x.challenge --out x", (("x.replies", "owner"),)),
        Step("owner", "prs-step open --key x.secret --owner x.owner --invitation x.invitation --replies x.replies "
             "{bfile} --out {out}"),
    ),
    "vendor": (
        Step("hospital", "prs-step request {bfile} --out x", (("x.request", "vendor"),)),
        Step("hospital", "prs-step challenge --out x", (("x.challenge", "vendor"),)),
        Step("vendor", f"prs-step offer --request x.request --challenge x.challenge {MODEL} --out x",
             (("x.offer", "hospital"),)),
        Step("hospital", "prs-step blind --offer x.offer --challenge x.challenge {bfile} --out x",
             (("x.blinded", "vendor"),)),
        Step("vendor", f"prs-step answer --blinded x.blinded --private x.private {MODEL} --out x",
             (("x.rounded", "hospital"),)),
        Step("hospital", "prs-step unmask --rounded x.rounded --offer x.offer --masks x.masks {bfile} --out {out}"),
    ),
}  # fmt: skip


def copy(source: Path, target: Path) -> int:
    """Copy a message; its bytes."""
    if source.is_dir():
        shutil.copytree(source, target)
        return sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    shutil.copy(source, target)
    return target.stat().st_size


def rehearse(
    setting: str, directory: Path, execute: Callable[[Path, list[str]], None], *, bfile: str, score: str, out: str
) -> list[tuple[str, str, str, int]]:
    """Run every step in its party's folder below `directory` and copy the messages: (name, from, to, bytes) of each.

    execute: runs a securegen command, its words given, in a folder.
    """
    values = {"{bfile}": ["--bfile", bfile], "{score}": ["--score", score], "{out}": [out], "{client}": ["owner"]}
    messages = []
    for step in SETTINGS[setting]:
        folder = directory / step.party
        folder.mkdir(exist_ok=True)
        execute(folder, [part for word in step.words.split() for part in values.get(word, [word])])
        for name, to in step.sends:
            (directory / to).mkdir(exist_ok=True)
            size = copy(folder / name, directory / to / name)
            messages.append((name.removeprefix("x."), step.party, to, size))
    return messages


def main() -> None:
    """Run every step of a setting, each as its own process, and print the messages with their bytes."""
    parser = argparse.ArgumentParser(description="Encrypted polygenic scores, every party in a folder of its own")
    parser.add_argument("--setting", choices=list(SETTINGS), required=True)
    parser.add_argument("--bfile", required=True, help="PLINK1 fileset of the party that has genotypes")
    parser.add_argument("--score", required=True, help="scoring file of the party that has weights")
    parser.add_argument("--out", required=True, help="prefix of the table")
    a = parser.parse_args()
    environment = os.environ | {"SECUREGEN_PASSPHRASE": secrets.token_hex(32)}

    def execute(folder: Path, words: list[str]) -> None:
        code = subprocess.call(
            [sys.executable, "-P", "-m", "securegen", *words, "--quiet"], cwd=folder, env=environment
        )
        if code:
            raise SystemExit(code)

    bfile, score, out = (str(Path(path).resolve()) for path in (a.bfile, a.score, a.out))
    with tempfile.TemporaryDirectory() as directory:
        messages = rehearse(a.setting, Path(directory), execute, bfile=bfile, score=score, out=out)
    print("| message | from | to | bytes |\n|---|---|---|---:|")
    for name, party, to, size in messages:
        print(f"| {name} | {party} | {to} | {size:,} |")


if __name__ == "__main__":
    main()
