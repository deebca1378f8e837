"""Missing calls of a packed store, which its owner keeps: lists in the records of its blocks, sealed with the key.

An encrypted stream of 0 and 1 takes as many bytes as the dosages do; a list takes two or four a missing call, which are few, and
what the owner sums of them needs no verification. The server does not learn which blocks have some. Scores need the stream,
and so have stores in which a coefficient holds one variant.
"""

from __future__ import annotations

import numpy as np

from securegen.model import GenotypeBlock, IntArray


def lists_of(block: GenotypeBlock) -> dict[str, np.ndarray]:
    """Arrays of a block's record: `absent`, the people without a call, variant after variant, and `absent_of`, (V,) how many
    each variant has. None of them where nothing is missing."""
    if block.missing is None or not block.missing.any():
        return {}
    people = np.nonzero(block.missing)[1]
    kind = np.uint16 if block.missing.shape[1] <= 1 << 16 else np.uint32
    return {"absent": people.astype(kind), "absent_of": block.missing.sum(axis=1).astype(np.uint32)}


def summed(lists: dict[str, np.ndarray], columns: IntArray) -> IntArray | None:
    """(V, J) int64 Σ m c of these columns, (J, N) integers, as the lists of a block have m; None where nothing is missing."""
    if "absent" not in lists:
        return None
    people, counts = lists["absent"].astype(np.intp), lists["absent_of"].astype(np.int64)
    rows = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[rows])[:-1]])
    out = np.zeros((len(counts), len(columns)), np.int64)
    for j, column in enumerate(columns):
        out[rows, j] = np.add.reduceat(column[people].astype(np.int64), starts)
    return out
