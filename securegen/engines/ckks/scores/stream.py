"""Reading the ciphertexts of many blocks side by side, a stretch of every file at a time, so that all stays in the cache.

What is yielded is not verified yet: the digest of a file is known at its end, where a wrong one is an ArtefactError.
Whoever sums what was yielded keeps the sum to itself until the last stretch has come. Nothing here can hold a secret key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3

from securegen.engines.ckks.artefact import name_of, npy_header
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.scores.schema import refuse_residues
from securegen.errors import ArtefactError
from securegen.io.folder import Folder
from securegen.kernels.threads import over_range
from securegen.rlwe.uniform import expand_tiles

BATCH = 32  # terms read together
STRETCH_BYTES = 512 << 10  # of a file
APART = 80  # words more from file to file in memory: at a power of two all files would meet in one set of the cache


class Stretch(NamedTuple):
    """Some tiles of one prime, of an array [prime, tile, …] at [primes, tiles]: c0, c1 (1, t, R, G, L) uint32 views, valid
    until the next stretch."""

    primes: slice
    tiles: slice
    c0: np.ndarray
    c1: np.ndarray


class Term(NamedTuple):
    """One stream of one block."""

    stream: str
    block: int


def batches(terms: list[Term]) -> list[list[Term]]:
    """The terms in runs that are read together. The last block of a stream may have fewer strands than the others: see
    `even_batches`."""
    return [terms[start : start + BATCH] for start in range(0, len(terms), BATCH)]


def even_batches(cohort: EncryptedCohort, terms: list[Term]) -> list[list[Term]]:
    """`batches` of blocks that have equally many strands."""
    out: list[list[Term]] = []
    for batch in batches(terms):
        for _, run in groupby(batch, lambda t: cohort.strands(t.block)):
            out.append(list(run))
    return out


class _File:
    """An .npy file of a folder, read from start to end and hashed on the way."""

    def __init__(self, folder: Folder, entry: dict[str, Any], shape: tuple[int, ...], stack: ExitStack) -> None:
        name, self.hash, self.digest = name_of(folder, entry), blake3(), entry["blake3"]
        self.path, header = folder.at(name), npy_header(shape, np.dtype("<u4"))
        start = bytearray(len(header))
        try:
            self.stream = stack.enter_context(folder.stream(name, entry["size"]))
            self.stream.readinto(start)
        except OSError as error:
            raise ArtefactError(f"{self.path} cannot be read: {error.strerror}") from None
        if entry["size"] != len(header) + 4 * int(np.prod(shape)) or start != header:
            raise ArtefactError(f"{self.path} is not a uint32 array of shape {shape}")
        self.hash.update(header)

    def read(self, out: np.ndarray) -> None:
        """Fill a contiguous array."""
        view = out.reshape(-1).view(np.uint8).data
        rest = view
        try:
            while rest and (got := self.stream.readinto(rest)):
                rest = rest[got:]
        except OSError as error:
            raise ArtefactError(f"{self.path} cannot be read: {error.strerror}") from None
        if rest:
            raise ArtefactError(f"{self.path} ended early: it was replaced while it was read")
        self.hash.update(view)

    def check(self) -> None:
        """Raises ArtefactError unless the whole file was what the manifest says."""
        if self.hash.hexdigest() != self.digest:
            raise ArtefactError(f"{self.path} does not have the digest its manifest names: it was altered")


def stretches(cohort: EncryptedCohort, terms: Sequence[Term], chunk: int) -> Iterator[Stretch]:
    """Every stretch of one chunk of R terms of a store whose blocks have one strand.

    Raises ArtefactError when a file is damaged or of another size, at the latest after the last stretch.
    """
    if cohort.parameters.strands > 1:
        raise ArtefactError(f"{cohort.folder} is stored for association: encrypt it by a plan for scores")
    for primes, tiles, c0, c1 in strand_stretches(cohort, terms, chunk):
        yield Stretch(primes, tiles, c0[..., 0, :], c1[..., 0, :])


def strand_stretches(cohort: EncryptedCohort, terms: Sequence[Term], chunk: int) -> Iterator[Stretch]:
    """As `stretches`, for R blocks of S strands each: c0 (1, t, R, G, S, L), c1 (1, t, R, G, 1 or S, L)."""
    folder, p = cohort.folder, cohort.parameters
    ring, groups, strands = p.ring, chunks(p)[chunk][1], cohort.strands(terms[0].block)
    if not 1 <= strands <= p.strands or any(cohort.strands(t.block) != strands for t in terms):
        raise ArtefactError(f"{cohort.folder} has blocks of {strands} strands, its parameters allow {p.strands}")
    rows = (strands, 1 if cohort.shared else strands)
    # of each term, its file of first halves, and of second halves where they are not expanded from a seed
    entries = [cohort.blocks[t.block]["streams"][t.stream][chunk] for t in terms]
    shapes = [ciphertext_shape(p, groups, count) for count in rows]
    step = max(1, min(ring.tiles, STRETCH_BYTES // (4 * groups * strands * ring.lanes)))
    size = step * groups * strands * ring.lanes
    buffers = np.empty((2, len(entries), size + APART), np.uint32)[:, :, :size]  # the kernel wants both in equal steps
    buffers = buffers.reshape(2, len(entries), step, groups, strands, ring.lanes)
    with ExitStack() as stack:
        files = [[_File(folder, e, s, stack) for e, s in zip(halves, shapes, strict=False)] for halves in entries]
        for q in range(len(ring.primes)):
            for first in range(0, ring.tiles, step):
                stop = min(first + step, ring.tiles)

                def read(start: int, end: int, q: int = q, first: int = first, stop: int = stop) -> None:
                    for r in range(start, end):
                        c0, c1 = (half[r, : stop - first] for half in buffers)
                        files[r][0].read(c0)
                        refuse_residues(c0[None], ring.primes[q : q + 1], f"{files[r][0].path}")
                        if len(files[r]) == 2:
                            files[r][1].read(c1)
                            refuse_residues(c1[None], ring.primes[q : q + 1], f"{files[r][1].path}")
                        else:
                            a = np.empty((stop - first, groups, ring.lanes), np.uint32) if strands > 1 else c1[:, :, 0]
                            expand_tiles(bytes.fromhex(entries[r][0]["seed"]), ring, q, first, a)
                            c1[:, :, 0] = a

                over_range(len(entries), read)
                c0, c1 = (np.moveaxis(half[:, : stop - first], 0, 1)[None] for half in buffers)
                yield Stretch(slice(q, q + 1), slice(first, stop), c0, c1[..., : rows[1], :])
        for file in (f for halves in files for f in halves):
            file.check()
