"""Kernels are compiled for a user who may write neither beside the package nor in a home, and by two processes at once."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import caching

import securegen.kernels  # noqa: F401

KERNEL = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import numpy as np
from securegen.kernels.rounded_products import rounded_products
print(os.environ["NUMBA_CACHE_DIR"], rounded_products(np.ones(2), np.ones((2, 1)), 4.0), flush=True)
"""
NUMBA = """
from numba import njit
njit(cache=True)(os.path.join)
"""


@pytest.mark.parametrize("code, works", [(NUMBA, False), (KERNEL, True)], ids=["numba", "securegen"])
def test_kernels_find_a_place_where_numba_has_none(code, works, tmp_path):
    """Numba alone refuses to load them. The place is this process's own and goes with it."""
    environment = os.environ | {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": f"{os.devnull}/kernels",
        "TMPDIR": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", f"import os\n{code}"], env=environment, capture_output=True, text=True, check=False
    )
    if not works:
        assert done.returncode and "no locator available" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    place, total = done.stdout.split()
    assert Path(place).parent == tmp_path and total == "[8]"
    assert "compiling kernels, at every start: set NUMBA_CACHE_DIR" in done.stderr
    assert list(tmp_path.iterdir()) == []


def as_it_comes():
    """Numba's class without what this package puts in."""
    spec = importlib.util.spec_from_file_location("numbas_caching", caching.__file__)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.IndexDataCacheFile


@pytest.mark.parametrize("safe", [True, False])
def test_of_two_processes_that_compile_at_once_none_loads_the_others_code(safe, tmp_path, monkeypatch):
    """The second writes what it made while the first does."""
    kind = caching.IndexDataCacheFile if safe else as_it_comes()
    one, other, later = (kind(str(tmp_path), "kernel", "stamp") for _ in range(3))
    kept = one._save_data

    def meanwhile(name, data):
        monkeypatch.setattr(other, "_load_index", dict)  # it has read the index before
        other.save("int8", "code of int8")
        kept(name, data)

    monkeypatch.setattr(one, "_save_data", meanwhile)
    one.save("int16", "code of int16")
    found = {key: later.load(key) for key in ("int8", "int16")}
    assert (found == {key: f"code of {key}" for key in found}) is safe, found
    assert safe or found["int8"] == "code of int16"


SAVES = """
import sys
from numba.core.caching import IndexDataCacheFile
import securegen.kernels
file = IndexDataCacheFile(sys.argv[1], "kernel", "stamp")
print("ready", flush=True)
sys.stdin.readline()
for i in range(60):
    file.save(sys.argv[2] + str(i), i)
"""


def test_the_index_loses_nothing_of_processes_that_compile_at_once(tmp_path):
    calls = [[sys.executable, "-c", SAVES, tmp_path, name] for name in "ab"]
    running = [subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for c in calls]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n"), process.stdin.flush()
    assert [process.communicate()[0] for process in running] == ["", ""] and not any(p.returncode for p in running)
    index = caching.IndexDataCacheFile(str(tmp_path), "kernel", "stamp")._load_index()
    assert len(index) == len(set(index.values())) == 120
