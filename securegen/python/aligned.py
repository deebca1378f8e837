"""Finished tables beside each other, or on a cohort: which rows are which variants, by the matcher of scoring files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from securegen.errors import InputError
from securegen.model import Variants
from securegen.results.cells import ROUNDED
from securegen.results.read import read_results
from securegen.scores.files import ADDITIVE, ScoringFile
from securegen.scores.match import Match, TooFewMatchesError, match_variants

if TYPE_CHECKING:
    import pandas as pd

_BOUNDS = (  # name, least, most, whether an infinite one is left out, as an odds ratio of 0 is
    ("A1_FREQ", -ROUNDED, 1 + ROUNDED, False, "a frequency lies between 0 and 1"),
    ("OBS_CT", 0.0, float(1 << 53), False, "a number of people is 0 or more, and finite"),
    ("SE", 0.0, 1e70, True, "a standard error is 0 or more, from 1e-70 to 1e70"),
    ("BETA", -1e70, 1e70, True, "an effect is at most 1e70"),
)


def read_effects(path: str, who: str) -> pd.DataFrame:
    """A table with BETA, from OR where it has that, SE, OBS_CT and both alleles. who: adds effects, as an error says.

    Raises InputError naming the file and what is absent, or a number that none of its kind can be.
    """
    frame = read_results(path)
    if "BETA" not in frame and "OR" in frame:
        with np.errstate(divide="ignore", invalid="ignore"):
            frame["BETA"] = np.log(frame["OR"].to_numpy(float))
    if "SE" not in frame and "LOG(OR)_SE" in frame:
        frame["SE"] = frame["LOG(OR)_SE"]
    absent = [name for name in ("BETA", "SE", "OBS_CT", "REF", "ALT") if name not in frame]
    if absent:
        raise InputError(f"{path} has no column {', '.join(absent)}: {who} effects with their errors and alleles")
    for name, least, most, infinite, what in _BOUNDS:
        if name not in frame:
            continue
        values = frame[name].to_numpy(float)
        wrong = (values < least) | (values > most)  # a missing one is neither
        if infinite:
            wrong &= np.isfinite(values)
        if name == "SE":  # of which a square would be 0
            wrong |= (values > 0) & (values < 1e-70)
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError(f"{path}: {name} of variant {frame['ID'].iloc[at]} is {values[at]:g}: {what}")
    return frame


def variants_of(frame: pd.DataFrame, path: str) -> Variants:
    """The variants of a table's rows; A1 is the counted allele. Raises InputError where the table lacks alleles."""
    absent = [name for name in ("REF", "ALT", "A1") if name not in frame]
    if absent:
        raise InputError(f"{path} has no column {', '.join(absent)}: its variants are matched by their alleles")
    ref, alt, a1 = (frame[name].to_numpy(object) for name in ("REF", "ALT", "A1"))
    several = np.array(["," in text for text in alt], bool)  # of plink2: one of these ALT against REF
    other = np.where((a1 == alt) | (several & (a1 != ref)), ref, alt)
    return Variants(
        frame["#CHROM"].to_numpy(object), frame["POS"].to_numpy(np.int64), frame["ID"].to_numpy(object), a1, other
    )


def matched(
    path: str, table: Variants, known: Variants, by: Literal["auto", "id", "position"] | str, *, keep_ambiguous: bool
) -> Match:
    """Rows of a table on known variants. by, keep_ambiguous: as `match_variants`; few matches, or none, are no error."""
    size = len(table)
    text = np.array(["0"] * size, dtype=object)
    ids = np.where(np.isin(table.id.astype(str), (".", "NA", "nan")), "", table.id).astype(object)
    scoring = ScoringFile(
        path, ("BETA",), ids, table.chromosome, table.position, table.effect_allele, table.other_allele,
        np.array([ADDITIVE] * size, dtype=object), text[:, None], None, None, np.arange(size) + 2, (), {}, None,
    )  # fmt: skip
    try:
        return match_variants(scoring, known, by=by, keep_ambiguous=keep_ambiguous, min_overlap=0.0)  # type: ignore[arg-type]
    except TooFewMatchesError as error:
        return error.match
