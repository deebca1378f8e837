"""Registers of consent that a policy's ledger remembers: who withdrew from one is in no sum under that policy any more, whether
or not a run names it.

What was encrypted remembers its register in its owner's folder, which can be deleted, and made again without one. The ledger
stays beside the policy, and knows how far each register was: another one in its place is refused. Withdrawals are remembered
so, not purposes: a later run has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from securegen.errors import UsageError
from securegen.governance import consent_steps
from securegen.governance.decision import Reason
from securegen.governance.history import PeopleFacts
from securegen.governance.ledger import Entries
from securegen.io.schema import one_line

RULE = "consent.withdrawn"


def remember(ledger: Entries, asked: Mapping[str, str] | None) -> None:
    """Enter the register of `Asking.asked`; nothing where none is."""
    if asked is not None and asked["register"] not in ledger.registers:
        ledger.registers.append(asked["register"])
    known = ledger.witnesses
    known |= {register: consent_steps.witness(register, known.get(register)) for register in ledger.registers}


def reasons(ledger: Entries, people: PeopleFacts | None, asked: Mapping[str, str] | None) -> Iterator[Reason]:
    """A refusal for each register from which somebody of these people withdrew, whatever for. asked: as of `remember`. Raises
    StorageError where a register is not where it was, since a withdrawal would be forgotten; UsageError for a path that the
    ledger cannot hold."""
    if asked is not None and not asked["register"].isprintable():
        raise UsageError(
            f"`consent` {one_line(asked['register'])}: a ledger remembers this path, and a character of it is not printable "
            "(as a non-breaking space): rename the file or folder"
        )
    if people is None or not people.known:
        return
    among = np.ones(len(people.samples), bool)
    if people.sets:
        among = np.logical_or.reduce([members for _, _, members in people.sets])
    for register in ledger.registers:
        gone = consent_steps.left_since(register, people.samples, ledger.witnesses.get(register))
        if gone is None:
            said = f"the register {register[-400:]} is an older one, or another: withdrawals would be forgotten. Bring it back"
            yield Reason("consent.register", False, said)
        elif (gone & among).any():
            said = f"some of these people withdrew (register {register[-400:]}): `consent` and `purpose` leave them out"
            yield Reason(RULE, False, said)
