"""The genotype owner's rules of who may be analysed, and of which variants are opened, in runs that open every sum.

Who learns what: the genotype owner who is analysed; whoever receives the sums which variants are withheld.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from securegen.engines.mpc.gwas import refuse_few
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import ProtocolError
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.governance.ledger_file import open_ledger
from securegen.governance.rows import RowRule
from securegen.model import GenotypeReader
from securegen.study.inputs import Log


def hear_who(session: Session, source: str, samples: int, sets: int) -> np.ndarray:
    """(N, sets) bool, who is analysed, as `source` says. Raises ProtocolError, and PolicyError for too few people."""
    analysed = session.receive(source, "analysed", shape=(samples, sets), dtype=np.uint8)
    if (analysed > 1).any():
        raise ProtocolError(f"party {source!r} did not say who is analysed")
    for count in analysed.sum(axis=0, dtype=np.int64):
        refuse_few(int(count))
    return analysed.astype(bool)


def admitted(
    reader: GenotypeReader, analysed: np.ndarray, state: StateFile, level: str, log: Log
) -> RowRule | None:  # fmt: skip
    """Enter who is analysed, (N, sets) bool, into the ledger beside the state file. The rule of rows, None for no rule.

    Raises PolicyError for a set that differs by a few people from another of this run or of an earlier one.
    """
    guard = SiteGuard(log, level=level)
    sets = [(f"set {j + 1}", analysed[:, j]) for j in range(analysed.shape[1])]
    guard.sets(sets)
    path = Path(os.path.realpath(state.path))  # of two links to one state file, one ledger
    with open_ledger(path.with_name(path.name + ".ledger"), log) as ledger:
        rows = ledger.rows(reader.samples)
        for what, people in sets:
            fault = ledger.set_fault(rows, people)
            if fault is not None and guard.on:
                guard.refuse(what, fault)
            ledger.add_set(f"aggregates, {what}", rows, people)
    if not guard.on:
        return None
    masks = [people for _, people in sets] or [np.ones(len(reader.samples), bool)]
    return RowRule(masks, reader.dosage_grid, strict=level == openings.STRICT)
