"""What is kept of a run of `make bench`, and the tables that it becomes."""

from __future__ import annotations

import importlib.util
import json

import peers_page
import record

MEASURED = {"processor": "A processor", "cores": 2, "system": "Linux", "python": "3.11.7", "date": "2026-05-04", "load": 0.1,
            "commit": "0123456789ab", "versions": {"plink2": "2.0"}}  # fmt: skip


def report(**seconds: float) -> dict:
    """As pytest-benchmark writes one; the median is twice the shortest round."""
    return {
        "machine_info": {"node": "somebody's"}, "measured": MEASURED,
        "benchmarks": [
            {"name": f"test_{name}", "stats": {"min": s, "median": 2 * s, "rounds": 3, "data": [s]},
             "extra_info": {"work": 10, "more": 1}}
            for name, s in seconds.items()
        ],
    }  # fmt: skip


def test_a_report_says_where_it_was_measured():
    spec = importlib.util.spec_from_file_location("benchmark_hooks", record.HERE / "conftest.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    made = {"benchmarks": []}
    hooks.pytest_benchmark_update_json(made)
    assert made["measured"].keys() == MEASURED.keys() and made["measured"]["cores"] >= 1


def test_a_run_becomes_the_page():
    passes = {"plink2-t2": 0.5, "securegen-t2": 1.0, "plink2-large-t2": 2.0, "securegen-large-t2": 3.0}
    kernels = {"ntt[seal-t1]": 0.1, "ntt[securegen-t1]": 0.02}
    found = peers_page.kept(report(**{f"server_pass[{k}]": v for k, v in passes.items()}, **kernels, audit=2.0))
    assert "somebody" not in json.dumps(found) and found["benchmarks"][0]["extra_info"] == {"work": 10}
    made = peers_page.made(found)
    empty = "".join(f"a\n<!-- {m} -->\nold\n<!-- end of {m} -->\n" for m in ("results", "pass", "others"))
    text = made.written(empty)
    assert "old" not in text and text.count("(A processor, 2 cores, Linux, Python 3.11.7, plink2 2.0; commit") == 3
    assert "| 2,000 × 20,000, complete | 1 s |  | 2 s | 2 × |" in text
    assert "| 10,000 × 50,000, complete | 4 s |  | 6 s | 1.5 × |" in text
    kernels, _, others = (made.sections[m] for m in ("results", "pass", "others"))
    assert "| ntt | seal | 1 | 100 ms |" in kernels and "audit" not in kernels and "| audit |" in others
    assert made.written(text) == text
    assert made.pictures["peers-kernels"].data == {"number-theoretic transform": [["SEAL", 5.0]]}
    assert made.pictures["peers-pass"].data["2,000 × 20,000, complete"] == [["plink2", 0.5]]
    assert "peers-others" not in made.pictures


def test_a_run_with_every_protocol_becomes_their_table():
    def name(task: str, implementation: str, threads: int) -> str:
        test, *sizes = task.split()
        of_column = [s for s in sizes if s.startswith("K")]
        return f"{test}[{'-'.join([implementation, *of_column, f't{threads}', *(s for s in sizes if s not in of_column)])}]"

    seconds = {}
    for task, ours, threads, _ in peers_page.MPC:
        seconds |= {name(task, "crypten", threads): 3.0, name(task, ours, threads): 0.5}
    whole = peers_page.made_of_mpc(peers_page.kept(report(**seconds)))
    assert whole.sections["protocols"].count("| 3 s | 500 ms | 6 × |") == len(peers_page.MPC)
    seconds.popitem()
    assert peers_page.made_of_mpc(peers_page.kept(report(**seconds))).sections == {}


def test_results_of_another_name_are_not_kept(tmp_path):
    import page
    import pytest

    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(SystemExit, match="results are named benchmarks, published, scale, messages"):
        page.keep(tmp_path / "other.json")
