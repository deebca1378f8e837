"""Coarser values before anything is computed, and columns that no analysis should have: pure, on the cells of a table.

A number becomes the lower end of its bin, floor(x/k)·k in exact arithmetic; a code, of a column of categories, its first k
characters. A column of whole dates, or of free text, is refused: it names people. Recognised is a whole date by the name of
its column (`DATE_OF_BIRTH`, `dob` …) or by its values, all of them dates; free text by a cell of many letters or words, or
because most people have a value of their own. Numbers are refused only by that name, or as eight digits that all are days.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Final

import numpy as np

from securegen.errors import PolicyError, UsageError
from securegen.vocabulary import MISSING_CATEGORY, is_missing

DATE_RULE, TEXT_RULE = "minimise.date", "minimise.free_text"
_DATES: Final = frozenset(
    {"DOB", "DATEOFBIRTH", "BIRTHDATE", "BIRTHDAY", "DATEBIRTH", "BDATE", "GEBURTSDATUM", "DATEDENAISSANCE", "FECHANACIMIENTO",
     "FECHADENACIMIENTO"}
)  # fmt: skip
_SHAPES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y")
_DIGITS: Final = ("%Y%m%d", "%d%m%Y")
_FIRST, _LAST = 1880, 2100  # years of a whole date that is eight digits
_LEAST: Final = 3  # different dates
LONGEST, MOST_WORDS, MOST_OWN = 40, 5, 20  # characters of a category, words, and different ones before most may be own


def parse_rules(rules: tuple[str, ...] | None) -> dict[str, Fraction]:
    """COL:k -> k by column. Raises UsageError.

    >>> parse_rules(("AGE:5", "BMI:0.5"))
    {'AGE': Fraction(5, 1), 'BMI': Fraction(1, 2)}
    """
    out: dict[str, Fraction] = {}
    for rule in rules or ():
        name, _, width = rule.rpartition(":")
        if not name or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", width, re.ASCII) or not Fraction(width):
            raise UsageError(f"`generalise` {rule!r}: a column and a width are expected, as AGE:5 or REGION:2")
        if name in out:
            raise UsageError(f"`generalise` names {name} twice")
        out[name] = Fraction(width)
    return out


def binned(name: str, cells: np.ndarray, width: Fraction, *, missing_number: bool = True) -> np.ndarray:
    """(R,) text: each number of a column as the lower end of its bin; missing values, and what is not a number, as they are.

    missing_number: −9 is a missing value; a bin that begins there raises UsageError, for its numbers would vanish.
    """
    known: dict[str, str] = {}

    def lower(text: str) -> str:
        if is_missing(text, number=missing_number) or not _is_number(text):
            return text
        edge = Fraction(text) // width * width
        if missing_number and edge == -9:
            raise UsageError(
                f"`generalise` {name}: a bin begins at -9, which is read as missing: choose another width, or "
                "`no_input_missing_phenotype`"
            )
        return repr(float(edge))

    return _texts(
        [known.setdefault(text, lower(text)) if text not in known else known[text] for text in cells.tolist()]
    )


def cut(name: str, cells: np.ndarray, length: Fraction) -> np.ndarray:
    """(R,) text: the first characters of each code. Raises UsageError for a length that is no integer, or a start that
    means missing."""
    if length.denominator != 1:
        raise UsageError(f"`generalise` {name}: a column of categories is cut to a whole number of characters")

    def begin(text: str) -> str:
        if _absent(text):
            return text
        short = text[: int(length)].strip()
        if _absent(short):
            raise UsageError(
                f"`generalise` {name}: a code begins with {short!r}, which is read as missing: give more characters"
            )
        return short

    return _texts([begin(text) for text in cells.tolist()])


def refuse_dates(path: str, name: str, cells: np.ndarray, *, categories: bool) -> None:
    """Raise PolicyError for a column of whole dates. The message repeats no cell."""
    if re.sub("[^A-Z]", "", name.upper()) in _DATES:
        raise PolicyError(f"{DATE_RULE}: {path}: column {name} is called a date of birth: {_INSTEAD}")
    if _all_dates(cells.tolist(), categories=categories):
        raise PolicyError(f"{DATE_RULE}: {path}: every value of column {name} is a whole date: {_INSTEAD}")


def refuse_free_text(path: str, name: str, cells: np.ndarray) -> None:
    """Raise PolicyError for a column of categories that holds free text, or a value of its own for most people."""
    known = [text for text in cells.tolist() if not _absent(text)]
    if any(len(text) > LONGEST or len(text.split()) > MOST_WORDS for text in known):
        raise PolicyError(
            f"{TEXT_RULE}: {path}: column {name} holds text of more than {LONGEST} letters or {MOST_WORDS} words: a category "
            "is a short code"
        )
    own = len(set(known))
    if own > MOST_OWN and 2 * own > len(known):
        raise PolicyError(
            f"{TEXT_RULE}: {path}: column {name} has {own} different values in {len(known)} people: most have one of their own, "
            "which names them; `generalise` it, or leave it out"
        )


_INSTEAD = "give an age or a year in its place"


def refuse_unused(rules: Mapping[str, Fraction], used: set[str]) -> None:
    """Raise UsageError for a column that is named and not used: a name that is misspelt would leave another as it is."""
    absent = [name for name in rules if name not in used]
    if absent:
        raise UsageError(
            f"`generalise` {absent[0]}: no phenotype or covariate in use has this name; there are {', '.join(sorted(used))}"
        )


def _all_dates(cells: list[str], *, categories: bool) -> bool:
    eight = re.compile("[0-9]{8}", re.ASCII).fullmatch
    if not categories and not all(eight(text) or _absent(text) for text in cells):  # the first number ends it
        return False
    known = [text for text in cells if not _absent(text)]
    if len(set(known)) < _LEAST:
        return False
    if all(eight(text) for text in known):
        return any(all(_is_day(text, shape) for text in known) for shape in _DIGITS)
    return categories and any(all(_is_day(text, shape) for text in known) for shape in _SHAPES)


def _is_day(text: str, shape: str) -> bool:
    try:
        return _FIRST <= datetime.strptime(text, shape).year <= _LAST
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text and text.strip() == text
    except ValueError:
        return False


def _absent(text: str) -> bool:
    return is_missing(text) or text.lower() == MISSING_CATEGORY


def _texts(values: list[str]) -> np.ndarray:
    out = np.empty(len(values), object)
    out[:] = values
    return out
