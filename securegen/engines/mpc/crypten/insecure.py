"""CrypTen as it is shipped: gloo in the clear, Mersenne Twister, triples from a trusted first party. For benchmarks.

Nothing is protected here; it exists so that the hardened layer can be measured beside it. The name says so, and so
does a line on standard error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from securegen.engines.mpc.crypten.importing import import_crypten


@contextlib.contextmanager
def insecure_crypten(*, rank: int, world_size: int, port: int, provider: str = "TFP") -> Iterator[ModuleType | None]:
    """Initialise shipped CrypTen over gloo on the loopback interface and yield it.

    provider: TFP (rank 0 makes, and could read, everything) or TTP; with TTP a further process of rank `world_size`
    calls this too, serves until the others end, and gets None.
    """
    print("insecure: CrypTen as shipped, plaintext gloo and predictable randomness", file=sys.stderr)
    os.environ.update(
        WORLD_SIZE=str(world_size), RANK=str(rank), RENDEZVOUS=f"tcp://127.0.0.1:{port}", DISTRIBUTED_BACKEND="gloo",
        GLOO_SOCKET_IFNAME="lo",
    )  # fmt: skip
    crypten = import_crypten()
    crypten.cfg.mpc.provider = provider
    if rank == world_size:
        crypten.mpc.provider.TTPServer()
        yield None
        return
    crypten.init()
    try:
        yield crypten
    finally:
        crypten.uninit()
