"""The tables of docs/explanation/benchmarks.md are those of the results that are kept beside the benchmarks."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("page", BENCHMARKS / "page.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def test_the_page_says_what_was_kept(page):
    """After a change of either: python benchmarks/page.py"""
    text = page.PAGE.read_text()
    assert page.written(text, json.loads(page.KEPT.read_text())) == text
    assert "None" not in page.source(json.loads(page.KEPT.read_text()))


def report(**seconds: float) -> dict:
    """As pytest-benchmark writes one; the median is twice the shortest round."""
    return {
        "machine_info": {"node": "somebody's", "cpu": {"brand_raw": "A processor", "count": 2}, "python_version": "3.11.7",
                         "system": "Linux"},
        "commit_info": {"id": "0123456789abcdef", "dirty": False}, "datetime": "2026-05-04T12:00:00",
        "benchmarks": [
            {"name": f"test_{name}", "stats": {"min": s, "median": 2 * s, "rounds": 3, "data": [s]},
             "extra_info": {"work": 10, "more": 1}}
            for name, s in seconds.items()
        ],
    }  # fmt: skip


def test_a_run_becomes_the_page(page, monkeypatch):
    monkeypatch.setattr(page, "versions", lambda: {"plink2": "2.0"})
    passes = {"plink2-t2": 0.5, "securegen-t2": 1.0, "plink2-large-t2": 2.0, "securegen-large-t2": 3.0}
    found = page.kept(
        report(**{f"server_pass[{k}]": v for k, v in passes.items()}, **{"ntt[seal-t1]": 0.1, "audit": 2.0})
    )
    assert "somebody" not in json.dumps(found) and found["commit"] == "0123456789ab"
    marks = ("results", "pass", "others")
    empty = "".join(f"a\n<!-- {m} -->\nold\n<!-- end of {m} -->\n" for m in marks)
    text = page.written(empty, found)
    assert "old" not in text and text.count("A processor, 2 cores, Linux, Python 3.11.7, plink2 2.0;") == 3
    assert "| 2,000 × 20,000, complete | 1 s |  | 2 s | 2 × |" in text
    assert "| 10,000 × 50,000, complete | 4 s |  | 6 s | 1.5 × |" in text
    kernels, _, others = (part.split("<!-- end")[0] for part in text.split(" -->\n\n")[1:])
    assert "| ntt | seal | 1 | 100 ms |" in kernels and "audit" not in kernels and "| audit |" in others
    assert page.written(text, found) == text
    with pytest.raises(ValueError, match="not one <!-- others -->"):
        page.written(text.replace("<!-- others -->", ""), found)
