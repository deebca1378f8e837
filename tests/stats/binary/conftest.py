"""Reference cohorts with a case/control trait, and one encrypted run of any study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.design.columns import combine
from securegen.design.strata import alone
from securegen.engines.ckks import steps
from securegen.engines.ckks.owner import decrypt
from securegen.engines.ckks.owner.design_secrets import read_secrets
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.plain.engine import write_plain
from securegen.study.opening import Study, open_study

BINARY_COHORTS = ("cineca", "edge", "hail_1kg", "regenie_example", "sim_500x5k")


@pytest.fixture(params=BINARY_COHORTS)
def binary_cohort(request) -> str:
    """Name of a reference cohort with a case/control trait CC."""
    return request.param


@pytest.fixture(scope="session")
def plink19(reference):
    """(cohort, file without .gz) -> frame of a table of plink 1.9, indexed by variant id."""

    def read(name: str, file: str) -> pd.DataFrame:
        path = reference(name).gold / f"{file}.gz"
        return pd.read_csv(path, sep=r"\s+", na_values="NA", dtype={"SNP": str, "AFF": str}).set_index("SNP")

    return read


@pytest.fixture(scope="session")
def open_cohort(reference):
    """(cohort, options of open_study) -> Study of its trait CC with its covariates."""

    def open_named(name: str, **options) -> Study:
        cohort = reference(name)
        named = {"pheno": cohort.pheno, "pheno_name": ("CC",), "covar": cohort.covar}
        return open_study(cohort.bfile, **(named | options))

    return open_named


@pytest.fixture(scope="session")
def together():
    """Studies of one cohort -> one study with the designs of all, so that a single encryption serves every test."""

    def combined(*studies: Study) -> Study:
        design = combine([s.design for s in studies], share=True)
        return replace(studies[0], strata=alone(design, len(studies[0].reader.variants)))

    return combined


@pytest.fixture
def encrypted_run(tmp_path):
    """study -> (prefix of the tables decrypted from an encrypted run, sums of every block)."""

    def run(study: Study, **options):
        key = steps.generate_key(steps.plan(study))
        made = steps.encrypt(study, key, tmp_path / "study")
        results = steps.associate(made.cohort, made.design, tmp_path / "results")
        out = str(tmp_path / "ckks")
        steps.decrypt_tables(results, key, made.owner, out, **options)
        state = OwnerState(made.owner, key)
        info, secrets = read_info(state), read_secrets(state)
        return out, list(decrypt.decrypt(results, state, info, secrets))

    return run


@pytest.fixture
def same_as_plain(tmp_path, encrypted_run):
    """study -> prefix of its plain tables, after asserting that the encrypted run gives the same integers and text."""

    def check(study: Study, **options) -> str:
        out, blocks = encrypted_run(study, **options)
        width = [len(b) for b in blocks]
        for start, block in zip(np.cumsum([0, *width[:-1]]), blocks, strict=True):
            assert block.start == start
        plain = list(sg.Plain().sums(study))
        for stream in ("g", "m", "q"):
            ours, oracle = (np.concatenate([getattr(b, stream) for b in part]) for part in (blocks, plain))
            np.testing.assert_array_equal(ours, oracle)
        tables = write_plain(study, str(tmp_path / "plain"), **options)
        assert tables
        for table in tables:
            path = Path(table.path)
            assert path.read_text() == Path(out + path.name.removeprefix("plain")).read_text()
        return str(tmp_path / "plain")

    return check


def read_frame(path: str) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="NA", dtype={"ID": str, "ERRCODE": str}).set_index("ID")


@pytest.fixture(scope="session")
def frame():
    """path -> result table as a frame indexed by variant id."""
    return read_frame
