"""Which phenotypes stay closed on X and on Y: those in whose sums few people of a site, or of fewer than three sites, would
stand.

Everybody analysed on Y is male, and on X of known sex, where sex is a column. So these are other people than on autosomes,
by a few at some sites; Σx over the ones less Σx over the others is the people of unknown sex. Each site looks at its own
people, and says yes or no under masks; whether it has males and females it says in a number of its own, which no other
site can change. Who learns what: how many sites say no, and which have males, females.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securegen.design.columns import QUALITY
from securegen.design.fixedpoint import SumOverSites
from securegen.engines.federated.admission import LEDGER
from securegen.engines.federated.cohort import everybody, set_of
from securegen.engines.federated.rounds import OUT_OF_BOUNDS
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import PolicyError
from securegen.governance import openings
from securegen.governance.ledger import Entries
from securegen.governance.ledger_file import open_ledger
from securegen.model import Samples
from securegen.study.build import Planned
from securegen.study.inputs import Log
from securegen.study.ploidy import FEMALE, MALE, NAMES, X, Y, present_on
from securegen.study.traits import Traits

NamedSets = list[tuple[str, np.ndarray]]
SITES = 3  # in a sum, or two that learn each other's


@dataclass(frozen=True)
class _Member:
    """A phenotype, or quality control, on X or Y. sets: (N,) bool each, over whom genotypes are summed; parts: groups of them
    that are none, or `fewest`, at a site, and at none or three sites; columns: (N, p) float64, what is summed beside."""

    kind: int
    name: str
    sets: NamedSets
    parts: tuple[np.ndarray, ...]
    columns: np.ndarray
    summed: int


@dataclass(frozen=True)
class Closed:
    """reasons: kind and phenotype (or QUALITY) -> why nobody may see its sums; sets: those that are summed, by what for."""

    reasons: Mapping[tuple[int, str], str]
    sets: NamedSets


def closed_strata(
    study: StudyFile, site: str, planned: Sequence[Planned], traits: Traits, samples: Samples,
    sets: Sequence[tuple[str, np.ndarray]], total: SumOverSites, state: Path, log: Log,
) -> Closed:  # fmt: skip
    """What stays closed, the same at every site. Nothing is asked where no rule holds, or nobody is apart by sex.

    sets: (N,) bool by what for, those that are summed anyhow.
    """
    members = list(_members(study, planned, traits, samples))
    if study.openings == openings.ALL or not members:
        return Closed({}, [])
    no, open_sets = _own_votes(study, planned, traits, samples, sets, members, state, log)
    mine = np.array([s.name == site for s in study.sites])
    fields = np.outer([p.any() for m in members for p in m.parts], mine).astype(np.int64)
    opened = total([*(int(fault is not None) for fault in no), *fields.ravel().tolist()])
    refusing = iter(opened[: len(no)])
    present = iter(_sites_with(np.array(opened[len(no) :], object), fields, mine))
    least = 2 if study.two_sites_learn_each_other else SITES
    reasons: dict[tuple[int, str], str] = {}
    opening: NamedSets = []
    for i, m in enumerate(members):
        sites = [next(present) for _ in m.parts]
        if next(refusing):
            reasons[m.kind, m.name] = "at a site few people would stand out there"
        elif any(0 < number < least for number in sites):
            reasons[m.kind, m.name] = (
                f"fewer than {least} sites have males, or females, there: they would read each other"
            )
        else:
            opening += open_sets[i]
    for (kind, name), reason in reasons.items():
        if name == QUALITY:
            log(f"WARNING: {NAMES[kind]}: no quality control there, its rows are NA: {reason}")
    return Closed(reasons, opening)


def _sites_with(opened: np.ndarray, own: np.ndarray, mine: np.ndarray) -> list[int]:
    """At how many sites there is somebody of each group. own: (groups, sites) 0 or 1, this site's answers in its own column
    `mine`; opened: totals of all sites' answers.

    A site that sets totals cannot answer for another: else the sums of one site would pass for those of three.
    Raises PolicyError.
    """
    totals = opened.reshape(own.shape)
    if not np.isin(totals, (0, 1)).all() or (totals[:, mine] != own[:, mine]).any():
        raise PolicyError(OUT_OF_BOUNDS)
    return [int(v) for v in totals.sum(axis=1)]


def _members(study: StudyFile, planned: Sequence[Planned], traits: Traits, samples: Samples) -> Iterator[_Member]:
    male, female = samples.sex == MALE, samples.sex == FEMALE
    for kind in (k for k in (X, Y) if NAMES[k] in study.strata):
        for p in planned if kind == Y or not study.x_as_stored else ():
            mask = p.mask & present_on(kind, samples.sex)
            sets = [(f"{set_of(p.phenotype.name)} on {NAMES[kind]}", mask)]
            columns = [p.phenotype.values, *traits.covariates.T]
            parts: tuple[np.ndarray, ...] = (mask,)
            if kind == X:
                columns.append(male.astype(float))
                parts = (mask & male, mask & female)
                if study.xchr_model == 1:
                    sets.append((f"males with {p.phenotype.name}", mask & male))
            yield _Member(kind, p.phenotype.name, sets, parts, np.stack(columns, 1), _summed([p], traits, kind == X))
        if study.qc:
            people = everybody(study, planned)
            founders = people & samples.founder
            parts = (founders & male, founders & female) if kind == X else (people & male, founders & male)
            sets = [(f"quality control on {NAMES[kind]}", part) for part in parts]
            yield _Member(kind, QUALITY, sets, parts, np.empty((len(male), 0)), len(parts))


def _summed(planned: Sequence[Planned], traits: Traits, sex: bool = False) -> int:
    """How many columns are summed for phenotypes in the same people."""
    covariates = 1 + len(traits.covariate_names) + sex
    alone = [p for p in planned if not p.test.together]
    return len(alone) * (covariates + 3) + (covariates + len(planned) - len(alone) if len(planned) > len(alone) else 0)


def _own_votes(
    study: StudyFile, planned: Sequence[Planned], traits: Traits, samples: Samples, sets: Sequence[tuple[str, np.ndarray]],
    members: Sequence[_Member], state: Path, log: Log,
) -> tuple[list[str | None], list[NamedSets]]:  # fmt: skip
    """What is wrong with each member at this site, and its sets."""
    accepted = list(sets)
    columns = [_over(p.mask, np.column_stack([p.phenotype.values, traits.covariates])) for p in planned]
    summed = _summed(planned, traits)
    no: list[str | None] = []
    with open_ledger(state / LEDGER) as ledger:
        rows = ledger.rows(samples)
        for m in members:
            fault = _people_fault(study, m) or _set_fault(study, accepted, m.sets, rows, ledger)
            here = _over(m.sets[0][1], m.columns)
            if fault is None and m.columns.size:
                fault = _columns_fault(study, m, np.column_stack([*columns, here]), summed + m.summed, rows, ledger)
            no.append(fault)
            if fault is None:
                accepted, summed = [*accepted, *m.sets], summed + m.summed
                columns.append(here)
            else:
                log(f"{NAMES[m.kind]}, {m.name}: this site keeps it closed for all: {fault}")
    return no, [m.sets for m in members]


def _over(people: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N, 1 + p) float64: who is in a set, and columns over these alone."""
    return np.column_stack([people, np.where(people[:, None], columns, 0.0)])


