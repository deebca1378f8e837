"""The server: encrypted genotypes × public or own weights -> encrypted scores. No function here can hold a secret key.

Stored rows are added up block by block: coefficient n − b + i of Σ_blocks g(X)·w(X) is the score of sample i of a group.
Blocks whose weights are all zero are not read. Memory: a batch of blocks and the sums of a window of groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from securegen.ckks import artefact
from securegen.ckks.cohort import EncryptedCohort, Progress, _make_folder, chunks, no_progress
from securegen.ckks.prs_model import read_model
from securegen.ckks.prs_parameters import check_exact
from securegen.ckks.prs_stream import Term, batches, stretches
from securegen.ckks.prs_weights import StoredWeights, weight_tiles
from securegen.errors import ArtefactError
from securegen.kernels.plain_mac import mac_plain

WINDOW_BYTES = 96 << 20


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
    """Yield (chunk, sums) for every chunk of groups: sums (k, T, G, C, 2, L) uint32, NTT form, constants left out.

    Raises ArtefactError when the cohort's files were altered or have other rows than the weights.
    """
    p = cohort.parameters
    ring, width = p.ring, p.block_variants
    primes = np.array(ring.primes, np.uint64)
    used = terms(cohort, weights)
    shape = lambda groups: (len(ring.primes), ring.tiles, groups, weights.columns, 2, ring.lanes)  # noqa: E731
    parts = chunks(p)
    per_window = max(1, window_bytes // (4 * math.prod(shape(parts[0][1]))))
    done, total = 0, len(batches(used)) * len(parts)
    for first in range(0, len(parts), per_window):
        window = range(first, min(first + per_window, len(parts)))
        sums = {c: np.zeros(shape(parts[c][1]), np.uint32) for c in window}
        for batch in batches(used):
            parts_of = [weights.stream(t.stream)[t.block * width : (t.block + 1) * width] for t in batch]
            columns = np.flatnonzero([any(w[:, j].any() for w in parts_of) for j in range(weights.columns)])
            polynomials = weight_tiles([w[:, columns] for w in parts_of], p)
            for c in window:
                for q, tiles, c0, c1 in stretches(cohort, batch, c):
                    mac_plain(c0, c1, polynomials[q, tiles], primes[q], sums[c][q, tiles], columns=columns)
                done += 1
                progress(done, total)
        for c in window:
            yield c, sums.pop(c)


def score(cohort: EncryptedCohort, model: Path, folder: Path, *, progress: Progress = no_progress) -> str:
    """The server's step: write the encrypted scores of every sample into `folder`; returns its digest."""
    opened = read_model(model, cohort.public)
    weights = opened.weights()
    check_exact(cohort.parameters, norm=weights.norm, sum_bound=weights.sum_bound)
    _make_folder(folder, 0o755)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    entries = []
    for c, sums in encrypted_scores(cohort, weights, progress=progress):
        tiles = sums.reshape(*sums.shape[:2], -1, sums.shape[-1])
        entries.append(vars(artefact.write_entry(folder, f"scores-{c:04d}.npy", tiles)))
    body = {"key": cohort.public.fingerprint, "cohort": cohort.digest, "model": opened.digest, "chunks": entries}
    return artefact.write_manifest(folder, "scores", body, None)
