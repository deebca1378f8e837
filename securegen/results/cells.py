"""Columns of text of a table of results as numbers: what stands for a missing one, and what no statistic can be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from securegen.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MISSING: Final = frozenset({"NA", "#NA", "nan", "NaN", "-nan", ".", ""})
ROUNDED: Final = 1e-9  # a P of 1 may be written so much above it


def numbers(column: pd.Series, path: str | Path, name: str, first_line: int = 2) -> np.ndarray:
    """(M,) float64 of a column of text, NaN where missing. first_line: of the file, that of the first row. Raises InputError."""
    import pandas as pd

    text = column.astype(str)
    missing = text.isin(MISSING)
    values: np.ndarray = pd.to_numeric(text.mask(missing), errors="coerce").to_numpy(np.float64)
    wrong = np.isnan(values) & ~missing.to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{path}, line {at + first_line}: column {name} holds {text.iloc[at]!r}, expected a number or NA"
        )
    return values


def log10p_of_text(column: pd.Series, path: str | Path = "the table", first_line: int = 2) -> np.ndarray:
    """(M,) −log10 of p-values as written, also where they underflow float64; NaN where missing. first_line: as of `numbers`.

    >>> import pandas as pd
    >>> log10p_of_text(pd.Series(["0.01", "2e-400", "NA"])).round(4).tolist()
    [2.0, 399.699, nan]
    """
    p = numbers(column, path, "P", first_line)
    outside = (p < 0) | (p > 1)
    if outside.any():
        at = int(outside.argmax())
        raise InputError(f"{path}, line {at + first_line}: P is {column.iloc[at]}, a probability lies between 0 and 1")
    with np.errstate(divide="ignore"):
        out: np.ndarray = np.abs(np.log10(p))
    for at in np.flatnonzero(p < 1e-300).tolist():
        mantissa, _, exponent = str(column.iloc[at]).lower().partition("e")
        if float(mantissa) > 0 and exponent:
            out[at] = -np.log10(float(mantissa)) - int(exponent)
        else:
            raise InputError(
                f"{path}, line {at + first_line}: P is written as {column.iloc[at]!r}; write −log10 p instead"
            )
    return out


def refuse_impossible(log10p: pd.Series, path: str | Path, first_line: int = 2) -> None:
    """Raise InputError for −log10 P that no positive probability has: below 0, or infinite. first_line: as of `numbers`."""
    wrong = ((log10p < -ROUNDED) | (log10p == np.inf)).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{path}, line {at + first_line}: LOG10_P is {log10p.iloc[at]:g}: −log10 of a probability is 0 or more, and finite"
        )


def are_whole(column: pd.Series) -> bool:
    """Whether a column of float64 is one of whole numbers that a float64 tells apart, none missing."""
    values = column.to_numpy(np.float64)
    return bool((np.abs(values) < 1 << 53).all() and (values == np.rint(values)).all())


def positions(column: pd.Series, path: str | Path, first_row: int = 2) -> np.ndarray:
    """(M,) int64. Raises InputError naming the row of what is not a position."""
    if not are_whole(column):
        at = next(i for i in range(len(column)) if not are_whole(column.iloc[i : i + 1]))
        raise InputError(f"{path}, line {at + first_row}: POS is {column.iloc[at]:g}, a whole number is expected")
    out: np.ndarray = column.to_numpy(np.float64).astype(np.int64)
    return out
