"""--cols in plink2's words."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.errors import UsageError
from securegen.results.chosen_columns import chosen_columns, keep_columns
from securegen.vocabulary import LINEAR_COLUMNS, SCORE_TEST_COLUMNS

pytestmark = pytest.mark.usefixtures("forked_roles")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("chrom,pos,nobs,beta,se,p", "#CHROM POS ID A1 TEST OBS_CT BETA SE P"),
        ("p", "ID A1 TEST P"),
        ("-ci,-log10p,-err", "#CHROM POS ID REF ALT A1 A1_FREQ TEST OBS_CT BETA SE T_STAT P"),
        ("+p,-a1freq", " ".join(c for c in LINEAR_COLUMNS if c != "A1_FREQ")),
        ("maybechrom,l95", "#CHROM ID A1 TEST L95"),
    ],
)
def test_columns_of_a_linear_table(spec, expected):
    assert chosen_columns(spec, LINEAR_COLUMNS) == tuple(expected.split())


def test_columns_that_plink2_does_not_have():
    assert chosen_columns("chisq,mac_case,tz", SCORE_TEST_COLUMNS) == (
        "ID",
        "A1",
        "TEST",
        "MAC_CASE",
        "CHISQ",
        "Z_STAT",
    )


@pytest.mark.parametrize("spec", ["", ",", "beta,,p", "+beta,p", "bet", "+", "BETA"])
def test_a_list_that_means_nothing_is_refused(spec):
    with pytest.raises(UsageError, match="cols"):
        chosen_columns(spec, LINEAR_COLUMNS)


def test_a_file_is_rewritten_as_private_as_it_was(tmp_path: Path):
    table = tmp_path / "t"
    table.write_text("#CHROM\tPOS\tID\tA1\tTEST\tP\n1\t5\trs1\tA\tADD\t0.5\n2\t6\trs2\tC\tADD\tNA\n")
    table.chmod(0o600)
    keep_columns(str(table), "pos,p")
    assert table.read_text() == "#POS\tID\tA1\tTEST\tP\n5\trs1\tA\tADD\t0.5\n6\trs2\tC\tADD\tNA\n"
    assert stat.S_IMODE(table.stat().st_mode) == 0o600


@pytest.mark.parametrize("engine", ["plain", "ckks"])
def test_every_engine_writes_the_chosen_columns(small, tmp_path, engine):
    listed = tmp_path / "some"
    listed.write_text("".join(f"rs{j}\n" for j in range(20)))
    words = [
        "run-local",
        "gwas",
        "--engine",
        engine,
        *small.options(),
        "--extract",
        listed,
        "--cols",
        "chrom,pos,p",
        "--gzip",
    ]
    done = securegen(*words, "--out", tmp_path / "o")
    assert done.code == 0, done.err
    with gzip.open(tmp_path / "o.QT.glm.linear.gz", "rt") as table:
        lines = [line.split("\t") for line in table]
    assert lines[0] == ["#CHROM", "POS", "ID", "A1", "TEST", "P\n"] and len(lines) == 21


def test_chosen_columns_of_results_in_python(small, tmp_path):
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", chr="1")
    (path,) = sg.run(study).write(tmp_path / "x", cols="-ci,-alt")
    assert "L95" not in Path(path).read_text().partition("\n")[0]
