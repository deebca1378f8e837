"""How fast this machine is, so that a plan's seconds are those of the machine they are printed on."""

from __future__ import annotations

import time

import numba
import numpy as np

from securegen.rlwe.encryptor import encrypt_strands
from securegen.rlwe.ring import Ring

GROUPS, STRANDS, ROUNDS = 4, 8, 10
REFERENCE_SECONDS = 1.5e-3  # of `machine_factor`'s work on the machine that the planner's seconds were fitted to


def machine_factor() -> float:
    """How many times as long as the planner's reference machine this one takes to encrypt 32 ciphertexts on one thread.

    The data are zeros and the keys are thrown away. A twentieth of a second, and the time to load the kernel.
    """
    ring = Ring.standard(4096, 3)
    secrets = np.ones((STRANDS, len(ring.primes), ring.n), np.uint64)
    messages = np.zeros((GROUPS, STRANDS, ring.n), np.int64)
    before, best = numba.get_num_threads(), float("inf")
    numba.set_num_threads(1)
    try:
        for _ in range(ROUNDS + 1):  # the first loads the kernel
            start = time.perf_counter()
            encrypt_strands(secrets, messages, 33, ring)
            best = min(best, time.perf_counter() - start)
    finally:
        numba.set_num_threads(before)
    return best / REFERENCE_SECONDS
