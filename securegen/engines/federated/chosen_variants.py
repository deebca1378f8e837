"""Which variants a study analyses, of those that all sites have, and which of them its components and its whole-genome model
are computed on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from securegen.catalogue import has_copies
from securegen.engines.federated.studyfile import MOST_IN_BLOCK
from securegen.errors import UsageError
from securegen.io.text import count, iterate_lines
from securegen.model import Variants
from securegen.study import ploidy
from securegen.study.genotypes import DIPLOID
from securegen.study.inputs import Log
from securegen.study.predictions import rows_of
from securegen.vocabulary import ADDITIVE, AUTOSOMES, canonical_chromosome


def listed_ids(path: str | Path, common: Variants) -> bytes:
    """The ids of a file, one a line, that the study has. Raises UsageError where it has none of them."""
    wanted = {line.split()[0] for line in iterate_lines(path) if line.strip() and not line.startswith("#")}
    ids = [name for name in common.id.tolist() if name in wanted]
    if not ids:
        raise UsageError(f"`pc_variants` {path}: the study has none of its {len(wanted)} variants")
    return "".join(f"{name}\n" for name in ids).encode()


def analysed(
    found: Variants, model: str | None, xchr_model: int | None, predictions: bool, log: Log, *, coding: str, with_x: bool
) -> Variants:  # fmt: skip
    """The variants that a study of this kind analyses; the others are left out aloud. with_x: X as regenie has it, under a
    genetic model too. Raises UsageError for none."""
    kinds, rows = ploidy.kinds_of(found), rows_of(found)
    reasons = (
        ("on X", (kinds == ploidy.X) & (xchr_model == 0), "`xchr_model` 0"),
        ("on X, Y or MT", (kinds != ploidy.AUTOSOMAL) & (not has_copies(model)), f"`model` {model} counts two alleles a person"),
        ("on X, Y or MT", (kinds != ploidy.AUTOSOMAL) & (coding != ADDITIVE) & ~((kinds == ploidy.X) & with_x), DIPLOID),
        ("on Y, MT or no chromosome", (rows == "") & predictions, "predictions have no line for them"),
    )  # fmt: skip
    keep = np.ones(len(found), bool)
    for where, which, why in reasons:
        if (which & keep).any():
            log(f"WARNING: {count(int((which & keep).sum()), 'variant')} {where} left out: {why}")
        keep &= ~which
    if not keep.any():
        raise UsageError("no variant is left for this study")
    return found.take(np.flatnonzero(keep))


def block_size(found: Variants, wanted: int | None) -> int:
    """Variants of a block of a whole-genome model: as wanted, or √(5M) of M on autosomes, so that a block's variants and five
    predictors a block are fewest together. Raises UsageError where the study has none."""
    autosomal = sum(canonical_chromosome(c) in AUTOSOMES for c in found.chromosome)
    if not autosomal:
        raise UsageError("a whole-genome model (`step1`) is of chromosomes 1 to 22, and the study has no variant there")
    size = round(math.sqrt(5 * autosomal)) if wanted is None else wanted
    if not 1 <= size <= MOST_IN_BLOCK:
        raise UsageError(f"`block` {size}: from 1 to {MOST_IN_BLOCK} variants")
    return min(size, autosomal)
