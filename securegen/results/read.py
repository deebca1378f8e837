"""Read a result table back, under plink2's column names. The one place where pictures, reports and comparisons read one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zstandard

from securegen.errors import InputError
from securegen.io.text import iterate_lines, refuse_foreign
from securegen.io.unpacked import unpacked
from securegen.results.cells import MISSING, are_whole, log10p_of_text, numbers, positions, refuse_impossible
from securegen.results.rows import compared_tests, kept_test, read_sumstats

_NUMBERS = frozenset(
    {
        "POS",
        "A1_FREQ",
        "OBS_CT",
        "VARIANT_CT",
        "COLLAPSED_CT",
        "CASE_CT",
        "CTRL_CT",
        "MAC_CASE",
        "U",
        "V",
        "BETA",
        "OR",
        "SE",
        "LOG(OR)_SE",
        "L95",
        "U95",
    }
    | {"T_STAT", "Z_STAT", "Z_OR_F_STAT", "T_OR_F_STAT", "CHISQ", "LOG10_P", "WALD_LIKE_Z", "A1_CASE_CT", "A1_CTRL_CT"}
    | {
        "STUDY_CT",
        "BETA_RANDOM",
        "SE_RANDOM",
        "LOG10_P_RANDOM",
        "Z_STOUFFER",
        "LOG10_P_STOUFFER",
        "Q",
        "P_Q",
        "I2",
        "TAU2",
    }
)


def read_results(path: str | Path, *, every: bool = False) -> pd.DataFrame:
    """A table of association results, one row per variant: this program's, plink2's, regenie's or GWAS-SSF; plain, gzip
    or zstd.

    Statistics are float64 with NaN where missing (POS int64), other columns (ids, FIRTH?, …) str. LOG10_P is always there,
    from the text of P where the file has none, so that p-values below 1e-308 keep their size; then there is no column P.
    Of several rows per variant, those of one test are kept (`rows.kept_test`); every: all that are about the variant. Raises
    InputError naming the file, and the line and column of a cell that is not a number, or of a P that is not a probability.
    """
    header = list(_read(path, nrows=0).columns)
    if not {"#CHROM", "POS", "ID"} <= set(header) or not {"P", "LOG10_P"} & set(header):
        return _of_other_programs(path)
    own_log = "LOG10_P" in header
    frame = read_own(path, header).drop(columns=["P"] if own_log and "P" in header else [])
    if frame["POS"].isna().any():
        raise InputError(f"{path}, line {int(frame['POS'].isna().argmax()) + 2}: POS is missing")
    frame["POS"] = positions(frame["POS"], path)
    if own_log:
        refuse_impossible(frame["LOG10_P"], path)
    else:
        frame["LOG10_P"] = log10p_of_text(frame.pop("P"), path)
    if "TEST" in frame and len(frame):
        there = list(frame["TEST"].unique())
        kept = frame["TEST"].isin(compared_tests(there, path) if every else [kept_test(there, path)])
        frame = frame if kept.all() else frame[kept].reset_index(drop=True)
    return frame


def read_own(path: str | Path, header: list[str] | None = None) -> pd.DataFrame:
    """A tab-separated table with every row: numbers as float64, P and every other column as text.

    Raises InputError for a row of another length, and for a cell of a column of numbers that holds something else.
    """
    header = header or list(_read(path, nrows=0).columns)
    _refuse_ragged(path, len(header))
    numeric = [n for n in header if n in _NUMBERS]
    frame = _read(
        path, dtype={n: str for n in header if n not in numeric}, na_values=dict.fromkeys(numeric, sorted(MISSING)),
        low_memory=False,
    )  # fmt: skip
    for name in numeric:
        if frame[name].dtype.kind not in "iuf":
            frame[name] = numbers(frame[name], path, name)
        frame[name] = frame[name].astype(np.float64)
    return frame


_COUNTS = (
    "POS",
    "OBS_CT",
    "VARIANT_CT",
    "COLLAPSED_CT",
    "STUDY_CT",
    "CASE_CT",
    "CTRL_CT",
    "MAC_CASE",
    "A1_CASE_CT",
    "A1_CTRL_CT",
)


def read_frame(path: str | Path) -> pd.DataFrame:
    """A table of this program with the columns of the file: ids, alleles and codes as str, whatever they look like; counts
    int64 where none is missing; P and the other statistics float64, NaN where missing. One in regenie's columns has the
    names of `read_sumstats`."""
    if "\t" not in next(iterate_lines(path), ""):
        return read_sumstats(path)
    frame = read_own(path)
    if "P" in frame:
        frame["P"] = numbers(frame["P"], path, "P")
    for name in _COUNTS:
        if name in frame and are_whole(frame[name]):
            frame[name] = frame[name].astype(np.int64)
    return frame


_NAMES = frozenset({"#FID", "IID", "#FID1", "IID1", "FID2", "IID2"})


def read_people(path: str | Path) -> pd.DataFrame:
    """A table with a row per sample, or a pair: names as str, everything else float64. Raises InputError as `read_own`."""
    header = list(_read(path, nrows=0).columns)
    _refuse_ragged(path, len(header))
    frame = _read(path, dtype=str)
    for name in header:
        if name not in _NAMES:
            frame[name] = numbers(frame[name], path, name)
    return frame


def read_frames(tables: Mapping[str, str | Path]) -> pd.DataFrame:
    """Tables by phenotype as one frame; of several, the first index level is PHENO."""
    frames = {phenotype: read_frame(path) for phenotype, path in tables.items()}
    return frames[next(iter(frames))] if len(frames) == 1 else pd.concat(frames, names=["PHENO"])


def _refuse_ragged(path: str | Path, width: int) -> None:
    for number, line in enumerate(iterate_lines(path), 1):
        if line.count("\t") != width - 1 and line.strip():
            found = line.count("\t") + 1
            raise InputError(f"{path}, line {number}: {found} fields, the header has {width}")


def _of_other_programs(path: str | Path) -> pd.DataFrame:
    """As `read_results`, for other headers than plink2's full one."""
    frame = read_sumstats(path).drop(columns="P")
    if not {"REF", "ALT"} <= set(frame.columns):
        raise InputError(f"{path} is not a table of results: its header needs columns of both alleles")
    if frame["POS"].isna().any():
        raise InputError(f"{path}: POS is missing, first of variant {frame['ID'][int(frame['POS'].isna().argmax())]}")
    return frame.astype({n: np.float64 for n in frame if n in _NUMBERS and n != "POS"})


def _read(path: str | Path, **options: Any) -> pd.DataFrame:
    """pandas' reader of tab-separated text, its errors turned into InputError."""
    try:
        with Path(path).open("rb") as stream:
            refuse_foreign(stream.read(8), path)
            stream.seek(0)
            with unpacked(stream) as content:
                return pd.read_csv(content, sep="\t", keep_default_na=False, quoting=3, encoding="utf-8-sig", **options)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: a table of results is expected") from None
    except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
