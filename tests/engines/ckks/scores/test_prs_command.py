"""`securegen prs` and `run-local prs --engine plain`: tables, log, run.json, and clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from securegen.errors import InputError, PolicyError, SecuregenError

GOLD = [
    ("sim_500x5k", "sim_500x5k.prs.tsv", "np_prs_prs", ()),
    ("sim_500x5k", "sim_500x5k.prs.tsv", "np_prs_prs", ("1", "2", "4")),
    ("edge", "edge.prs.tsv", "np_prs_prs", ()),
    ("cineca", "cineca.PGS001229_chr22.tsv", "np_prs_PGS001229_chr22", ()),
]


def read_table(text: str) -> dict[str, list[str]]:
    header, *rows = [line.split("\t") for line in text.splitlines()]
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


@pytest.mark.parametrize(("name", "file", "gold", "columns"), GOLD)
@pytest.mark.parametrize("command", ["prs", "run-local prs --engine plain"])
def test_sums_are_within_the_printed_bound_of_gold(securegen, reference, name, file, gold, columns, command):
    done = securegen(
        *command.split(), "--bfile", reference(name).bfile, "--score", str(reference.source(name) / file), *columns,
        "--out", "o", "--digits", "17", "--allow-small-score", "SCORE1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(Path("o.run.json").read_text())
    want = read_table((reference(name).gold / f"{gold}.tsv").read_text())
    got = read_table(Path("o.sscore").read_text())
    assert got["IID"] == want["IID"]
    difference = np.array(got["SCORE1_SUM"], float) - np.array(want["SCORE_SUM_MEANIMP"], float)
    assert np.abs(difference).max() <= record["promise"]["SCORE1"]["sum_error"] + 1e-11
    assert record["engine"] == "plain" and record["samples"] == len(want["IID"])
    assert {"match", "score", "total"} <= set(record["seconds"])
    assert {"bed", "bim", "fam", "score"} == set(record["inputs"])
    log = Path("o.match.tsv").read_text().splitlines()
    assert sum(row.split("\t")[8] == "1" for row in log[1:]) == sum(
        n for word, n in next(iter(record["match"].values())).items() if word in ("matched", "swapped")
    )


def test_no_mean_imputation_as_plink2_says_it(securegen, small):
    one = securegen("prs", "--bfile", small.bfile, "--score", small.score, "no-mean-imputation", "--out", "a")
    two = securegen("prs", "--bfile", small.bfile, "--score", small.score, "--imputation", "none", "--out", "b")
    other = securegen("prs", "--bfile", small.bfile, "--score", small.score, "--out", "c")
    assert one.exit_code == two.exit_code == other.exit_code == 0
    assert Path("a.sscore").read_text() == Path("b.sscore").read_text() != Path("c.sscore").read_text()


def test_reference_and_risk_columns(securegen, small):
    assert securegen("prs", "--bfile", small.bfile, "--score", small.score, "--out", "panel").exit_code == 0
    done = securegen(
        "prs", "--bfile", small.bfile, "--score", small.score, "--out", "o", "--reference", "panel.sscore",
        "--risk-intercept", "-1.5", "--risk-slope", "0.25",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    table = read_table(Path("o.sscore").read_text())
    total = np.array(table["SCORE1_SUM"], float)
    below = (total[:, None] > total).sum(1) + 0.5
    assert np.allclose(np.array(table["SCORE1_PERCENTILE"], float), 100 * below / len(total), rtol=1e-5)
    assert np.allclose(np.array(table["SCORE1_RISK"], float), 1 / (1 + np.exp(1.5 - 0.25 * total)), rtol=2e-5)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("ID\teffect_allele\nv1\tA\n", InputError, "no column for effect_weight"),
        ("ID\teffect_allele\teffect_weight\nv1\tA\tNaN\n", InputError, "line 2"),
        ("ID\teffect_allele\teffect_weight\nrs1\tA\t1\n", InputError, "0 of 1 rows scored"),
        ("#genome_build=GRCh37\nchr_name\tchr_position\teffect_allele\teffect_weight\n1\t5\tA\t1\n", InputError, "38"),
        ("ID\teffect_allele\teffect_weight\nv0\tA\t1\n", PolicyError, "--allow-small-score"),
    ],
)
def test_bad_scoring_files_give_clear_errors(securegen, small, tmp_path, text, error, says):
    (tmp_path / "bad.tsv").write_text(text)
    done = securegen("prs", "--bfile", small.bfile, "--score", "bad.tsv", "--genome-build", "GRCh38", "--out", "o")
    assert isinstance(done.exception, SecuregenError) and isinstance(done.exception, error)
    assert says in str(done.exception)
    assert not Path("o.sscore").exists()


def test_a_word_after_the_scoring_file_is_named(securegen, small):
    done = securegen("prs", "--bfile", small.bfile, "--score", small.score, "1", "two", "--out", "o")
    assert done.exit_code == 2 and "'two'" in done.output


@pytest.mark.parametrize(
    "command", [("prs",), ("run-local", "prs", "--engine", "ckks", "--private-model", "--imputation", "none")]
)
def test_logs_of_scores_are_for_their_owner_alone(securegen, additive, tmp_path, command):
    """A log has the largest and the smallest score: of one person, and of the only one where there is one."""
    (tmp_path / "keep").write_text("0 P1\n")
    words = ("--bfile", additive.bfile, "--keep", "keep", "--score", additive.score, "--out", "o/s")
    made = securegen(*command, *words)
    assert made.exit_code == 0, made.output
    log = (tmp_path / "o" / "s.log").read_text()
    assert f"SCORE1: mean {(value := log.split('SCORE1: mean ')[1].split(',')[0])}, from {value} to {value}" in log
    for name in ("s.log", "s.run.json", "s.sscore"):
        assert (tmp_path / "o" / name).stat().st_mode & 0o777 == 0o600, name
