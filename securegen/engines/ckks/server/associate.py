"""The server: encrypted cohort × encrypted design -> encrypted sums. No function here can be handed a secret key.

Who learns what: the server sees ciphertexts and the public shape of the study. It is trusted for availability only:
what it returns is verified by the owner before anything is shown (see `verify`).

Work and memory. Coefficients modulo a prime are summed on their own, so the pass takes a slice of them after the other: of
every file a stretch, of the design what fits, for all blocks of a batch. Every block is a small matrix of polynomials, its
strands, times the matrix of the columns of its own set. The sums of a slice stay in a cache until they are folded (see
`accumulators`), and the results of a batch in memory until its last slice. A thread takes a few blocks at a time; the columns
of the next slice are read meanwhile. Memory is limited by cutting slices, groups and batches (see `pass_memory`). Files are
mapped by slices, and unmapped as soon as they were used; those of an object store are
fetched so, two ahead of their turn. Digests are known with the last slice, before anything is written.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numba import get_num_threads

from securegen.engines.ckks import artefact, bodies
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.layout import BlockLayout, block_layout
from securegen.engines.ckks.server.accumulators import Accumulators
from securegen.engines.ckks.server.packed_design import PackedDesign, SliceColumns, packed_designs
from securegen.engines.ckks.server.pass_memory import TOGETHER, WORKING_BYTES, PassMemory, plan_pass
from securegen.engines.ckks.server.results_parts import SUMS, block_file, write_results
from securegen.engines.ckks.slices import Slice, slices
from securegen.engines.ckks.studydesign import EncryptedDesign
from securegen.errors import ArtefactError
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of
from securegen.kernels.fold import copy_in_order, fold_tiles
from securegen.kernels.memory import Rooms
from securegen.kernels.residue_matmul import LANES, matmul_residues, pack_columns
from securegen.kernels.threads import in_threads
from securegen.model import Progress, no_progress
from securegen.randomness import KEY_BYTES
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_tiles
from securegen.study.parts import RunPart


def associate(
    cohort: EncryptedCohort,
    design: EncryptedDesign,
    folder: Place,
    *,
    progress: Progress = no_progress,
    batch_bytes: int = WORKING_BYTES,
    part: RunPart | None = None,
) -> str:
    """Sum every stream of every block against every column; write the results folder and return its digest.

    batch_bytes: of working memory, see `memory_of`; part: of the blocks, all where it is None. The threads are as many as
    Numba may use (`numba.set_num_threads`).
    Raises ArtefactError when the design was not made for this cohort or a file was altered.
    """
    if design.body["cohort"] != cohort.digest:
        if design.body["cohort"] in cohort.body.get("earlier", ()):
            raise ArtefactError(
                f"{design.folder} was made for {cohort.folder} as it was before variants were appended: its owner lets the "
                "append end and encrypts the design again (securegen encrypt --owner)"
            )
        raise ArtefactError("the design was made for another cohort, or for another version of this one")
    if cohort.parameters.ring.lanes != LANES:
        raise ArtefactError(
            f"{cohort.folder} is stored for scores, not for association: encrypt it by an association plan"
        )
    with artefact.found_in(design.folder):
        bodies.check_pair(cohort.body, design.body, cohort.parameters)
    start, stop = (0, len(cohort.blocks)) if part is None else part.span(len(cohort.blocks), "blocks")
    cohort.require_files()
    folder = folder_of(folder)
    folder.make()
    with folder.claimed(writer := artefact.writer_of(cohort.digest, design.digest, str(part))):
        folder.remove([artefact.MANIFEST])
        entries = _associate(cohort, design, folder, (start, stop), progress, batch_bytes)
        folder.confirm(writer)
        return write_results(folder, SUMS, _body(cohort, design, entries), part, start)


def _body(cohort: EncryptedCohort, design: EncryptedDesign, entries: list[dict[str, Any]]) -> dict[str, Any]:
    streams = [list(part["streams"]) for part in cohort.blocks]
    return {
        "key": cohort.public.fingerprint, "cohort": cohort.digest, "design": design.digest,
        "nonce": design.body["nonce"], "streams": streams, "blocks": entries,
    }  # fmt: skip


def _associate(
    cohort: EncryptedCohort, design: EncryptedDesign, folder: Folder, blocks: tuple[int, int], progress: Progress,
    batch_bytes: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """The entries of the results of blocks start … stop."""
    start, stop = blocks
    streams = [tuple(part["streams"]) for part in cohort.blocks]
    sets = [design.columns.of(b) for b in range(len(streams))]
    layouts, columns, threads = layouts_of(cohort, design), packed_designs(design), get_num_threads()
    plan, rooms = _memory(cohort, design, columns, batch_bytes), Rooms()
    spans = plan.spans(len(chunks(cohort.parameters)))
    steps = [(piece, span) for piece in slices(cohort.parameters.ring, plan.tiles) for span in spans]
    done = _Counter((stop - start) * len(steps), progress)
    entries: list[dict[str, Any]] = []
    for first, last in _between(plan.batches, start, stop):
        memory, out = _room_for(layouts, first, last, rooms)
        summed = [
            Accumulators(members, cohort, layouts, out, columns[sets[members[0]]].count, sets[members[0]], rooms)
            for members in _members(cohort, sets, first, last, threads)
        ]

        def write(some: Accumulators) -> list[dict[str, Any]]:
            return [vars(artefact.write_entry(folder, block_file(b), flat)) for b, flat in some.results(design)]

        order = (
            (b, stream, c, piece)
            for piece, some_chunks in steps
            for some in summed
            for stream, members in some.blocks.items()
            for b in members
            for c in some_chunks
        )
        with cohort.ahead(order):
            entries += _sum_slices(summed, steps, columns, threads, plan.early, done, write)
        summed.clear()  # before the next batch takes its memory
        rooms.give(memory)
    return entries


def _room_for(
    layouts: Sequence[BlockLayout], first: int, last: int, rooms: Rooms
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Memory for the results of a batch of blocks, in one piece, and the array of each."""
    sizes = [math.prod(layout.shape) for layout in layouts[first:last]]
    memory, ends = rooms.take((sum(sizes),)), itertools.accumulate(sizes)
    return memory, {
        b: memory[end - size : end].reshape(layouts[b].shape)
        for b, size, end in zip(range(first, last), sizes, ends, strict=True)
    }


