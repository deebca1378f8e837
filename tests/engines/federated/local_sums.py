"""The sums of several sites without messages: a thread a site, and everything that they open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from securegen.engines.federated.rounds import OUT_OF_BOUNDS, Step
from securegen.errors import PolicyError, ProtocolError


class Table:
    """Where the sites lay down their numbers. opened: totals by step."""

    def __init__(self, sites: int) -> None:
        self.parts: dict[str, dict[int, np.ndarray]] = {}
        self.opened: dict[str, np.ndarray] = {}
        self.barrier = threading.Barrier(sites, timeout=300)

    def sum(self, name: str, site: int, own: np.ndarray) -> np.ndarray:
        self.parts.setdefault(name, {})[site] = own
        self.barrier.wait()
        total = sum(part.astype(object) for part in self.parts[name].values())
        wide = np.array(total, object).reshape(own.shape)
        self.opened[name] = wide.astype(np.int64) if np.abs(wide).max(initial=0) < 1 << 62 else wide
        self.barrier.wait()
        return self.opened[name]


class LocalSum:
    """What one site sees of `rounds.SecureSum`. alter: a deviating site's own numbers, by step; checked: bounds and checks of
    totals hold."""

    checked = True

    def __init__(self, table: Table, site: int, alter: Callable[[str, np.ndarray], np.ndarray] | None = None) -> None:
        self._table, self._site, self._steps = table, site, 0
        self._alter = alter or (lambda name, own: own)

    def refuse(self, reason: str) -> NoReturn:
        raise PolicyError(reason)

    def total(self, values: Sequence[int], check: Any = None) -> list[int]:
        self._steps += 1
        name = f"design-{self._steps:04d}"
        own = self._alter(name, np.array([*map(int, values)], object))
        return [int(v) for v in self._table.sum(name, self._site, own)]

    def rows(self, name, count, widths, make, *, bounds=None, check=None) -> np.ndarray:
        return next(iter(self.together([Step(name, count, tuple(widths), make, bounds, check)])))

    def agree(self, name: str, *integers: np.ndarray) -> None:
        """Raises ProtocolError where another site has other integers."""
        mark = np.concatenate([np.ravel(values).astype(np.int64) for values in integers])
        self._table.sum(f"agree {name}", self._site, np.zeros(1, np.int64))
        parts = self._table.parts.setdefault(f"agreed {name}", {})
        parts[self._site] = mark
        self._table.barrier.wait()
        if any(not np.array_equal(mark, other) for other in parts.values()):
            raise ProtocolError(f"{name}: other integers than this site")

    def together(self, steps: Sequence[Step]) -> Iterator[np.ndarray]:
        for step in steps:
            own = np.asarray(step.make()) if step.count else np.zeros((0, len(step.widths)), np.int64)
            assert own.shape == (step.count, len(step.widths))
            for column, width in zip(own.T, step.widths, strict=True):
                assert not step.count or max(abs(int(column.min())), int(column.max())) < 1 << (width - 1)
            total = self._table.sum(step.name, self._site, self._alter(step.name, own))
            for column, bound in zip(total.T, step.bounds or (), strict=bool(step.bounds)):
                if (
                    self.checked
                    and bound is not None
                    and len(column)
                    and max(-int(column.min()), int(column.max())) > bound
                ):
                    raise PolicyError(OUT_OF_BOUNDS)
            if self.checked and step.check is not None and step.count:
                step.check(own, total)
            yield total


def at_every_site(sites: int, part: Callable[[LocalSum, int], Any], alter: dict[int, Callable] | None = None):
    """(what part returned at each site, everything opened). Raises the first error of a site."""
    table = Table(sites)
    out: list[Any] = [None] * sites
    errors: list[BaseException] = []

    def run(site: int) -> None:
        try:
            out[site] = part(LocalSum(table, site, (alter or {}).get(site)), site)
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
            table.barrier.abort()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(sites)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return out, table.opened
