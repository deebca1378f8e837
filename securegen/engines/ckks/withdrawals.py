"""Applying a register of consent to a cohort that was encrypted: who withdrew is taken out, without a new key.

Who learns what: the server sees that the whole cohort is new and of how many fewer people; logs have counts alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.governance import audit_beside, consent_steps
from securegen.model import Progress, SelectableReader, no_progress
from securegen.study.inputs import Log, silent

if TYPE_CHECKING:
    from securegen.engines.ckks.owner.secret_key import SecretKey

PathLike = str | os.PathLike[str]


def take_out_withdrawn(
    genotypes: SelectableReader,
    key: SecretKey,
    prefix: PathLike,
    consent: PathLike,
    *,
    progress: Progress | None = None,
    log: Log = silent,
) -> int:
    """Encrypt PREFIX.cohort again without whoever withdrew in the register `consent`. Returns how many were taken out.

    genotypes: of the cohort, with or without these people, opened by `study.genotypes.open_genotypes`, haploid. From the first
    write on, designs and results of before are refused (PolicyError, later ArtefactError); a killed run goes on when it runs
    again. Raises as `owner.leave_cohort.leave_cohort`, StorageError as `consent_steps.left`.
    """
    from securegen.engines.ckks.owner.leave_cohort import leave_cohort
    from securegen.engines.ckks.owner.state import OwnerState

    folder, owner = Path(f"{os.fspath(prefix)}.cohort"), Path(f"{os.fspath(prefix)}.owner")
    register = consent_steps.register_digest(consent)
    audit_beside.record(owner, "consent", {"action": "applied", "register": register})
    info, gone = leave_cohort(
        genotypes, key, folder, OwnerState(owner, key), lambda samples: consent_steps.left(consent, samples),
        progress=progress or no_progress,
    )  # fmt: skip
    log(
        f"{gone} people who withdrew were taken out; {len(info.samples)} remain, encrypted anew under the same key"
        if gone
        else f"nobody of the {len(info.samples)} people of this cohort withdrew: nothing was changed"
    )
    return gone
