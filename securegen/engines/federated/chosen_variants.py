"""Which variants a study analyses, of those that all sites have, and which of them its components and its whole-genome model
are computed on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from securegen.catalogue import has_copies
from securegen.engines.federated.studyfile import MOST_IN_BLOCK
from securegen.errors import UsageError
from securegen.io.text import count, fields_of, iterate_lines, lines_of, text_of
from securegen.model import IntArray, Variants
from securegen.study import checks, ploidy
from securegen.study.genotypes import DIPLOID
from securegen.study.inputs import Log
from securegen.study.predictions import rows_of
from securegen.vocabulary import ADDITIVE, AUTOSOMES, canonical_chromosome


def autosomes(variants: Variants) -> IntArray:
    """Those on chromosomes 1 to 22, of which components and a whole-genome model are. Raises UsageError for none."""
    numbered = np.array([canonical_chromosome(c) in AUTOSOMES for c in variants.chromosome], bool)
    index = np.flatnonzero(numbered & (ploidy.kinds_of(variants) == ploidy.AUTOSOMAL))
    if not len(index):
        raise UsageError(
            "components and a whole-genome model use chromosomes 1 to 22, and the study has no variant there"
        )
    return index


def component_ids(path: str | Path | None, common: Variants, pcs: int, log: Log) -> bytes:
    """The ids of a file, the first word of each line, that the study has on chromosomes 1 to 22; nothing without a file.

    Raises UsageError where fewer variants than components are left.
    """
    checks.whole("pcs", pcs, 0, 100)
    if not pcs:
        if path is not None:
            raise UsageError("`pc_variants` chooses the variants of components: give `pcs`")
        return b""
    ids = common.id[autosomes(common)].tolist()
    named = f"the study has on chromosomes 1 to 22 {count(len(ids), 'variant')}"
    if path is not None:
        wanted = {fields_of(line)[0] for line in iterate_lines(path) if line.strip() and not line.startswith("#")}
        ids = [name for name in ids if name in wanted]
        found = len(set(ids))
        named = f"`pc_variants` {path}: the study has on chromosomes 1 to 22 {found:,} of its {count(len(wanted), 'variant')}"
        if found < len(wanted):
            log(f"WARNING: {named}")
    if len(ids) < pcs:
        raise UsageError(f"{named}, too few for {count(pcs, 'component')}")
    return "".join(f"{name}\n" for name in ids).encode() if path is not None else b""


def ids_of(content: bytes, path: Path) -> set[str]:
    """The ids that `component_ids` gave. path: where they were read, for messages."""
    return set(lines_of(text_of(content, path)))


def analysed(
    found: Variants, model: str | None, xchr_model: int | None, predictions: bool, log: Log, *, coding: str, with_x: bool,
    sets: bool = False,
) -> Variants:  # fmt: skip
    """The variants that a study of this kind analyses; the others are left out aloud. with_x: X as regenie has it, under a
    genetic model too; sets: of variants, in place of which their masks are. Raises UsageError for none."""
    kinds, rows = ploidy.kinds_of(found), rows_of(found)
    reasons = (
        ("on X", (kinds == ploidy.X) & (xchr_model == 0), "`xchr_model` 0"),
        ("on X, Y or MT", (kinds != ploidy.AUTOSOMAL) & (not has_copies(model)), f"`model` {model} needs two alleles per person"),
        ("on X, Y or MT", (kinds != ploidy.AUTOSOMAL) & (coding != ADDITIVE) & ~((kinds == ploidy.X) & with_x), DIPLOID),
        ("on X, Y or MT", (kinds != ploidy.AUTOSOMAL) & sets, "sets of a study of sites lie on other chromosomes"),
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
    autosomal = len(autosomes(found))
    size = round(math.sqrt(5 * autosomal)) if wanted is None else wanted
    if not 1 <= size <= MOST_IN_BLOCK:
        raise UsageError(f"`block` {size}: from 1 to {MOST_IN_BLOCK} variants")
    return min(size, autosomal)
