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
from securegen.engines.governed import gate_of_inputs
from securegen.governance import openings
from securegen.governance.door import ASSOCIATION, QUALITY, OutputFacts
from securegen.governance.gate import Gate, PeopleFacts
from securegen.governance.guard import SiteGuard
from securegen.governance.ledger_file import open_ledger
from securegen.governance.pin import Pin, pinned
from securegen.governance.signing import SigningIdentity
from securegen.model import Samples
from securegen.study.build import Planned
from securegen.study.inputs import Inputs, Log

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
    free = study.consent_openings or not guard.on
    share, limit = (math.inf, math.inf) if free else (openings.SITE_SHARE, openings.CONSENTED)
    known: set[bytes] = set()
    with open_ledger(state / LEDGER) as ledger:
        for stratum in (s for s in strata if s.design.analyses):
            values = np.asarray(stratum.design.columns.values)
            pooled = max(a.model.samples for a in stratum.design.analyses)
            known |= {values[:, j].tobytes() for j in range(values.shape[1])}
            if not free and len(known) > openings.POOLED_SHARE * pooled:
                guard.refuse(
                    "columns", f"{len(known)} of them are more than {openings.POOLED_SHARE:.0%} of {pooled} people"
                )
            fault = ledger.charge(ledger.rows(samples), values, share=share, limit=limit)
            if fault is not None:
                guard.refuse("columns", fault)


def gate_of_site(
    study: StudyFile, site: str, key: SigningIdentity, inputs: Inputs, places: Sequence[Path], log: Log
) -> Gate:
    """This site's own door: its policy stands beside its files or in its private folder; its signing key and the study file may
    name it. Raises PolicyError where it is not there, or another one."""
    named = study.site(site).policy
    pins = [
        (f"the signing key of site {site}", pinned(key.policy)),
        (f"site {site} of the study file", None if named is None else Pin.from_text(named)),
    ]
    return gate_of_inputs("federated", inputs, log, more=places, pins=pins)


def check_site(gate: Gate, study: StudyFile, planned: Sequence[Planned], samples: Samples) -> None:
    """Before anything is sent: raise PolicyError where this site's policy refuses what the study opens. Enters nothing."""
    wanted = [
        OutputFacts(
            ASSOCIATION, p.phenotype.name, int(p.mask.sum()), study.variants, columns=len(study.covariates) + 1,
            minor=gate.minor_alleles,
        )
        for p in planned
    ]  # fmt: skip
    if study.qc:
        wanted.append(
            OutputFacts(QUALITY, "QC", max(o.samples for o in wanted), study.variants, minor=gate.minor_alleles)
        )
    gate.of(PeopleFacts(samples, tuple((p.phenotype.name, "", p.mask) for p in planned))).check(wanted)


def check_terms(gate: Gate, study: StudyFile) -> None:
    """Before a site joins: as `check_site`, of as many people as may be."""
    many, nobody = openings.LARGEST_SUM, np.zeros(0, object)
    gate.of(PeopleFacts(Samples(nobody, nobody, nobody.astype(bool), nobody.astype(np.int8)))).check(
        [
            OutputFacts(
                ASSOCIATION, t.name, many, study.variants, columns=len(study.covariates) + 1, minor=gate.minor_alleles
            )
            for t in study.phenotypes
        ]
    )
