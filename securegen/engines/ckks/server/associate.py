"""The server: encrypted cohort × encrypted design -> encrypted sums. No function here can be handed a secret key.

Who learns what: the server sees ciphertexts and the public shape of the study. It is trusted for availability only:
what it returns is verified by the owner before anything is shown (see `verify`).

Work and memory. Each chunk of the design is read (and its seed expanded) once for a batch of blocks, while the chunk
before is summed. The accumulators of a batch stay in memory. A thread takes a few blocks of the batch at a time (see
`accumulators`). Every block is a small matrix of polynomials, its strands, times the matrix of the columns. So memory
grows with the number of columns, not with N or M; `pass_memory` counts it. Files are mapped, and unmapped as soon as
they were used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numba import get_num_threads

from securegen.engines.ckks import artefact, bodies, codec
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.layout import has_ones, products
from securegen.engines.ckks.server.accumulators import Accumulators
from securegen.engines.ckks.server.pass_memory import TOGETHER, WORKING_BYTES, PassMemory, plan_pass
from securegen.engines.ckks.studydesign import EncryptedDesign
from securegen.errors import ArtefactError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.kernels.fold import fold_tiles
from securegen.kernels.product_tile import square_side
from securegen.kernels.residue_matmul import LANES, PackedColumns, matmul_residues, pack_columns
from securegen.kernels.threads import in_threads
from securegen.model import Progress, no_progress
from securegen.randomness import KEY_BYTES
from securegen.rlwe.residues import scaled_residues, to_tiles
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

Packed = dict[str, PackedColumns]


def associate(
    cohort: EncryptedCohort,
    design: EncryptedDesign,
    folder: Path,
    *,
    progress: Progress = no_progress,
    batch_bytes: int = WORKING_BYTES,
) -> str:
    """Sum every stream of every block against every column; write the results folder and return its digest.

    batch_bytes: of working memory, see `memory_of`. The threads are as many as Numba may use (`numba.set_num_threads`).
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
    cohort.require_files()
    make_folder(folder, FOLDER_FOR_OTHERS)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    streams = [tuple(part["streams"]) for part in cohort.blocks]
    outputs = {s: design.outputs(s) for s in set(streams)}
    wanted = [outputs[s] for s in streams]
    columns = PackedDesign(design)
    threads = get_num_threads()
    done = _Counter(len(streams) * len(chunks(cohort.parameters)), progress)
    entries: list[dict[str, Any]] = []
    memory = _memory(cohort, columns, batch_bytes)
    for first, last in memory.batches:
        summed = [
            Accumulators(members, cohort, wanted, columns.count) for members in _members(cohort, first, last, threads)
        ]
        _sum_chunks(summed, cohort, columns, threads, memory.early, done)

        def write(some: Accumulators) -> list[dict[str, Any]]:
            return [vars(artefact.write_entry(folder, f"block-{b:06d}.npy", flat)) for b, flat in some.results(design)]

        for written in in_threads(write, summed, threads=threads):
            entries += written
        summed.clear()  # before the next batch takes its memory
    body = {
        "key": cohort.public.fingerprint, "cohort": cohort.digest, "design": design.digest,
        "nonce": design.body["nonce"], "streams": [list(s) for s in streams], "blocks": entries,
    }  # fmt: skip
    return artefact.write_manifest(folder, "results", body, None)


def load_kernels() -> None:
    """Load, or the first time compile, the kernels of `associate`: part of starting a server's process."""
    ring = replace(Ring.standard(4096, 3), lanes=LANES)
    row = np.zeros((len(ring.primes), ring.tiles, 1, 1, ring.lanes), np.uint32)
    out = np.zeros_like(row)[None]
    expand_uniform(bytes(KEY_BYTES), 1, ring, out=row[:, :, :, 0], threads=1)
    matmul_residues([[row]], pack_columns([row]), np.array(ring.primes, np.uint64), out, threads=1)
    fold_tiles(out[0], 1, ring.primes)


