"""Rows of a table beside those of an earlier one over other people: the difference is a sum over who is in one of them alone.

Two sets of samples are many people apart, but at a variant all of these may have one genotype, and one person another: then the
difference of the two rows is that person's values. So of a later table a row is withheld where few stand out among the people
by whom its set differs from an earlier one; the earlier table was shown, and stays as it was. People who are not in the files, or
withdrew, are nobody's to look at: ten times as many of them must be expected to stand out, by the others' genotypes.

Who learns what: whoever reads the table, which of its rows are withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.governance import consent_steps
from securegen.governance.ledger import Entries, padded
from securegen.governance.rows import code_counts, genotype_codes, stand_out
from securegen.model import GenotypeBlock, GenotypeReader, Samples

EXPECTED = 10  # times the fewest: of people who cannot be looked at


@dataclass(frozen=True)
class Between:
    """The people by whom a set differs from an earlier one. what, place: of the set, as in `PeopleFacts.sets`; apart: (E,) bool,
    of everybody whose genotypes are here; absent: how many more."""

    what: str
    place: str
    apart: np.ndarray
    absent: int


def places_of(ledger: Entries, everybody: Samples) -> np.ndarray:
    """(E,) int64: each one's place, -1 of who is not in the ledger by this id, or withdrew."""
    out = np.array([ledger.people.get(name, -1) for name in ledger.names(everybody)], np.int64)
    for register in ledger.registers:
        out[consent_steps.left(register, everybody)] = -1
    return out


def between(
    what: str, place: str, mine: np.ndarray, earlier: Sequence[np.ndarray], places: np.ndarray
) -> list[Between]:
    """A set beside earlier ones, (people of the ledger,) bool each. places: of everybody."""
    here = places >= 0
    out = []
    for known in earlier:
        differ = padded(known, len(mine)) != mine
        if not (padded(known, len(mine)) & mine).any() or not differ.any():
            continue
        apart = np.zeros(len(places), bool)
        apart[here] = differ[places[here]]
        out.append(Between(what, place, apart, int(differ.sum()) - len(np.unique(places[apart]))))
    return out


class RowsBetween:
    """What is withheld of one run. everybody: the genotypes, of the variants of its tables; fewest: who stand out, at least."""

    def __init__(self, found: Sequence[Between], everybody: GenotypeReader, fewest: int) -> None:
        self._found = {(b.what, b.place, b.apart.tobytes(), b.absent): b for b in found}.values()
        self._everybody, self._fewest = everybody, fewest
        self._read: tuple[tuple[int, int], GenotypeBlock] | None = None

    def hidden(self, what: str, place: str, start: int, stop: int) -> np.ndarray:
        """(V,) bool: rows that are withheld of the tables of a set."""
        out = np.zeros(stop - start, bool)
        for b in self._found:
            if (b.what, b.place) == (what, place):
                out |= self._hidden(b, self._block(start, stop))
        return out

    def _block(self, start: int, stop: int) -> GenotypeBlock:
        if self._read is None or self._read[0] != (start, stop):
            self._read = (start, stop), self._everybody.read(start, stop)
        return self._read[1]

    def _hidden(self, b: Between, block: GenotypeBlock) -> np.ndarray:
        reader = self._everybody
        grid, summed = reader.dosage_grid, reader.dosage_max > 2 * reader.dosage_grid
        few = stand_out(block, b.apart, grid, self._fewest, summed=summed)
        if not b.absent:
            return few
        whole = code_counts(genotype_codes(block, np.ones(len(reader.samples), bool), grid, summed=summed))[:, :3]
        called = np.maximum(whole.sum(axis=1), 1)
        expected = b.absent * (1 - whole.max(axis=1) / called)
        counts = code_counts(genotype_codes(block, b.apart, grid, summed=summed))[:, :3]
        seen = counts.sum(axis=1) - counts.max(axis=1)
        out: np.ndarray = (few | (seen < self._fewest)) & (expected < EXPECTED * self._fewest)
        return out
