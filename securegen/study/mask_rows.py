"""Which variants every mask has: sets, annotations and frequencies matched to the variants of a cohort.

Frequencies are those of the analysed people, or of a public file; with the file no count of these people decides what a mask
holds, so that others make the same masks from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.text import count
from securegen.io.variant_sets import VariantSet, read_annotations, read_frequencies, read_masks, read_sets
from securegen.model import GenotypeReader, IntArray, SelectableReader, Variants, iterate_blocks
from securegen.study.build import plan
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.mask_options import MaskOptions, name_of_bin
from securegen.study.masks import MaskReader, mask_reader
from securegen.study.ploidy import MALE, X, kinds_of
from securegen.study.predictions import read_predictions
from securegen.study.selection import some
from securegen.study.sexes import with_sexes
from securegen.study.traits import read_traits
from securegen.vocabulary import MASK_REF, canonical_chromosome

SINGLETON = "singleton"
BLOCK = 512


@dataclass(frozen=True)
class Found:
    """A set as this cohort has it. index: (k,) rows of its annotated variants, ascending; holds: (masks, k) bool, which
    masks have the category of each."""

    named: VariantSet
    index: IntArray
    holds: np.ndarray


@dataclass(frozen=True)
class Rarity:
    """Of V variants: share: frequency of the counted allele; alone: one person carries it; there: it may be in a mask."""

    share: np.ndarray
    alone: np.ndarray
    there: np.ndarray


@dataclass(frozen=True, repr=False)
class Matched:
    """The sets of a cohort before it is known which of their variants are rare. names: of masks; sets: those that have a
    variant here; variants: of the cohort; source: the variants of the sets, one set after the other."""

    options: MaskOptions
    names: tuple[str, ...]
    sets: tuple[Found, ...]
    variants: Variants
    source: SelectableReader


def with_masks(inputs: Inputs, reader: SelectableReader, log: Log) -> SelectableReader:
    """The masks that the inputs name in place of the variants; the same reader where they name none.

    Raises InputError for files that do not fit the genotypes, UsageError where no mask has a variant.
    """
    options = inputs.masks
    if options is None:
        return reader
    matched = matched_sets(options, reader, log)
    rarity = public_rarity(matched, log)
    if rarity is None:
        sex = with_sexes(inputs, reader, silent).samples.sex
        rarity = _counted(matched.source, analysed_people(inputs, reader), sex)
    return masks_of(matched, rarity, "the analysed people", log)


def matched_sets(options: MaskOptions, reader: SelectableReader, log: Log) -> Matched:
    """The sets and masks that options name, as a cohort has them. Raises InputError and UsageError as `with_masks`."""
    masks = read_masks(options.mask_def)
    sets = found_sets(options, masks, reader.variants, log)
    _refuse_one_name(options, masks, sets)
    source = reader.select(variants=np.concatenate([s.index for s in sets]))
    return Matched(options, tuple(masks), tuple(sets), reader.variants, source)


def _refuse_one_name(options: MaskOptions, masks: Iterable[str], sets: Sequence[Found]) -> None:
    """Rows are named SET.MASK.BIN: mask b.c of set A is mask c of set A.b."""
    seen: dict[str, tuple[str, str]] = {}
    for s in sets:
        for mask in masks:
            other = seen.setdefault(f"{s.named.name}.{mask}", (s.named.name, mask))
            if other != (s.named.name, mask):
                raise InputError(
                    f"{options.set_list}, line {s.named.line}: mask {mask} of set {s.named.name} has the rows' name of "
                    f"mask {other[1]} of set {other[0]}: rename a set or a mask"
                )


def masks_of(matched: Matched, rarity: Rarity, of_whom: str, log: Log) -> MaskReader:
    """The masks as a cohort. of_whom: whose frequencies decide, unless a file's do. Raises UsageError for none."""
    out, options = _made(matched, rarity), matched.options
    whose = f"the public frequencies of {options.aaf_file}" if options.aaf_file else of_whom
    log(
        f"--build-mask {options.rule}: {count(len(out.variants), 'mask')} of {count(len(matched.sets), 'set')} in place of "
        f"variants; frequencies are of {whose}"
    )
    return out


def analysed_people(inputs: Inputs, reader: GenotypeReader) -> np.ndarray:
    """(N,) bool: who is analysed for any phenotype; everybody where none is named."""
    if not inputs.pheno:
        return np.ones(len(reader.samples), bool)
    traits = read_traits(inputs, reader)
    if inputs.pred:
        traits, _ = read_predictions(inputs.pred, reader.samples, traits, silent)
    out: np.ndarray = np.logical_or.reduce([p.mask for p in plan(inputs, traits, silent)])
    return out


