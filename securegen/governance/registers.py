"""Registers of consent that a policy's ledger remembers: who withdrew from one is in no sum under that policy any more, whether
or not a run names it.

What was encrypted remembers its register in its owner's folder, which can be deleted, and made again without one. The ledger
stays beside the policy, and knows how far each register was: another one in its place is refused. Withdrawals are remembered
so, not purposes: a later run has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from securegen.governance import consent_steps
from securegen.governance.decision import Reason
from securegen.governance.history import PeopleFacts
from securegen.governance.ledger import Entries

RULE = "consent.withdrawn"


def remember(ledger: Entries, asked: Mapping[str, str] | None) -> None:
    """Enter the register of `Asking.asked`; nothing where none is."""
    if asked is not None and asked["register"] not in ledger.registers:
        ledger.registers.append(asked["register"])
    ledger.witnesses |= {register: consent_steps.witness(register) for register in ledger.registers}


def reasons(ledger: Entries, people: PeopleFacts | None) -> Iterator[Reason]:
    """A refusal for each register from which somebody of these people withdrew, whatever for. Raises StorageError where one is
    not where it was: a withdrawal would be forgotten."""
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
