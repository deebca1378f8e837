"""What a design was encrypted for, kept beside it: results are opened only while everybody in them still allows it.

Who learns what: nobody; it is a box of the owner's, under the key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.ckks.owner.state import OwnerState
from securegen.errors import PolicyError
from securegen.governance import consent_steps
from securegen.model import Samples
from securegen.study.inputs import Inputs


def _name(digest: str) -> str:
    return f"asked-{digest[:32]}"


def keep_asked(state: OwnerState, digest: str, inputs: Inputs, strata: Sequence[Stratum]) -> None:
    """Remember the purpose and the register of a design, and who is in a column of it; nothing where no purpose is named."""
    if inputs.purpose is None or inputs.consent is None:
        return
    people = np.logical_or.reduce([(s.design.columns.values != 0).any(axis=1) for s in strata])
    mondo = None if inputs.mondo is None else os.path.abspath(inputs.mondo)
    header = {"purpose": inputs.purpose, "register": os.path.abspath(inputs.consent), "mondo": mondo}
    state.write(_name(digest), header, {"people": people})


def refuse_withdrawn(state: OwnerState, digest: str, samples: Samples) -> None:
    """Raise PolicyError where somebody in a design does not allow its purpose any more; StorageError where the register is
    not where it was. Before anything is decrypted."""
    if not (state.folder / f"{_name(digest)}.box").exists():
        return
    header, arrays = state.read(_name(digest))
    found = consent_steps.check(header["register"], samples, header["purpose"], mondo=header["mondo"])
    gone = int((arrays["people"] & ~found.people).sum())
    if gone:
        raise PolicyError(
            f"consent.withdrawn: {gone} of the people whose genotypes these results sum do not allow {header['purpose']} any "
            "more: nothing was decrypted; encrypt the design again, with `purpose` and `consent`"
        )
