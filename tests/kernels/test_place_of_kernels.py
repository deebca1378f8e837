"""Kernels are compiled for a user who may write neither beside the package nor in a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
