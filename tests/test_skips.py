"""A whole run says what it skipped, and fails when that is more than it may; a part of the tests may skip what it likes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import skips
from reference_data import Reference

HERE = Path(__file__).parent
SUITE = """
import pytest

@pytest.mark.parametrize("i", range(%d))
def test_absent(i):
    pytest.skip("no tool")

def test_passes():
    pass
"""


@pytest.fixture
def suite(tmp_path):
    """(tests to skip, arguments of pytest) -> exit code and output of a run of another project with these hooks."""

    def run(skipping: int, *arguments: str) -> tuple[int, str]:
        tests = tmp_path / "tests"
        tests.mkdir(exist_ok=True)
        (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
        (tests / "conftest.py").write_text("from skips import pytest_sessionfinish, pytest_terminal_summary\n")
        (tests / "test_it.py").write_text(SUITE % skipping)
        call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"} | {"PYTHONPATH": paths}
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    return run


def test_as_many_as_the_cap_pass_and_one_more_fails(suite):
    code, out = suite(skips.OTHER_CAP)
    assert code == 0 and f"{skips.OTHER_CAP} tests skipped: no tool ×{skips.OTHER_CAP}" in out and "ERROR" not in out
    more = skips.OTHER_CAP + 1
    code, out = suite(more)
    assert code == 1 and f"ERROR: {more} tests skipped for other reasons, at most {skips.OTHER_CAP} may be" in out
    assert "failed" not in out


def test_a_run_in_several_processes_counts_alike(suite):
    pytest.importorskip("xdist")
    more = skips.OTHER_CAP + 1
    code, out = suite(more, "-n", "2")
    assert code == 1 and f"{more} tests skipped: no tool ×{more}" in out and out.count("ERROR") == 1


@pytest.mark.parametrize("arguments", [("-k", "absent"), ("tests/test_it.py",), ("--deselect", "tests/test_it.py::x")])
def test_a_part_of_the_tests_may_skip_what_it_likes(suite, arguments):
    more = skips.OTHER_CAP + 1
    code, out = suite(more, *arguments)
    assert code == 0 and f"{more} tests skipped: no tool ×{more}" in out and "ERROR" not in out


def test_outside_cohorts_have_a_cap_of_their_own():
    counted = Counter({f"cineca is {skips.ABSENT}": skips.OUTSIDE_CAP, "no tool": skips.OTHER_CAP})
    assert skips.excess(counted) == []
    assert len(skips.excess(counted + Counter({f"scores is {skips.ABSENT}": 1}))) == 1
    assert len(skips.excess(counted + Counter({f"scores is {skips.ABSENT}": 1, "needs securegen[vcf]": 1}))) == 2


def test_a_cohort_that_the_repository_should_have_is_never_skipped(tmp_path):
    with pytest.raises(LookupError, match="no cohort sim_5oox5k"):
        Reference(tmp_path)("sim_5oox5k")


def test_every_cohort_of_the_repository_has_its_sources():
    text = (HERE / "gold" / "SOURCES.md").read_text()
    cohorts = [path for path in (HERE / "gold").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {"edge", "sexes", "sim_500x5k"} <= {path.name for path in cohorts}
    for cohort in cohorts:
        assert f"`{cohort.name}`" in text
        for table in cohort.glob("gold*/*"):
            name = table.name.removesuffix(".gz").removesuffix(".tsv").removesuffix(".regenie")
            short = name.replace("np_qt_linear", "")  # `np_qt_linear_cov`, `_cov_meanimp`, `_nocov`
            assert f"`{name}`" in text or f"`{short}`" in text, table
