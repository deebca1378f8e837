"""Rows made of several variants that these people were in: a mask, less it without a variant, is who carries that variant.

Who learns what: nobody but who keeps the ledger.
"""

from __future__ import annotations

import numpy as np

from securegen.governance.ledger import Entries, Products, padded
from securegen.governance.openings import OF_SETS


def enter_sets(ledger: Entries, what: str, people: np.ndarray, made: bytes, consent: bool) -> str | None:
    """Keep that rows are opened of people, by their places; what is wrong, and nothing is kept, where other rows were of any of
    them (not with consent). what: for; made: what tells the rows, the same in every study that makes them."""
    mine = np.zeros(len(ledger.spent), bool)
    mine[people] = True
    mark = ledger.mark("rows of sets", made)
    before = [p for p in ledger.products if p.what.startswith(OF_SETS) and (padded(p.members, len(mine)) & mine).any()]
    other = next((p for p in before if p.mark != mark), None)
    if other is not None and not consent:
        return (
            "other masks, or tests of sets, were opened of these people; the same ones alone may be again without consent "
            f"(the other: {other.what})"
        )
    if not any(p.mark == mark and not (mine & ~padded(p.members, len(mine))).any() for p in before):
        ledger.products.append(Products(OF_SETS + what, mark, mine))
    return None
