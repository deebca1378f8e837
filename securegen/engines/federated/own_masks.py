"""Masks of sets of variants at a site, the same at every site: from public frequencies, or from what the sites open of them.

| step | numbers of a variant of the sets | opened |
|---|---|---|
| flags | sites that withhold it; of each bin, sites whose own people carry A1 more often | how many |
| counts | of each variant that nobody withholds: calls that are missing, S = Σg | yes |

The frequency that decides is that of all people where nobody withholds the variant. Else nobody knows it, and the largest of
the sites' own stands for it: the variant is in a bin that no site is above, and in no mask of singletons. Without rules of
openings, and with a file of frequencies, masks are those of the plain engine.

Each site makes the masks of its own people, by `study.masks`: no genotype leaves. A site withholds a mask that few of its
people tell apart from another one of the study, or of which a combination with others of sets that share a variant is few
people. Who learns what: every site learns the totals, and of a variant or mask that is withheld, at how many sites.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.federated.cohort import places_at
from securegen.engines.federated.common_variants import pooled_counts, pooled_people
from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.own_inputs import OwnInputs, named_file
from securegen.engines.federated.rounds import SecureSum, not_below_own
from securegen.engines.federated.studyfile import StudyFile
from securegen.governance import openings, set_rules
from securegen.governance.guard import SiteGuard
from securegen.governance.rows import RowRule, code_counts, genotype_codes, rows_at_once
from securegen.io.text import count
from securegen.model import GenotypeBlock, IntArray, SelectableReader, iterate_blocks
from securegen.structure.totals import OwnTotals
from securegen.study.inputs import Log
from securegen.study.mask_rows import Rarity, counted_rarity, masks_of, matched_sets, public_rarity
from securegen.study.masks import MaskReader

ABOVE = 2.0  # a frequency of no bin
RARE = 0.01  # at every site: variants that set tests may collapse although nobody knows how many alleles there are


@dataclass(frozen=True)
class Classes:
    """Of V variants: pooled Σg and called people, 0 where withheld; few: some site withholds it, since few of its people stand
    out in it, and it is rare at all of them; near: some site withholds it otherwise; rarity: what decides on masks."""

    dosage: IntArray
    called: IntArray
    few: np.ndarray
    near: np.ndarray
    rarity: Rarity


def with_masks(
    study: StudyFile, own: OwnInputs, secure: SecureSum, guard: SiteGuard, folder: Path, log: Log
) -> tuple[OwnInputs, MaskReader | None, Classes | None]:  # fmt: skip
    """The same inputs with the masks of the study in place of variants, these masks, and what sites said of their variants,
    None where that is public.

    Raises InputError for files that do not fit, UsageError where no mask has a variant, PolicyError where totals are not of
    people.
    """
    if study.sets is None:
        return own, None, None
    with study.sets.options(lambda name, digest: named_file(folder / name, digest, "sets of variants")) as options:
        matched = matched_sets(options, own.aligned, log)
        classes = None
        rarity = public_rarity(matched, log)
        if rarity is None or study.sets.tests:
            index = np.concatenate([s.index for s in matched.sets])
            rows, place = np.unique(index, return_inverse=True)
            bins = () if rarity is not None else options.bins
            classes = _classes(own, own.aligned.select(None, rows), bins, secure, guard, log)
            classes = _taken(classes, place.ravel())
            rarity = classes.rarity if rarity is None else rarity
        masks = masks_of(matched, rarity, "the people of all sites", log)
    members = np.concatenate([m.ravel() for m in masks.members])
    secure.agree("masks", np.packbits(members).astype(np.int64), masks.rows, masks.firsts)
    tested: SelectableReader = masks.source if study.sets.tests else masks
    places = places_at(study, own.traits, own.offsets, tested.variants)
    return replace(own, reader=tested, places=places), masks, classes


def _taken(c: Classes, index: IntArray) -> Classes:
    rarity = Rarity(c.rarity.share[index], c.rarity.alone[index], c.rarity.there[index])
    return Classes(c.dosage[index], c.called[index], c.few[index], c.near[index], rarity)


def counted_people(own: OwnInputs) -> np.ndarray:
    """(N,) bool: whose alleles the frequencies are of, as in the plain engine: who is analysed for any phenotype."""
    out: np.ndarray = np.logical_or.reduce([p.mask for p in own.planned])
    return out


def _classes(
    own: OwnInputs, reader: SelectableReader, asked: tuple[float, ...], secure: SecureSum, guard: SiteGuard, log: Log
) -> Classes:  # fmt: skip
    people, size = counted_people(own), len(reader.variants)
    bins = tuple(sorted({*asked, RARE}))
    pooled = pooled_people(secure, people)
    flags = np.zeros((size, 2 + len(bins)), np.int64)
    if guard.on:
        mine = partial(_flags, own, reader, people, bins, guard)
        widths = (field_bits(64),) * flags.shape[1]
        flags = secure.rows("masks-flags", size, widths, mine, bounds=(64,) * flags.shape[1], check=not_below_own)
    free = np.flatnonzero((flags[:, :2] == 0).all(axis=1))
    dosage, called = np.zeros(size, np.int64), np.zeros(size, np.int64)
    if len(free):
        found = pooled_counts(secure, OwnTotals(reader.select(None, free), people), pooled, "masks")
        dosage[free], called[free] = found.dosage, found.called
    known = counted_rarity(dosage, called, reader.dosage_grid, np.zeros(size, np.int64))
    if not guard.on:
        return Classes(dosage, called, np.zeros(size, bool), np.zeros(size, bool), known)
    hidden = (flags[:, :2] != 0).any(axis=1)
    share = np.where(hidden, ABOVE, known.share)
    rare = hidden & (flags[:, 2 + bins.index(RARE)] == 0)
    for k, top in reversed(list(enumerate(bins))):
        if top in asked:
            share[hidden & (flags[:, 2 + k] == 0)] = top
    if hidden.any():
        log(
            f"{int(hidden.sum()):,} of {count(size, 'variant')} of the sets are withheld: the largest frequency of any site "
            "stands for theirs, and no mask is of singletons"
        )
    rarity = Rarity(share, np.zeros(size, bool), known.there | hidden)
    few = (flags[:, 0] != 0) & rare
    return Classes(dosage, called, few, hidden & ~few, rarity)


def _flags(
    own: OwnInputs, reader: SelectableReader, people: np.ndarray, bins: tuple[float, ...], guard: SiteGuard
) -> IntArray:  # fmt: skip
    """(V, 2 + bins) 1 where few of this site's people stand out in a variant; where it is nearly one before it; where these
    people carry A1 more often than a bin says."""
    grid = reader.dosage_grid
    sets = [people, *(p.mask for p in own.planned)]
    binary = any(p.test.binary for p in own.planned)
    rule = RowRule(sets, grid, strict=True, fewest=guard.fewest, quadratic=binary)
    kept: list[GenotypeBlock] = []
    out = np.zeros((len(reader.variants), 2 + len(bins)), np.int64)
    for block in iterate_blocks(reader, rows_at_once(len(reader.samples))):
        at = slice(block.start, block.start + len(block))
        veto = rule.scan(block, kept)
        few = np.zeros(len(block), bool)
        for some in {s.tobytes(): s for s in sets}.values():
            few |= ~openings.rows_apart(code_counts(genotype_codes(block, some, grid)), guard.fewest)
        total = block.dosage[:, people].sum(axis=1, dtype=np.int64)
        lack = 0 if block.missing is None else block.missing[:, people].sum(axis=1)
        share = counted_rarity(total, int(people.sum()) - lack + 0 * total, grid, 0 * total).share
        out[at, 0], out[at, 1] = few, veto & ~few
        out[at, 2:] = [[s > top for top in bins] for s in share.tolist()]
    return out


def rules_of_masks(masks: MaskReader, own: OwnInputs, guard: SiteGuard) -> dict[str, Any]:
    """`vetoed` and `window` of `federated_sums`: masks are compared with all of a chromosome, since whoever lists the sets
    chooses which of them are alike, and where sets share a variant their combinations are looked at."""
    if not guard.on:
        return {}
    _, counts = np.unique(masks.variants.chromosome.astype(str), return_counts=True)
    window = max(openings.WINDOW, int(counts.max()))
    return {"vetoed": _withheld_masks(masks, [p.mask for p in own.planned], guard), "window": window}


def _withheld_masks(masks: MaskReader, sets: list[np.ndarray], guard: SiteGuard) -> np.ndarray:
    """(M,) bool: masks that with others of sets that share a variant single few of this site's people out. sets: of samples,
    (N,) bool each."""
    out = np.zeros(len(masks.variants), bool)
    names = [masks.source.variants.id[a:b] for a, b in zip(masks.firsts[:-1], masks.firsts[1:], strict=True)]
    number = {name: j for j, name in enumerate(dict.fromkeys(masks.source.variants.id.tolist()))}
    group = set_rules.groups_of([np.array([number[name] for name in mine]) for mine in names])
    held: dict[int, list[tuple[int, np.ndarray]]] = {}
    last = {int(g): s for s, g in enumerate(group)}
    for s in range(len(group)):
        first, stop = int(masks.rows[s]), int(masks.rows[s + 1])
        if stop > first:
            block = masks.read(first, stop)
            held.setdefault(int(group[s]), []).extend((first + r, block.dosage[r]) for r in range(len(block)))
        if last[int(group[s])] == s and int(group[s]) in held:
            index, rows = zip(*held.pop(int(group[s])), strict=True)
            together = np.array(rows)
            for some in {p.tobytes(): p for p in sets}.values():
                out[list(index)] |= set_rules.withheld_combinations(together[:, some], guard.fewest, masks.dosage_grid)
    return out
