"""The design of one stratum: who is analysed on X, Y and MT, with which covariates, and what becomes of phenotypes that
cannot be.

Whatever decides is a sum over the sites, so one owner and sites with other people take the same way. Who learns what: the
sums that `total` opens, of people, cases and males, and those of `design`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from securegen.catalogue import record_of
from securegen.design import fixedpoint as fp
from securegen.design import qc
from securegen.design.columns import QUALITY, Analysis, Design
from securegen.design.exact import share_left
from securegen.design.side_by_side import side_by_side
from securegen.design.strata import Stratum, Unanalysed, runs_where
from securegen.errors import DesignError
from securegen.io.text import count
from securegen.model import Columns
from securegen.study.build import Planned, check_dosages, joined
from securegen.study.inputs import Log
from securegen.study.ploidy import AUTOSOMAL, MALE, MT, NAMES, X, Y, halves, present_on
from securegen.study.traits import Traits
from securegen.vocabulary import ADDITIVE, CORR_TOO_HIGH, FEW_CARRIERS, TOO_FEW_SAMPLES

Offsets = Mapping[str, np.ndarray] | None
Make = Callable[[Sequence[Planned], Traits, Offsets, fp.SumOverSites], list[Design]]
SEX = "SEX"
SPANNED = 1e-9  # largest share of the variance of sex that covariates leave which say the same
UNKNOWN = "nobody of known sex (`sex_name` names its column in a table)"


@dataclass(frozen=True)
class Place:
    """Variants that share a design. kind: of `ploidy`; which: (M,) bool; offsets: of `build.designs`; analysed: or left out."""

    name: str
    kind: int
    which: np.ndarray
    offsets: Offsets = None
    analysed: bool = True


@dataclass(frozen=True)
class QualitySets:
    """(N,) bool each: founders, whose frequencies count; tested, in the Hardy–Weinberg test; everybody."""

    founders: np.ndarray
    tested: np.ndarray
    everybody: np.ndarray


@dataclass(frozen=True)
class Blueprint:
    """What the strata of a study are made of.

    planned, traits: of all people, traits None for quality control alone; sex: (N,); make: designs of planned phenotypes;
    x_model: how males on X count; x_as_stored: X as the file has it; closed: kind and phenotype (QUALITY for quality
    control) -> why nobody may see its sums there; top: the largest stored dosage, None where no sum can be too wide; coding:
    the genetic model of the dosages.
    """

    planned: Sequence[Planned]
    traits: Traits | None
    sex: np.ndarray
    make: Make
    log: Log
    quality: QualitySets | None = None
    x_model: int = 2
    x_as_stored: bool = False
    closed: Mapping[tuple[int, str], str] = field(default_factory=dict)
    top: int | None = None
    coding: str = ADDITIVE

    def kind(self, place: Place) -> int:
        """The rules by which a place is analysed."""
        return AUTOSOMAL if place.kind == X and self.x_as_stored else place.kind


def stratum_at(place: Place, study: Blueprint, total: fp.SumOverSites = fp.pooled) -> Stratum:
    """The stratum of a place. Raises DesignError for a phenotype that has no design where everybody is analysed."""
    found, refused = _parts(study.kind(place), place.offsets, study, total) if place.analysed else ([], [])
    if study.quality is not None:
        if (reason := study.closed.get((place.kind, QUALITY))) is None:
            found = [*found, _quality(place.kind, study.quality, study, total)]
        else:
            refused = [*refused, Unanalysed(QUALITY, "QC", FEW_CARRIERS, None, None, reason)]
    nothing = Design(Columns((), np.zeros((len(study.sex), 0), np.int64), ()), ())
    design = joined(found, study.planned, share=total is fp.pooled) if found else nothing
    doubled = place.kind == X and study.x_model == 1
    if doubled and found:
        design = count_apart(design, study.sex == MALE, total)
    if study.top is not None and study.top * (1 + doubled) > 2:
        check_dosages(design, study.top * (1 + doubled))
    copies = 1 if place.kind in (Y, MT) else 2
    unit = 1 + halves(place.kind, study.x_model)
    return Stratum(place.name, runs_where(place.which), design, unit, copies, tuple(refused))


def _parts(
    kind: int, offsets: Offsets, study: Blueprint, total: fp.SumOverSites
) -> tuple[list[Design], list[Unanalysed]]:
    """Designs of the phenotypes on chromosomes of a kind, and those that have none there."""
    if study.traits is None:
        return [], []
    if kind == AUTOSOMAL:
        return study.make(study.planned, study.traits, offsets, total), []
    before = [p for p in study.planned if p.test.copies]
    if kind == MT:
        return study.make(before, study.traits, offsets, total), []
    refused = [
        Unanalysed(p.test.name, p.phenotype.name, FEW_CARRIERS, None, None, reason)
        for p in before if (reason := study.closed.get((kind, p.phenotype.name))) is not None
    ]  # fmt: skip
    before = [p for p in before if (kind, p.phenotype.name) not in study.closed]
    here = present_on(kind, study.sex)
    counted = _counts(kind, before, here, study.sex, total)
    groups = [_Group(kind, p, study, offsets, counts, study.traits) for p, counts in counted]
    chosen: dict[tuple[str, ...], list[_Group]] = {}
    for group in side_by_side(total, [partial(_Group.with_covariates, g) for g in groups if g.counts.samples]):
        chosen.setdefault(group.names, []).append(group)
    refused += [g.nobody() for g in groups if not g.counts.samples]
    made: list[Design] = []
    for good, bad in side_by_side(total, [partial(_attempt, members) for members in chosen.values()]):
        made += good
        refused += bad
    for r in refused:
        study.log(f"WARNING: {NAMES[kind]}: phenotype {r.phenotype} is not analysed there, its rows are NA: {r.reason}")
    return made, refused


@dataclass(frozen=True)
class _Counts:
    """Over all sites: people who are analysed elsewhere, and here, cases and males among them."""

    before: int
    samples: int
    cases: int
    males: int


def _counts(
    kind: int, before: Sequence[Planned], here: np.ndarray, sex: np.ndarray, total: fp.SumOverSites
) -> list[tuple[Planned, _Counts]]:
    guard, own = fp.guard_of(total), []
    mine = [replace(p, mask=p.mask & here) for p in before]
    for p, elsewhere in zip(mine, before, strict=True):
        cases = p.phenotype.values[p.mask] == 1 if p.test.binary else np.zeros(0, bool)
        males = sex[p.mask] == MALE
        for what, column in ((f"cases of {p.phenotype.name}", cases), ("sex", males)):
            guard.column(f"{NAMES[kind]}: {what}", column.astype(np.int64))
        own += [int(elsewhere.mask.sum()), int(p.mask.sum()), int(cases.sum()), int(males.sum())]
    found = total(own) if own else []
    return [(p, _Counts(*found[4 * i : 4 * i + 4])) for i, p in enumerate(mine)]


@dataclass(frozen=True)
class _Group:
    """A phenotype on X or Y. planned: its people there; traits: those of the study, then with the covariates of there."""

    kind: int
    planned: Planned
    study: Blueprint
    offsets: Offsets
    counts: _Counts
    traits: Traits

    @property
    def names(self) -> tuple[str, ...]:
        return self.traits.covariate_names

    def nobody(self) -> Unanalysed:
        p = self.planned
        who = "no male" if self.kind == Y else UNKNOWN
        reason = f"{who} has {p.phenotype.name} and every covariate"
        return Unanalysed(p.test.name, p.phenotype.name, TOO_FEW_SAMPLES, 0, 0, reason)

    def with_covariates(self, total: fp.SumOverSites) -> _Group:
        """The same with its covariates: without those that are the same for everybody here, and on X with sex unless they
        say it."""
        p, traits, log = self.planned, self.traits, self.study.log
        where = f"{NAMES[self.kind]}, phenotype {p.phenotype.name}"
        self._say_people(where)
        if not p.test.covariates:
            return self
        names, values = traits.covariate_names, traits.covariates
        jobs = [partial(fp.varies, values[p.mask, k], f"covariate {name}") for k, name in enumerate(names)]
        varies = np.array(side_by_side(total, jobs), bool)
        if not varies.all():
            constant = [name for name, kept in zip(names, varies, strict=True) if not kept]
            log(f"{where}: {', '.join(constant)} is the same for everybody there: no covariate")
        names, values = tuple(n for n, kept in zip(names, varies, strict=True) if kept), values[:, varies]
        male = (self.study.sex == MALE).astype(float)
        if self.kind == X and 0 < self.counts.males < self.counts.samples:
            if _spanned(male[p.mask], values[p.mask], names, total):
                log(f"{where}: the covariates say the sex already: it is not added")
            else:
                name = SEX if SEX not in names else f"{SEX}:male"
                values, names = np.concatenate([values, male[:, None]], axis=1), (*names, name)
                log(f"{where}: sex is a covariate there, {name} 1 for males")
        return replace(self, traits=replace(traits, covariates=values, covariate_names=names))

    def _say_people(self, where: str) -> None:
        c = self.counts
        if self.kind == Y:
            self.study.log(f"{where}: {count(c.samples, 'male')} of {c.before:,} people")
        elif c.samples < c.before:
            self.study.log(
                f"WARNING: {where}: {c.before - c.samples} of {c.before:,} people are left out there, their sex is not "
                "known; --sex-name takes it from a table"
            )


def _attempt(members: Sequence[_Group], total: fp.SumOverSites) -> tuple[list[Design], list[Unanalysed]]:
    """Designs of phenotypes together, or, where one of them has none, of each alone."""
    first = members[0]
    try:
        return first.study.make([g.planned for g in members], first.traits, first.offsets, total), []
    except DesignError as error:
        if not _all_see(error, total):
            raise
        if len(members) > 1:
            parts = [_attempt([member], total) for member in members]
            return [d for made, _ in parts for d in made], [r for _, refused in parts for r in refused]
        p, n, cases = first.planned, first.counts.samples, first.counts.cases
        few = n < len(first.names) + 3 + p.test.interacts or (p.test.binary and cases in (0, n))
        code = TOO_FEW_SAMPLES if few else CORR_TOO_HIGH
        return [], [Unanalysed(p.test.name, p.phenotype.name, code, n, cases, str(error))]


def _all_see(error: DesignError, total: fp.SumOverSites) -> bool:
    """Whether every site has this error, from opened sums."""
    return total is fp.pooled or not isinstance(error, fp.OwnValueError)


def _spanned(column: np.ndarray, others: np.ndarray, names: Sequence[str], total: fp.SumOverSites) -> bool:
    """Whether (n,) 0 and 1 are a linear combination of (n, K−1) others and a constant."""
    try:
        found = side_by_side(
            total, [partial(fp.fit_scaling, others[:, k], f"covariate {name}") for k, name in enumerate(names)]
        )
    except DesignError as error:
        if not _all_see(error, total):
            raise
        return False  # the design says it again
    one = 1 << fp.PRECISE_BITS
    fine = [scaling.integers(decimals, one) for scaling, decimals in found]
    x = np.stack([np.full(len(column), one), *fine, column.astype(np.int64) * one], axis=1)
    guard = fp.guard_of(total)
    return share_left(fp.sum_gram(x, total, guard.gram)) <= SPANNED


def _quality(kind: int, sets: QualitySets, study: Blueprint, total: fp.SumOverSites) -> Design:
    if kind == AUTOSOMAL:
        return qc.qc_design(sets.founders, sets.tested, sets.everybody, total=total, coding=study.coding)
    if kind == X:
        unit = 1 + halves(kind, study.x_model)
        return qc.qc_design_x(
            sets.founders, sets.tested, sets.everybody, study.sex, unit, total=total, coding=study.coding
        )
    present = sets.everybody & present_on(kind, study.sex)
    return qc.qc_design_of(sets.founders, sets.tested, present, total=total)


def count_apart(design: Design, males: np.ndarray, total: fp.SumOverSites = fp.pooled) -> Design:
    """The same design with columns of males, who have one copy where females have two. males: (N,) bool."""
    values, names = list(design.columns.values.T), list(design.columns.names)
    squared = list(design.columns.squared)
    places: list[list[int]] = []
    for a in design.analyses:
        places.append([])
        minor = record_of(a).reads.minor
        for j in [a.columns[0], *([] if minor is None else [a.columns[minor]])] if a.association else []:
            column = values[j] * males
            known = values if total is fp.pooled else []  # equal here need not be equal at another site
            same = next((i for i, other in enumerate(known) if np.array_equal(other, column)), len(values))
            if same == len(values):
                values.append(column)
                names.append(f"{design.columns.names[j]}:male")
                squared.append(False)
            places[-1].append(same)
    counts = iter(total([int(values[j].sum()) for index in places for j in index]))
    analyses: list[Analysis] = [
        replace(a, single=tuple((j, next(counts)) for j in index))
        for a, index in zip(design.analyses, places, strict=True)
    ]
    return Design(Columns(tuple(names), np.stack(values, axis=1), tuple(squared)), tuple(analyses))
