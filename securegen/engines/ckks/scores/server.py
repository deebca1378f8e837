"""The server: encrypted genotypes × public or own weights -> encrypted scores. No function here can hold a secret key.

Stored rows are added up block by block: coefficient n − b + i of Σ_blocks g(X)·w(X) is the score of sample i of a group.
Blocks whose weights are all zero are not read. Memory: a batch of blocks and the sums of a window of groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.scores.parameters import check_exact
from securegen.engines.ckks.scores.public_model import read_model
from securegen.engines.ckks.scores.stream import Term, even_batches, strand_stretches
from securegen.engines.ckks.scores.weights import StoredWeights, weight_tiles
from securegen.engines.ckks.server.results_parts import SCORES, chunk_file, write_results
from securegen.errors import ArtefactError
from securegen.io.folders import Place, folder_of
from securegen.kernels.plain_mac import mac_plain
from securegen.model import Progress, no_progress
from securegen.study.parts import RunPart

WINDOW_BYTES = 96 << 20


def terms(cohort: EncryptedCohort, weights: StoredWeights) -> list[Term]:
    """Which streams of which blocks enter. Raises ArtefactError when the store has other rows than the model."""
    starts, stored = cohort.starts, int(cohort.body["variants"])
    if stored != len(weights.dosage):
        raise ArtefactError(f"the cohort stores {stored} rows, the model has weights for {len(weights.dosage)}")
    return [
        Term(stream, b)
        for stream in ("g", "m")
        for b, part in enumerate(cohort.blocks)
        if stream in part["streams"] and weights.stream(stream)[starts[b] : starts[b + 1]].any()
    ]


def encrypted_scores(
    cohort: EncryptedCohort,
    weights: StoredWeights,
    *,
    progress: Progress = no_progress,
    span: tuple[int, int] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (chunk, sums) for every chunk of groups, or for those from span[0] to span[1] − 1: sums (k, T, G, C, 1 + S, L)
    uint32, NTT form, constants left out.

    S: strands of the store's largest block, 1 in a store for scores. Strand r adds w_r·c0 to the first polynomial and w_r·a to
    polynomial 1 + r, which has a key of its own. Raises ArtefactError when the cohort's files were altered or have other
    rows than the weights.
    """
    p = cohort.parameters
    ring, width = p.ring, p.strand_variants
    strands = max(cohort.strands(b) for b in range(len(cohort.blocks)))
    primes = np.array(ring.primes, np.uint64)
    used = even_batches(cohort, terms(cohort, weights))

    def shape(groups: int) -> tuple[int, ...]:
        return strands, len(ring.primes), ring.tiles, groups, weights.columns, 2, ring.lanes

    parts = chunks(p)
    per_window = max(1, WINDOW_BYTES // (4 * math.prod(shape(parts[0][1]))))
    begin, end = span or (0, len(parts))
    done, total = 0, len(used) * (end - begin)
    for first in range(begin, end, per_window):
        window = range(first, min(first + per_window, end))
        sums = {c: np.zeros(shape(parts[c][1]), np.uint32) for c in window}
        for batch in used:
            spans = [(int(cohort.starts[t.block]), int(cohort.starts[t.block + 1])) for t in batch]
            columns, polynomials = [], []  # of every strand
            for strand in range(cohort.strands(batch[0].block)):
                at = strand * width
                rows = [
                    weights.stream(t.stream)[start + at : min(start + at + width, stop)]
                    for t, (start, stop) in zip(batch, spans, strict=True)
                ]
                columns.append(np.flatnonzero([any(w[:, j].any() for w in rows) for j in range(weights.columns)]))
                polynomials.append(weight_tiles([w[:, columns[-1]] for w in rows], p))
            for c in window:
                for q, tiles, c0, c1 in strand_stretches(cohort, batch, c):
                    for strand, (plain, into) in enumerate(zip(polynomials, columns, strict=True)):
                        own = c1[..., strand if c1.shape[4] > 1 else 0, :]
                        out = sums[c][strand][q, tiles]
                        mac_plain(c0[..., strand, :], own, plain[q, tiles], primes[q], out, columns=into)
                done += 1
                progress(done, total)
        for c in window:
            yield c, _joined(sums.pop(c), primes)


def _joined(sums: np.ndarray, primes: np.ndarray) -> np.ndarray:
    """(S, k, T, G, C, 2, L) -> (k, T, G, C, 1 + S, L): the first halves of all strands added up."""
    if len(sums) == 1:
        found: np.ndarray = sums[0]
        return found
    out = np.empty((*sums.shape[1:5], 1 + len(sums), sums.shape[6]), np.uint32)
    modulus = primes[:, None, None, None, None]
    out[..., 0, :] = sums[..., 0, :].sum(axis=0, dtype=np.uint64) % modulus
    out[..., 1:, :] = np.moveaxis(sums[..., 1, :], 0, 4)
    return out


def score(
    cohort: EncryptedCohort,
    model: Place,
    folder: Place,
    *,
    progress: Progress = no_progress,
    part: RunPart | None = None,
) -> str:
    """The server's step: write the encrypted scores of every sample into `folder`; returns its digest.

    part: of the chunks of samples, each of which has its own files in the cohort and in the results.
    """
    opened = read_model(model, cohort.public)
    weights = opened.weights()
    check_exact(cohort.parameters, norm=weights.norm, sum_bound=weights.sum_bound)
    count = len(chunks(cohort.parameters))
    span = (0, count) if part is None else part.span(count, SCORES.what)
    folder = folder_of(folder)
    folder.make()
    with folder.claimed(writer := artefact.writer_of(cohort.digest, opened.digest, str(part))):
        folder.remove([artefact.MANIFEST])
        entries = []
        for c, sums in encrypted_scores(cohort, weights, progress=progress, span=span):
            tiles = sums.reshape(*sums.shape[:2], -1, sums.shape[-1])
            entries.append(vars(artefact.write_entry(folder, chunk_file(c), tiles)))
        body = {
            "key": cohort.public.fingerprint, "cohort": cohort.digest, "model": opened.digest, "chunks": entries,
            "all_chunks": count,
        }  # fmt: skip
        folder.confirm(writer)
        return write_results(folder, SCORES, body, part, span[0])
