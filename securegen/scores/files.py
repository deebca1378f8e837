"""Scoring files: PGS Catalog (versions 1 and 2, plain and harmonised) and plink2-style tables, plain or compressed.

Weights stay text until `score_plan.plan_scores` turns them into integers, so that no rounding happens on the way. Rows
that are not about one variant (haplotypes, interactions, HLA, APOE) are refused by name and counted, never scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.schema import shown
from securegen.model import IntArray, TextArray
from securegen.scores.file_table import (
    ABSENT,
    ALIASES,
    DOSAGE_WEIGHTS,
    ScoringTable,
    check_numbers,
    choose_positions,
    column,
    is_number,
    parse_positions,
    read_cells,
    weight_columns,
)
from securegen.scores.pgs_catalog import TRUE, refusal, refuse_unknown_build
from securegen.vocabulary import canonical_allele, normalise_build

POSITIONAL_ID: Final = re.compile(r"(?:chr)?([0-9]{1,2}|X|Y|XY|M|MT)[:_](\d+)[:_]([A-Z]+)[:_]([A-Z]+)", re.IGNORECASE)

ADDITIVE, DOMINANT, RECESSIVE, DOSAGE = "additive", "dominant", "recessive", "dosage"


@dataclass(frozen=True)
class ScoringFile:
    """R variants with weights of S scores, in file order.

    names: S score names; id, chromosome, effect_allele, other_allele: (R,) object arrays of str, '' where the file
    says nothing; position: (R,) int64 base pairs, −1 where unknown; effect_type: (R,) 'additive', 'dominant',
    'recessive' or 'dosage'; weight: (R, S) text; dosage_weight: (R, 3) text of the weights of 0, 1 and 2 copies, or
    None; frequency: (R,) text of the effect allele's frequency, or None; line: (R,) int64; refused: (line, name, word)
    of every row that is not about one variant; header: PGS Catalog header; genome_build: of the positions read.
    """

    path: str
    names: tuple[str, ...]
    id: TextArray
    chromosome: TextArray
    position: IntArray
    effect_allele: TextArray
    other_allele: TextArray
    effect_type: TextArray
    weight: np.ndarray
    dosage_weight: np.ndarray | None
    frequency: TextArray | None
    line: IntArray
    refused: tuple[tuple[int, str, str], ...]
    header: dict[str, str]
    genome_build: str | None

    def __len__(self) -> int:
        return len(self.line)

    @property
    def rows(self) -> int:
        """Rows of the file, refused ones included: what an overlap is a share of."""
        return len(self.line) + len(self.refused)


def _refuse_duplicates(file: ScoringFile) -> None:
    seen: dict[tuple[str, str, int, str, str], int] = {}
    for r in range(len(file)):
        key = (file.id[r], file.chromosome[r], int(file.position[r]), file.effect_allele[r], file.other_allele[r])
        if key in seen:
            name = file.id[r] or f"{file.chromosome[r]}:{file.position[r]}"
            raise InputError(
                f"{file.path}: variant {name} with effect allele {file.effect_allele[r]} is on line {seen[key]} and "
                f"again on line {file.line[r]}: keep one of them"
            )
        seen[key] = int(file.line[r])


def read_scoring(
    path: str | Path,
    columns: Sequence[int] | None = None,
    *,
    genome_build: str | None = None,
    names: Sequence[str] | None = None,
) -> ScoringFile:
    """Read one scoring file.

    columns: 1-based numbers of the id, effect allele and weight columns (more than one weight: several scores), as
    plink2's `i j k`; a first line without a number in the last of them is a header. None: by header name.
    genome_build: the cohort's (GRCh37, hg38, …). names: of the scores; default the header's names of several weight
    columns, SCORE1 for one.
    Raises InputError naming file and line: columns missing, ragged rows, no rows, a weight that is not finite,
    a row given twice, positions of another build. UsageError: fewer than three column numbers, names that do not fit.
    """
    path = str(path)
    numbered = None if columns is None else tuple(columns)
    if numbered is not None and len(numbered) < 3:
        raise UsageError("`score_col_nums` needs three numbers: variant id, effect allele, weight")
    body = read_cells(path, numbered=numbered)
    refuse_unknown_build(genome_build)
    expected = normalise_build(genome_build)
    role: dict[str, int | None] = dict.fromkeys(ALIASES)
    lower = [name.lstrip("#").lower() for name in body.names or []]
    build = None
    if numbered is not None:
        role["id"], role["effect_allele"] = numbered[0] - 1, numbered[1] - 1
        weights = [k - 1 for k in numbered[2:]]
        if body.names is not None:
            lower = ["" if i not in weights else name for i, name in enumerate(lower)]
    else:
        if len(lower) > 1 and is_number(lower[-1]):
            raise InputError(
                f"{path}: its first line, {shown(' '.join(body.names or []))}, is not a header: name the columns, or give those "
                "of id, effect allele and weight by number (`score_col_nums`)"
            )
        repeated = [n for n, count in Counter(lower).items() if count > 1 and n]
        if repeated:
            raise InputError(f"{path}: column {', '.join(repeated)} appears more than once")
        for key, aliases in ALIASES.items():
            role[key] = next((lower.index(a) for a in aliases if a in lower), None)
        (role["chromosome"], role["position"]), build = choose_positions(body, lower, expected)
        taken = {i for i in role.values() if i is not None}
        taken |= {i for i, n in enumerate(lower) if n in sum(ALIASES.values(), DOSAGE_WEIGHTS)}
        weights = weight_columns(body, lower, taken)
        placed = role["id"] is not None or (role["chromosome"] is not None and role["position"] is not None)
        wanted = {
            "a variant id (ID, rsID) or chr_name with chr_position": placed,
            "effect_allele (or A1)": role["effect_allele"] is not None,
            "effect_weight (or WEIGHT, or dosage_0_weight to dosage_2_weight)": bool(weights)
            or all(n in lower for n in DOSAGE_WEIGHTS),
        }
        lacking = [what for what, there in wanted.items() if not there]
        if lacking:
            raise InputError(
                f"{path}, header: no column for {'; none for '.join(lacking)}. It has {', '.join(body.names or [])}. "
                "Name the columns, or give their numbers (`score_col_nums`)"
            )
    if expected is not None and build is not None and build != expected:
        raise InputError(
            f"{path}: its positions are on {build}, the cohort is on {expected}. Take the file harmonised to {expected}"
        )
    return _assemble(body, role, weights, lower, build=build, names=names)


def _first_given(body: ScoringTable, lower: list[str], index: int | None, fallback: str) -> TextArray:
    """A column, with its empty cells taken from the one that the PGS Catalog's harmonisation added."""
    first, second = column(body, index), column(body, lower.index(fallback) if fallback in lower else None)
    return np.where(first != "", first, second)


