"""Sums over sites that hold different people: every site learns the total and nothing else. One round, no dealer.

Each pair of sites shares a key; of the two, the one of lower rank adds the pair's keystream to its numbers and the
other subtracts it, so that the masks vanish in the total (Bonawitz et al. 2017, without drop-outs).

| message | from | to | bytes |
|---|---|---|---|
| key of a pair, once a session | lower rank | higher rank | 16 |
| own numbers + masks, mod 2^64 | every site | every site, or one receiver | 8 a number |

Against semi-honest sites: the messages of the others are uniform, given their total. All sites but one together learn
that one's numbers, from the total alone; with two sites that is the normal case, so two need to agree to it by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.errors import PlanError, PolicyError
from securegen.mpc.prg import Stream
from securegen.mpc.session import Session
from securegen.mpc.shares import from_ring, to_ring
from securegen.randomness import fresh_key


@dataclass
class PairwiseMasks:
    """This site's mask streams; `sign` is +1 towards sites of higher rank. Every sum draws fresh words."""

    streams: dict[str, tuple[int, Stream]]

    @staticmethod
    def agree(
        session: Session, sites: tuple[str, ...] | None = None, *, two_sites_learn_each_other: bool = False
    ) -> PairwiseMasks:
        """Agree on a fresh key with every other site of `sites` (default: all parties but dealers).

        Raises PolicyError with two sites unless `two_sites_learn_each_other`, and with fewer always.
        """
        sites = sites or session.parties.computing
        if len(sites) < 2:
            raise PolicyError("a sum over one site is that site's own numbers: nothing is hidden")
        if len(sites) == 2 and not two_sites_learn_each_other:
            raise PolicyError(
                "with two sites each learns the other's sums, total minus its own, however they are added: "
                "add a third site, or say --two-sites-learn-each-other"
            )
        streams = {}
        rank = session.parties.rank
        for other in sites:
            if rank(session.me) < rank(other):
                key = fresh_key()
                session.send_key(other, "secure sum/key", key)
                streams[other] = (1, Stream(key, "secure sum"))
        for other in sites:
            if rank(session.me) > rank(other):
                streams[other] = (-1, Stream(session.receive_key(other, "secure sum/key"), "secure sum"))
        return PairwiseMasks(streams)

    def cover(self, values: np.ndarray) -> np.ndarray:
        """values (ring elements) plus this site's masks, drawn once."""
        covered = values.copy()
        for sign, stream in self.streams.values():
            mask = stream.draw(values.shape, values.dtype)
            covered = covered + mask if sign > 0 else covered - mask
        return covered


def secure_sum(
    session: Session, masks: PairwiseMasks, values: np.ndarray, *, step: str, to: str | None = None, bits: int = 64
) -> np.ndarray | None:
    """The sum of every site's `values`: int64 of the same shape, exact while the total fits the ring.

    values: integers, the same shape at every site; step: a name of this sum, the same everywhere; to: the only site
    that receives the total (the others return None), or None for all. Raises PlanError when a value alone leaves no
    room for the others in the ring.
    """
    sites = (*masks.streams, session.me)
    limit = (1 << (bits - 1)) // len(sites)
    if values.size and not (-limit <= int(values.min()) and int(values.max()) < limit):
        raise PlanError(f"a value of {step!r} exceeds 2^{bits - 1}/{len(sites)}: the total could wrap")
    total = masks.cover(to_ring(values, bits))
    for other in masks.streams:
        if to in (None, other):
            session.send(other, step, total)
    if to not in (None, session.me):
        return None
    for other in masks.streams:
        total = total + session.receive(other, step, shape=total.shape, dtype=total.dtype)
    return from_ring(total)
