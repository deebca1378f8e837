"""A small study that faults are put into, from its plan to its table."""

from __future__ import annotations

from pathlib import Path

from forked_roles import Nursery
from kill_world import World
from support import simulate

COHORT = "--bfile cohort --pheno pheno.tsv --covar covar.tsv --pheno-name QT"
KEY = "--key key.secret --passphrase-file pass.txt"
CHAIN = (
    f"plan {COHORT} --out study",
    "keygen --plan study.plan.json --passphrase-file pass.txt --out key",
    f"encrypt {KEY} {COHORT} --out study",
    "gwas --cohort study.cohort --design study.design --public key.public --out served",
    f"decrypt {KEY} --owner study.owner --results served.results --out told",
)


def small_world(base: Path, forks: Nursery) -> World:
    """A folder with 60 people and 260 variants."""
    world = World(base, forks)
    simulate(world.folder, samples=60, variants=260)
    (world.folder / "pass.txt").touch(0o600)
    (world.folder / "pass.txt").write_text("correct horse battery staple\n")
    return world