def _assemble(
    body: ScoringTable, role: dict[str, int | None], weights: list[int], lower: list[str], *,
    build: str | None, names: Sequence[str] | None,
) -> ScoringFile:  # fmt: skip
    path = body.path
    flagged = [i for i, n in enumerate(lower) if n in ("variant_type", "rsid") or n.startswith("is_")]
    refused: list[tuple[int, str, str]] = []
    keep: list[tuple[int, list[str]]] = []
    for number, cells in body.rows:
        effect = cells[role["effect_allele"]]  # type: ignore[index]
        word = refusal({"effect_allele": effect} | {lower[i]: cells[i] for i in flagged})
        where = [cells[i] for i in (role["id"], role["position"]) if i is not None and cells[i] not in ABSENT]
        if word is None and (not where or effect in ABSENT):
            word = "unplaced"
        if word is None:
            keep.append((number, cells))
        else:
            refused.append((number, where[0] if where else effect, word))
    if not keep:
        raise InputError(f"{path}: none of its {len(refused)} rows is about one variant ({refused[0][2]} and the like)")
    body = replace(body, rows=keep)
    line = np.array([number for number, _ in keep], dtype=np.int64)
    flags = {
        kind: np.isin([v.lower() for v in column(body, lower.index(name) if name in lower else None)], list(TRUE))
        for kind, name in ((DOMINANT, "is_dominant"), (RECESSIVE, "is_recessive"))
    }
    if (both := flags[DOMINANT] & flags[RECESSIVE]).any():
        raise InputError(f"{path}, line {line[both][0]}: both is_dominant and is_recessive are true")
    effect_type = np.where(flags[DOMINANT], DOMINANT, np.where(flags[RECESSIVE], RECESSIVE, ADDITIVE)).astype(object)
    labels = [body.names[i] for i in weights] if body.names else [f"SCORE{s + 1}" for s in range(len(weights))]
    weight = np.array([[cells[i] for i in weights] for _, cells in keep], dtype=object).reshape(len(keep), len(weights))
    dosage_weight = None
    if all(n in lower for n in DOSAGE_WEIGHTS):
        dosage_weight = np.stack([column(body, lower.index(n)) for n in DOSAGE_WEIGHTS], axis=1)
        specific = (dosage_weight != "").any(axis=1)
        effect_type[specific] = DOSAGE
        check_numbers(path, line, dosage_weight, DOSAGE_WEIGHTS, specific)
        if not weights:
            weight, labels = np.full((len(keep), 1), "", dtype=object), ["SCORE1"]
        if len(labels) > 1 and specific.any():
            raise InputError(f"{path}: dosage_0_weight to dosage_2_weight serve one score, this file has {len(labels)}")
    check_numbers(path, line, weight, labels, effect_type != DOSAGE)
    if len(labels) == 1:
        labels = ["SCORE1"]
    if names is not None and len(names) != len(labels):
        raise UsageError(f"{path} has {len(labels)} scores, {len(names)} names were given")
    other = _first_given(body, lower, role["other_allele"], "hm_inferotherallele")
    file = ScoringFile(
        path, tuple(names or labels), _first_given(body, lower, role["id"], "hm_rsid"),
        column(body, role["chromosome"]), parse_positions(path, line, column(body, role["position"])),
        np.array([canonical_allele(v) for v in column(body, role["effect_allele"])], dtype=object),
        np.array([canonical_allele(v) if "/" not in v else "" for v in other], dtype=object),
        effect_type, weight, dosage_weight,
        None if role["frequency"] is None else column(body, role["frequency"]),
        line, tuple(refused), body.header, build,
    )  # fmt: skip
    file = _read_positional_ids(file)
    _refuse_duplicates(file)
    return file


