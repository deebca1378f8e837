"""Phenotype and covariate tables, and joining them to samples: every accepted form, every refusal with file and line."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
import zstandard
from support import text_array

from securegen.errors import DesignError, InputError, UsageError
from securegen.io.table_numbers import parse_numbers
from securegen.io.tables import read_ids, read_names, read_table
from securegen.model import Samples
from securegen.study import people as align

PLINK2 = "#FID\tIID\tQT\tAGE\nF1\tI1\t1.5\t40\nF2\tI2\tNA\t41\n"


@pytest.fixture
def file(tmp_path):
    def write(content, name: str = "pheno.tsv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def samples(*people: tuple[str, str]) -> Samples:
    fid, iid = zip(*people, strict=True)
    return Samples(text_array(fid), text_array(iid), np.ones(len(iid), bool))


THREE = samples(("F1", "I1"), ("F2", "I2"), ("F3", "I3"))


@pytest.mark.parametrize(
    "content",
    [
        PLINK2,
        PLINK2.replace("#FID", "FID"),  # regenie
        PLINK2.replace("\t", "  "),
        PLINK2.replace("\n", "\r\n"),
        "\ufeff" + PLINK2,
        "## a comment\n\n" + PLINK2 + "\n",
        gzip.compress(PLINK2.encode(), mtime=0),
        zstandard.compress(PLINK2.encode()),
    ],
)
def test_every_written_form_is_the_same_table(file, content):
    table = read_table(file(content))
    assert table.fid.tolist() == ["F1", "F2"] and table.iid.tolist() == ["I1", "I2"]
    assert list(table.columns) == ["QT", "AGE"] and parse_numbers(table, "AGE").tolist() == [40, 41]
    np.testing.assert_array_equal(parse_numbers(table, "QT"), [1.5, np.nan])


def test_a_table_without_family_ids(file):
    table = read_table(file("#IID\tQT\nI3\t2\nI1\t1\n"))
    assert table.fid is None
    joined = align.join(THREE, table)
    np.testing.assert_array_equal(align.column_values(table, "QT", joined), [1, np.nan, 2])


@pytest.mark.parametrize("text", ["NA", "nan", "NaN", ".", "-9"])
def test_missing_values(file, text):
    assert math.isnan(parse_numbers(read_table(file(f"#IID QT\na {text}\n")), "QT")[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "pheno.tsv is empty"),
        ("\n\n", "pheno.tsv is empty"),
        ("QT AGE\n1 2\n", "line 1: the header must start with '#FID IID', '#IID' or 'FID IID'"),
        ("## c\nI1 1\n", "line 2: the header must start with"),
        ("#FID IID QT\na b 1\nc d\n", "line 3: 2 fields, the header has 3"),
        ("#FID IID QT\na b 1 2\n", "line 2: 4 fields, the header has 3"),
        ("#FID IID QT QT\na b 1 2\n", "column QT appears more than once"),
        ("#FID IID QT\na b 1\nc d 2\na b 3\n", "the person of line 2 is there again, on line 4"),
        (b"\xff\xfe\x00", "is UTF-16 text .*: save it as UTF-8"),
        (gzip.compress(PLINK2.encode(), mtime=0)[:-12], "cannot be read"),
        (zstandard.compress(PLINK2.encode())[:9], "(cannot be read|is empty)"),
    ],
)
def test_broken_tables_name_file_and_line(file, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(file(content))
    assert "pheno.tsv" in str(caught.value)


@pytest.mark.parametrize("text", ["high", "1,5", "0x10", "inf", "-inf", "1e999", "1_0"])
def test_text_in_a_column_of_numbers_names_the_line(file, text):
    table = read_table(file(f"#IID QT\na 1\nb {text}\n"))
    with pytest.raises(InputError, match=rf"pheno.tsv, line 3: column QT holds '{text}', expected a number"):
        parse_numbers(table, "QT")


def test_categories_are_pointed_to_their_option(file):
    with pytest.raises(InputError, match="`covar_categorical`"):
        parse_numbers(read_table(file("#IID SITE\na north\n")), "SITE")


def test_unknown_columns_list_the_known_ones(file):
    table = read_table(file(PLINK2))
    assert list(table.select(("AGE",)).columns) == ["AGE"] and table.select(None) is table
    with pytest.raises(UsageError, match="pheno.tsv has no column BMI; it has QT, AGE"):
        table.select(("AGE", "BMI"))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="none.tsv: no such file"):
        read_table(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read_table(tmp_path)


def test_people_are_joined_on_ids_in_any_order(file):
    table = read_table(file("#FID IID QT\nF3 I3 3\nX X 9\nF1 I1 1\n"))
    joined = align.join(THREE, table)
    assert joined.row.tolist() == [2, -1, 0] and joined.unknown == 1
    np.testing.assert_array_equal(align.column_values(table, "QT", joined), [1, np.nan, 3])


def test_genotypes_without_family_ids_match_on_iid_or_both(file):
    no_family = samples(("0", "I1"), ("0", "F2_I2"), ("0", "I3"))
    table = read_table(file("#FID IID QT\nF1 I1 1\nF2 I2 2\n"))
    assert align.join(no_family, table).row.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    ("people", "content", "message"),
    [
        (
            THREE,
            "#FID IID QT\nF1 I2 1\n",
            r"none of its 1 people is in the genotype file: compare the ids of line 2",
        ),
        (
            samples(("A", "I1"), ("B", "I1")),
            "#IID QT\nI1 1\n",
            "IID of person 2 of the genotype file belongs to another of it",
        ),
        (
            samples(("0", "I1"), ("0", "F1_I1")),
            "#FID IID QT\nF1 I1 1\nF2 I1 2\n",
            "line 2: is a person IID of the genotype file, or FID_IID",
        ),
        (
            samples(("0", "I1"), ("0", "B")),
            "#FID IID QT\nF1 I1 1\nF2 I1 2\n",
            "line 3: this sample is matched by the row of line 2 already",
        ),
        (
            samples(("0", "A_B"), ("0", "F1_A_B")),
            "#FID IID QT\nF1 A_B 1\n",
            "is a person IID of the genotype file, or FID_IID",
        ),
    ],
)
def test_joins_that_cannot_be_trusted_are_refused(file, people, content, message):
    with pytest.raises(InputError, match=f"pheno.tsv.*{message}"):
        align.join(people, read_table(file(content)))


def test_counts_of_what_was_dropped():
    y = np.array([1.0, np.nan, 2.0, 3.0, np.nan])
    c = np.array([[1.0], [1.0], [np.nan], [2.0], [np.nan]])
    mask, counts = align.analysed_samples(y, c, (4, 5))
    assert mask.tolist() == [True, False, False, True, False]
    assert counts == align.DropCounts(5, 2, 1, 2, 4, 5)


@pytest.mark.parametrize(
    ("values", "binary", "coded"),
    [
        ([1, 2, 2, 0, np.nan], True, [0, 1, 1, np.nan, np.nan]),
        ([1, 2, 1], True, [0, 1, 0]),
        ([0, 1, 1], True, [0, 1, 1]),
        ([0, 1, 2.5], False, [0, 1, 2.5]),
        ([0, 3, 1], False, [0, 3, 1]),
    ],
)
def test_case_coding(values, binary, coded):
    phenotype = align.interpret_phenotype("CC", np.array(values, float))
    assert phenotype.binary is binary
    np.testing.assert_array_equal(phenotype.values, coded)


@pytest.mark.parametrize("values", [[1, 1], [2, 2], [0, 2, 2], [7.5, 7.5], [0, 0, np.nan]])
def test_one_value_only_is_refused_and_can_be_forced(values):
    with pytest.raises(DesignError, match=r"phenotype CC takes only the value\(s\) .*`force_01` reads 0/1 by force"):
        align.interpret_phenotype("CC", np.array(values, float))
    with pytest.raises(
        DesignError, match=r"value\(s\) not said \(1, each of fewer than 10 people\): "
    ) as told:  # of one person it is hers
        align.interpret_phenotype("CC", np.array([23.4782, np.nan]))
    assert "23.4" not in str(told.value)
    forced = align.interpret_phenotype("CC", np.array([1.0, 1.0]), force_01=True)
    assert forced.binary and forced.values.tolist() == [1, 1]


def test_a_phenotype_of_nobody_is_refused():
    with pytest.raises(DesignError, match="phenotype QT is missing for every genotyped sample"):
        align.interpret_phenotype("QT", np.full(4, np.nan))


def test_categories_become_indicators(file):
    table = read_table(file("#FID IID SITE\nF1 I1 west\nF2 I2 east\nF3 I3 NA\nX X south\n"))
    columns = align.category_columns(table, "SITE", align.join(THREE, table))
    assert list(columns) == ["SITE=west"]  # only levels of people with genotypes; the first is the reference
    np.testing.assert_array_equal(columns["SITE=west"], [1, 0, np.nan])


def test_groups_of_equal_samples():
    a, b = np.array([True, False]), np.array([True, True])
    assert align.group_by_samples([a, b, a.copy(), b, b]) == [[0, 2], [1, 3, 4]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("F1 I1\nF2 I2\n", [("F1", "I1"), ("F2", "I2")]),
        ("#FID IID SEX\nF1 I1 2\n", [("F1", "I1")]),
        ("#IID\nI1\n\nI2 extra\n", [("I1",), ("I2",)]),
        ("I1\nI2\n", [("I1",), ("I2",)]),
        ("\nF1 I1\n", [("F1", "I1")]),
        ("## made by hand\n#FID\tIID\nF1\tI1\n", [("F1", "I1")]),
        ("", []),
    ],
)
def test_lists_of_samples(file, content, expected):
    assert read_ids(file(content)) == expected


def test_lists_of_variants(file):
    assert read_names(file("rs1\nrs2 0.5\n\n")) == ["rs1", "rs2"]


def test_a_list_that_may_name_two_people_is_refused():
    """FID A, IID B of a VCF's A_B is not IID A_B in family F1."""
    people = samples(("0", "A_B"), ("0", "F1_A_B"), ("0", "C"))
    assert align.match_people(people, [("A_B",)]).tolist() == [True, False, False]
    assert align.match_people(people, [("F1", "C"), ("A", "B")]).tolist() == [True, False, True]
    with pytest.raises(InputError, match="keep.txt: is a person IID of the genotype file, or FID_IID"):
        align.match_people(people, [("F1", "A_B")], "keep.txt")
