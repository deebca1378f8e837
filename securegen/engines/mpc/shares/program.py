"""The steps of a program on shares, as each of its three parties does them: the same program runs at all of them.

`Program` is the left or the right party: its arrays are shares. `DealingProgram` is the dealer: it runs the program on
zeros, for their shapes alone, and hands out what every step needs, so that it cannot fall out of step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares import lifting, multiword
from securegen.engines.mpc.shares.hits import deal_hits, open_hits
from securegen.engines.mpc.shares.lifting import Pair


@dataclass
class Program:
    """One computing party. Every step has a name of its own."""

    session: Session
    pair: Pair
    steps: int = field(default=0, init=False)

    @property
    def first(self) -> bool:
        return self.session.me == self.pair.left

    def constant(self, value: int, words: int) -> np.ndarray:
        """(words,): a public number as a share."""
        return multiword.constant(value if self.first else 0, words)

    def lift(self, x: np.ndarray, *, bits: int, to: int) -> np.ndarray:
        return lifting.lift(self.session, self.pair, x, bits=bits, to=to, step=self._step("lift"))

    def products(self, x: np.ndarray, which: Sequence[tuple[int, int]]) -> np.ndarray:
        return lifting.products(self.session, self.pair, x, which, step=self._step("products"))

    def square(self, x: np.ndarray) -> np.ndarray:
        """(V, n, w) -> (V, n, w + 1)."""
        return self.products(x, [(i, i) for i in range(x.shape[1])])

    def multiples(self, x: np.ndarray, factors: np.ndarray | None, which: Sequence[int]) -> np.ndarray:
        return lifting.multiples(self.session, self.pair, x, factors, which, step=self._step("multiples"))

    def hits(self, f: np.ndarray, own: np.ndarray, common: np.ndarray) -> tuple[np.ndarray, ...] | None:
        return open_hits(self.session, self.pair, f, own, common, step=self._step("hits"))

    def give(self, x: np.ndarray) -> np.ndarray | None:
        """Open multiword shares to the right party alone."""
        step = self._step("open")
        if self.first:
            self.session.send(self.pair.right, step, x)
            return None
        return multiword.add(x, self.session.receive(self.pair.left, step, shape=x.shape, dtype=np.uint64))

    def _step(self, kind: str) -> str:
        self.steps += 1
        return f"{kind}/{self.steps}"


class DealingProgram(Program):
    """The dealer: shares are zeros, nothing is opened."""

    first = False

    def lift(self, x: np.ndarray, *, bits: int, to: int) -> np.ndarray:
        lifting.deal_lift(self.session, self.pair, x.shape, bits=bits, to=to, step=self._step("lift"))
        return np.zeros((*x.shape, to), np.uint64)

    def products(self, x: np.ndarray, which: Sequence[tuple[int, int]]) -> np.ndarray:
        lifting.deal_products(self.session, self.pair, x.shape, which, step=self._step("products"))
        return np.zeros((len(x), len(which), x.shape[-1] + 1), np.uint64)

    def multiples(self, x: np.ndarray, factors: np.ndarray | None, which: Sequence[int]) -> np.ndarray:
        lifting.deal_multiples(self.session, self.pair, x.shape, which, step=self._step("multiples"))
        return np.zeros_like(x)

    def hits(self, f: np.ndarray, own: np.ndarray, common: np.ndarray) -> None:
        deal_hits(self.session, self.pair, f.shape, own.shape[2], common.shape[1], step=self._step("hits"))

    def give(self, x: np.ndarray) -> None:
        self._step("open")
