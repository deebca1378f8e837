#!/usr/bin/env python3
"""Outsourced association: an owner's encrypted cohort, a server without a key, a folder between them.

`python protocols/outsourced_ckks_gwas.py` makes a folder for each party and one for the post, starts each step as a
process of its own in its party's folder, and prints every message with its bytes. Only the post is visible to both.

| party | holds | learns |
|---|---|---|
| owner | genotypes, phenotypes, covariates, the secret key, its record of checks | the results, after verification |
| server | ciphertexts | how many samples, variants and columns; columns of ones; blocks with a stream of missing calls |

| message | from → to | content | bytes |
|---|---|---|---|
| public key | owner → server | parameters and the key that verifies signatures; no evaluation keys | below 1 kB |
| cohort | owner → server | signed encryptions of every stream of every block | at most B·S·G·4kn |
| design | owner → server | signed encryptions of J columns, and of Σ g² of every block | J·G·4kn + B·4kn |
| results | server → owner | B·S·J sums of three polynomials (a column of ones: two), and Σ g² | at most B·(3SJ+2)·4kn |

k primes, n coefficients, G groups of samples, B blocks of variants, J columns (a column in d digits counts as d), S streams (two
where calls are missing, but one where a coefficient holds several variants: then the owner keeps missing calls).
Half of each ciphertext is redrawn from a public seed, which halves cohort and design; `--encryptor seal` stores both.

Trust: the server may do anything and is trusted for availability only. The owner refuses a result that was not computed
from this cohort and design (`securegen.engines.ckks.owner.verify`), before one number of it is shown. The server refuses
a cohort that its owner did not sign. Not hidden: counts, sizes, times, and what the published table itself implies
(docs/explanation/threat-model.md).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STUDY = ("--bfile", "cohort", "--pheno", "cohort.pheno.tsv", "--pheno-name", "QT", "--covar", "cohort.covar.tsv")


@dataclass(frozen=True)
class Message:
    """What went through the post."""

    sender: str
    receiver: str
    name: str
    size: int


@dataclass(frozen=True)
class Scenario:
    """Folders of the two parties and of the post, and the options that name the study."""

    root: Path
    study: tuple[str, ...]

    def folder(self, party: str) -> Path:
        return self.root / party

    def step(self, party: str, *words: str) -> None:
        """Run one command as `party`, in its folder, with an environment that holds nothing of the other's."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECUREGEN_")}
        environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
        command = [sys.executable, "-P", "-m", "securegen", *words, "--quiet"]
        done = subprocess.run(command, cwd=self.folder(party), env=environment, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(done.returncode)

    def send(self, sender: str, receiver: str, name: str) -> Message:
        """Copy a file or folder from the sender's folder to the post, and from there to the receiver's."""
        for source, target in ((sender, "post"), ("post", receiver)):
            here, there = self.folder(source) / name, self.folder(target) / name
            copy = shutil.copytree if here.is_dir() else shutil.copy
            copy(here, there)
        posted = self.folder("post") / name
        files = [p for p in posted.rglob("*") if p.is_file()] if posted.is_dir() else [posted]
        return Message(sender, receiver, name, sum(p.stat().st_size for p in files))


def run(root: Path, filters: Sequence[str] = ()) -> list[Message]:
    """The whole study below `root`, on the example cohort; filters: more options of plan and encrypt. Returns what was
    sent; the table is root/owner/result.QT.glm.linear."""
    scenario = Scenario(root, (*STUDY, *filters))
    for party in ("owner", "server", "post"):
        scenario.folder(party).mkdir(parents=True)
    for file in EXAMPLES.glob("cohort.*"):
        shutil.copy(file, scenario.folder("owner"))
    words = scenario.folder("owner") / "pass.txt"
    words.touch(0o600)
    words.write_text("a passphrase for a scenario that holds no secrets\n")
    key = ("--passphrase-file", "pass.txt")

    scenario.step("owner", "plan", *scenario.study, "--out", "plan")
    scenario.step("owner", "keygen", "--plan", "plan.plan.json", *key, "--out", "key")
    scenario.step("owner", "encrypt", "--key", "key.secret", *key, *scenario.study, "--out", "study")
    messages = [scenario.send("owner", "server", name) for name in ("key.public", "study.cohort", "study.design")]

    folders = ("--cohort", "study.cohort", "--design", "study.design")
    scenario.step("server", "gwas", *folders, "--public", "key.public", "--out", "study")
    messages.append(scenario.send("server", "owner", "study.results"))

    owned = ("--owner", "study.owner", "--results", "study.results")
    scenario.step("owner", "decrypt", "--key", "key.secret", *key, *owned, "--out", "result")
    return messages


def main() -> None:
    parser = argparse.ArgumentParser(description="An owner and a server, each step a process of its own.")
    parser.add_argument("--directory", type=Path, help="where to make the parties' folders [a temporary one]")
    directory = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as temporary:
        root = directory or Path(temporary)
        for m in run(root):
            print(f"{m.sender:>6} → {m.receiver:<6} {m.name:<13} {m.size:>12,} bytes")
        lines = (root / "owner" / "result.QT.glm.linear").read_text().splitlines()
        print(f"owner  : {len(lines) - 1} rows, verified" + (f", in {root / 'owner'}" if directory else ""))


if __name__ == "__main__":
    main()
