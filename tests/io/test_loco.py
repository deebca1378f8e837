"""Predictions as regenie's step 1 writes them: right values for the right people, and every other form refused."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from securegen.errors import InputError
from securegen.io.loco import read_offsets, read_prediction_list
from securegen.model import Samples


def samples(*people: str, families: bool = True) -> Samples:
    text = lambda values: np.array(values, object)  # noqa: E731
    fid = text([p.split("_")[0] if families else "0" for p in people])
    return Samples(fid, text([p.split("_")[-1] for p in people]), np.ones(len(people), bool))


def lines(people: str = "F1_A F2_B F9_Z", chromosomes: range = range(1, 24)) -> list[str]:
    width = len(people.split())
    return [f"FID_IID {people}", *(" ".join([str(c), *(f"{c}.{j}" for j in range(width))]) for c in chromosomes)]


def written(path, rows):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_people_are_matched_by_both_ids(tmp_path):
    rows = lines()
    rows[2] = "2 0.5 NA -7"
    found = read_offsets(written(tmp_path / "a.loco", rows), samples("F2_B", "F3_C", "F1_A"))
    assert found.unknown == 1
    np.testing.assert_array_equal(found.of("1"), [1.1, np.nan, 1.0])
    np.testing.assert_array_equal(found.of("2"), [np.nan, np.nan, 0.5])
    np.testing.assert_array_equal(found.of("X"), [23.1, np.nan, 23.0])


@pytest.mark.parametrize("people", ["A B", "0_A 0_B", "A_A B_B"])
def test_a_cohort_without_families(tmp_path, people):
    found = read_offsets(written(tmp_path / "a.loco", lines(people)), samples("B", "A", families=False))
    np.testing.assert_array_equal(found.of("22"), [22.1, 22.0])


def test_a_packed_file(tmp_path):
    path = tmp_path / "a.loco.gz"
    path.write_bytes(gzip.compress(("\n".join(lines()) + "\n").encode()))
    (tmp_path / "a_pred.list").write_text("QT a.loco\n")
    (found,) = read_prediction_list(tmp_path / "a_pred.list").values()
    assert read_offsets(found, samples("F1_A")).of("3")[0] == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "does not begin with FID_IID"),
        (lambda rows: rows[:-1], "no line for chromosome 23"),
        (lambda rows: [*rows, rows[5]], "'5': each chromosome"),
        (lambda rows: [rows[0], "1 0.5 0.5", *rows[2:]], "line 2 has 3 fields, the first line 4"),
        (lambda rows: [rows[0], "1 0.5 x 0.5", *rows[2:]], "line 2 holds something"),
        (lambda rows: [rows[0], "1 0.5 inf 0.5", *rows[2:]], "line 2 holds a prediction beyond"),
        (lambda rows: [rows[0].replace("F9_Z", "F1_A"), *rows[1:]], "two columns for one person: column 4"),
        (lambda rows: [rows[0].replace(" F", " G"), *rows[1:]], "none of its 3 people"),
    ],
)
def test_another_form_is_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_offsets(written(tmp_path / "a.loco", change(lines())), samples("F1_A", "F2_B"))


def test_ids_that_join_alike_are_refused(tmp_path):
    cohort = Samples(np.array(["F1", "F1_A"], object), np.array(["A_B", "B"], object), np.ones(2, bool))
    with pytest.raises(InputError, match="person 2 and another of the genotype file have one name"):
        read_offsets(written(tmp_path / "a.loco", lines("F1_A_B")), cohort)


@pytest.mark.parametrize(
    ("text", "message"),
    [("QT\n", "a phenotype and a .loco file"), ("", "names no phenotype"), ("QT b.loco\n", "there is no file b.loco"),
     ("QT a.loco\nQT a.loco\n", "line 2: phenotype QT has a file already")],
)  # fmt: skip
def test_a_list_that_cannot_be_used(tmp_path, text, message):
    written(tmp_path / "a.loco", lines())
    (tmp_path / "p.list").write_text(text)
    with pytest.raises(InputError, match=message):
        read_prediction_list(tmp_path / "p.list")


@pytest.mark.parametrize(
    ("cohort", "people"), [("A A_A B", "A_A A_A_A_A B_B"), ("A 0_A B", "0_A 0_0_A 0_B"), ("A B C", "A 0_B C_C")]
)
def test_columns_that_may_be_two_people_are_refused(tmp_path, cohort, people):
    """Without family ids A_A may be IID A_A, or IID A in a family of its own: everybody else's predictions would be lost, and
    one person would have another's."""
    iid = np.array(cohort.split(), object)
    without = Samples(np.full(len(iid), "0", object), iid, np.ones(len(iid), bool))
    with pytest.raises(
        InputError,
        match="which has no family ids, and column .* may be an IID in another way: whom",
    ):
        read_offsets(written(tmp_path / "a.loco", lines(people)), without)


def test_a_name_in_two_folders_and_a_file_of_two_phenotypes(tmp_path, monkeypatch):
    """A relative name is looked for beside the list and here: two different files of it are two models."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    listed = tmp_path / "s_pred.list"
    listed.write_text("QT\ts_1.loco\n")  # by hand, with a tab
    (tmp_path / "s_1.loco").write_text("beside the list")
    assert read_prediction_list(listed)["QT"].samefile(tmp_path / "s_1.loco")
    (here / "s_1.loco").symlink_to(tmp_path / "s_1.loco")
    assert read_prediction_list(listed)["QT"].samefile(tmp_path / "s_1.loco")
    (here / "s_1.loco").unlink()
    (here / "s_1.loco").write_text("of another run")
    with pytest.raises(InputError, match="line 1: .*s_1.loco is there, and s_1.loco too: which one is meant"):
        read_prediction_list(listed)
    listed.write_text(f"QT {tmp_path}/s_1.loco\nQ2 {tmp_path}/here/../s_1.loco\n")
    with pytest.raises(InputError, match="line 2: .* is the file of phenotype QT already"):
        read_prediction_list(listed)


def test_blanks_of_other_scripts_are_letters(tmp_path):
    (tmp_path / "a b.loco").touch()
    listed = written(tmp_path / "pred.list", ["T\u00a01 \ta b.loco", ""])
    assert read_prediction_list(listed) == {"T\u00a01": tmp_path / "a b.loco"}
