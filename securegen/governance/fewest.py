"""How many people are few, in all studies of the same people: by one number after the other, votes would count carriers.

At how many sites fewer than so many people would stand out in a variant is opened. Studies that differ in that number alone
bisect how many carry it at a site, and two such counts of sets that differ tell how many of these few do.
"""

from __future__ import annotations

import numpy as np

from securegen.governance.ledger import Entries, Products, padded
from securegen.governance.openings import OF_FEWEST


def enter_fewest(ledger: Entries, people: np.ndarray, fewest: int, consent: bool) -> str | None:
    """Keep the number for people, by their places; what is wrong, and nothing is kept, where any of them was in a study with
    another one (not with consent)."""
    mine = np.zeros(len(ledger.spent), bool)
    mine[people] = True
    mark = ledger.mark("fewest people", str(fewest).encode())
    before = [
        p for p in ledger.products if p.what.startswith(OF_FEWEST) and (padded(p.members, len(mine)) & mine).any()
    ]
    other = next((p for p in before if p.mark != mark), None)
    if other is not None and not consent:
        return (
            f"these people were in studies with {other.what.removeprefix(OF_FEWEST)} fewest people, this one has {fewest}: the "
            "votes of both count who carries a variant. The same number alone is without consent"
        )
    if not any(p.mark == mark and not (mine & ~padded(p.members, len(mine))).any() for p in before):
        ledger.products.append(Products(f"{OF_FEWEST}{fewest}", mark, mine))
    return None
