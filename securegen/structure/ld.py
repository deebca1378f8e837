"""Linkage disequilibrium of one owner's variants: r of every two, from exact sums over the people who have both calls.

With n people called at both, r = (nΣgh − ΣgΣh)/√((nΣg² − (Σg)²)(nΣh² − (Σh)²)). The sums are integers, so r is the same to
the last bit in any order and on any machine; it is what plink 1.9 `--r` and plink2 `--r-unphased` print.

Who learns what: whoever runs this has the genotypes. An open matrix of rare variants says who carries them, so no party
gets it of others' people: the matrices of M variants are M sums of each genotype.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from securegen.errors import DesignError
from securegen.kernels.variant_pairs import pair_counts, variant_bits
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, iterate_blocks

STRIP, BLOCK = 256, 1024  # variants of a strip of the matrix, and of those that it is multiplied with
PEOPLE = 8192  # multiplied at once
_SINGLE = 1 << 24  # below it float32 holds every integer


@dataclass(frozen=True, eq=False, repr=False)
class Moments:
    """Of every variant, over its called people: called, dosage, square: (M,) int64, n, Σg and Σg²."""

    called: IntArray
    dosage: IntArray
    square: IntArray

    @property
    def varies(self) -> np.ndarray:
        """(M,) bool: not the same in everybody."""
        return np.asarray(self.called * self.square > self.dosage * self.dosage)


@dataclass(frozen=True, eq=False, repr=False)
class Strip:
    """Rows of a matrix of correlations. start: the first; r: (S, M) float64, NaN where one of the two variants is constant
    in the people who have both calls."""

    start: int
    r: np.ndarray


def refuse_inexact(reader: GenotypeReader) -> None:
    """Raise DesignError where a product of two sums has more than 63 bits."""
    if len(reader.samples) ** 2 * reader.dosage_max**2 >= 1 << 63:
        raise DesignError(
            f"products of sums over {len(reader.samples)} samples with dosages in steps of 1/{reader.dosage_grid} have more than "
            "63 bits: give coarser dosages (`dosage_grid`)"
        )


def moments(reader: GenotypeReader) -> Moments:
    """In one pass over the genotypes. Raises as `refuse_inexact`."""
    refuse_inexact(reader)
    parts = [_Part(block) for block in iterate_blocks(reader, BLOCK)]
    return Moments(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("called", "dosage", "square")))


def correlations(reader: GenotypeReader) -> Iterator[Strip]:
    """The matrix of all variants of a reader, strip by strip, each with one pass over the genotypes. Memory: the strip, two
    blocks of genotypes and `PEOPLE` people of them as floats. Raises as `refuse_inexact`."""
    refuse_inexact(reader)
    sums = _hard if reader.dosage_grid == 1 and reader.dosage_max == 2 else _sums
    for rows in iterate_blocks(reader, STRIP):
        r = np.empty((len(rows), len(reader.variants)))
        for columns in iterate_blocks(reader, BLOCK):
            r[:, columns.start : columns.start + len(columns)] = _correlated(*sums(rows, columns))
        yield Strip(rows.start, r)


class _Part:
    """n, Σg and Σg² of the variants of a block."""

    def __init__(self, block: GenotypeBlock) -> None:
        samples, missing = block.dosage.shape[1], block.missing
        lacking = np.zeros(len(block), np.int64) if missing is None else missing.sum(axis=1, dtype=np.int64)
        self.called = samples - lacking
        self.dosage = block.dosage.sum(axis=1, dtype=np.int64)
        self.square = np.array([int(np.dot(g, g)) for g in block.dosage.astype(np.int64)], np.int64)


_Pairs = tuple[IntArray, IntArray, IntArray, IntArray, IntArray, IntArray]  # n, Σg, Σh, Σg², Σh², Σgh of every pair


def _correlated(
    n: IntArray, first: IntArray, second: IntArray, first2: IntArray, second2: IntArray, both: IntArray
) -> np.ndarray:
    """(A, B) r of these sums."""
    spread = (n * first2 - first * first).astype(np.float64) * (n * second2 - second * second).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (n * both - first * second) / np.sqrt(spread)
    return np.where(spread > 0, r, np.nan)


def _hard(a: GenotypeBlock, b: GenotypeBlock) -> _Pairs:
    """The sums of the variants of two blocks of hard calls, by bits."""
    c = pair_counts(variant_bits(a.dosage, a.missing), variant_bits(b.dosage, b.missing))
    first, second = c[:, :, 1, 0], c[:, :, 0, 1]
    twice, twice2 = c[:, :, 2, 0], c[:, :, 0, 2]
    both = c[:, :, 1:, 1:].sum(axis=(2, 3))
    return c[:, :, 0, 0], first + twice, second + twice2, first + 3 * twice, second + 3 * twice2, both


def _sums(a: GenotypeBlock, b: GenotypeBlock) -> _Pairs:
    """The same of dosages, by products."""
    both = product(a.dosage, b.dosage)
    if a.missing is None and b.missing is None:
        one, other = _Part(a), _Part(b)
        n, first, first2 = (np.asarray(v)[:, None] for v in (one.called, one.dosage, one.square))
        return n, first, other.dosage[None, :], first2, other.square[None, :], both
    here, there = _called(a), _called(b)
    first, second = product(a.dosage, there), product(here, b.dosage)
    first2, second2 = product(a.dosage, there, square=0), product(here, b.dosage, square=1)
    return product(here, there), first, second, first2, second2, both


def _called(block: GenotypeBlock) -> np.ndarray:
    return np.ones(block.dosage.shape, bool) if block.missing is None else ~block.missing


def product(a: IntArray, b: IntArray, *, square: int | None = None) -> IntArray:
    """Σ_i a_ji b_ki of (A, N) and (B, N) int8, int16 or bool, exact: (A, B) int64. square: 0 or 1, which one is squared first.

    Sums of so few people are below 2^24 or 2^53, where floats hold every integer, and are added up as integers.
    """
    largest = 1
    for place, values in enumerate((a, b)):
        most = max(int(values.max(initial=0)), -int(values.min(initial=0)))
        largest *= most**2 if place == square else most
    kind: type[np.floating[Any]] = np.float32 if largest * PEOPLE < _SINGLE else np.float64
    out = np.zeros((len(a), len(b)), np.int64)
    for start in range(0, a.shape[1], PEOPLE):
        x, y = (np.asarray(values[:, start : start + PEOPLE], dtype=kind) for values in (a, b))
        if square is not None:
            x, y = (x * x, y) if square == 0 else (x, y * y)
        out += (x @ y.T).astype(np.int64)
    return out
