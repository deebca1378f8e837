"""Every cell of every notebook runs, and its output is the stored one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))


@pytest.fixture(scope="module")
def executor():
    spec = importlib.util.spec_from_file_location("execute", HERE / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_runs_from_top_to_bottom(path, executor, monkeypatch):
    monkeypatch.chdir(HERE)  # where Jupyter would start it
    assert executor.execute(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_is_small_and_one_that_jupyter_opens(path):
    notebook = json.loads(path.read_text())
    assert path.stat().st_size < 100_000 and (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        assert cell["id"] and cell["cell_type"] in ("code", "markdown") and isinstance(cell["source"], list)
        assert cell["cell_type"] == "markdown" or {"outputs", "execution_count"} <= set(cell)


def test_the_executor_sees_a_changed_output_and_a_cell_that_raises(executor, tmp_path):
    cell = lambda source, text: {  # noqa: E731
        "cell_type": "code", "source": [source], "execution_count": None,
        "outputs": [{"name": "stdout", "output_type": "stream", "text": [text]}],
    }  # fmt: skip
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": [cell("x = 20\nx + 1", "21\n"), cell("print(x)", "20\n")]}))
    assert executor.execute(path) == [] and executor.main([str(path)]) == 0
    path.write_text(json.dumps({"cells": [cell("x = 20\nx + 1", "22\n")]}))
    assert executor.main([str(path)]) == 1 and executor.main(["--write", str(path)]) == 0
    assert executor.main([str(path)]) == 0
    path.write_text(json.dumps({"cells": [cell("1/0", "")]}))
    with pytest.raises(ZeroDivisionError):
        executor.execute(path)
