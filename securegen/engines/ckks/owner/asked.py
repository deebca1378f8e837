"""What a design, or genotypes for scores, were encrypted for, kept beside them: results are opened only while everybody in
them still allows it.

Who learns what: nobody; it is a box of the owner's, under the key.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.ckks.owner.state import OwnerState, read_record
from securegen.errors import ArtefactError, PolicyError
from securegen.governance import consent_steps
from securegen.governance.gate import Asking, Gate
from securegen.model import Samples
from securegen.study.consented import release_sets
from securegen.study.inputs import Inputs

_PREFIX = "asked-"


def _name(digest: str) -> str:
    return f"{_PREFIX}{digest[:32]}"


def keep_asked(state: OwnerState, digest: str, inputs: Inputs, strata: Sequence[Stratum]) -> None:
    """Remember the purpose and the register of a design, who is in a column of it and, where no purpose is named, in which
    table."""
    people = _in_columns(strata)
    sets = [] if inputs.asking.asked() else release_sets(strata)
    state.write(
        _name(digest),
        (inputs.asking.asked() or _known(registers_of(state, digest)))
        | ({"sets": [what for what, _ in sets]} if sets else {}),
        {"people": people, **{f"set-{i}": members for i, (_, members) in enumerate(sets)}},
    )


def is_kept(state: OwnerState, digest: str) -> bool:
    """Whether this folder has a record of what this digest was encrypted for, even if that encryption was killed."""
    return (state.folder / f"{_name(digest)}.box").exists()


def refuse_left_out(state: OwnerState, samples: Samples, strata: Sequence[Stratum], asking: Asking) -> None:
    """Before a design is encrypted without a purpose: raise as `refuse_left`."""
    if asking.asked() is None:
        refuse_left(state, samples, _in_columns(strata))


def _in_columns(strata: Sequence[Stratum]) -> np.ndarray:
    return np.asarray(np.logical_or.reduce([(s.design.columns.values != 0).any(axis=1) for s in strata]))


def keep_asked_of(state: OwnerState, digest: str, asking: Asking, people: np.ndarray) -> None:
    """Remember the purpose and the register of (N,) bool people in what has this digest; also that no purpose was named, so
    that a box that is gone is not taken for that, and then which registers this owner's folder knows."""
    state.write(_name(digest), asking.asked() or _known(registers_of(state, digest)), {"people": people})


def keep_registers(state: OwnerState, digest: str, registers: Collection[str], people: int) -> None:
    """Remember, of a cohort of so many people with this digest, registers and no purpose."""
    state.write(_name(digest), _known(registers), {"people": np.ones(people, bool)})


def registers_of(state: OwnerState, writing: str = "") -> list[str]:
    """The registers of consent with which anything in this folder was encrypted, that its key can read.

    writing: digest of what is being written, which may have no record yet. Raises ArtefactError where the record of this
    key's cohort, or of a design of it, is gone or was altered: its register would be forgotten.
    """
    found: set[str] = set()
    cohort, designs = _of_this_key(state)
    own, there = cohort | designs, {box.stem for box in state.folder.glob(f"{_PREFIX}*.box")} | {_name(writing)}
    gone = sorted(designs - there) or (sorted(cohort) if not cohort & there else [])
    if gone:  # of a cohort that was appended to, one version has it
        raise ArtefactError(
            f"{state.folder} lacks {gone[0]}.box, which says for what something here was encrypted: bring it back, or encrypt "
            "into another folder"
        )
    for box in state.folder.glob(f"{_PREFIX}*.box"):
        try:
            found |= _registers(state.read(box.stem)[0])
        except ArtefactError:
            if box.stem in own:
                raise
            # else of another key
    return sorted(found)


def _of_this_key(state: OwnerState) -> tuple[set[str], set[str]]:
    """Names of the records that this key's cohort, as it is and was, and its designs have."""
    cohort, designs = set(), set()
    with contextlib.suppress(ArtefactError):
        info = read_record(state, "cohort")
        cohort = {_name(digest) for digest in (info.digest, *(version.digest for version in info.earlier))}
    for design in state.designs():
        with contextlib.suppress(ArtefactError):
            state.read(design)
            designs.add(f"{_PREFIX}{design.removeprefix('design-')}")
    return cohort, designs


def _known(registers: Collection[str]) -> dict[str, Any]:
    return {"registers": sorted(registers)} if registers else {}


def _registers(kept: Mapping[str, Any]) -> set[str]:
    return {*kept.get("registers", ()), *([kept["register"]] if "register" in kept else [])}


def refuse_left(state: OwnerState, samples: Samples, people: np.ndarray, registers: Collection[str] = ()) -> None:
    """Raise PolicyError where somebody of (N,) bool people withdrew, whatever for, in a register that this folder knows or in
    `registers`: of what is encrypted, or was, without a purpose. StorageError as `consent_steps.left`."""
    for register in sorted({*registers, *registers_of(state)}):
        gone = int((consent_steps.left(register, samples) & people).sum())
        if gone:
            raise PolicyError(
                f"consent.withdrawn: {gone} of these people withdrew (register {register}), and no purpose is named: give "
                "`purpose` and `consent`, with which they are left out"
            )


def pass_asked(state: OwnerState, digest: str, samples: Samples, gate: Gate) -> None:
    """Before results of a design are opened: raise as `refuse_withdrawn`; where it has no purpose and is opened for one, enter
    its tables in that one's register, or raise as `Gate.claim`."""
    if refuse_withdrawn(state, digest, samples, gate.asking) is None:
        kept, arrays = state.read(_name(digest))
        sets = [(what, arrays[f"set-{i}"]) for i, what in enumerate(kept.get("sets", ()))]
        gate.claim(samples, sets, f"design {digest[:16]}")


def gate_of_asked(state: OwnerState, digest: str, samples: Samples, gate: Gate) -> Gate:
    """The gate for what was encrypted: its purpose and register, where it had some, and they still hold.

    Raises as `refuse_withdrawn`. Before anything is decrypted, and before anything is written.
    """
    kept = refuse_withdrawn(state, digest, samples, gate.asking)
    return gate if kept is None else gate.again(kept)


def refuse_withdrawn(
    state: OwnerState, digest: str, samples: Samples, asking: Asking | None = None
) -> dict[str, str] | None:
    """What was kept, None where no purpose was named; then everybody who withdrew from a register that the folder knows counts.

    asking: who opens it, and for what: that holds too. Raises PolicyError where somebody in it does not allow its purpose any
    more; StorageError where the register is not where it was; ArtefactError where the record is gone.
    """
    kept, arrays = state.read(_name(digest))
    if len(arrays["people"]) != len(samples):
        raise ArtefactError(
            f"{state.folder} has the record of a purpose for other people: encrypt anew what it was for"
        )
    if asking is not None:
        asking.refuse_withdrawn(samples, arrays["people"])
    if "purpose" not in kept:
        refuse_left(state, samples, arrays["people"], _registers(kept))
        return None
    Asking().again(kept).refuse_withdrawn(samples, arrays["people"])
    return dict(kept)