def found_sets(options: MaskOptions, masks: dict[str, frozenset[str]], variants: Variants, log: Log) -> list[Found]:
    """Sets with an annotated variant here, by chromosome in the order of the cohort, else in that of the list."""
    sets = read_sets(options.set_list)
    annotations = read_annotations(options.anno_file, {s.name for s in sets})
    _say_unknown(masks, annotations, log)
    used = frozenset().union(*masks.values())
    wanted = {v for s in sets for v in s.variants if annotations.get(s.name, {}).get(v) in used}
    where: dict[str, int] = {}
    twice: set[str] = set()
    for j, name in enumerate(variants.id):
        if name in wanted and where.setdefault(name, j) != j:
            twice.add(name)
    if twice:
        raise InputError(
            f"{options.set_list}: {some(sorted(twice))} is the id of several variants of the genotype "
            "files: give each an id of its own (plink2 --set-all-var-ids '@:#:$r:$a'), or leave it out of the sets"
        )
    chromosome = {c: canonical_chromosome(c) for c in dict.fromkeys(variants.chromosome)}
    order = {c: i for i, c in enumerate(dict.fromkeys(chromosome.values()))}
    out, empty = [], 0
    for s in sets:
        categories = annotations.get(s.name, {})
        index = np.array(sorted(where[v] for v in s.variants if v in where and categories.get(v) in used), np.int64)
        if not len(index):
            empty += 1
            continue
        for j in index.tolist():
            if chromosome[variants.chromosome[j]] != canonical_chromosome(s.chromosome):
                raise InputError(
                    f"{options.set_list}, line {s.line}: set {s.name} is on chromosome {s.chromosome}, its variant "
                    f"{variants.id[j]} on {variants.chromosome[j]}: a set lies on one chromosome"
                )
        holds = np.array([[categories[variants.id[j]] in of for j in index] for of in masks.values()], bool)
        out.append(Found(s, index, holds))
    if empty:
        log(
            f"{options.set_list}: {count(empty, 'set')} of {len(sets):,} left out: no annotated variant of them is here"
        )
    if not out:
        raise UsageError(
            f"no variant of {options.set_list} is here and has a category of {options.mask_def}: are the ids those of the "
            "genotype file?"
        )
    lost = len(wanted) - len(where)
    if lost:
        log(f"{options.set_list}: {count(lost, 'variant')} of masks are not among the variants here")
    return sorted(out, key=lambda f: order[canonical_chromosome(f.named.chromosome)])


def _say_unknown(masks: dict[str, frozenset[str]], annotations: dict[str, dict[str, str]], log: Log) -> None:
    known = {category for of_set in annotations.values() for category in of_set.values()}
    for name, categories in masks.items():
        unknown = sorted(categories - known)
        if unknown:
            log(f"WARNING: mask {name}: no variant has category {some(unknown)}")


def public_rarity(matched: Matched, log: Log) -> Rarity | None:
    """From the file of frequencies, None where there is none. Variants without one are in no mask."""
    options, source = matched.options, matched.source
    if options.aaf_file is None:
        return None
    told = read_frequencies(options.aaf_file, set(source.variants.id))
    found = [told.get(v) for v in source.variants.id]
    lost = len({v for v, f in zip(source.variants.id, found, strict=True) if f is None})
    if lost:
        log(f"{options.aaf_file}: {count(lost, 'variant')} of masks have no frequency there: left out")
    if any(f is not None and f.singleton is None for f in found):
        log(f"{options.aaf_file} does not say which variants one person carries: no mask is of singletons")
    return Rarity(
        np.array([np.nan if f is None else f.share for f in found]),
        np.array([f is not None and bool(f.singleton) for f in found]),
        np.array([f is not None for f in found]),
    )


def _counted(source: GenotypeReader, people: np.ndarray, sex: np.ndarray) -> Rarity:
    """Among the analysed people, in one pass: males on X count half for what is a singleton."""
    rows, grid = len(source.variants), source.dosage_grid
    total, males, called = (np.zeros(rows, np.int64) for _ in range(3))
    male = people & (sex == MALE)
    on_x = kinds_of(source.variants) == X
    everybody = bool(people.all())
    for block in iterate_blocks(source, BLOCK):
        at = slice(block.start, block.start + len(block))
        own = block.dosage if everybody else block.dosage[:, people]
        total[at] = own.sum(axis=1, dtype=np.int64)
        called[at] = int(people.sum())
        if block.missing is not None:
            called[at] -= (block.missing if everybody else block.missing[:, people]).sum(axis=1)
        if on_x[at].any():
            males[at] = block.dosage[:, male].sum(axis=1, dtype=np.int64) * on_x[at]
    return counted_rarity(total, called, grid, males)


def counted_rarity(total: IntArray, called: IntArray, grid: int, males: IntArray) -> Rarity:
    """Of V variants with Σg of the called people, (V,) each, in steps of 1/grid; males: Σg of those who count half."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = total / grid / called / 2
    alleles = (total - males / 2) / grid
    minor = np.minimum(total, 2 * grid * called - total)
    return Rarity(share, np.floor(alleles + 0.5) == 1, 2 * minor >= grid)


def _made(matched: Matched, rarity: Rarity) -> MaskReader:
    """Rows in regenie's order: masks of a set as defined, and of each singletons first, then wider and wider bins."""
    options = matched.options
    words = [SINGLETON, *map(name_of_bin, options.bins)]
    members, table, first = [], [], 0
    for s in matched.sets:
        at = slice(first, first + len(s.index))
        first = at.stop
        alone = rarity.alone[at] & rarity.there[at]
        bins = [alone, *(alone | (rarity.there[at] & (rarity.share[at] <= top)) for top in options.bins)]
        rows = []
        for mask, holds in zip(matched.names, s.holds, strict=True):
            for word, rare in zip(words, bins, strict=True):
                if (holds & rare).any():
                    rows.append(holds & rare)
                    chromosome = matched.variants.chromosome[s.index[0]]
                    table.append(
                        (chromosome, s.named.position, f"{s.named.name}.{mask}.{word}", f"{mask}.{word}", MASK_REF)
                    )
        members.append(np.array(rows, bool).reshape(len(rows), len(s.index)))
    if not table:
        raise UsageError(
            f"no variant of the sets has a frequency of at most {name_of_bin(options.bins[-1])}: choose wider `aaf_bins`"
        )
    chromosome, position, ids, alt, ref = (np.array(column, object) for column in zip(*table, strict=True))
    return mask_reader(
        matched.source, members, Variants(chromosome, position.astype(np.int64), ids, alt, ref), options.rule
    )
