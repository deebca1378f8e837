"""What waits to be sent to a peer and to be read of it, and how much was sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from securegen.engines.mpc.net.frames import Frame


@dataclass
class Traffic:
    """What this party sent (bytes of frames, a peer) and how often it had to wait for somebody's answer."""

    sent: dict[str, int] = field(default_factory=dict)
    rounds: int = 0

    @property
    def total(self) -> int:
        return sum(self.sent.values())


@dataclass
class PeerQueues:
    """What waits for a peer and from it, with its place in the sequence. waits_for: whom the peer said it waits for."""

    outbox: deque[tuple[bytes, np.ndarray]] = field(default_factory=deque)
    outbox_bytes: int = 0
    inbox: deque[Frame] = field(default_factory=deque)
    inbox_bytes: int = 0
    send_sequence: int = 0
    receive_sequence: int = 0
    said_goodbye: bool = False
    waits_for: str | None = None
