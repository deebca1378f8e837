"""A site's corrections of score tests, as the study file asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from securegen.catalogue import NONE
from securegen.design.strata import Stratum
from securegen.engines.federated.admission import charge_numbers
from securegen.engines.federated.corrections import OpenedCorrections, correct_by_openings, flagged_rows
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.federated.studyfile import StudyFile
from securegen.governance.guard import SiteGuard
from securegen.model import GenotypeReader, IntArray, OpenedSums
from securegen.study.inputs import Log


def open_corrections(
    study: StudyFile, secure: SecureSum, reader: GenotypeReader, strata: Sequence[Stratum], blocks: Iterable[OpenedSums],
    guard: SiteGuard, secret: bytes, state: Path, log: Log,
) -> OpenedCorrections | None:  # fmt: skip
    """Open what corrects the rows of opened sums, and return it; None where the study corrects nothing.

    secret: 32 bytes of this site for this study. Raises as `correct_by_openings`.
    """
    if study.correction == NONE:
        return None

    def charge(what: str, columns: int, people: IntArray) -> bool:
        return charge_numbers(study, what, reader.samples, people, columns, state, guard)

    found = flagged_rows(blocks, strata, study.p_thresh, reader.dosage_grid)
    return correct_by_openings(
        secure, reader, found, method=study.correction, p_thresh=study.p_thresh, guard=guard, secret=secret, charge=charge,
        fewest=study.fewest_people, log=log,
    )  # fmt: skip
