"""Reference cohorts for quality control, unpacked once."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

DATA = Path(os.environ.get("SECUREGEN_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
COHORTS = ("cineca", "edge", "fastlmm_toydata", "hail_1kg", "regenie_example", "sim_500x5k")


@pytest.fixture(params=COHORTS)
def any_cohort(request) -> str:
    """Name of a reference cohort."""
    return request.param


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    """name -> prefix of an unpacked PLINK1 fileset."""
    if not DATA.is_dir():
        pytest.skip(f"reference cohorts are not at {DATA}: set SECUREGEN_DATA")
    made: dict[str, str] = {}

    def unpack(name: str) -> str:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            for path in (DATA / name).glob(f"{name}.*"):
                if path.suffix == ".gz":
                    (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
                else:
                    shutil.copy(path, folder)
            made[name] = str(folder / name)
        return made[name]

    return unpack


@pytest.fixture(scope="session")
def frame():
    """path -> table as a frame indexed by variant id; plink2's nan and our NA are both missing."""

    def read(path) -> pd.DataFrame:
        return pd.read_csv(path, sep="\t", na_values=["NA", "nan"], dtype={"ID": str}).set_index("ID")

    return read


@pytest.fixture(scope="session")
def gold(frame):
    """(cohort, file without .gz) -> frame of reference results."""
    return lambda name, file: frame(DATA / name / "gold" / f"{file}.gz")
