"""Cohorts with reference results: the simulated ones of tests/gold, and others where they are on the machine.

tests/gold/SOURCES.md says how each table was made. SECUREGEN_DATA names the folder of the other cohorts, which are
not ours to copy; without it, `shared/data` beside the repository is looked for.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from skips import ABSENT
from support import Cohort

GOLD = Path(__file__).parent / "gold"
OUTSIDE = Path(os.environ.get("SECUREGEN_DATA") or Path(__file__).parents[2] / "shared" / "data")
OUTSIDE_NAMES = ("cineca", "fastlmm_toydata", "hail_1kg", "regenie_example", "scores")


class Reference:
    """Finds a cohort by name: in the repository first, then in the outside folder; skips the test otherwise."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._opened = folder, {}

    def source(self, name: str, *, whole: bool = False) -> Path:
        """Folder of a cohort as it is stored, or of files that belong to none.

        whole: the uncut cohort where it is on the machine, the repository's elsewhere.
        """
        for root in (OUTSIDE, GOLD) if whole else (GOLD, OUTSIDE):
            if (root / name).is_dir():
                return root / name
        if name not in OUTSIDE_NAMES:
            raise LookupError(f"no cohort {name} in {GOLD}")
        pytest.skip(f"{name} is {ABSENT}")

    def __call__(self, name: str, *, whole: bool = False) -> Cohort:
        """The cohort with every file of its folder unpacked: NAME.bed, .bim, .fam, .pheno.tsv, .covar.tsv, .prs.tsv."""
        source = self.source(name, whole=whole)
        if source not in self._opened:
            folder = self._folder / source.parent.name / name
            folder.mkdir(parents=True)
            for path in source.glob(f"{name}.*"):
                packed = path.suffix == ".gz"
                data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
                (folder / (path.stem if packed else path.name)).write_bytes(data)
            base = str(folder / name)
            self._opened[source] = Cohort(base, f"{base}.pheno.tsv", f"{base}.covar.tsv", source / "gold")
        return self._opened[source]
