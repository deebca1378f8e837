"""The simulated cohort with all its variants, of which plink2's and regenie's whole-genome results are."""

import gzip
import shutil
from pathlib import Path

import pytest
from reference_data import GOLD
from support import Cohort

import securegen as sg

WHOLE = GOLD / "sim_500x5k" / "whole"


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("whole")
    for suffix in ("bed", "bim"):
        packed = (WHOLE / f"sim_500x5k.{suffix}.gz").read_bytes()
        (folder / f"all.{suffix}").write_bytes(gzip.decompress(packed))
    for suffix in ("fam", "pheno.tsv", "covar.tsv"):
        shutil.copyfile(WHOLE.parent / f"sim_500x5k.{suffix}", folder / f"all.{suffix}")
    base = str(folder / "all")
    return Cohort(base, f"{base}.pheno.tsv", f"{base}.covar.tsv", WHOLE)


@pytest.fixture(scope="session")
def reader(whole):
    return sg.read_plink(whole.bfile)


def unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()