def _people_fault(study: StudyFile, m: _Member) -> str | None:
    for part in m.parts:
        if openings.too_few(part.sum(), study.fewest_people):
            return f"{int(part.sum())} people of one sex; there must be none, or at least {study.fewest_people}"
    people = int(m.sets[0][1].sum())
    if m.name != QUALITY and 0 < people < study.smallest_cohort:
        return f"{people} people; the study takes no site with fewer than {study.smallest_cohort}"
    return None


def _set_fault(study: StudyFile, accepted: NamedSets, new: NamedSets, rows: np.ndarray, ledger: Entries) -> str | None:
    known = [people for _, people in accepted]
    for _, people in new:
        faults = (openings.set_fault(a, people, study.fewest_people) for a in known)
        fault = next((f for f in faults if f is not None), None)
        known.append(people)
        if fault is None and len(known) > 2:
            fault = openings.sets_fault(np.column_stack(known), study.fewest_people)
        fault = fault or ledger.set_fault(rows, people, study.fewest_people)
        if fault is not None:
            return fault
    return None


def _columns_fault(
    study: StudyFile, m: _Member, together: np.ndarray, summed: int, rows: np.ndarray, ledger: Entries
) -> str | None:
    """What can be told of columns before scales, centres and null models are known."""
    people = m.sets[0][1]
    for column in m.columns[people].T:
        centred = column - column.mean() if len(column) else column
        fault = openings.column_fault(column, study.fewest_people) or openings.column_fault(
            centred, study.fewest_people
        )
        if fault is not None:
            return fault
    limit = openings.CONSENTED if study.consent_openings else openings.LEVERAGE
    fault = openings.leverage_fault(together[(together != 0).any(axis=1)], limit)
    spent = max((ledger.spent[r] for r in rows[people]), default=0)
    if fault is None and not study.consent_openings and spent + summed > openings.SITE_SHARE * people.sum() > 0:
        fault = (
            f"{spent + summed} columns for {int(people.sum())} people; at most {openings.SITE_SHARE:.0%} are allowed"
        )
    return fault
