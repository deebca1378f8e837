"""What a design, or genotypes for scores, were encrypted for, kept beside them: results are opened only while everybody in
them still allows it.

Who learns what: nobody; it is a box of the owner's, under the key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.ckks.owner.state import OwnerState
from securegen.errors import ArtefactError
from securegen.governance.gate import Asking, Gate
from securegen.model import Samples
from securegen.study.inputs import Inputs


def _name(digest: str) -> str:
    return f"asked-{digest[:32]}"


def keep_asked(state: OwnerState, digest: str, inputs: Inputs, strata: Sequence[Stratum]) -> None:
    """Remember the purpose and the register of a design, and who is in a column of it."""
    people = np.logical_or.reduce([(s.design.columns.values != 0).any(axis=1) for s in strata])
    keep_asked_of(state, digest, inputs.asking, people)


def keep_asked_of(state: OwnerState, digest: str, asking: Asking, people: np.ndarray) -> None:
    """Remember the purpose and the register of (N,) bool people in what has this digest; also that no purpose was named, so
    that a box that is gone is not taken for that."""
    state.write(_name(digest), asking.asked() or {}, {"people": people})


def gate_of_asked(state: OwnerState, digest: str, samples: Samples, gate: Gate) -> Gate:
    """The gate for what was encrypted: its purpose and register, where it had some, and they still hold.

    Raises PolicyError where somebody in it does not allow its purpose any more; StorageError where the register is not where it
    was; ArtefactError where the record is gone. Before anything is decrypted, and before anything is written.
    """
    kept = refuse_withdrawn(state, digest, samples)
    return gate if kept is None else gate.again(kept)


def refuse_withdrawn(state: OwnerState, digest: str, samples: Samples) -> dict[str, str] | None:
    """What was kept, None where no purpose was named. Raises as `gate_of_asked`."""
    kept, arrays = state.read(_name(digest))
    if len(arrays["people"]) != len(samples):
        raise ArtefactError(
            f"{state.folder} has the record of a purpose for other people: encrypt anew what it was for"
        )
    if not kept:
        return None
    Asking().again(kept).refuse_withdrawn(samples, arrays["people"])
    return dict(kept)
