"""The simulated cohort with all its variants and sets, and three sets of the small cohort."""

from __future__ import annotations

import gzip
import shutil

import pytest
from reference_data import GOLD
from set_files import REGENIE
from support import Cohort


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Cohort:
    source, folder = GOLD / "sim_500x5k", tmp_path_factory.mktemp("masks")
    for suffix in ("bed", "bim"):
        (folder / f"all.{suffix}").write_bytes(
            gzip.decompress((source / "whole" / f"sim_500x5k.{suffix}.gz").read_bytes())
        )
    shutil.copyfile(source / "sim_500x5k.fam", folder / "all.fam")
    for name in ("anno.txt", "sets.txt"):
        (folder / name).write_bytes(gzip.decompress((REGENIE / f"{name}.gz").read_bytes()))
    base = str(source / "sim_500x5k")
    return Cohort(str(folder / "all"), f"{base}.pheno.tsv", f"{base}.covar.tsv", folder)


@pytest.fixture
def sets(small, tmp_path) -> dict[str, str]:
    """Three sets of the first variants of the small cohort, two of which share some."""
    (tmp_path / "anno").write_text(
        "".join(f"rs{j} S{s} {'ab'[j % 2]}\n" for s in range(3) for j in range(9 * s, 9 * s + 12))
    )
    (tmp_path / "sets").write_text(
        "".join(f"S{s} 1 {s + 1} " + ",".join(f"rs{j}" for j in range(9 * s, 9 * s + 12)) + "\n" for s in range(3))
    )
    (tmp_path / "masks").write_text("M1 a\nM2 a,b\n")
    return {"anno_file": f"{tmp_path}/anno", "set_list": f"{tmp_path}/sets", "mask_def": f"{tmp_path}/masks"}
