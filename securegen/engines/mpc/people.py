"""The genotype owner's rules of who may be analysed, and of which variants are opened, in runs that open every sum.

Who learns what: the genotype owner who is analysed; whoever receives the sums which variants are withheld.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from securegen.design.strata import AUTOSOMES
from securegen.engines.mpc.gwas import refuse_few
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.state_file import StateFile, columns_answered
from securegen.errors import PolicyError, ProtocolError
from securegen.governance import openings
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.guard import SiteGuard
from securegen.governance.history import earlier_sets
from securegen.governance.ledger import padded
from securegen.governance.ledger_file import open_ledger
from securegen.governance.rows import RowRule
from securegen.model import GenotypeReader, Samples
from securegen.study.inputs import Log


def tell_who(session: Session, to: str, sets: np.ndarray, stratum: str) -> None:
    """Tell the genotype owner who is analysed, (N, sets) 0 or 1. Raises PolicyError for what it would refuse on X, Y or a
    chromosome, which it cannot say."""
    for count in sets.sum(axis=0, dtype=np.int64) if stratum != AUTOSOMES else ():
        refuse_few(int(count), stratum)
    session.send(to, "analysed", sets.astype(np.uint8))


def hear_who(session: Session, source: str, samples: int, sets: int) -> np.ndarray:
    """(N, sets) bool, who is analysed, as `source` says. Raises ProtocolError, and PolicyError for too few people."""
    analysed = session.receive(source, "analysed", shape=(samples, sets), dtype=np.uint8)
    if (analysed > 1).any():
        raise ProtocolError(f"party {source!r} did not say who is analysed")
    for count in analysed.sum(axis=0, dtype=np.int64):
        refuse_few(int(count))
    return analysed.astype(bool)


def admitted(
    reader: GenotypeReader, strata: Sequence[tuple[Collection[str], np.ndarray]], state: StateFile, level: str, log: Log
) -> list[RowRule | None]:
    """Enter who is analysed into the ledger beside the state file. strata: places of each (`runs.RunReader`), and (N, sets)
    bool. The rule of rows of each, None for no rule.

    Sets are compared where they are summed over the same variants, so in each place, which has a ledger of its own. Raises
    PolicyError for a set that differs by a few people from another there, of this run or of an earlier one.
    """
    guard = SiteGuard(log, level=level)
    path = Path(os.path.realpath(state.path))  # of two links to one state file, one ledger
    genotypes = Fingerprints(reader)
    between: dict[str, list[np.ndarray]] = {}
    released = earlier_sets(state.policies, reader.samples, genotypes) if guard.on else {}
    for place in sorted({place for places, _ in strata for place in places}):
        sets = _sets_of(strata, place)
        guard.sets(sets)
        with open_ledger(_ledger(path, place), log, policies=state.policies) as ledger:
            rows = ledger.rows(reader.samples, genotypes)
            known = [padded(people, len(ledger.spent))[rows] for _, people in ledger.sets]
            guard.look_between([([people for _, people in sets], [*known, *released.get(place, ())])])
            between[place] = guard.between
            for what, people in sets:
                fault = ledger.set_fault(rows, people)
                if fault is not None and guard.on:
                    guard.refuse(what, fault)
                ledger.add_set(f"aggregates, {what}", rows, people)
    if not guard.on:
        return [None] * len(strata)
    everybody = np.ones((len(reader.samples), 1), bool)
    strict = level == openings.STRICT
    return [
        RowRule(
            list((sets if sets.shape[1] else everybody).T), reader.dosage_grid, strict=strict,
            between=[people for place in places for people in between[place]],
        )
        for places, sets in strata
    ]  # fmt: skip


def _sets_of(strata: Sequence[tuple[Collection[str], np.ndarray]], place: str) -> list[tuple[str, np.ndarray]]:
    """The sets that are summed in a place, with a name; of equal ones the first."""
    out: dict[bytes, tuple[str, np.ndarray]] = {}
    for i, (places, sets) in enumerate(strata):
        for j in range(sets.shape[1] if place in places else 0):
            name = f"set {j + 1}{f' of design {i + 1}' if len(strata) > 1 else ''}{place and ', on '}{place}"
            out.setdefault(sets[:, j].tobytes(), (name, sets[:, j]))
    return list(out.values())


def charge(
    state: StateFile, cohort: str, strata: Sequence[tuple[Collection[str], np.ndarray, int]], *,
    people: GenotypeReader | Samples, column_limit: int | None,
) -> None:  # fmt: skip
    """Count the columns that each variant's answer costs, for its cohort's name and for everybody in the cohort, who is the
    same person under another name of the cohort and, of a reader, another id. strata: as of `admitted`, and how many
    columns; those of one variant are never another's, so the longest counts.

    On Y sums are over males, who are counted apart (`columns_answered`). Raises
    PolicyError where a name or a person would pass the limit; nothing is counted then.
    """
    asked, path, genotypes = [], Path(os.path.realpath(state.path)), None
    if not isinstance(people, Samples):
        genotypes, people = Fingerprints(people), people.samples
    with contextlib.ExitStack() as ledgers:
        for name, places in (("", {"", "X", "PAR"}), ("Y", {"Y"})):
            mine = [(sets, columns) for where, sets, columns in strata if places & set(where)]
            if not mine:
                continue
            members = np.ones(len(people), bool)
            if name and all(sets.shape[1] for sets, _ in mine):
                members = np.any([sets.any(axis=1) for sets, _ in mine], axis=0)
            columns = max(columns for _, columns in mine)
            limit = columns_answered(int(members.sum()), column_limit)
            asked.append((f"columns of cohort {cohort}{name and ', '}{name}", columns, limit))
            ledger = ledgers.enter_context(open_ledger(_ledger(path, name), policies=state.policies))
            most = ledger.spend(ledger.rows(people, genotypes)[members], columns)
            if most > limit:
                raise PolicyError(
                    f"{_ledger(path, name)}: {asked[-1][0]}: answered {most - columns} of at most {limit}; {columns} more are "
                    "refused: so many were of one person, under whatever name of the cohort, and enough exact answers "
                    f"reconstruct the data. If the owner accepts that: --column-limit {most}"
                )
        state.spend_together(asked)  # the ledgers are written after it: both before anything is sent


def ledger_of(state: StateFile) -> Path:
    """The ledger beside a state file in which columns are counted, all but those of Y."""
    return _ledger(Path(os.path.realpath(state.path)), "")


def _ledger(state: Path, place: str) -> Path:
    """The ledger of a place beside a state file."""
    return state.with_name(f"{state.name}.ledger{place and '.'}{place}")
