"""How many independent variants a table has the worth of, from genotypes: the owner's, or of a reference panel.

The plain likelihood-ratio test adds variants as if they were independent. With correlations r its distance is that of
M²/Σ_jk r_jk² independent variants, all pairs counted, j = k too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.model import FloatArray, IntArray, SelectableReader
from securegen.vocabulary import canonical_chromosome

WINDOW, BLOCK = 500, 256  # rows before a variant that it is compared with; variants a step
LINKED = 0.1  # r² of variants of which one stands for the other


@dataclass(frozen=True)
class Linkage:
    """effective: independent variants; starts, others: of variant j those with r² of LINKED or more are
    others[starts[j]:starts[j + 1]]."""

    effective: float
    starts: IntArray
    others: IntArray

    def of(self, j: int) -> IntArray:
        return self.others[self.starts[j] : self.starts[j + 1]]


def linkage(reader: SelectableReader) -> Linkage:
    """Linkage of the reader's variants, each with those up to WINDOW rows before it on its chromosome.

    r² is freed of what chance gives N people, (1 − r²)/(N − 2). Missing calls stand at the mean. A variant without variance
    is linked with none. Never holds more than WINDOW + BLOCK variants.
    """
    m, n = len(reader.variants), len(reader.samples)
    names = np.array([canonical_chromosome(c) for c in reader.variants.chromosome.tolist()], object)
    before, total = np.zeros((0, n), np.float32), float(m)
    pairs: list[IntArray] = []
    for start in range(0, m, BLOCK):
        stop = min(start + BLOCK, m)
        rows = _standardised(reader, start, stop)
        near = np.vstack([before, rows])
        first = stop - len(near)
        square = (rows @ near.T).astype(np.float64) ** 2
        j, i = np.arange(start, stop)[:, None], np.arange(first, stop)[None, :]
        compared = (i < j) & (j - i <= WINDOW) & (names[start:stop][:, None] == names[first:stop][None, :])
        free = square - (1 - square) / max(n - 2, 1)
        total += 2 * float(free[compared].sum())
        at = np.nonzero(compared & (square >= LINKED))
        pairs.append(np.stack([at[0] + start, at[1] + first]))
        before = near[-WINDOW:]
    found = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
    both = np.concatenate([found, found[::-1]], axis=1)
    both = both[:, np.argsort(both[0], kind="stable")]
    starts = np.searchsorted(both[0], np.arange(m + 1))
    return Linkage(float(np.clip(m * m / max(total, 1.0), 1.0, max(m, 1))), starts, both[1])


def _standardised(reader: SelectableReader, start: int, stop: int) -> FloatArray:
    """(V, N) float32 rows of mean 0 and norm 1, or 0 where all are alike."""
    block = reader.read(start, stop)
    x = block.dosage.astype(np.float32)
    if block.missing is not None:
        called = np.maximum((~block.missing).sum(axis=1, keepdims=True), 1)
        x = np.where(block.missing, x.sum(axis=1, keepdims=True) / called, x)
    x -= x.mean(axis=1, keepdims=True)
    norm = np.sqrt((x * x).sum(axis=1, keepdims=True))
    out: FloatArray = np.divide(x, norm, out=np.zeros_like(x), where=norm > 1e-4)
    return out
