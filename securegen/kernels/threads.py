"""Sharing a range of work between threads, for kernels that release the interpreter lock.

Unlike Numba's parallel loops, threads of one call do not spin while they wait, calls from several threads may overlap,
and a process that used it can fork.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba import get_num_threads

PIECES = 8  # a thread, so that a slow core does not hold up the others


def over_range(count: int, work: Callable[[int, int], object], *, threads: int | None = None, least: int = 1) -> None:
    """Call work(first, last) for pieces that cover range(count), each at least `least` long.

    threads: how many work at once; None for Numba's number (`numba.set_num_threads`). What `work` raises is raised here.

    >>> seen = []
    >>> over_range(5, lambda first, last: seen.append((first, last)), threads=1)
    >>> seen
    [(0, 5)]
    """
    threads = get_num_threads() if threads is None else threads
    step = max(least, -(-count // (threads * PIECES)))
    if threads == 1 or count <= step:
        if count:
            work(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda first: work(first, min(first + step, count)), range(0, count, step)):
            pass
