"""Before a site's people enter a study's sums: the guard that goes with every sum, and the ledger of what they were in.

Who learns what: nobody but this site, whose log names the rule that refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from securegen.catalogue import NONE
from securegen.design.strata import Stratum
from securegen.engines.federated.leaving import sums_among
from securegen.engines.federated.state import FOLDER
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.federated.tilts import most_columns
from securegen.errors import StorageError
from securegen.governance import openings
from securegen.governance.fewest import enter_fewest
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.guard import SiteGuard
from securegen.governance.history import earlier_sets
from securegen.governance.ledger import Entries, padded
from securegen.governance.ledger_file import open_ledger
from securegen.governance.rows_of_sets import enter_sets
from securegen.governance.site_sets import StudySites
from securegen.model import GenotypeReader, IntArray, Samples
from securegen.study.inputs import Log
from securegen.study.ploidy import NAMES, X, Y

LEDGER = "ledger"
APART = tuple(f" on {NAMES[kind]}" for kind in (X, Y))  # ends what a set is for whose rows are no others'


def guard_of_study(
    study: StudyFile, log: Log, end: Callable[[str], NoReturn], policies: Sequence[Path] = ()
) -> SiteGuard:
    """The rules of a study file, which end this site's part when they refuse. policies: folders of those that govern the site."""
    return SiteGuard(
        log, level=study.openings, fewest=study.fewest_people, consent=study.consent_openings, end=end, policies=policies,
    )  # fmt: skip


def sites_of(study: StudyFile, own: str = "", agreed: Collection[str] = ()) -> StudySites:
    """The sites of a study for the ledger of site `own`. agreed: names of those that signed so when they joined; with a study's
    consent all of them did, by accepting its file."""
    names = [s.name for s in study.sites]
    return StudySites(
        study.digest, tuple((s.name, s.verify_key.hex()) for s in study.sites), own,
        frozenset(names if study.consent_openings else agreed),
    )  # fmt: skip


def admit(
    study: StudyFile, sets: Sequence[tuple[str, np.ndarray]], samples: Samples, state: Path, guard: SiteGuard,
    sites: StudySites | None = None, reader: GenotypeReader | None = None,
) -> None:  # fmt: skip
    """Enter this study's sets of samples, (N,) bool each by what it is for, and of sites into the ledger below `state`. reader:
    of their genotypes, by which they are known under other ids. `guard.between` then has the people by whom two sets differ.

    Raises PolicyError when two sets, now or in these people's lifetime, differ by a few people, or the sites so that one's
    own sums could be read, StorageError where the ledger is older than what this site has sent.
    """
    guard.sets(sets)
    sites = sites or sites_of(study)
    genotypes = None if reader is None else Fingerprints(reader)
    released = earlier_sets(guard.policies, samples, genotypes) if guard.on else {}
    with open_ledger(state / LEDGER, guard.log, policies=guard.policies) as ledger:
        _refuse_older(ledger, state)
        rows = ledger.rows(samples, genotypes)
        _refuse_alone(ledger, sites, guard)
        few = enter_fewest(ledger, rows, study.fewest_people, study.consent_openings) if guard.on else None
        if few is not None:
            guard.refuse("fewest people", few)
        known = [(what, padded(people, len(ledger.spent))[rows]) for what, people in ledger.sets]
        places = zip(("", *APART), _by_place(sets, known), strict=True)
        guard.look_between([(a, [*b, *released.get(place.removeprefix(" on "), ())]) for place, (a, b) in places])
        for what, people in sets:
            fault = ledger.set_fault(rows, people, study.fewest_people)
            if fault is not None and guard.on:
                guard.refuse(f"samples of {what}", fault)
            ledger.add_set(f"study {study.name} {study.digest[:16]}, {what}", rows, people)
        ledger.add_study(sites)


def _by_place(
    sets: Sequence[tuple[str, np.ndarray]], known: Sequence[tuple[str, np.ndarray]]
) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """New and known sets over which columns are summed: everywhere, on X, and on Y."""

    def of(some: Sequence[tuple[str, np.ndarray]], place: str) -> list[np.ndarray]:
        return [people for what, people in some if "phenotype " in what and _place(what) == place]

    return [(of(sets, place), of(known, place)) for place in ("", *APART)]


def _place(what: str) -> str:
    return next((place for place in APART if what.endswith(place)), "")


def begin(sites: StudySites, state: Path, guard: SiteGuard) -> list[str]:
    """Say in the ledger that totals of a study may be open, before this site sends its part of the first.

    Returns in words whose own sums can be read: they agreed. Raises as `admit`: another study may have begun meanwhile.
    """
    with open_ledger(state / LEDGER, policies=guard.policies) as ledger:
        read = _refuse_alone(ledger, sites, guard)
        ledger.begin(sites.what)
    return read


def _refuse_alone(ledger: Entries, sites: StudySites, guard: SiteGuard) -> list[str]:
    found = ledger.alone(ledger.study(sites.what) or sites)
    if found and not found[0].agreed:
        guard.refuse("sets of sites", found[0].why)
    return [f"site {r.site} agreed that its own sums are read: {r.why}" for r in found]


