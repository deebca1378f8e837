"""Encrypted runs of the tests for binary traits: the same integers and the same text as the plain engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from securegen.study.opening_qc import open_qc

SOME_VARIANTS = 100  # of the larger cohorts: integers are compared one by one, more of them show nothing else


@pytest.fixture
def extract(tmp_path):
    """Path of an --extract file of the first variants of a study."""

    def write(base: str) -> str:
        names = [line.split()[1] for line in Path(f"{base}.bim").read_text().splitlines()][:SOME_VARIANTS]
        path = tmp_path / "extract.txt"
        path.write_text("\n".join(names) + "\n")
        return str(path)

    return write


def test_every_test_of_a_binary_trait(binary_cohort, reference, open_cohort, together, same_as_plain, extract):
    some = extract(reference(binary_cohort).bfile)
    logistic, trend, allelic = (
        open_cohort(binary_cohort, model=model, extract=some) for model in ("logistic", "trend", "allelic")
    )
    quality = open_qc(reference(binary_cohort).bfile, extract=some)
    study = together(logistic, trend, allelic, quality)
    assert [a.test for a in study.design.analyses] == ["logistic", "trend", "allelic", "qc"]
    same_as_plain(study)


@pytest.mark.parametrize("model", ["trend", "allelic"])
def test_a_contingency_test_alone(model, open_cohort, same_as_plain):
    """One-bit columns: the plan must still hold Σg² and a norm of √N."""
    same_as_plain(open_cohort("edge", model=model))
