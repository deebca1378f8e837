"""The examples in the docstrings and in docs/scores.md run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = ("io.pgs_catalog", "match", "score_plan", "score_release")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"securegen.{name}"))
    assert result.attempted > 0 and result.failed == 0


def test_documentation():
    path = Path(__file__).parents[2] / "docs" / "scores.md"
    result = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert result.attempted > 5 and result.failed == 0
