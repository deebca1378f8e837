"""The proof of scale: cohorts have the frequencies and missing calls they were asked for, formulas are found again."""

from __future__ import annotations

import cohort
import numpy as np
import pytest
import record
import scale_bytes
import scale_formulas as formulas
import scale_page as page

import securegen as sg
from securegen.io.plink1 import read_plink


def test_a_cohort_is_what_it_was_asked_for(tmp_path):
    cohort.write_cohort(tmp_path / "c", 4001, 60, missing=0.1)
    block = read_plink(tmp_path / "c").read(0, 60)
    wanted = np.random.default_rng(0).uniform(0.05, 0.5, 60)
    called = ~block.missing
    seen = (block.dosage * called).sum(axis=1) / (2 * called.sum(axis=1))
    assert np.abs(seen - wanted).max() < 0.03 and abs(block.missing.mean() - 26 / 256) < 0.01
    assert np.abs(np.corrcoef(block.dosage.astype(float)) - np.eye(60)).max() < 0.1
    cohort.write_cohort(tmp_path / "d", 4001, 60, seed=2, people_from=4001)
    assert not set(read_plink(tmp_path / "d").samples.iid) & set(read_plink(tmp_path / "c").samples.iid)
    study = sg.open_study(
        tmp_path / "d", pheno=tmp_path / "d.pheno.tsv", pheno_name="QT", covar=tmp_path / "d.covar.tsv"
    )
    assert len(sg.run(study).frame) == 60


def test_a_cohort_of_the_command_line_has_the_columns_it_names(tmp_path, monkeypatch):
    words = ["samples=40", "variants=8", "seed=2", "people_from=40", "covariates=3"]
    monkeypatch.setattr("sys.argv", ["cohort.py", str(tmp_path / "c"), *words])
    cohort.main()
    head, first, *_ = (tmp_path / "c.covar.tsv").read_text().splitlines()
    assert head.split("\t") == ["#FID", "IID", "C1", "C2", "C3"] and first.startswith("P40\t")
    assert len((tmp_path / "c.weights.tsv").read_text().splitlines()) == 9
    assert len(read_plink(tmp_path / "c").variants) == 8


def told(terms: list[float]) -> dict:
    shapes = [(1_000, 10_000), (1_000, 40_000), (4_000, 10_000), (16_000, 10_000), (4_000, 40_000)]
    keys = ("cpu_seconds", "disk_bytes", "seconds", "peak_bytes")

    def study(n: int, m: int) -> dict:
        values = dict.fromkeys(keys, float(np.dot(terms, [1, n, m, n * m])))
        steps, planned = dict.fromkeys(formulas.STEPS, values), dict.fromkeys(formulas.STEPS, {"memory_bytes": 1e9})
        return {"samples": n, "variants": m, "columns": 14, "steps": steps, "planned": planned}

    about = {"processor": "A processor", "cores": 2, "commit": "0123456789ab"}
    kinds = {"grid": shapes, "chromosomes": [(5_000, 50_000), (5_000, 100_000)]}
    return {
        kind: {"measured": about, "studies": [study(*shape) for shape in of_kind]} for kind, of_kind in kinds.items()
    }


@pytest.mark.parametrize("terms", [[2.0, 1e-5, 2e-5, 5e-9], [3.0, 0.0, 0.0, 1e-8]], ids=["all", "genotypes"])
def test_formulas_are_those_that_made_the_numbers(terms):
    found, error = formulas.fitted(formulas.rows_of(told(terms)), "encrypt", "cpu_seconds")
    assert found == pytest.approx(terms, rel=1e-6, abs=1e-12) and error < 1e-6
    hours = formulas.value_at(found, formulas.PEOPLE, formulas.VARIANTS) / 3600
    assert f"| {hours:,.0f} |" in "\n".join(page.computed(told(terms)))


@pytest.mark.parametrize("step", scale_bytes.STORED)
def test_bytes_of_the_plan_are_those_that_were_measured(step):
    """From 1,000 × 10,000 to 5,000 × 200,000, two rings, 4 to 64 columns."""
    told = record.read("scale")
    rows = [*formulas.rows_of(told), *formulas.studies(told, "columns")]
    rings = {scale_bytes.plan_at(r["samples"], r["variants"]).parameters.ring.n for r in rows}
    assert len(rows) == 20 and rings == {4096, 8192}
    assert scale_bytes.largest_error(rows, step) < 0.002


def test_what_is_computed_stands_apart():
    made = page.made(told([2.0, 1e-5, 2e-5, 5e-9]))
    assert "fitted to 7 measured studies" in made.sections["curves"]
    assert "| together |" in made.sections["projection"] and "together" not in made.sections["curves"]
    assert "pictures/projection.svg" in made.sections["projection"] and made.sections["columns"] == ""
    seconds = made.pictures["seconds-people"].data["encrypt"]
    assert [x for x, _ in seconds["measured"]] == [1_000, 4_000, 16_000]
    assert seconds["computed"] == [[formulas.PEOPLE, float(f"{2 + 5 + 0.2 + 5e-9 * 5e9:.4g}")]]
