"""Roles under a broken disk and a clock that jumps: forks of a process into which faults.c was loaded."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_world import CHAIN, small_world
from forked_roles import Nursery
from kill_world import World

WARM = Path(__file__).with_name("kill_warm.py")
ALONE = {"NUMBA_NUM_THREADS": "1", "_NURSERY_WARM": str(WARM)}


@pytest.fixture(scope="session")
def warm_nursery() -> Iterator[Nursery]:
    """Starts roles that need compile and import nothing."""
    forks = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ALONE.items():
            patch.setenv(name, value)
        forks.open()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def broken_machine(tmp_path_factory) -> Iterator[Nursery]:
    """Starts roles that have faults.c in them."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for faults of disk and clock")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    forks = Nursery()
    forks.library = library
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ALONE | {"LD_PRELOAD": str(library)}).items():
            patch.setenv(name, value)
        forks.open()
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def chain(broken_machine, tmp_path_factory) -> World:
    """A folder in which a cohort was encrypted, computed on and decrypted; tests set it back to that."""
    world = small_world(tmp_path_factory.mktemp("chain"), broken_machine)
    for line in CHAIN:
        done = world.run(line)
        assert done.code == 0, f"{line}: {done.said}"
    world.keep()
    return world


@pytest.fixture
def steady(chain) -> Iterator[World]:
    """That folder as it was."""
    yield chain
    chain.restore()
