"""Masks of sets of variants at a site, the same at every site: from public frequencies, or from what the sites open of them.

| step | numbers of a variant of the sets | opened |
|---|---|---|
| flags | sites that withhold it; of steps of `LADDER`, sites whose own people carry A1 more often | how many |
| counts | of each variant that nobody withholds: calls that are missing, S = Σg | yes |

The frequency that decides is that of all people where nobody withholds the variant. Else nobody knows it, and the largest of
the sites' own stands for it: the variant is in a bin if no site is above the last step of a fixed ladder up to it, and in no
mask of singletons. Bins are chosen anew for each study: votes on them would tell, study by study, how many people carry it.
Without rules of openings, and with a file of frequencies, masks are those of the plain engine.

Each site makes the masks of its own people, by `study.masks`: no genotype leaves. A site withholds a mask that few of its
people tell apart from another one of the study, or of which a combination with others of sets that share a variant is few
people. Who learns what: every site learns the totals, and of a variant or mask that is withheld, at how many sites.
"""

from __future__ import annotations

import json
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
from securegen.governance.signing import canonical
from securegen.io.text import count
from securegen.model import GenotypeBlock, IntArray, SelectableReader, iterate_blocks
from securegen.structure.totals import OwnTotals
from securegen.study.inputs import Log
from securegen.study.mask_rows import Rarity, counted_rarity, masks_of, matched_sets, public_rarity
from securegen.study.masks import MaskReader, set_blocks

ABOVE = 2.0  # a frequency of no bin
RARE = 0.01  # at every site: variants that set tests may collapse although nobody knows how many alleles there are
LADDER = (0.0001, 0.001, 0.005, RARE, 0.05)  # where sites place variants that are withheld: the same in all studies


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
) -> tuple[OwnInputs, MaskReader | None, Classes | None]:
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


def told(study: StudyFile, masks: MaskReader) -> bytes:
    """What tells the rows of a study of sets: the variants of each mask, how they count, whether they are tested instead."""
    ids = masks.source.variants.id
    made = {
        json.dumps(sorted(ids[first + np.flatnonzero(row)].tolist()))
        for first, members in zip(masks.firsts, masks.members, strict=False) for row in members
    }  # fmt: skip
    return canonical({"masks": sorted(made), "rule": masks.rule, "tested": bool(study.sets and study.sets.tests)})


def counted_people(own: OwnInputs) -> np.ndarray:
    """(N,) bool: whose alleles the frequencies are of, as in the plain engine: who is analysed for any phenotype."""
    out: np.ndarray = np.logical_or.reduce([p.mask for p in own.planned])
    return out


def _classes(
    own: OwnInputs, reader: SelectableReader, asked: tuple[float, ...], secure: SecureSum, guard: SiteGuard, log: Log
) -> Classes:
    people, size = counted_people(own), len(reader.variants)
    steps = sorted({_step(top) for top in asked if LADDER[0] <= top < 1} | {RARE})
    pooled = pooled_people(secure, people)
    flags = np.zeros((size, 2 + len(steps)), np.int64)
    if guard.on:
        mine = partial(_flags, own, reader, people, tuple(steps), guard)
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
    rare = hidden & (flags[:, 2 + steps.index(RARE)] == 0)
    for top in sorted(asked, reverse=True):
        if top >= LADDER[0]:
            share[hidden & (flags[:, 2 + steps.index(_step(top))] == 0 if top < 1 else hidden)] = top
    if hidden.any():
        log(
            f"{int(hidden.sum()):,} of {count(size, 'variant')} of the sets are withheld: the largest frequency of any site "
            f"stands for theirs, as one of {', '.join(f'{s:g}' for s in LADDER)}, and no mask is of singletons"
        )
    rarity = Rarity(share, np.zeros(size, bool), known.there | hidden)
    few = (flags[:, 0] != 0) & rare
    return Classes(dosage, called, few, hidden & ~few, rarity)


def _step(top: float) -> float:
    """The last step of the ladder up to a bin."""
    return max(step for step in LADDER if step <= top)


