"""Blocks of shares joined into batches of variants, of which squares and comparisons go together: at each of the parties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.dealer import dealt_blocks
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.additive import ring_dtype
from securegen.engines.mpc.shares.radix import Form
from securegen.engines.mpc.vertical import BlockShares, Roles
from securegen.errors import ProtocolError

BATCH = 1 << 12  # variants, at most
SUMS = 1 << 22  # of digits in a batch, at most
Streams = dict[str, np.ndarray]


@dataclass(frozen=True)
class Batching:
    """What all three parties know of a run's batches. columns: of the design; streams: that every block has, but for `m`."""

    form: Form
    samples: int
    variants: int
    columns: int
    streams: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Chunks, columns and digits: the sums of a variant and stream."""
        return self.form.chunks(self.samples), self.columns, self.form.digits

    @property
    def least(self) -> int:
        """Variants of a batch: the first blocks that have as many in all."""
        return max(1, min(BATCH, SUMS // (int(np.prod(self.shape)) * len(self.form.widths))))

    def of_shares(self, sides: Iterable[BlockShares]) -> Iterator[Streams]:
        """Streams of every batch, (V, chunks, columns, digits). Raises ProtocolError unless there are `variants` in all."""
        waiting: list[BlockShares] = []
        held = seen = 0
        for side in sides:
            width = len(next(iter(side.streams.values()))) if side.streams else 0
            wrong = set(side.streams) - {"m"} != set(self.streams) or any(
                len(x) != width for x in side.streams.values()
            )
            if not width or wrong:
                raise ProtocolError("a block came without the streams that this run needs")
            waiting.append(side)
            held, seen = held + width, seen + width
            if held >= self.least or seen == self.variants:
                yield self._join(waiting, held)
                waiting, held = [], 0
        if seen != self.variants or waiting:
            raise ProtocolError(f"{seen} variants came where {self.variants} were announced")

    def _join(self, blocks: list[BlockShares], width: int) -> Streams:
        out = {}
        for name in sorted({name for block in blocks for name in block.streams}):
            parts = [b.streams.get(name, np.zeros_like(b.streams[self.streams[0]])) for b in blocks]
            out[name] = np.concatenate(parts).reshape(width, *self.shape)
        return out

    def announce(self, session: Session, roles: Roles, streams: Streams) -> None:
        """The left party tells the others what a batch has."""
        for other in (roles.right, roles.dealer):
            session.send_json(other, "batch", _sizes(streams))

    def confirm(self, session: Session, roles: Roles, streams: Streams) -> None:
        """The right party hears it. Raises ProtocolError when it is another batch than the blocks."""
        if session.receive_json(roles.left, "batch") != _sizes(streams):
            raise ProtocolError(f"party {roles.left!r} announced another batch than its blocks")

    def dealt(self, session: Session, roles: Roles, *, threads: int = 1) -> Iterator[tuple[Streams, float]]:
        """The dealer: serves the blocks, and yields zeros of each batch's shapes and the seconds that its products took."""
        busy, waiting, seen = 0.0, 0, 0
        for block in dealt_blocks(session, left=roles.left, right=roles.right, threads=threads):
            busy, waiting, seen = busy + block.seconds, waiting + block.width, seen + block.width
            if waiting < self.least and seen < self.variants:
                continue
            batch = session.receive_json(roles.left, "batch")
            if batch not in ([waiting, 0], [waiting, 1]):
                raise ProtocolError(f"party {roles.left!r} announced another batch than its blocks")
            zeros = np.zeros((waiting, *self.shape), ring_dtype(self.form.bits))
            yield dict.fromkeys([*self.streams, *(["m"] if batch[1] else [])], zeros), busy
            busy, waiting = 0.0, 0


def _sizes(streams: Streams) -> list[int]:
    return [len(next(iter(streams.values()))), int("m" in streams)]
