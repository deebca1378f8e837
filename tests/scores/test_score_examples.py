"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ("pgs_catalog", "match", "integers", "release")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"securegen.scores.{name}"))
    assert result.attempted > 0 and result.failed == 0
