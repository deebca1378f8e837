"""Applying a register of consent to a cohort that was encrypted: who withdrew is taken out, without a new key.

Who learns what: the server sees that the whole cohort is new and of how many fewer people; logs have counts alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from securegen.engines.ckks.owner.asked import keep_registers, registers_of
from securegen.engines.ckks.owner.leave_cohort import leave_cohort
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import OwnerState
from securegen.governance import audit_beside, consent_steps
from securegen.io.folders import Place, local_folder
from securegen.io.text import count
from securegen.model import Progress, SelectableReader
from securegen.study.inputs import Log


def take_out_withdrawn(
    genotypes: SelectableReader, key: SecretKey, folder: Place, owner: Path, consent: str | os.PathLike[str],
    *, progress: Progress, log: Log,
) -> int:  # fmt: skip
    """Encrypt the cohort in `folder` again without whoever withdrew in the register `consent`. Returns how many those are.

    Raises as `leave_cohort`, UsageError for a folder in a store, StorageError as `consent_steps.left`, or where the audit log
    of a policy cannot be written.
    """
    folder = local_folder(folder, "taking people out of a cohort")
    register = consent_steps.register_digest(consent)
    audit_beside.record(owner, "consent", {"action": "applied", "register": register})
    state = OwnerState(owner, key)
    info, gone = leave_cohort(
        genotypes, key, folder, state, lambda samples: consent_steps.left(consent, samples),
        register=os.path.abspath(consent), progress=progress,
    )  # fmt: skip
    keep_registers(state, info.digest, {*registers_of(state, info.digest), os.path.abspath(consent)}, len(info.samples))
    remain = count(len(info.samples), "sample")
    log(
        f"{count(gone, 'sample')} of people who withdrew taken out; {remain} encrypted anew under the same key"
        if gone
        else f"nobody of the {remain} of this cohort withdrew: nothing was changed"
    )
    return gone