class PackedDesign:
    """The columns of a design as each stream is multiplied with them.

    count: stream -> polynomials: the public halves, the columns, and the column of ones if the stream needs it.
    """

    def __init__(self, design: EncryptedDesign) -> None:
        self._design = design
        p = design.public.parameters
        wanted = design.outputs(("g", "m", "q"))
        position = np.cumsum([not one for one in design.body["public_ones"]]) - 1
        self._index = {s: [int(position[j]) for j in products(wanted, s)] for s in ("g", "m", "q")}
        self._ones = {s: has_ones(wanted, s) for s in ("g", "m", "q")}
        self.count = {
            s: (min(len(i), 1) if design.shared else len(i)) + len(i) + self._ones[s] for s, i in self._index.items()
        }
        ones = to_tiles(scaled_residues(codec.ones_message(p)[None], 0, p.ring), p.ring)
        self._one = ones[:, :, :, None]

    def read(self, chunk: int) -> dict[str, PackedColumns]:
        """The polynomials of one chunk for every stream that has some."""
        p = self._design.public.parameters
        one = np.broadcast_to(self._one, (*self._one.shape[:2], chunks(p)[chunk][1], *self._one.shape[3:]))
        stored = self._design.read_columns(chunk) if self._design.encrypted else None
        out: dict[str, PackedColumns] = {}
        for stream, index in self._index.items():
            halves = [one] if self._ones[stream] else []
            if index and stored is not None:
                b, a = stored.halves()
                if len(index) < b.shape[3]:
                    b, a = b[:, :, :, index], a if a.shape[3] == 1 else a[:, :, :, index]
                halves = [a, b, *halves]
            if halves and index == self._index["g"] and stream != "g":
                out[stream] = out["g"]
            elif halves:
                out[stream] = pack_columns(halves)
        return out

    @property
    def packed(self) -> int:
        """Polynomials a group in memory: streams with the same columns share them, and squares are filled up."""
        side = square_side()
        shared = {tuple(i): self.count[s] for s, i in reversed(self._index.items())}
        return sum(-(-count // side) * side for count in shared.values())

    @property
    def stored(self) -> int:
        """Polynomials a group in the design's files."""
        return self._design.encrypted * (1 if self._design.shared else 2)


def memory_of(cohort: EncryptedCohort, design: EncryptedDesign, batch_bytes: int = WORKING_BYTES) -> PassMemory:
    """What `associate` will take beside the program itself. `working` is above batch_bytes where less cannot do."""
    return _memory(cohort, PackedDesign(design), batch_bytes)


def _memory(cohort: EncryptedCohort, columns: PackedDesign, batch_bytes: int) -> PassMemory:
    return plan_pass(cohort, columns.count, columns.stored, columns.packed, batch_bytes, get_num_threads())


def _members(cohort: EncryptedCohort, first: int, last: int, threads: int) -> list[range]:
    """Runs of at most TOGETHER blocks of equally many strands, enough of them for every thread."""
    width = max(1, min(TOGETHER, (last - first) // threads))
    out: list[range] = []
    for b in range(first, last):
        run = out[-1] if out else range(0)
        if run and len(run) < width and cohort.strands(run[0]) == cohort.strands(b):
            out[-1] = range(run.start, b + 1)
        else:
            out.append(range(b, b + 1))
    return out


def _sum_chunks(
    summed: list[Accumulators],
    cohort: EncryptedCohort,
    columns: PackedDesign,
    threads: int,
    early: bool,
    done: _Counter,
) -> None:
    """Add every chunk to all accumulators, a chunk at a time; early: the columns of the next are read meanwhile."""
    count = len(chunks(cohort.parameters))
    with ThreadPoolExecutor(1) as reader:
        ahead = _submit(reader, columns.read, 0)
        for chunk in range(count):
            present = ahead
            if early and chunk + 1 < count:
                ahead = _submit(reader, columns.read, chunk + 1)

            def add(
                some: Accumulators, chunk: int = chunk, present: Future[dict[str, PackedColumns]] = present
            ) -> None:
                some.add(chunk, present)
                done.add(len(some.members))

            in_threads(add, summed, threads=threads)
            if not early and chunk + 1 < count:
                del present, add, ahead
                ahead = _submit(reader, columns.read, chunk + 1)


def _submit(pool: ThreadPoolExecutor, read: Callable[[int], Packed], chunk: int) -> Future[Packed]:
    """Read in the background, or at once where the system allows no more threads."""
    try:
        return pool.submit(read, chunk)
    except RuntimeError:
        done: Future[Packed] = Future()
        done.set_result(read(chunk))
        return done


class _Counter:
    """Progress of several threads."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._lock, self._done, self._total, self._progress = threading.Lock(), 0, total, progress

    def add(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            self._progress(self._done, self._total)


def open_results(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder, checked for form only; its truth is for `verify` to establish."""
    return artefact.read_manifest(folder, "results", None, bodies.RESULTS)
