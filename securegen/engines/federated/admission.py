"""Before a site's people enter a study's sums: the guard that goes with every sum, and the ledger of what they were in.

Who learns what: nobody but this site, whose log names the rule that refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from securegen.design.columns import Design
from securegen.engines.federated.cohort import sample_sets
from securegen.engines.federated.studyfile import StudyFile
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.governance.ledger_file import open_ledger
from securegen.model import Samples
from securegen.study.build import Planned
from securegen.study.inputs import Log

LEDGER = "ledger"


def guard_of_study(study: StudyFile, log: Log, end: Callable[[str], NoReturn]) -> SiteGuard:
    """The rules of a study file, which end this site's part when they refuse."""
    return SiteGuard(
        log, level=study.openings, fewest=study.fewest_people, consent=study.consent_openings, end=end
    )  # fmt: skip


def admit(study: StudyFile, planned: Sequence[Planned], samples: Samples, state: Path, guard: SiteGuard) -> None:
    """Enter this study's sets of samples and of sites into the ledger below `state`.

    Raises PolicyError when two sets, now or in these people's lifetime, differ by a few people, or the sites by one.
    """
    sets = sample_sets(study, planned, samples)
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


def charge(study: StudyFile, design: Design, pooled: int, samples: Samples, state: Path, guard: SiteGuard) -> None:
    """Count the design's columns for everybody in them, before they meet a genotype.

    pooled: people of all sites. Raises PolicyError above the share of a site's, or of all, people, and where the columns
    of all these people's studies single somebody out; consent lifts all three.
    """
    values, free = design.columns.values, study.consent_openings or not guard.on
    columns = len({values[:, j].tobytes() for j in range(values.shape[1])})
    if not free and columns > openings.POOLED_SHARE * pooled:
        guard.refuse("columns", f"{columns} of them are more than {openings.POOLED_SHARE:.0%} of {pooled} people")
    with open_ledger(state / LEDGER) as ledger:
        share, limit = (math.inf, math.inf) if free else (openings.SITE_SHARE, openings.CONSENTED)
        fault = ledger.charge(ledger.rows(samples), np.asarray(values), share=share, limit=limit)
        if fault is not None:
            guard.refuse("columns", fault)
