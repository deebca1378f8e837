"""What components are made of: totals over the people of a cohort, of numbers that do not depend on who else is there.

All are integers, and every sum is exact, so that sites together have what one cohort of their people has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from securegen.errors import DesignError
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, iterate_blocks

BLOCK = 1024  # variants
PEOPLE = 8192  # of a block that are multiplied at once
EXACT = 1 << 53  # below it float64 holds every integer, and sums of them are exact in any order


@dataclass(frozen=True)
class Counts:
    """Of every variant: called (M,) int64, calls; dosage (M,) int64, their sum; samples: people in all."""

    called: IntArray
    dosage: IntArray
    samples: int

    def carriers(self, grid: int) -> np.ndarray:
        """(M,) float64: at least so many people carry the rarer allele: nobody has more than two. grid: steps of a copy."""
        found: np.ndarray = np.minimum(self.dosage, 2 * grid * self.called - self.dosage) / (2 * grid)
        return found


class Totals(Protocol):
    """Totals over everybody, in the order in which they are asked for.

    counts: of every variant. squares: Σ_i y_ik² of the projections y = (Σ_j g_ij a_jk + Σ_j m_ij b_jk − c_k) / 2^shift on
    integer loadings a, b (M, C), which are kept; (C,) Python integers. products: of q, these projections rounded to units of
    2^shift_k: Σ_i q_ik (C,), and n_j Σ_i q_ik g_ij + S_j Σ_i q_ik m_ij (M, C), the same as with missing calls at their mean.
    """

    def counts(self) -> Counts: ...
    def squares(self, a: IntArray, b: IntArray, shift: int) -> list[int]: ...
    def products(self, shifts: list[int]) -> tuple[IntArray, IntArray]: ...


def rounded_shift(values: IntArray, shift: int | list[int]) -> IntArray:
    """values / 2^shift to the nearest integer, halves up; a list has one shift a column."""
    by = np.asarray(shift, np.int64)
    half = np.where(by > 0, np.int64(1) << np.maximum(by - 1, 0), 0)
    return (values + half) >> by


class OwnTotals:
    """Totals of one cohort. reader: autosomes; people: (N,) bool of who is summed, None for everybody.

    Each of `squares` and `products` is one pass over the genotypes. Memory: a block, and (N, C) integers.
    """

    def __init__(self, reader: GenotypeReader, people: np.ndarray | None = None) -> None:
        self.reader = reader
        self.people = np.arange(len(reader.samples)) if people is None else np.flatnonzero(people)
        self._all = len(self.people) == len(reader.samples)
        self._counts: Counts | None = None
        self.projected: IntArray | None = None  # (N, C) int64 of the last `squares`

    def counts(self) -> Counts:
        if self._counts is None:
            called, dosage = [], []
            for block in self._blocks():
                missing = 0 if block.missing is None else block.missing.sum(axis=1, dtype=np.int64)
                called.append(np.full(len(block), len(self.people), np.int64) - missing)
                dosage.append(block.dosage.sum(axis=1, dtype=np.int64))
            self._counts = Counts(np.concatenate(called), np.concatenate(dosage), len(self.people))
        return self._counts

    def squares(self, a: IntArray, b: IntArray, shift: int) -> list[int]:
        self.projected = self.project(a, b)
        small = rounded_shift(self.projected, shift)
        if (np.abs(small) > 1 << 26).any():
            raise DesignError(
                "a person stands out so far in a direction of the components that no total holds the square"
            )
        return [sum(part.tolist()) for part in np.add.reduceat(small * small, np.arange(0, len(small), 256), axis=0).T]

    def project(self, a: IntArray, b: IntArray) -> IntArray:
        """Σ_j g_ij a_jk + Σ_j m_ij b_jk − Σ_j b_jk of every person, (N, C) int64."""
        top = self.reader.dosage_max * np.abs(a).sum(axis=0, dtype=np.float64) + np.abs(b).sum(axis=0, dtype=np.float64)
        if (top >= EXACT).any():
            raise DesignError(f"loadings of {len(a)} variants are too large to be summed exactly: take fewer variants")
        out = np.zeros((a.shape[1], len(self.people)))
        out -= b.sum(axis=0)[:, None]
        for block in self._blocks():
            rows = slice(block.start, block.start + len(block))
            mine, centre = a[rows].T.astype(np.float64), b[rows].T.astype(np.float64)
            lacking = None if block.missing is None else np.flatnonzero(block.missing.any(axis=1))
            for people in _pieces(len(self.people)):
                out[:, people] += mine @ block.dosage[:, people].astype(np.float64)
                if lacking is not None and block.missing is not None:
                    out[:, people] += centre[:, lacking] @ block.missing[lacking, people].astype(np.float64)
        return np.ascontiguousarray(out.T).astype(np.int64)

    def products(self, shifts: list[int]) -> tuple[IntArray, IntArray]:
        q = self.rounded(shifts)
        return q.sum(axis=0), self.imputed_products(q, self.counts())

    def rounded(self, shifts: list[int]) -> IntArray:
        """(N, C) the last projections in units of 2^shift."""
        if self.projected is None:
            raise ValueError("products are of projections: ask for `squares` first")
        return rounded_shift(self.projected, shifts)

    def imputed_products(self, q: IntArray, counts: Counts) -> IntArray:
        """n_j Σ_i q_ik g_ij + S_j Σ_i q_ik m_ij, (M, C) int64, of any integers q (N, C)."""
        if self.reader.dosage_max * np.abs(q).sum(axis=0, dtype=np.float64).max(initial=0) >= EXACT:
            raise DesignError("numbers of people are too large to be summed exactly")
        values, out = q.astype(np.float64), []
        for block in self._blocks():
            rows = slice(block.start, block.start + len(block))
            g = np.zeros((len(block), q.shape[1]))
            m = np.zeros_like(g)
            lacking = None if block.missing is None else np.flatnonzero(block.missing.any(axis=1))
            for people in _pieces(len(self.people)):
                g += block.dosage[:, people].astype(np.float64) @ values[people]
                if lacking is not None and block.missing is not None:
                    m[lacking] += block.missing[lacking, people].astype(np.float64) @ values[people]
            called, dosage = counts.called[rows, None], counts.dosage[rows, None]
            out.append(called * g.astype(np.int64) + dosage * m.astype(np.int64))
        return np.concatenate(out)

    def _blocks(self) -> Iterator[GenotypeBlock]:
        for block in iterate_blocks(self.reader, BLOCK):
            if self._all:
                yield block
            else:
                missing = None if block.missing is None else block.missing[:, self.people]
                yield GenotypeBlock(block.start, block.dosage[:, self.people], missing)


def _pieces(samples: int) -> list[slice]:
    return [slice(start, min(start + PEOPLE, samples)) for start in range(0, samples, PEOPLE)]
