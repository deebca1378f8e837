"""Numbers in the cells of a table: what is one, what is missing, and what is said of everything else."""

from __future__ import annotations

import contextlib

import numpy as np

from securegen.errors import InputError
from securegen.io.schema import shown
from securegen.io.tables import MISSING_WORDS, Table
from securegen.vocabulary import LIKE_MISSING, MISSING_INPUT, MISSING_NUMBER, NO_NUMBER, is_missing


def count_missing_numbers(table: Table, name: str) -> int:
    """How many cells of a column hold the number -9."""
    negative = [text for text in table.columns[name].tolist() if text.startswith("-")]
    return sum(is_missing(text) and text.lower() not in MISSING_INPUT for text in negative)


def parse_numbers(table: Table, name: str, *, advice: str = "", missing_number: bool = True) -> np.ndarray:
    """(R,) float64 of a column, NaN where missing (NA, nan, ., nothing; with missing_number also -9).

    advice: what to do about a word, at the end of the error. Raises InputError naming line and text.
    """
    texts = table.columns[name].tolist()
    with contextlib.suppress(ValueError):  # the whole column at once, where nothing is wrong
        missing = [text.lower() in MISSING_INPUT for text in texts]
        out = np.array([np.nan if m else float(text) for text, m in zip(texts, missing, strict=True)], np.float64)
        if (np.isfinite(out) | missing).all() and "_" not in "".join(texts):
            return np.where(out == MISSING_NUMBER, np.nan, out) if missing_number else out
    for i, text in enumerate(texts):
        if text.lower() in MISSING_INPUT:
            continue
        where = f"{table.path}, line {table.line[i]}: column {name} holds {shown(text)}, expected a number"
        try:
            if "_" in text:  # Python's own notation
                raise ValueError
            value = float(text)
        except ValueError:
            raise InputError(f"{where} or NA{_hint(text, advice)}") from None
        if not np.isfinite(value):
            raise InputError(where)
    raise InputError(f"{table.path}: column {name} cannot be read as numbers")


def _hint(text: str, advice: str) -> str:
    if text.lower() in LIKE_MISSING | NO_NUMBER or text.startswith("#") or not text.strip():
        return f"; {MISSING_WORDS}"
    if text[:1] in "\"'":
        return "; numbers stand without quotes"
    if "," in text:
        return "; decimals are written with a point, thousands without a mark"
    if "\N{MINUS SIGN}" in text or "\N{EN DASH}" in text:
        return "; the minus sign is written -"
    if text[:1].isdigit():
        return ""
    return advice or "; use `covar_categorical` for a column of categories"
