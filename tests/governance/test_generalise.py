"""Coarser values, and columns that name people: exact bins, no number that vanishes, no ordinary column refused."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from securegen.errors import PolicyError, UsageError
from securegen.governance.generalise import binned, cut, parse_rules, refuse_dates, refuse_free_text


def cells(*values: object) -> np.ndarray:
    return np.array([str(v) for v in values], object)


def test_a_number_is_the_lower_end_of_its_bin_exactly():
    """0.3 / 0.1 is 2.999… in float64: its bin is 0.3 all the same."""
    assert binned("X", cells("0.3", "0.29", "-0.05", "1e1"), Fraction("0.1")).tolist() == ["0.3", "0.2", "-0.1", "10.0"]
    rng = np.random.default_rng(3)
    tenths = rng.integers(-9000, 9000, 300)
    found = binned("X", cells(*(f"{t / 10:.1f}" for t in tenths)), Fraction(5), missing_number=False)
    assert [float(x) for x in found] == [float(5 * math.floor(Fraction(int(t), 50))) for t in tenths]


def test_missing_values_and_words_stay_as_they_are():
    assert binned("X", cells("NA", "", "-9", "abc", "1_0", "inf"), Fraction(5)).tolist() == [
        "NA",
        "",
        "-9",
        "abc",
        "1_0",
        "inf",
    ]
    assert binned("X", cells("-9"), Fraction(5), missing_number=False).tolist() == ["-10.0"]
    assert cut("R", cells("SE21", "NA", "none", "N", "9"), Fraction(2)).tolist() == ["SE", "NA", "none", "N", "9"]


def test_no_value_becomes_missing():
    for wrong in (lambda: binned("X", cells("-3"), Fraction(9)), lambda: cut("R", cells("NAPLES"), Fraction(2))):
        with pytest.raises(UsageError, match="read as missing"):
            wrong()


@pytest.mark.parametrize(
    "rule",
    [
        "AGE",
        "AGE:",
        ":5",
        "AGE:0",
        "AGE:-5",
        "AGE:x",
        "AGE:1e1",
        "AGE:0.0",
        "AGE:\N{ARABIC-INDIC DIGIT TWO}",
        "AGE: 5",
        "",
    ],
)
def test_a_rule_is_a_column_and_a_width(rule):
    with pytest.raises(UsageError):
        parse_rules((rule,))


def test_a_column_may_hold_a_colon_and_stands_once():
    assert parse_rules(("a:b:2.5",)) == {"a:b": Fraction(5, 2)} and parse_rules(None) == {}
    with pytest.raises(UsageError, match="twice"):
        parse_rules(("A:2", "A:3"))
    with pytest.raises(UsageError, match="whole number"):
        cut("R", cells("ab"), Fraction("1.5"))


@pytest.mark.parametrize("name", ["DOB", "dob", "Date_of_Birth", "birth-date", "BIRTHDAY", "Geburtsdatum"])
def test_a_date_of_birth_is_known_by_its_name(name):
    with pytest.raises(PolicyError, match="minimise.date"):
        refuse_dates("t", name, cells(1, 2), categories=False)


def test_whole_dates_are_known_by_their_values():
    for values in (cells("19850302", "NA", "19720101", "20001231"), cells("02031985", "31121999", "15061960")):
        for categories in (False, True):
            with pytest.raises(PolicyError, match="whole date"):
                refuse_dates("t", "X", values, categories=categories)
    for form in ("%s-%s-%s", "%s/%s/%s"):
        with pytest.raises(PolicyError, match="whole date"):
            refuse_dates(
                "t",
                "X",
                cells(form % (1985, "03", "02"), form % (1972, "01", "31"), form % (1990, 12, 24)),
                categories=True,
            )


def test_no_ordinary_column_is_refused():
    rng = np.random.default_rng(1)
    people = 2000
    ordinary = {
        "AGE": rng.integers(18, 95, people), "YEAR": rng.integers(1930, 2005, people), "BMI": rng.normal(27, 4, people).round(2),
        "INCOME": rng.integers(10_000_000, 99_999_999, people), "COUNT": rng.integers(19_000_000, 20_300_000, people),
        "PC1": rng.normal(0, 0.01, people), "SEX": rng.integers(1, 3, people), "STEPS": np.full(people, 20200101),
        "DOBUTAMINE": rng.integers(0, 2, people), "BIRTHWEIGHT": rng.integers(900, 5200, people), "BIRTH_YEAR": [1980] * people,
    }  # fmt: skip
    for name, values in ordinary.items():
        refuse_dates("t", name, cells(*values), categories=False)
    codes = {
        "SITE": rng.integers(0, 30, people),
        "COUNTRY": ["New South Wales", "Île-de-France"] * 1000,
        "BATCH": [f"b{i % 300}" for i in range(people)],
    }
    for name, values in codes.items():
        refuse_dates("t", name, cells(*values), categories=True)
        refuse_free_text("t", name, cells(*values))


def test_free_text_is_known_by_its_length_or_by_being_of_one_person():
    for values in (
        cells("a", "x" * 41),
        cells("a", "one two three four five six"),
        cells(*(f"p{i}" for i in range(40))),
    ):
        with pytest.raises(PolicyError, match=r"minimise\.free_text") as caught:
            refuse_free_text("t", "NOTE", values)
        assert "six" not in str(caught.value) and "p3" not in str(caught.value)
