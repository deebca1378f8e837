"""Read a result table back, under plink2's column names. The one place where pictures, reports and comparisons read one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from securegen.errors import InputError
from securegen.io.tables import read_text

_TEXT = ("#CHROM", "ID", "REF", "ALT", "A1", "TEST", "ERRCODE", "P")
_MISSING = ["NA", "nan", ""]


def read_results(path: str | Path) -> pd.DataFrame:
    """A table of association results, one row a variant: this program's or plink2's, plain, gzip or zstd.

    Text columns are objects, the others float64 with NaN where missing (POS int64). LOG10_P is always there, from the
    text of P where the file has none, so that p-values below 1e-308 keep their size. Of plink2's rows, those of the
    additive test are kept. Raises InputError naming the file, and the line and column of a cell that is not a number.
    """
    text = read_text(path)
    header = text.split("\n", 1)[0].split()
    if not {"#CHROM", "POS", "ID"} <= set(header) or not {"P", "LOG10_P"} & set(header):
        raise InputError(f"{path} is no table of results: its header needs #CHROM, POS, ID and P or LOG10_P")
    try:
        frame = pd.read_csv(io.StringIO(text), sep=r"\s+", dtype=str, keep_default_na=False, quoting=3)
    except (pd.errors.ParserError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    for name in frame.columns.difference(_TEXT):
        frame[name] = _numbers(frame[name], path, name)
    if frame["POS"].isna().any():
        raise InputError(f"{path}, line {int(frame['POS'].isna().argmax()) + 2}: POS is missing")
    frame["POS"] = frame["POS"].astype(np.int64)
    if "LOG10_P" not in frame:
        frame["LOG10_P"] = log10p_of_text(frame["P"], path)
    if "TEST" in frame and (frame["TEST"] == "ADD").any():
        frame = frame[frame["TEST"] == "ADD"].reset_index(drop=True)
    return frame


def _numbers(column: pd.Series, path: str | Path, name: str) -> np.ndarray:
    """(M,) float64 of a column of text."""
    values = pd.to_numeric(column.mask(column.isin(_MISSING)), errors="coerce").to_numpy(np.float64)
    wrong = np.isnan(values) & ~column.isin(_MISSING).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(f"{path}, line {at + 2}: column {name} holds {column.iloc[at]!r}, expected a number or NA")
    return values


def log10p_of_text(column: pd.Series, path: str | Path = "the table") -> np.ndarray:
    """(M,) −log10 of p-values as written, also where they underflow float64; NaN where missing.

    >>> log10p_of_text(pd.Series(["0.01", "2e-400", "NA"])).round(4).tolist()
    [2.0, 399.699, nan]
    """
    p = _numbers(column, path, "P")
    with np.errstate(divide="ignore"):
        out = np.abs(np.log10(p))
    for at in np.flatnonzero(p < 1e-300):
        mantissa, _, exponent = column.iloc[at].lower().partition("e")
        if float(mantissa) > 0 and exponent:
            out[at] = -np.log10(float(mantissa)) - int(exponent)
        else:
            raise InputError(
                f"{path}: P is written as {column.iloc[at]!r}; compare −log10 p instead (plink2: --glm log10)"
            )
    return out
