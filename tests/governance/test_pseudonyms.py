"""Pseudonyms: files join as before, nothing of an id is left, and only the key with the list turns them back."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import Cohort, securegen, write_tsv
from test_architecture import MODULES

import securegen as sg
from securegen.errors import InputError, KeyFileError, PolicyError, StorageError, UsageError
from securegen.governance import pseudonyms

SECRET = b"correct horse battery staple"


@pytest.fixture
def key(tmp_path) -> pseudonyms.PseudonymKey:
    return pseudonyms.make_key(tmp_path / "study.key", passphrase=SECRET)


def test_a_study_of_pseudonyms_has_the_same_table_and_no_id(small: Cohort, key, tmp_path):
    away = tmp_path / "away"
    pseudonyms.make(key, [f"{small.bfile}.fam", small.pheno, small.covar], away)
    for suffix in (".bed", ".bim"):
        shutil.copy(small.bfile + suffix, away)
    moved = {"pheno": away / Path(small.pheno).name, "covar": away / Path(small.covar).name}
    hidden = sg.open_study(away / "cohort", pheno_name="QT", chr="1", **moved)
    plain = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", covar=small.covar, chr="1")
    assert np.array_equal(hidden.design.columns.values, plain.design.columns.values)
    assert sg.run(hidden).frame.equals(sg.run(plain).frame)
    for path in (away / "cohort.fam", *moved.values()):
        words = re.split(r"[\t\n]", path.read_text())
        assert not [w for w in words if re.fullmatch(r"[FI]\d+", w)]


def test_families_parents_and_unknown_ones_stay_apart(key, tmp_path):
    fam = tmp_path / "c.fam"
    fam.write_text("A 1 0 0 1 -9\nA 2 1 0 2 -9\nB 1 0 0 1 -9\n0 3 0 0 0 -9\n")
    (made,) = pseudonyms.make(key, [fam], tmp_path / "away")
    rows = [line.split("\t") for line in made.read_text().splitlines()]
    assert (
        rows[0][0] == rows[1][0] != rows[2][0]
        and rows[0][1] == rows[2][1] == rows[1][2]
        and rows[3][0] == rows[1][3] == "0"
    )
    assert all(re.fullmatch("P[A-Z2-7]{24}", rows[i][1]) for i in range(4)) and [r[4:] for r in rows] == [
        ["1", "-9"], ["2", "-9"], ["1", "-9"], ["0", "-9"],
    ]  # fmt: skip
    assert key.pseudonym("person", "A") != key.pseudonym("family", "A")


def test_results_are_opened_with_key_and_list_alone(key, tmp_path):
    fam = tmp_path / "c.fam"
    fam.write_text("A 1 0 0 1 -9\nB 2 0 0 2 -9\n")
    scores = write_tsv(tmp_path / "s.sscore", ("#FID", "IID", "S_SUM"), [("A", "1", 0.5), ("B", "2", -1)])
    (away,) = pseudonyms.make(key, [scores], tmp_path / "away")
    assert pseudonyms.open_table(key, fam, away, tmp_path / "back.sscore") == 4
    back = tmp_path / "back.sscore"
    assert back.read_text() == scores.read_text() and back.stat().st_mode & 0o077 == 0
    other = pseudonyms.make_key(tmp_path / "other.key")
    few = tmp_path / "few.txt"
    few.write_text("A 1\n")
    for wrong_key, people in ((other, fam), (key, few)):
        with pytest.raises(InputError, match="line [23]: P.* is not a pseudonym") as caught:
            pseudonyms.open_table(wrong_key, people, away, tmp_path / "x")
        assert not (tmp_path / "x").exists() and "0.5" not in str(caught.value)
    with pytest.raises(StorageError, match="exists"):
        pseudonyms.open_table(key, fam, away, back)


def test_a_rotated_key_makes_others_and_opens_both(key, tmp_path):
    people = write_tsv(tmp_path / "p.tsv", ("#FID", "IID", "AGE"), [("A", "1", 40), ("B", "2", 50)])
    (first,) = pseudonyms.make(key, [people], tmp_path / "a")
    with pytest.raises(KeyFileError):
        pseudonyms.rotate(tmp_path / "study.key", passphrase=b"another passphrase here")
    new = pseudonyms.rotate(tmp_path / "study.key", passphrase=SECRET)
    assert pseudonyms.read_key(tmp_path / "study.key", passphrase=SECRET).keys == new.keys and len(new.keys) == 2
    (second,) = pseudonyms.make(new, [people], tmp_path / "b")
    assert first.read_text() != second.read_text()
    for i, table in enumerate((first, second)):
        pseudonyms.open_table(new, people, table, tmp_path / f"back{i}")
        assert (tmp_path / f"back{i}").read_text() == people.read_text()
    with pytest.raises(InputError, match="is not a pseudonym"):
        pseudonyms.open_table(key, people, second, tmp_path / "x")


def test_the_key_is_a_file_of_its_own_kind(key, tmp_path):
    path = tmp_path / "study.key"
    assert path.stat().st_mode & 0o777 == 0o600 and "bytes" in repr(key)
    with pytest.raises(StorageError):
        pseudonyms.make_key(path)
    with pytest.raises(KeyFileError):
        pseudonyms.read_key(path)
    from securegen.engines.ckks.owner.secret_key import read_secret

    with pytest.raises(KeyFileError):
        read_secret(path, passphrase=SECRET)
    raw = path.read_bytes()
    for damaged in (raw[:-1], raw[:-1] + bytes([raw[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(KeyFileError):
            pseudonyms.read_key(path, passphrase=SECRET)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("FID\tIID\tDOB\nA\t1\t1985-01-01\n", PolicyError),
        ("FID\tIID\tSEEN\nA\t1\t2020-01-01\nB\t2\t2020-01-02\nC\t3\t2020-01-03\n", PolicyError),
        ("FID\tIID\tNOTE\nA\t1\tseen by the family's own doctor in the town of X\n", PolicyError),
        ("FID\tIID\tOLD\nA\tI1\tI1\n", InputError), ("AGE\tSEX\n1\t2\n", InputError), ("", InputError),
        ("FID\tIID\tA\nA\t1\n", InputError),
    ],
)  # fmt: skip
def test_what_names_people_beside_the_ids_does_not_leave(text, error, key, tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(error):
        pseudonyms.make(key, [path], tmp_path / "away")
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("form", ["{}", "{}.0", "0{}"])
def test_a_column_that_repeats_ids_which_are_numbers_does_not_leave(form, key, tmp_path, monkeypatch):
    ids = range(1_000_001, 1_000_021)
    rows = [(i, i, form.format(i) if i % 5 else "NA", 30 + i % 40) for i in ids]
    people = write_tsv(tmp_path / "p.tsv", ("#FID", "IID", "EID", "AGE"), rows)
    with pytest.raises(InputError, match="column EID repeats ids"):
        pseudonyms.make(key, [people], tmp_path / "away")
    assert not (tmp_path / "away").exists()
    monkeypatch.setattr(pseudonyms, "_alike", lambda *_: False)  # the protection
    pseudonyms.make(key, [people], tmp_path / "away")
    assert "1000001" in (tmp_path / "away" / "p.tsv").read_text()


def test_all_files_are_read_before_one_is_written(key, tmp_path):
    good = write_tsv(tmp_path / "g.tsv", ("FID", "IID", "AGE"), [("A", "1", 40)])
    bad = write_tsv(tmp_path / "b.tsv", ("AGE",), [(1,)])
    with pytest.raises(InputError):
        pseudonyms.make(key, [good, bad], tmp_path / "away")
    assert not (tmp_path / "away").exists()
    with pytest.raises(UsageError, match="one name"):
        pseudonyms.make(key, [good, good], tmp_path / "away")


def test_the_command_says_counts_and_no_id(tmp_path):
    people = write_tsv(tmp_path / "p.tsv", ("#FID", "IID", "AGE"), [("Fam1", "Pers1", 40)])
    made = securegen("pseudonyms", "make", "--key", tmp_path / "k", "--out", tmp_path / "away", people)
    back = securegen(
        "pseudonyms",
        "open",
        "--key",
        tmp_path / "k",
        "--people",
        people,
        "--out",
        tmp_path / "o",
        tmp_path / "away/p.tsv",
    )
    assert (made.code, back.code) == (0, 0), made.err + back.err
    assert "2 pseudonyms opened" in back.out and "Pers1" not in made.out + made.err + back.out + back.err
    assert (tmp_path / "o").read_text() == people.read_text()


def test_no_code_of_a_server_knows_pseudonyms():
    """One command imports what reads the key, and Python's own door."""
    users = {m for m, path in MODULES.items() if re.search(r"governance(\.| import )pseudonyms", path.read_text())}
    assert users == {"securegen", "securegen.cli.pseudonyms"}
