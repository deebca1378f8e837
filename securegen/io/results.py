"""Read a result table back, under plink2's column names. The one place where pictures, reports and comparisons read one."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zstandard

from securegen.errors import InputError
from securegen.io.sumstats import read_sumstats

_TEXT = ("#CHROM", "ID", "REF", "ALT", "A1", "TEST", "ERRCODE")
_MISSING = ("NA", "nan", "")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def read_results(path: str | Path) -> pd.DataFrame:
    """A table of association results, one row a variant: this program's, plink2's, regenie's or GWAS-SSF; plain, gzip
    or zstd.

    Text columns hold str, the others float64 with NaN where missing (POS int64). LOG10_P is always there, from the text
    of P where the file has none, so that p-values below 1e-308 keep their size; then there is no column P. Of plink2's
    rows, those of the additive test are kept. Raises InputError naming the file, and the line and column of a cell that
    is not a number.
    """
    header = list(_read(path, nrows=0).columns)
    if not {"#CHROM", "POS", "ID"} <= set(header) or not {"P", "LOG10_P"} & set(header):
        return _of_other_programs(path)
    own_log = "LOG10_P" in header
    numeric = [n for n in header if n not in _TEXT and n != "P"]
    frame = _read(
        path, dtype=dict.fromkeys([*_TEXT, "P"], str), na_values=dict.fromkeys(numeric, _MISSING), low_memory=False,
        usecols=[n for n in header if n != "P" or not own_log],
    )  # fmt: skip
    for name in numeric:
        if frame[name].dtype.kind not in "iuf":
            frame[name] = _numbers(frame[name], path, name)
        frame[name] = frame[name].astype(np.float64)
    if frame["POS"].isna().any():
        raise InputError(f"{path}, line {int(frame['POS'].isna().argmax()) + 2}: POS is missing")
    frame["POS"] = frame["POS"].astype(np.int64)
    if not own_log:
        frame["LOG10_P"] = log10p_of_text(frame.pop("P"), path)
    if "TEST" in frame and (frame["TEST"] == "ADD").any():
        frame = frame[frame["TEST"] == "ADD"].reset_index(drop=True)
    return frame


def _of_other_programs(path: str | Path) -> pd.DataFrame:
    """As `read_results`, for other headers than plink2's full one."""
    frame = read_sumstats(path).drop(columns="P")
    if not {"REF", "ALT"} <= set(frame.columns):
        raise InputError(f"{path} is no table of results: its header needs columns of both alleles")
    if frame["POS"].isna().any():
        raise InputError(f"{path}: POS is missing, first of variant {frame['ID'][int(frame['POS'].isna().argmax())]}")
    return frame.astype({n: np.float64 for n in frame if n not in (*_TEXT, "POS")})


def _read(path: str | Path, **options: Any) -> pd.DataFrame:
    """pandas' reader of tab-separated text, its errors turned into InputError."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(4)
        packed = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        return pd.read_csv(
            path, sep="\t", keep_default_na=False, quoting=3, compression=packed,  # type: ignore[arg-type]
            encoding="utf-8-sig", **options,
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty") from None
    except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _numbers(column: pd.Series, path: str | Path, name: str) -> np.ndarray:
    """(M,) float64 of a column of text."""
    text = column.astype(str)
    missing = text.isin(_MISSING)
    values = pd.to_numeric(text.mask(missing), errors="coerce").to_numpy(np.float64)
    wrong = np.isnan(values) & ~missing.to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(f"{path}, line {at + 2}: column {name} holds {text.iloc[at]!r}, expected a number or NA")
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
            raise InputError(f"{path}, line {at + 2}: P is written as {column.iloc[at]!r}; write −log10 p instead")
    return out