def _flags(
    own: OwnInputs, reader: SelectableReader, people: np.ndarray, steps: tuple[float, ...], guard: SiteGuard
) -> IntArray:
    """(V, 2 + steps) 1 where few of this site's people stand out in a variant; where it is nearly one before it; where these
    people carry A1 more often than a step says."""
    grid = reader.dosage_grid
    sets = [people, *(p.mask for p in own.planned)]
    binary = any(p.test.binary for p in own.planned)
    rule = RowRule(sets, grid, strict=True, fewest=guard.fewest, quadratic=binary, between=guard.between)
    kept: list[GenotypeBlock] = []
    out = np.zeros((len(reader.variants), 2 + len(steps)), np.int64)
    for block in iterate_blocks(reader, rows_at_once(len(reader.samples))):
        at = slice(block.start, block.start + len(block))
        veto = rule.scan(block, kept)
        few = np.zeros(len(block), bool)
        for some in {s.tobytes(): s for s in (*sets, *guard.between)}.values():
            few |= ~openings.rows_apart(code_counts(genotype_codes(block, some, grid)), guard.fewest)
        total = block.dosage[:, people].sum(axis=1, dtype=np.int64)
        lack = 0 if block.missing is None else block.missing[:, people].sum(axis=1)
        share = counted_rarity(total, int(people.sum()) - lack + 0 * total, grid, 0 * total).share
        out[at, 0], out[at, 1] = few, veto & ~few
        out[at, 2:] = [[s > top for top in steps] for s in share.tolist()]
    return out


def rules_of_masks(masks: MaskReader, own: OwnInputs, guard: SiteGuard) -> dict[str, Any]:
    """`vetoed` and `window` of `federated_sums`: masks are compared with all of a chromosome, since whoever lists the sets
    chooses which of them are alike, and where sets share a variant their combinations are looked at."""
    if not guard.on:
        return {}
    _, counts = np.unique(masks.variants.chromosome.astype(str), return_counts=True)
    window = max(openings.WINDOW, int(counts.max()))
    return {"vetoed": _withheld_masks(masks, [*(p.mask for p in own.planned), *guard.between], guard), "window": window}


def _withheld_masks(masks: MaskReader, sets: list[np.ndarray], guard: SiteGuard) -> np.ndarray:
    """(M,) bool: masks that with others of sets that share a variant, and with variants that a study of variants may open, single
    few of this site's people out. sets: of samples, (N,) bool each."""
    out = np.zeros(len(masks.variants), bool)
    names = [masks.source.variants.id[a:b] for a, b in zip(masks.firsts[:-1], masks.firsts[1:], strict=True)]
    number = {name: j for j, name in enumerate(dict.fromkeys(masks.source.variants.id.tolist()))}
    group = set_rules.groups_of([np.array([number[name] for name in mine]) for mine in names])
    order = np.argsort(group, kind="stable")
    for together in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        rows = [np.arange(masks.rows[s], masks.rows[s + 1]) for s in together]
        index = np.concatenate(rows)
        if not len(index):
            continue
        made = np.concatenate([masks.read(int(r[0]), int(r[-1]) + 1).dosage for r in rows if len(r)])
        alone = _alone(masks, together)
        for some in {p.tobytes(): p for p in sets}.values():
            shown = openings.rows_apart(code_counts(genotype_codes(alone, some, masks.dosage_grid)), guard.fewest)
            both = np.concatenate([alone.dosage[np.ix_(shown, some)], made[:, some]])
            few = set_rules.withheld_combinations(both, guard.fewest, masks.dosage_grid)
            out[index] |= few[int(shown.sum()) :]
    return out


def _alone(masks: MaskReader, sets: IntArray) -> GenotypeBlock:
    """The variants of some sets' masks, each once."""
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for s, block in set_blocks(masks.source, masks.firsts, np.sort(sets)):
        none = np.zeros(block.dosage.shape, bool)
        missing = none if block.missing is None else block.missing
        for j in np.flatnonzero(masks.members[s].any(axis=0)).tolist():
            seen.setdefault(masks.source.variants.id[masks.firsts[s] + j], (block.dosage[j], missing[j]))
    dosage, missing = (np.array(part) for part in zip(*seen.values(), strict=True))
    return GenotypeBlock(0, dosage, missing)
