"""The cells of a scoring file: comment lines, header, rows, and which column plays which role.

Columns are found by header name, case ignored, or by number as plink2's `--score FILE i j k`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from securegen.errors import InputError
from securegen.io.schema import shown
from securegen.io.text import count, lines_of, read_text, refuse_quotes, refuse_separator
from securegen.model import IntArray, TextArray
from securegen.scores.pgs_catalog import parse_header
from securegen.vocabulary import normalise_build

# Role -> header names, best first.
ALIASES: Final = {
    "id": ("rsid", "id", "snp", "snpid", "variant_id", "varid", "marker", "markername", "hm_rsid"),
    "chromosome": ("chr_name", "chrom", "chr", "chromosome"),
    "position": ("chr_position", "pos", "position", "bp", "base_pair_location"),
    "effect_allele": ("effect_allele", "a1", "ea", "allele1"),
    "other_allele": (
        "other_allele",
        "reference_allele",
        "a2",
        "oa",
        "nea",
        "allele2",
        "a0",
        "allele0",
        "hm_inferotherallele",
    ),
    "frequency": ("allelefrequency_effect", "effect_allele_frequency", "eaf", "a1_freq"),
}
WEIGHTS: Final = ("effect_weight", "weight", "weights", "beta", "score", "score1")
DOSAGE_WEIGHTS: Final = ("dosage_0_weight", "dosage_1_weight", "dosage_2_weight")
# Never a weight, although a column of numbers.
ANNOTATION: Final = frozenset(
    {"or", "hr", "p", "pval", "pvalue", "p_value", "p-value", "log10_p", "log10p", "mlog10p", "neg_log_10_p_value", "se"}
    | {"standard_error", "stderr", "beta_se", "se_beta", "sebeta", "n", "n_eff", "neff", "n_total", "n_cases", "n_controls"}
    | {"ncase", "ncontrol", "nca", "nco", "samplesize", "obs_ct", "ref", "alt", "maf", "freq", "frq", "af", "a1freq"}
    | {"l95", "u95", "ci_lower", "ci_upper", "t_stat", "z_stat", "z", "zscore", "z_score", "chisq", "chi2", "t", "stat"}
    | {"info", "imp_info", "imp_r2", "impinfo", "r2", "rsq", "hwe", "pip", "cm", "gen_dist", "locus_name", "ldscore"}
    | {"variant_description", "index", "unnamed: 0", "line"}
)  # fmt: skip
# What a column of weights is called where there are others beside it.
WEIGHT_WORD: Final = re.compile(r"(weight|beta|score|prs|pgs|effect)", re.ASCII)
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?0*\d{1,3})?", re.ASCII)
LONGEST_NUMBER: Final = 400  # characters
ABSENT: Final = frozenset({"", ".", "NA", "NR", "nan", "NaN"})


@dataclass(frozen=True)
class ScoringTable:
    """Data rows below the comments. names: header names as written (None: no header line)."""

    path: str
    header: dict[str, str]
    names: list[str] | None
    rows: list[tuple[int, list[str]]]


def _looks_like_header(fields: list[str]) -> bool:
    known = {name for role in ("id", "chromosome") for name in ALIASES[role]}
    return len(fields) > 2 and fields[0].lstrip("#").lower() in known


def read_cells(path: str, *, numbered: tuple[int, ...] | None) -> ScoringTable:
    """Comments, header and rows of a scoring file. numbered: columns that were asked for by number, from 1; None: by name.

    Raises InputError for a file without rows, and naming the line of one with another number of fields.
    """
    comments: list[str] = []
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(lines_of(read_text(path)), 1):
        if not line.strip():
            continue
        if line.startswith("#") and not lines and not _looks_like_header(line.split()):
            comments.append(line)
        else:
            lines.append((number, line))
    if not lines:
        raise InputError(f"{path} has no rows: a scoring file has a header line and a line for each variant")
    separator = "\t" if "\t" in lines[0][1] and numbered is None else None
    rows = [(number, [cell.strip() for cell in line.split(separator)]) for number, line in lines]
    width = len(rows[0][1])
    refuse_quotes(rows[0][1], path, rows[0][0])
    if width < 3:
        refuse_separator(rows[0][1], path, rows[0][0])
    for number, cells in rows:
        if len(cells) != width:
            raise InputError(f"{path}, line {number}: {count(len(cells), 'field')}, line {rows[0][0]} has {width}")
    names: list[str] | None = rows[0][1]
    if numbered is not None:
        if max(numbered) > width or min(numbered) < 1:
            raise InputError(f"{path} has {width} columns; columns {' '.join(map(str, numbered))} were asked for")
        if is_number(rows[0][1][numbered[-1] - 1]):
            names = None
    body = rows if names is None else rows[1:]
    if not body:
        raise InputError(f"{path}: no variant below the header on line {rows[0][0]}")
    return ScoringTable(path, parse_header(comments), names, body)


def column(body: ScoringTable, index: int | None) -> TextArray:
    """(R,) text of a column, '' where a cell is absent; all '' where index is None."""
    if index is None:
        return np.full(len(body.rows), "", dtype=object)
    return np.array([("" if cells[index] in ABSENT else cells[index]) for _, cells in body.rows], dtype=object)


def is_number(text: str) -> bool:
    """Whether a cell is a finite decimal number in any notation of a program: 1.3e-001, .5, 2E5, -0."""
    return len(text) <= LONGEST_NUMBER and NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def weight_columns(body: ScoringTable, lower: list[str], taken: set[int]) -> list[int]:
    """The named weight column, or every other column that holds only numbers.

    Raises InputError where some of those are called weights and others are not: which are meant?
    """
    for name in WEIGHTS:
        if name in lower:
            return [lower.index(name)]
    free = [i for i, name in enumerate(lower) if i not in taken and name not in ANNOTATION]
    free = [i for i in free if not lower[i].startswith(("is_", "hm_", "allelefrequency"))]
    free = [i for i in free if all(is_number(cells[i]) for _, cells in body.rows)]
    named = [i for i in free if WEIGHT_WORD.search(lower[i])]
    if named and len(named) < len(free):
        numbers = [str(i + 1) for i in named]
        raise InputError(
            f"{body.path}: which columns are weights? Numbers stand in {', '.join(body.names[i] for i in free if body.names)}: "
            f"give the columns of id, effect allele and weight by number (`score_col_nums` i,j,{','.join(numbers)})"
        )
    return free


def check_numbers(path: str, line: IntArray, weight: np.ndarray, names: Sequence[str], rows: np.ndarray) -> None:
    """Raise InputError naming the line of a weight that is not finite. line: (R,); weight: (R, S) text of the scores `names`;
    rows: (R,) bool, which are looked at."""
    for r in np.flatnonzero(rows):
        for s, text in enumerate(weight[r]):
            if not is_number(text):
                hint = "; decimals are written with a point" if "," in text else ""
                raise InputError(
                    f"{path}, line {line[r]}: column {names[s]} holds {shown(text)}, expected a finite weight, as -0.0123{hint}"
                )


def parse_positions(path: str, line: IntArray, text: TextArray) -> IntArray:
    """(R,) int64 base pairs, −1 where there is none. text: (R,). Raises InputError naming the line of anything else."""
    out = np.full(len(text), -1, np.int64)
    for r, cell in enumerate(text):
        if cell:
            if not cell.isascii() or not cell.isdigit() or len(cell) > 10:
                raise InputError(f"{path}, line {line[r]}: position {shown(cell)} is not a whole number of base pairs")
            out[r] = int(cell)
    return out


def choose_positions(
    body: ScoringTable, lower: list[str], expected: str | None
) -> tuple[tuple[int | None, int | None], str | None]:
    """Columns of chromosome and position, harmonised ones first, and the build they are in."""

    def find(names: Sequence[str]) -> int | None:
        return next((lower.index(n) for n in names if n in lower), None)

    own = normalise_build(body.header.get("genome_build"))
    original = (find(ALIASES["chromosome"]), find(ALIASES["position"]))
    harmonised = (find(("hm_chr",)), find(("hm_pos",)))
    if None in harmonised:
        return original, own
    build = normalise_build(body.header.get("hmpos_build"))
    if expected is not None and build != expected and own == expected and None not in original:
        return original, own
    return harmonised, build
