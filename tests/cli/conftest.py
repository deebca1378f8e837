"""One study through the commands, step by step, as its parties would run them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Cohort, Finished, securegen


@dataclass(frozen=True)
class Steps:
    """Folders of the two parties, and how each command ended."""

    owner: Path
    server: Path
    done: dict[str, Finished]

    @property
    def key(self) -> list[str]:
        return ["--key", str(self.owner / "key.secret"), "--passphrase-file", str(self.owner / "passphrase")]


@pytest.fixture(scope="session")
def steps(small: Cohort, tmp_path_factory) -> Steps:
    folder = tmp_path_factory.mktemp("steps")
    owner, server = folder / "owner", folder / "server"
    owner.mkdir()
    server.mkdir()
    (owner / "passphrase").write_text("one two three\n")
    (owner / "passphrase").chmod(0o600)
    done: dict[str, Finished] = {}

    def run(name: str, *arguments: object) -> None:
        done[name] = securegen(name, *arguments)
        assert done[name].code == 0, done[name].err

    study = small.options("QT,QT2")
    run("plan", *study, "--out", owner / "study")
    run(
        "keygen", "--plan", owner / "study.plan.json", "--passphrase-file", owner / "passphrase", "--out", owner / "key"
    )
    steps = Steps(owner, server, done)
    run("encrypt", *steps.key, *study, "--out", owner / "study")
    for part in ("cohort", "design"):
        os.rename(owner / f"study.{part}", server / f"study.{part}")  # all that travels
    run("gwas", "--cohort", server / "study.cohort", "--design", server / "study.design", "--out", server / "study")
    run(
        "decrypt",
        *steps.key,
        "--owner",
        owner / "study.owner",
        "--results",
        server / "study.results",
        "--out",
        owner / "final",
    )
    return steps