def _refuse_older(ledger: Entries, state: Path) -> None:
    known = {s.what[:16] for s in ledger.studies}
    for folder in state.glob(f"{FOLDER}*"):
        sent = (p.name.removeprefix("sent.") for p in folder.glob("sent.*"))
        if folder.name.removeprefix(FOLDER) not in known and sums_among(sent):
            raise StorageError(
                f"the ledger {state / LEDGER} does not know the study of {folder}, in which sums were sent: it is an older copy "
                "or was deleted; bring the newest one back"
            )


def charge(study: StudyFile, strata: Sequence[Stratum], samples: Samples, state: Path, guard: SiteGuard) -> None:
    """Count the columns of every stratum for everybody in them, before they meet a genotype; the same column once.

    Raises PolicyError above the share of a site's, or of all, people of a stratum, and where the columns of all these
    people's studies single somebody out; consent lifts all three. What corrections may come to must fit beside.
    """
    share, limit = _limits(study, guard)
    known: set[bytes] = set()
    later = columns_of_corrections(study)
    with open_ledger(state / LEDGER, policies=guard.policies) as ledger:
        for stratum in (s for s in strata if s.design.analyses):
            values = np.asarray(stratum.design.columns.values)
            pooled = max(a.model.samples for a in stratum.design.analyses)
            known |= {values[:, j].tobytes() for j in range(values.shape[1])}
            if share < math.inf and len(known) + later > openings.POOLED_SHARE * pooled:
                guard.refuse(
                    "columns",
                    f"{len(known) + later} of them are more than {openings.POOLED_SHARE:.0%} of {pooled} people",
                )
            rows, before = ledger.rows(samples), len(ledger.charged)
            fault = ledger.charge(rows, values, share=share, limit=limit)
            if fault is not None:
                guard.refuse("columns", fault)
            analysed = rows[(values != 0).any(axis=1)]
            spent = int(ledger.spent[analysed].max(initial=0)) + later
            if later and len(ledger.charged) > before and spent > share * len(analysed) > 0:
                guard.refuse(
                    "columns",
                    f"{spent}, corrections among them, for {len(analysed)} people; at most {share:.0%} are allowed",
                )


def columns_of_corrections(study: StudyFile) -> int:
    """What the corrections of score tests count in the budgets at most, over all phenotypes."""
    if study.correction == NONE:
        return 0
    corrected = [t for t in study.phenotypes if study.correction in study.test_of(t).corrections]
    return len(corrected) * most_columns(study.correction)


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
    with open_ledger(state / LEDGER, policies=guard.policies) as ledger:
        fault = ledger.charge_products(
            f"study {study.name} {study.digest[:16]}", ledger.rows(samples), people, variants, block, predictors,
            share=share, consent=study.consent_openings,
        )  # fmt: skip
    if fault is not None:
        guard.refuse("whole-genome model", fault)


def enter_rows(
    study: StudyFile, samples: Samples, people: np.ndarray, made: bytes, state: Path, guard: SiteGuard
) -> None:
    """Enter rows that several variants make of `people`, (N,) bool, before anything of them is summed. made: what tells which.

    Raises PolicyError where rows of other sets were opened of any of these people: what one has more than another is few people.
    Consent lifts it.
    """
    if not guard.on:
        return
    with open_ledger(state / LEDGER, policies=guard.policies) as ledger:
        fault = enter_sets(
            ledger,
            f"study {study.name} {study.digest[:16]}",
            ledger.rows(samples)[people],
            made,
            study.consent_openings,
        )
    if fault is not None:
        guard.refuse("sets of variants", fault)


def charge_columns(
    study: StudyFile, samples: Samples, people: np.ndarray, state: Path, guard: SiteGuard, what: str
) -> Callable[[IntArray], None]:
    """What counts columns (n, C) of `people`, (N,) bool, for everybody in them, before they meet a genotype, or ends the
    study."""
    share, limit = _limits(study, guard)

    def charge(values: IntArray) -> None:
        columns = np.zeros((len(people), values.shape[1]), np.int64)
        columns[people] = values
        with open_ledger(state / LEDGER, policies=guard.policies) as ledger:
            fault = ledger.charge(ledger.rows(samples), columns, share=share, limit=limit)
        if fault is not None:
            guard.refuse(what, fault)

    return charge


def charge_numbers(
    study: StudyFile, what: str, samples: Samples, people: np.ndarray, columns: int, state: Path, guard: SiteGuard
) -> bool:
    """Count numbers that are opened of some variants as `columns` of `people`, (N,) int64 places among the samples, once, by what
    they are for. Whether they may be opened: nothing is counted beyond the share of a site's people."""
    share, _ = _limits(study, guard)
    if not len(people):
        return True
    with open_ledger(state / LEDGER, policies=guard.policies) as ledger:
        rows = ledger.rows(samples)[people]
        spent = ledger.spend_once(f"study {study.digest}, {what}", rows, columns, share * len(people))
    if spent <= share * len(people):
        return True
    guard.log(f"{what}: {spent} columns for {len(people)} people; at most {share:.0%} are allowed without consent")
    return False


def _limits(study: StudyFile, guard: SiteGuard) -> tuple[float, float]:
    """The share of people that columns may be, and the leverage of a person in them."""
    free = study.consent_openings or not guard.on
    return (math.inf, math.inf) if free else (openings.SITE_SHARE, openings.CONSENTED)
