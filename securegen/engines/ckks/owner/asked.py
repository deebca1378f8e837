"""What a design, or genotypes for scores, were encrypted for, kept beside them: results are opened only while everybody in
them still allows it.

Who learns what: nobody; it is a box of the owner's, under the key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.ckks.owner.state import OwnerState
from securegen.governance.gate import Asking, Gate, ungoverned
from securegen.model import Samples
from securegen.study.inputs import Inputs


def _name(digest: str) -> str:
    return f"asked-{digest[:32]}"


def keep_asked(state: OwnerState, digest: str, inputs: Inputs, strata: Sequence[Stratum]) -> None:
    """Remember the purpose and the register of a design, and who is in a column of it; nothing where no purpose is named."""
    people = np.logical_or.reduce([(s.design.columns.values != 0).any(axis=1) for s in strata])
    keep_asked_of(state, digest, inputs.asking, people)


def keep_asked_of(state: OwnerState, digest: str, asking: Asking, people: np.ndarray) -> None:
    """Remember the purpose and the register of (N,) bool people in what has this digest; nothing where no purpose is named."""
    asked = Gate(None, "ckks", asking).asked()
    if asked is not None:
        state.write(_name(digest), {"mondo": None, **asked}, {"people": people})


def gate_of_asked(state: OwnerState, digest: str, samples: Samples, gate: Gate) -> Gate:
    """The gate for what was encrypted: its purpose and register, where it had some, and they still hold.

    Raises PolicyError where somebody in it does not allow its purpose any more; StorageError where the register is not where it
    was. Before anything is decrypted, and before anything is written.
    """
    if not (state.folder / f"{_name(digest)}.box").exists():
        return gate
    header, arrays = state.read(_name(digest))
    known = gate.again({name: text for name, text in header.items() if text is not None})
    known.refuse_withdrawn(samples, arrays["people"])
    return known


def refuse_withdrawn(state: OwnerState, digest: str, samples: Samples) -> None:
    """Raises as `gate_of_asked`."""
    gate_of_asked(state, digest, samples, ungoverned())
