"""Cohorts: a simulated one that every test can use, and those with reference results; skips are counted."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from forked_roles import Nursery
from hypothesis import settings
from object_stores import attacked, attackers, flaky, google_stand_in, gs, memory, no_pause, s3, stand_in, store  # noqa: F401
from order import pytest_collection_modifyitems  # noqa: F401
from reference_data import Reference
from skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401
from support import Cohort, simulate

import securegen as sg
from securegen.engines.ckks.owner import retirement
from securegen.io import envelope
from securegen.local import processes

# A shared machine has no deadlines, and the same tree has the same examples; `make fuzz` draws others.
settings.register_profile("tests", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def passphrases_cost_little(monkeypatch):
    """What is tested of key files does not depend on how long a passphrase takes."""
    monkeypatch.setattr(envelope, "COST", envelope.DRAWN_COST)


@pytest.fixture(autouse=True)
def marks_do_not_outlive_a_test(monkeypatch, tmp_path_factory):
    """A test that retires a key which others use too leaves no mark of it in the shared owner's folder, or the user's."""
    retired = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{os.urandom(8).hex()}"))
    retire = retirement._retire

    def remembered(key, owner, reason):
        retired.append((key, owner))
        retire(key, owner, reason)

    monkeypatch.setattr(retirement, "_retire", remembered)
    monkeypatch.setattr(retirement, "_here", set())
    yield
    for key, owner in retired:
        retirement.marks(key, owner)[0].unlink(missing_ok=True)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def forked_roles(nursery):
    """Roles that a module starts are forks of a process that has imported the package: for tests of what they compute."""
    nursery.open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "subprocess", nursery)
        yield


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Reference:
    """A cohort with reference results by name, unpacked to a temporary folder; skips where it is absent."""
    return Reference(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="session")
def gold(reference) -> Callable[[str, str], pd.DataFrame]:
    """(cohort, file without .gz) -> frame of reference results, indexed by variant id."""

    def read(name: str, file: str) -> pd.DataFrame:
        path = reference(name).gold / f"{file}.gz"
        return pd.read_csv(path, sep="\t", na_values=["NA", "nan"], dtype={"ID": str}).set_index("ID")

    return read


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Cohort:
    """A simulated cohort of 90 people and 1300 variants."""
    return simulate(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_study(small) -> sg.Study:
    """The simulated cohort with the traits QT and QT2."""
    return sg.open_study(small.bfile, pheno=small.pheno, pheno_name=("QT", "QT2"), covar=small.covar)


@pytest.fixture(scope="session")
def small_key(small_study):
    """Two strands of 256 variants per block: two blocks on each of two chromosomes, the second shorter."""
    plan = sg.ckks.plan(small_study)
    parameters = dataclasses.replace(plan.parameters, strands=2)
    assert parameters.block_variants == 512
    return sg.ckks.generate_key(dataclasses.replace(plan, parameters=parameters))


@pytest.fixture(scope="session")
def small_encrypted(small_study, small_key, tmp_path_factory) -> sg.ckks.Encrypted:
    """Encrypted cohort, design and owner's folder of `small_study`. Copy what a test changes."""
    return sg.ckks.encrypt(small_study, small_key, tmp_path_factory.mktemp("encrypted") / "study")


@pytest.fixture(scope="session")
def small_results(small_encrypted, tmp_path_factory) -> Path:
    """What the honest server returned for `small_encrypted`."""
    return sg.ckks.associate(
        small_encrypted.cohort, small_encrypted.design, tmp_path_factory.mktemp("served") / "results"
    )
