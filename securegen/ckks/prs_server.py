"""The server: encrypted genotypes × public or own weights -> encrypted scores. No function here can hold a secret key.

Stored rows are added up block by block: coefficient n − b + i of Σ_blocks g(X)·w(X) is the score of sample i of a group.
Blocks whose weights are all zero are not read. Memory: a batch of blocks and the sums of a window of groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securegen.ckks import artefact
from securegen.ckks.cohort import EncryptedCohort, Progress, _make_folder, chunks, ciphertext_shape, no_progress
from securegen.ckks.prs_model import read_model
from securegen.ckks.prs_parameters import check_exact
from securegen.ckks.prs_weights import StoredWeights, weight_tiles
from securegen.errors import ArtefactError
from securegen.kernels.plain_mac import mac_plain
from securegen.kernels.threads import over_range

BATCH = 32  # blocks a pass, where they fit
BATCH_BYTES = 192 << 20
WINDOW_BYTES = 96 << 20


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
        for stream in ("g", "m")
        for b, part in enumerate(cohort.blocks)
        if stream in part["streams"] and weights.stream(stream)[b * width : (b + 1) * width].any()
    ]


def encrypted_scores(
    cohort: EncryptedCohort,
    weights: StoredWeights,
    *,
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
    done, buffers = 0, Buffers(cohort)
    total = len(buffers.batches(used)) * len(parts)
    for first in range(0, len(parts), per_window):
        window = range(first, min(first + per_window, len(parts)))
        sums = {c: np.zeros((parts[c][1], *shape), np.uint64) for c in window}
        for batch in buffers.batches(used):
            parts_of = [weights.stream(t.stream)[t.block * width : (t.block + 1) * width] for t in batch]
            columns = np.flatnonzero([any(w[:, j].any() for w in parts_of) for j in range(weights.columns)])
            polynomials = weight_tiles([w[:, columns] for w in parts_of], p)
            for c in window:
                c0, c1 = buffers.read(batch, c)
                mac_plain(c0, c1, polynomials, primes, sums[c], columns=columns)
                done += 1
                progress(done, total)
        for c in window:
            yield c, sums.pop(c)


class Buffers:
    """Memory for the two halves of a batch of blocks, used again for every chunk."""

    def __init__(self, cohort: EncryptedCohort) -> None:
        p = cohort.parameters
        self._cohort, self._parts = cohort, chunks(p)
        size = len(p.ring.primes) * p.ring.n * self._parts[0][1]
        self.blocks = max(1, min(BATCH, len(cohort.blocks) * 2, BATCH_BYTES // (8 * size)))
        self._halves = np.empty((2, self.blocks * size), np.uint32)

    def batches(self, used: list[Term]) -> list[list[Term]]:
        """The terms in runs that fit."""
        return [used[start : start + self.blocks] for start in range(0, len(used), self.blocks)]

    def read(self, batch: list[Term], chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """Both halves of a chunk of some blocks, (k, T, R, G, L) uint32 views: the blocks are what is summed over."""
        shape = (len(batch), *ciphertext_shape(self._cohort.parameters, self._parts[chunk][1]))
        c0, c1 = (half[: math.prod(shape)].reshape(shape) for half in self._halves)

        def read(first: int, last: int) -> None:
            for r in range(first, last):
                self._cohort.read_into(batch[r].block, batch[r].stream, chunk, c0[r], c1[r])

        over_range(len(batch), read)
        return np.moveaxis(c0, 0, 2), np.moveaxis(c1, 0, 2)


def score(cohort: EncryptedCohort, model: Path, folder: Path, *, progress: Progress = no_progress) -> str:
    """The server's step: write the encrypted scores of every sample into `folder`; returns its digest."""
    opened = read_model(model, cohort.public)
    weights = opened.weights()
    check_exact(cohort.parameters, norm=weights.norm, sum_bound=weights.sum_bound)
    _make_folder(folder, 0o755)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    entries = []
    for c, sums in encrypted_scores(cohort, weights, progress=progress):
        tiles = np.moveaxis(sums, 0, 2).reshape(*sums.shape[1:3], -1, sums.shape[-1]).astype(np.uint32)
        entries.append(vars(artefact.write_entry(folder, f"scores-{c:04d}.npy", tiles)))
    body = {"key": cohort.public.fingerprint, "cohort": cohort.digest, "model": opened.digest, "chunks": entries}
    return artefact.write_manifest(folder, "scores", body, None)