def layouts_of(cohort: EncryptedCohort, design: EncryptedDesign) -> list[BlockLayout]:
    """Of the results of every block."""
    streams = [tuple(block["streams"]) for block in cohort.blocks]
    outputs = {
        both: design.columns.outputs(*both) for both in {(design.columns.of(b), s) for b, s in enumerate(streams)}
    }
    return [
        block_layout(
            cohort.parameters, outputs[design.columns.of(b), streams[b]], block["variants"],
            shared_genotypes=cohort.shared, shared_columns=design.shared,
        )
        for b, block in enumerate(cohort.blocks)
    ]  # fmt: skip


def _between(batches: Sequence[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """The batches of blocks start … stop."""
    return [(max(a, start), min(b, stop)) for a, b in batches if a < stop and b > start]


def load_kernels() -> None:
    """Load, or the first time compile, the kernels of `associate`: part of starting a server's process."""
    ring = replace(Ring.standard(4096, 3), lanes=LANES)
    row = np.zeros((len(ring.primes), ring.tiles, 1, 2, ring.lanes), np.uint32)
    out = np.zeros((1, *row.shape[:2], 2, 2, ring.lanes), np.uint32)
    expand_tiles(bytes(KEY_BYTES), ring, 0, 0, row[0].reshape(-1, 2, ring.lanes))
    primes = np.array(ring.primes, np.uint64)
    matmul_residues([[[row]]], pack_columns([[row]], primes), primes, out, threads=1)
    some = out[0, :, :, 1:, 1:]  # as views, which are compiled for on their own
    fold_tiles(some, 1, ring.primes)
    copy_in_order(some[0], np.empty((1, 1, 2 * ring.n), np.uint32)[..., : ring.n])


def memory_of(cohort: EncryptedCohort, design: EncryptedDesign, batch_bytes: int = WORKING_BYTES) -> PassMemory:
    """What `associate` will take beside the program itself. `working` is above batch_bytes where less cannot do."""
    return _memory(cohort, design, packed_designs(design), batch_bytes)


def _memory(
    cohort: EncryptedCohort, design: EncryptedDesign, columns: Sequence[PackedDesign], batch_bytes: int
) -> PassMemory:
    counts = [columns[design.columns.of(b)].count for b in range(len(cohort.blocks))]
    stored, packed = max(c.stored for c in columns), max(c.packed for c in columns)
    return plan_pass(
        cohort, layouts_of(cohort, design), counts, stored, packed, batch_bytes, get_num_threads(), sets=len(columns)
    )


def _members(cohort: EncryptedCohort, sets: Sequence[int], first: int, last: int, threads: int) -> list[range]:
    """Runs of at most TOGETHER blocks of equally many strands and the same columns, enough of them for every thread."""
    width = max(1, min(TOGETHER, (last - first) // threads))
    out: list[range] = []
    for b in range(first, last):
        run = out[-1] if out else range(0)
        alike = bool(run) and cohort.strands(run[0]) == cohort.strands(b) and sets[run[0]] == sets[b]
        if alike and len(run) < width:
            out[-1] = range(run.start, b + 1)
        else:
            out.append(range(b, b + 1))
    return out


def _sum_slices(
    summed: list[Accumulators], steps: Sequence[tuple[Slice, range]], columns: Sequence[PackedDesign], threads: int, early: bool,
    done: _Counter, write: Callable[[Accumulators], list[dict[str, Any]]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Add every slice, some chunks at a time, to all accumulators, and write each after its last: what `write` returns, in
    order. early: the first columns of the next step are read meanwhile."""
    entries: list[dict[str, Any]] = []
    uses = [some.number for some in summed]
    for number in set(uses):
        columns[number].begin()
    with ThreadPoolExecutor(1) as reader:
        following = SliceColumns(columns, *steps[0], uses)
        for i in range(1, len(steps) + 1):
            present, last = following, i == len(steps)
            if not last:
                following = SliceColumns(columns, *steps[i], uses)

            def add(
                some: Accumulators, present: SliceColumns = present, following: SliceColumns = following,
                early: bool = early and not last, last: bool = last,
            ) -> list[dict[str, Any]]:  # fmt: skip
                packed = present.read(some.number)
                if early and some is summed[0]:  # files are read in order: never before those of the present step
                    _submit(reader, following.prepare, some.number)
                some.add(present.piece, present.span, packed)
                present.used(some.number)
                done.add(len(some.members))
                return write(some) if last else []

            for written in in_threads(add, summed, threads=threads):
                entries += written
    return entries


def _submit(pool: ThreadPoolExecutor, read: Callable[[int], None], number: int) -> None:
    """Read in the background, or where the system allows no more threads when it is needed."""
    with contextlib.suppress(RuntimeError):
        pool.submit(read, number)


class _Counter:
    """Progress of several threads."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._lock, self._done, self._total, self._progress = threading.Lock(), 0, total, progress

    def add(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            self._progress(self._done, self._total)