def _read_positional_ids(file: ScoringFile) -> ScoringFile:
    """Where the file has no positions, take them, and the other allele, from ids like 22:17080378:G:A."""
    if (file.position >= 0).any():
        return file
    chromosome, position, other = file.chromosome.copy(), file.position.copy(), file.other_allele.copy()
    for r, name in enumerate(file.id):
        found = POSITIONAL_ID.fullmatch(name)
        if found:
            chromosome[r], position[r] = found[1], int(found[2])
            pair = [canonical_allele(found[3]), canonical_allele(found[4])]
            if not other[r] and file.effect_allele[r] in pair:
                pair.remove(file.effect_allele[r])
                other[r] = pair[0]
    return replace(file, chromosome=chromosome, position=position, other_allele=other)


def read_scorings(
    paths: Sequence[str | Path], columns: Sequence[int] | None = None, *, genome_build: str | None = None
) -> list[ScoringFile]:
    """Read one or several scoring files (see `read_scoring`) and give every score its own name.

    The lone score of a file is named by its PGS id, else SCORE and its number; a name that is still shared gets the number
    of its file. Raises UsageError without a file, and what `read_scoring` raises.
    """
    if not paths:
        raise UsageError("no scoring file was given: `score` FILE")
    files = [read_scoring(path, columns, genome_build=genome_build) for path in paths]
    named = [f.names if len(f.names) > 1 else (f.header.get("pgs_id") or f"SCORE{i}",) for i, f in enumerate(files, 1)]
    count = Counter(name for group in named for name in group)
    return [
        replace(f, names=tuple(n if count[n] == 1 else f"{n}_{i}" for n in group))
        for i, (f, group) in enumerate(zip(files, named, strict=True), 1)
    ]
