"""Which variants a site lets be opened: rows in which, and between which, no few of its people stand alone.

Sums over the people without a call differ as well, so these are equal, or `fewest` apart, for rows up to 500 apart. Of
two opened rows the difference is opened too. So under `strict` a row is compared with every opened row up to 500
variants before it, and withheld if 1 to k − 1 people tell them apart. Not seen: combinations of three rows and more.

Where a genetic model recodes genotypes, a row must pass by its numbers and by its copies: sums of the copies are opened too,
and the sums of two models differ by the people of one genotype. Σg²x beside Σgx also tells the sum of x over the people of
each genotype: then these are none or `fewest`, and so far apart between rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from securegen.governance import openings
from securegen.kernels.row_distance import MISSING, planes, take_rows
from securegen.model import GenotypeBlock

CHUNK = 4096  # rows compared at a time, at most
HELD = 1 << 26  # genotypes compared at a time


def rows_at_once(people: int) -> int:
    """How many rows of so many people are compared at a time; which are withheld does not depend on it."""
    return max(1, min(CHUNK, HELD // max(people, 1)))


def genotype_codes(block: GenotypeBlock, people: np.ndarray, grid: int, *, summed: bool = False) -> np.ndarray:
    """(V, n) uint8: 0, 1, 2 copies, fractional dosages to the nearest, and MISSING, of the people chosen. summed: rows of
    several variants, in which 2 stands for more."""
    whole = bool(people.all())
    dosage = block.dosage if whole else np.compress(people, block.dosage, axis=1)
    codes = dosage if grid == 1 else (dosage + grid // 2) // grid
    codes = (np.minimum(codes, 2) if summed else codes).astype(np.uint8)
    if block.missing is not None:
        missing = block.missing if whole else np.compress(people, block.missing, axis=1)
        np.copyto(codes, MISSING, where=missing)
    return codes


def code_counts(codes: np.ndarray) -> np.ndarray:
    """(V, 4) int64: people with 0, 1, 2 copies and without a call."""
    return np.stack([(codes == c).sum(axis=1, dtype=np.int64) for c in range(4)], axis=1)


def _fine(block: GenotypeBlock, people: np.ndarray, grid: int, summed: bool) -> np.ndarray | None:
    """Fractional dosages, or sums, -1 without a call; None where the codes say all."""
    if grid == 1 and not summed:
        return None
    fine = block.dosage[:, people].astype(np.int32)
    if block.missing is not None:
        fine[block.missing[:, people]] = -1
    return fine


def _nearly_constant(fine: np.ndarray, grid: int, fewest: int) -> np.ndarray:
    """(V,) bool: rows of one genotype to the nearest copy, where one person holds most of what is left."""
    out = np.zeros(len(fine), bool)
    for copies in range(3):
        away = np.where(fine < 0, 0, fine.astype(np.int64) - copies * grid)
        near = (np.abs(away) <= grid // 2).all(axis=1)
        squares = away * away
        out |= near & (squares.max(axis=1, initial=0) * fewest > squares.sum(axis=1))
    return out


def stand_out(block: GenotypeBlock, people: np.ndarray, grid: int, fewest: int, *, summed: bool = False) -> np.ndarray:
    """(V,) bool: rows in which 1 to fewest − 1 of these people, (n,) bool, stand out, by their numbers or their copies."""
    out = np.zeros(len(block), bool)
    for seen in _seen(block):
        counts = code_counts(genotype_codes(seen, people, grid, summed=summed))
        out |= ~openings.rows_apart(counts, fewest)
        if seen is not block:  # two models of the same copies differ by the people of one genotype
            out |= openings.too_few(counts[:, :3], fewest).any(axis=1)
        fine = _fine(seen, people, grid, summed)
        if fine is not None:
            out |= _nearly_constant(fine, grid, fewest)
    return out


@dataclass(frozen=True)
class TakenRow(GenotypeBlock):
    """A row that was taken. sets: keys of the sets of samples over which it is opened, None for all of the rule."""

    sets: frozenset[bytes] | None = None


def _seen(block: GenotypeBlock) -> list[GenotypeBlock]:
    """A block as its dosages are, and as the copies are that a genetic model recoded."""
    return [block] if block.alleles is None else [block, replace(block, dosage=block.alleles, alleles=None)]


class RowRule:
    """The rule for the sets of samples of one study, (N,) bool each. strict: rows are compared with each other, where they
    are opened over the same people; quadratic: Σg²x is opened of columns whose Σgx is; window: rows between two that are
    compared; summed: a row may count more than two copies; between: people who are in one of two sets and not in both, among
    whom every row is looked at."""

    def __init__(
        self, sets: Sequence[np.ndarray], grid: int, *, strict: bool, fewest: int = openings.FEWEST,
        quadratic: bool = False, window: int = openings.WINDOW, summed: bool = False, between: Sequence[np.ndarray] = (),
    ) -> None:  # fmt: skip
        self.window, self._summed = window, summed
        self._between = frozenset(s.tobytes() for s in between)
        self._sets = {s.tobytes(): s for s in (*sets, *between)}
        self._grid, self._strict, self._fewest = grid, strict, fewest
        self._quadratic = quadratic

    def vetoed(self, blocks: Iterable[GenotypeBlock], before: Sequence[GenotypeBlock] = ()) -> np.ndarray:
        """(V,) bool of consecutive blocks in file order. before: the opened rows of up to 500 variants before them, a
        block a row, in order."""
        kept: list[GenotypeBlock] = list(before)
        out = [self.scan(block, kept) for block in blocks]
        return np.concatenate(out) if out else np.zeros(0, bool)

    def scan(
        self, block: GenotypeBlock, kept: list[GenotypeBlock], among: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        """(V,) bool of one block. kept: the rows taken before it, a block a row; changed into those for the next block.

        among: the sets of samples over which these rows are opened, of those of the rule; None for all.
        """
        sets = None if among is None else frozenset(s.tobytes() for s in among)
        out = []
        size = rows_at_once(block.dosage.shape[1])
        for first in range(0, len(block), size):
            part = rows_of(block, np.arange(first, min(first + size, len(block))))
            veto = self._chunk(part, kept, sets)
            out.append(veto)
            last = part.start + len(part)
            taken = [_taken(rows_of(part, np.array([v])), sets) for v in np.flatnonzero(~veto)[-self.window :].tolist()]
            kept[:] = [r for r in [*kept, *taken] if last - r.start <= self.window]
        return np.concatenate(out)

    def _chunk(self, part: GenotypeBlock, kept: list[GenotypeBlock], sets: frozenset[bytes] | None) -> np.ndarray:
        good = np.ones(len(part), bool)
        mine = {
            key: people for key, people in self._sets.items() if sets is None or key in sets or key in self._between
        }
        for people in mine.values():
            good &= ~stand_out(part, people, self._grid, self._fewest, summed=self._summed)
            if self._quadratic:
                called = genotype_codes(part, people, self._grid, summed=self._summed) != MISSING
                good &= openings.squares_apart(part.dosage[:, people] / self._grid, called, self._fewest)
        stacks: dict[tuple[int, ...], GenotypeBlock] = {}
        for key, people in mine.items():
            everywhere = key in self._between
            before = [r for r in kept if everywhere or key in (getattr(r, "sets", None) or self._sets)]
            starts = tuple(r.start for r in before)
            if starts not in stacks:
                stacks[starts] = _stack([*before, part])
            at = np.array([*starts, *(part.start + v for v in range(len(part)))], np.int64)
            for seen in _seen(stacks[starts]):
                good = self._apart(seen, people, at, len(before), good)
        return ~good

    def _apart(
        self, rows: GenotypeBlock, people: np.ndarray, at: np.ndarray, known: int, good: np.ndarray
    ) -> np.ndarray:
        """(V,) bool: rows that are good and that no few people tell apart from one before, of which `known` were taken."""
        codes = genotype_codes(rows, people, self._grid, summed=self._summed)
        allowed = _lacking_alike(codes, at, np.concatenate([np.ones(known, bool), good]), self._fewest, self.window)
        allowed[:known] = True
        if self._strict:
            if self._quadratic:
                allowed = _genotypes_apart(codes, at, allowed, self._fewest, self.window)
                allowed[:known] = True
            odd, high = planes(codes)
            allowed = take_rows(
                odd, high, int(people.sum()), at, allowed, window=self.window, least=self._fewest,
                fine=_fine(rows, people, self._grid, self._summed), top=2 * self._grid,
            )  # fmt: skip
        apart: np.ndarray = allowed[known:]
        return apart


def _taken(row: GenotypeBlock, sets: frozenset[bytes] | None) -> TakenRow:
    return TakenRow(row.start, row.dosage, row.missing, row.alleles, sets)


def taken_row(row: GenotypeBlock, among: Sequence[np.ndarray]) -> TakenRow:
    """A row that is opened over these sets of samples, for the rows after it."""
    return _taken(row, frozenset(s.tobytes() for s in among))


def _lacking_alike(codes: np.ndarray, at: np.ndarray, allowed: np.ndarray, fewest: int, window: int) -> np.ndarray:
    """(V,) bool: allowed rows but those of which the people without a call differ by few from those of a row before.

    Sums over people without a call are opened, whole or modulo n, where they are `fewest` or more.
    """
    lack = codes == MISSING
    some = allowed & (lack.sum(axis=1) >= fewest)
    if some.sum() < 2:
        return allowed
    index = np.flatnonzero(some)
    odd, high = planes(lack[index].astype(np.uint8))
    taken = take_rows(odd, high, codes.shape[1], at[index], np.ones(len(index), bool), window=window, least=fewest)
    out = allowed.copy()
    out[index] = taken
    return out


def _genotypes_apart(codes: np.ndarray, at: np.ndarray, allowed: np.ndarray, fewest: int, window: int) -> np.ndarray:
    """(V,) bool: allowed rows but those of which the people of a genotype, or all others, differ by few from those of a
    genotype of a row before."""
    masks = np.stack([np.where(codes == copies, 2, 0) for copies in range(3)], axis=1).astype(np.uint8)
    odd, high = planes(masks.reshape(-1, codes.shape[1]))
    taken = take_rows(odd, high, codes.shape[1], np.repeat(at, 3), np.repeat(allowed, 3), window=window, least=fewest)
    return np.asarray(taken.reshape(-1, 3).all(axis=1))


def rows_of(block: GenotypeBlock, index: np.ndarray) -> GenotypeBlock:
    """Some rows of a block, which starts at the first of them."""
    missing = None if block.missing is None else block.missing[index]
    alleles = None if block.alleles is None else block.alleles[index]
    return GenotypeBlock(block.start + int(index[0]), block.dosage[index], missing, alleles)


def _stack(blocks: Sequence[GenotypeBlock]) -> GenotypeBlock:
    """Rows of several blocks in one, wherever they start."""
    dosage = np.concatenate([b.dosage for b in blocks])
    copies = [b.alleles for b in blocks if b.alleles is not None]
    alleles = np.concatenate(copies) if copies else None
    if all(b.missing is None for b in blocks):
        return GenotypeBlock(blocks[0].start, dosage, None, alleles)
    missing = [np.zeros(b.dosage.shape, bool) if b.missing is None else b.missing for b in blocks]
    return GenotypeBlock(blocks[0].start, dosage, np.concatenate(missing), alleles)
