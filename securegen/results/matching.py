"""Which rows of two result tables are the same variant: by position and alleles, or by id."""

from __future__ import annotations

import numpy as np
import pandas as pd

from securegen.errors import InputError
from securegen.vocabulary import PSEUDOAUTOSOMAL, canonical_allele, canonical_chromosome

_NO_ID = (".", "", "NA", "nan")


def _keys(frame: pd.DataFrame, by: str) -> pd.Series:
    """A key of each row: id, or chromosome, position and the alleles in alphabetical order; its test, and how often it came
    before.

    Empty where the id is `.` or missing: it names no variant.
    """
    keys = frame["ID"].astype(str) if by == "id" else _places(frame)
    if by == "id":
        keys = keys.where(~keys.isin(_NO_ID), "")
    if "TEST" in frame and frame["TEST"].nunique() > 1:  # several rows per variant
        keys = keys.where(keys == "", keys + " " + frame["TEST"].astype(str))
    before = keys.groupby(keys, sort=False).cumcount()
    return keys.where((before == 0) | (keys == ""), keys + " " + before.astype(str))


def _alleles(frame: pd.DataFrame, name: str) -> pd.Series:
    """Alleles of a column as they are compared: ACGT in capitals, others as written."""
    known = {allele: canonical_allele(str(allele)) for allele in frame[name].unique()}
    return frame[name].map(known)


def tested_alleles(frame: pd.DataFrame) -> pd.Series:
    """A1 as it is compared; as written where only their case tells the two alleles apart (A and a)."""
    out = _alleles(frame, "A1")
    if not {"REF", "ALT"} <= set(frame.columns):
        return out
    return out.where(_alleles(frame, "REF") != _alleles(frame, "ALT"), frame["A1"].astype(str))


def _places(frame: pd.DataFrame) -> pd.Series:
    ref, alt = _alleles(frame, "REF"), _alleles(frame, "ALT")
    first, second = np.where(ref <= alt, ref, alt), np.where(ref <= alt, alt, ref)
    bare = {name: canonical_chromosome(str(name)) for name in frame["#CHROM"].unique()}
    bare = {name: "X" if c in PSEUDOAUTOSOMAL else c for name, c in bare.items()}  # by its position, which is one of X
    return frame["#CHROM"].map(bare) + ":" + frame["POS"].astype(str) + ":" + first + ":" + second


def match_rows(a: pd.DataFrame, b: pd.DataFrame, by: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Indices of matched rows of both tables; where a variant has several, the first with the first, and so on.

    by: position (with alleles), id, or auto: position where both tables have alleles and anything matches, else id.
    Raises InputError when nothing matches.
    """
    has_alleles = all({"REF", "ALT", "#CHROM", "POS"} <= set(f.columns) for f in (a, b))
    ways = {"auto": ["position", "id"] if has_alleles else ["id"]}.get(by, [by])
    if by == "position" and not has_alleles:
        raise InputError("matching by position needs #CHROM, POS, REF and ALT in both tables; `match_by` id goes by id")
    for way in ways:
        keys = [_keys(f, way).to_numpy(dtype=object) for f in (a, b)]
        named = [np.flatnonzero(k != "") for k in keys]
        partner = pd.Index(keys[1][named[1]]).get_indexer(pd.Index(keys[0][named[0]]))
        rows_a, rows_b = named[0][partner >= 0], named[1][partner[partner >= 0]]
        if len(rows_a):
            fits = _same_alleles(a.iloc[rows_a], b.iloc[rows_b])
            rows_a, rows_b = rows_a[fits], rows_b[fits]
        if len(rows_a):
            return rows_a, rows_b
    raise InputError(f"no variant is in both tables, by {' or by '.join(ways)}: are they of one genome build?")


def _pair(first: str, second: str) -> frozenset[str]:
    """Two alleles as they are compared; as written where only their case tells them apart."""
    pair = frozenset((canonical_allele(first), canonical_allele(second)))
    return pair if len(pair) == 2 else frozenset((first, second))


def _same_alleles(left: pd.DataFrame, right: pd.DataFrame) -> np.ndarray:
    """(R,) bool: rows of one id are about the same two alleles, as far as the tables say."""
    has = [{"REF", "ALT"} <= set(f.columns) for f in (left, right)]
    pairs = [
        [_pair(*p) for p in zip(f["REF"].astype(str), f["ALT"].astype(str), strict=True)] if known else None
        for f, known in zip((left, right), has, strict=True)
    ]
    out = np.ones(len(left), bool)
    if pairs[0] is not None and pairs[1] is not None:
        out &= np.array([x == y for x, y in zip(*pairs, strict=True)], bool)
    if "A1" in left and "A1" in right:
        tested = list(zip(tested_alleles(left), tested_alleles(right), strict=True))
        known = pairs[0] if pairs[0] is not None else pairs[1]
        allowed = known if known is not None else [frozenset(x[:1]) for x in tested]
        out &= np.array([x in pair and y in pair for (x, y), pair in zip(tested, allowed, strict=True)], bool)
    return out
