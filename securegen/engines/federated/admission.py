"""Before a site's people enter a study's sums: the guard that goes with every sum, and the ledger of what they were in.

Who learns what: nobody but this site, whose log names the rule that refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.federated.studyfile import StudyFile
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.governance.ledger_file import open_ledger
from securegen.model import IntArray, Samples
from securegen.study.inputs import Log

LEDGER = "ledger"


def guard_of_study(study: StudyFile, log: Log, end: Callable[[str], NoReturn]) -> SiteGuard:
    """The rules of a study file, which end this site's part when they refuse."""
    return SiteGuard(
        log, level=study.openings, fewest=study.fewest_people, consent=study.consent_openings, end=end
    )  # fmt: skip


def admit(
    study: StudyFile, sets: Sequence[tuple[str, np.ndarray]], samples: Samples, state: Path, guard: SiteGuard
) -> None:
    """Enter this study's sets of samples, (N,) bool each by what it is for, and of sites into the ledger below `state`.

    Raises PolicyError when two sets, now or in these people's lifetime, differ by a few people, or the sites by one.
    """
    guard.sets(sets)
    members = [(s.name, s.verify_key.hex()) for s in study.sites]
    with open_ledger(state / LEDGER, guard.log) as ledger:
        rows = ledger.rows(samples)
        if not study.consent_openings:
            fault = ledger.site_fault(study.digest, members)
            if fault is not None:
                guard.refuse("sets of sites", fault)
        for what, people in sets:
            fault = ledger.set_fault(rows, people, study.fewest_people)
            if fault is not None and guard.on:
                guard.refuse(f"samples of {what}", fault)
            ledger.add_set(f"study {study.name} {study.digest[:16]}, {what}", rows, people)
        ledger.add_study(study.digest, members)


def charge(study: StudyFile, strata: Sequence[Stratum], samples: Samples, state: Path, guard: SiteGuard) -> None:
    """Count the columns of every stratum for everybody in them, before they meet a genotype; the same column once.

    Raises PolicyError above the share of a site's, or of all, people of a stratum, and where the columns of all these
    people's studies single somebody out; consent lifts all three.
    """
    share, limit = _limits(study, guard)
    known: set[bytes] = set()
    with open_ledger(state / LEDGER) as ledger:
        for stratum in (s for s in strata if s.design.analyses):
            values = np.asarray(stratum.design.columns.values)
            pooled = max(a.model.samples for a in stratum.design.analyses)
            known |= {values[:, j].tobytes() for j in range(values.shape[1])}
            if share < math.inf and len(known) > openings.POOLED_SHARE * pooled:
                guard.refuse(
                    "columns", f"{len(known)} of them are more than {openings.POOLED_SHARE:.0%} of {pooled} people"
                )
            fault = ledger.charge(ledger.rows(samples), values, share=share, limit=limit)
            if fault is not None:
                guard.refuse("columns", fault)


def charge_products(
    study: StudyFile, samples: Samples, people: np.ndarray, variants: bytes, block: int, predictors: int, state: Path,
    guard: SiteGuard,
) -> None:  # fmt: skip
    """Count a whole-genome model of `people`, (N,) bool, before products of their genotypes are summed.

    variants: what tells them and their blocks; block: variants of the largest; predictors: of all phenotypes. Raises PolicyError
    above the share of a site's people, and where products of anybody's genotypes were summed of other variants or beside other
    people; consent lifts both.
    """
    if not guard.on:
        return
    share, _ = _limits(study, guard)
    with open_ledger(state / LEDGER) as ledger:
        fault = ledger.charge_products(
            f"study {study.name} {study.digest[:16]}", ledger.rows(samples), people, variants, block, predictors,
            share=share, consent=study.consent_openings,
        )  # fmt: skip
    if fault is not None:
        guard.refuse("whole-genome model", fault)


def charge_columns(
    study: StudyFile, samples: Samples, people: np.ndarray, state: Path, guard: SiteGuard, what: str
) -> Callable[[IntArray], None]:
    """What counts columns (n, C) of `people`, (N,) bool, for everybody in them, before they meet a genotype, or ends the
    study."""
    share, limit = _limits(study, guard)

    def charge(values: IntArray) -> None:
        columns = np.zeros((len(people), values.shape[1]), np.int64)
        columns[people] = values
        with open_ledger(state / LEDGER) as ledger:
            fault = ledger.charge(ledger.rows(samples), columns, share=share, limit=limit)
        if fault is not None:
            guard.refuse(what, fault)

    return charge


def _limits(study: StudyFile, guard: SiteGuard) -> tuple[float, float]:
    """The share of people that columns may be, and the leverage of a person in them."""
    free = study.consent_openings or not guard.on
    return (math.inf, math.inf) if free else (openings.SITE_SHARE, openings.CONSENTED)
