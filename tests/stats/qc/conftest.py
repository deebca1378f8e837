"""Reference cohorts for quality control, and tables as frames."""

from __future__ import annotations

import pandas as pd
import pytest

COHORTS = ("cineca", "edge", "fastlmm_toydata", "hail_1kg", "regenie_example", "sim_500x5k")


@pytest.fixture(params=COHORTS)
def any_cohort(request) -> str:
    """Name of a reference cohort."""
    return request.param


@pytest.fixture(scope="session")
def frame():
    """path -> table as a frame indexed by variant id; plink2's nan and our NA are both missing."""

    def read(path) -> pd.DataFrame:
        return pd.read_csv(path, sep="\t", na_values=["NA", "nan"], dtype={"ID": str}).set_index("ID")

    return read
