"""Sharing work between threads, for kernels that release the interpreter lock.

Unlike Numba's parallel loops, these threads do not spin while they wait. Calls from several threads may overlap, and a
process that used them can fork. Within one of them a kernel works alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import TypeVar

from numba import get_num_threads, set_num_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
PIECES = 8  # a thread, so that a slow core does not hold up the others


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None) -> list[Result]:
    """work(item) for every item, in order. threads: how many at once; None for Numba's number (`set_num_threads`).

    What `work` raises is raised here; so is a signal's exception, and in both cases nothing new is begun. Where the system
    refuses a thread, fewer work.

    >>> in_threads(lambda x: x + 1, [1, 2, 3], threads=2)
    [2, 3, 4]
    """
    items = list(items)
    threads = min(get_num_threads() if threads is None else threads, len(items))
    if threads <= 1:
        return [work(item) for item in items]
    out: dict[int, Result] = {}
    failures: list[BaseException] = []
    places = iter(range(len(items)))  # shared: the interpreter lock makes taking the next one step

    def take() -> None:
        before = get_num_threads()
        set_num_threads(1)
        try:
            for place in places:
                out[place] = work(items[place])
        except BaseException as error:
            failures.append(error)
            for _ in places:  # leave nothing to the others
                pass
        finally:
            set_num_threads(before)

    helpers: list[Thread] = []
    try:
        for _ in range(threads - 1):
            helper = Thread(target=take)
            try:
                helper.start()
            except RuntimeError:  # the system gives no more: those that there are do the work
                break
            helpers.append(helper)
        take()
        for helper in helpers:
            helper.join()
    except BaseException:  # a signal, met outside `take`
        for _ in places:
            pass
        for helper in helpers:
            helper.join()
        raise
    if failures:
        raise failures[0]
    return [out[place] for place in range(len(items))]


def over_range(count: int, work: Callable[[int, int], object], *, threads: int | None = None, least: int = 1) -> None:
    """Call work(first, last) for pieces that cover range(count), each at least `least` long; threads as `in_threads`.

    >>> seen = []
    >>> over_range(5, lambda first, last: seen.append((first, last)), threads=1)
    >>> seen
    [(0, 5)]
    """
    threads = get_num_threads() if threads is None else threads
    step = max(1, count) if threads <= 1 else max(least, -(-count // (threads * PIECES)))
    in_threads(lambda first: work(first, min(first + step, count)), range(0, count, step), threads=threads)
