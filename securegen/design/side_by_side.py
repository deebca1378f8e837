"""Computations that each ask for sums over the sites, in as few exchanges as the longest of them needs.

Each runs until it asks; then what all of them asked for is summed in one message. One runs at a time and all sites run
them in the same order, so nothing depends on how threads are scheduled.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from securegen.design import fixedpoint as fp

T = TypeVar("T")


class _Stopped(BaseException):
    """Another computation failed: this one ends."""


class _Job(Generic[T]):
    """One computation in a thread of its own, which runs only while `go` waits for it."""

    def __init__(self, job: Callable[[fp.SumOverSites], T], guard: fp.Guard) -> None:
        self._job, self._guard = job, guard
        self._answers: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()
        self._turns: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.asked: list[int] | None = None
        self.result: list[T] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def running(self) -> bool:
        return not self.result and self.error is None

    def start(self) -> None:
        """Run until the first sum is asked for, or to the end."""
        self._thread.start()
        self._turns.get()

    def go(self, answer: list[int] | None) -> None:
        """Go on with the sum that was asked for; None: end."""
        self._answers.put(answer)
        self._turns.get()

    def _sum(self, values: Sequence[int]) -> list[int]:
        self.asked = list(values)
        self._turns.put(None)
        answer = self._answers.get()
        if answer is None:
            raise _Stopped
        return answer

    def _run(self) -> None:
        def total(values: Sequence[int]) -> list[int]:
            return self._sum(values)

        total.guard = self._guard  # type: ignore[attr-defined]
        try:
            self.result.append(self._job(total))
        except BaseException as error:  # noqa: BLE001 (raised again by whoever started the computations)
            self.error = error
        self._turns.put(None)


def side_by_side(total: fp.SumOverSites, jobs: Sequence[Callable[[fp.SumOverSites], T]]) -> list[T]:
    """What each of the jobs returns. Raises the error of the first that fails; the others then end.

    Whether and what a job asks for may depend on opened sums alone, so that all sites ask alike.
    """
    if total is fp.pooled or len(jobs) < 2:
        return [job(total) for job in jobs]
    guard = fp.guard_of(total)
    threads = [_Job(job, guard.beside()) for job in jobs]
    started: list[_Job[T]] = []
    try:
        for thread in threads:
            started.append(thread)
            thread.start()
            _raise(thread)
        while running := [t for t in threads if t.running]:
            asked = [t.asked or [] for t in running]
            opened = iter(total([v for values in asked for v in values]))
            for thread, values in zip(running, asked, strict=True):
                thread.go([next(opened) for _ in values])
                _raise(thread)
    finally:
        for thread in started:
            if thread.running:
                thread.go(None)
    return [thread.result[0] for thread in threads]


def _raise(thread: _Job[T]) -> None:
    if thread.error is not None:
        raise thread.error
