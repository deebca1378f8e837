"""The server: encrypted genotypes × public or own weights -> encrypted scores. No function here can hold a secret key.

Stored rows are added up block by block: coefficient n − b + i of Σ_blocks g(X)·w(X) is the score of sample i of a group.
Blocks whose weights are all zero are not read. Memory: a batch of blocks and the sums of a window of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from securegen.ckks.codec import to_tiles
from securegen.ckks.cohort import EncryptedCohort, Progress, chunks, no_progress
from securegen.ckks.prs_weights import StoredWeights, weight_polynomials
from securegen.errors import ArtefactError
from securegen.kernels.residue_mac import mac_plain_parts

BATCH = 8  # blocks a pass
WINDOW_BYTES = 96 << 20

Expand = Callable[[bytes, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Term:
    """One stream of one block that has a weight other than zero."""

    stream: str
    block: int


def terms(cohort: EncryptedCohort, weights: StoredWeights) -> list[Term]:
    """Which streams of which blocks enter. Raises ArtefactError when the store has other rows than the model."""
    width, stored = cohort.parameters.block_variants, int(cohort.body["variants"])
    if stored != len(weights.dosage):
        raise ArtefactError(f"the cohort stores {stored} rows, the model has weights for {len(weights.dosage)}")
    return [
        Term(stream, b)
        for b, part in enumerate(cohort.blocks)
        for stream in ("g", "m")
        if stream in part["streams"] and weights.stream(stream)[b * width : (b + 1) * width].any()
    ]


def encrypted_scores(
    cohort: EncryptedCohort,
    weights: StoredWeights,
    *,
    expand: Expand,
    progress: Progress = no_progress,
    window_bytes: int = WINDOW_BYTES,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (chunk, sums) for every chunk of groups: sums (G, k, T, C, 2, L) uint64, NTT form, constants left out.

    Raises ArtefactError when the cohort's files were altered or have other rows than the weights.
    """
    p = cohort.parameters
    ring, width = p.ring, p.block_variants
    primes = np.array(ring.primes, np.uint64)
    used = terms(cohort, weights)
    shape = (len(ring.primes), ring.tiles, weights.columns, 2, ring.lanes)
    parts = chunks(p)
    per_window = max(1, window_bytes // (parts[0][1] * int(np.prod(shape)) * 8))
    total = -(-len(used) // BATCH) * len(parts)
    done = 0
    for first in range(0, len(parts), per_window):
        window = range(first, min(first + per_window, len(parts)))
        sums = {c: np.zeros((parts[c][1], *shape), np.uint64) for c in window}
        for start in range(0, len(used), BATCH):
            batch = used[start : start + BATCH]
            polynomials = np.stack(
                [
                    to_tiles(
                        weight_polynomials(weights.stream(t.stream)[t.block * width : (t.block + 1) * width], p), ring
                    )
                    for t in batch
                ],
                axis=2,
            )
            for c in window:
                halves = [cohort.read(t.block, t.stream, c, expand).halves() for t in batch]
                c0, c1 = (np.stack([h[i] for h in halves], axis=2) for i in (0, 1))
                for g in range(parts[c][1]):
                    mac_plain_parts(c0[:, :, :, g], c1[:, :, :, g], polynomials, primes, sums[c][g])
                done += 1
                progress(done, total)
        for c in window:
            yield c, sums.pop(c)
