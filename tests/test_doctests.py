"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import securegen

MODULES = [m.name for m in pkgutil.walk_packages(securegen.__path__, "securegen.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name, monkeypatch):
    monkeypatch.chdir(securegen.__path__[0] + "/..")
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = ["securegen.randomness", "securegen.stats.pvalue"]
    assert all(any(t.examples for t in finder.find(importlib.import_module(m))) for m in modules)
