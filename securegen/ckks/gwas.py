"""The server: encrypted cohort × encrypted design -> encrypted sums. No function here can be handed a secret key.

Who learns what: the server sees ciphertexts and the public shape of the study. It is trusted for availability only: what
it returns is verified by the owner before anything is shown (see `verify`).

Work and memory. Each chunk of the design is read (and its seed expanded) once for a batch of blocks whose accumulators
stay in memory, while the chunk before is summed. A thread takes a few blocks of the batch at a time (see `team`).
So memory grows with the number of columns, not with N or M.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numba import get_num_threads

from securegen.ckks import artefact
from securegen.ckks.cohort import CHUNK_GROUPS, EncryptedCohort, Progress, _make_folder, chunks, no_progress
from securegen.ckks.encryption import Ciphertexts
from securegen.ckks.studydesign import EncryptedDesign
from securegen.ckks.team import Team
from securegen.errors import ArtefactError

BATCH_BYTES = 256 << 20
AHEAD_BYTES = 192 << 20  # columns of a chunk that are small enough to be in memory twice
TEAM = 5  # blocks that a thread sums together at most


def associate(
    cohort: EncryptedCohort,
    design: EncryptedDesign,
    folder: Path,
    *,
    progress: Progress = no_progress,
    batch_bytes: int = BATCH_BYTES,
) -> str:
    """Sum every stream of every block against every column; write the results folder and return its digest.

    batch_bytes: of accumulators at a time. The threads are as many as Numba may use (`numba.set_num_threads`).
    Raises ArtefactError when the design was not made for this cohort or a file was altered.
    """
    if design.body["cohort"] != cohort.digest:
        raise ArtefactError("the design was made for another cohort, or for another version of this one")
    _make_folder(folder, 0o755)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    ring = cohort.parameters.ring
    streams = [tuple(part["streams"]) for part in cohort.blocks]
    wanted = [design.outputs(s) for s in streams]
    size = max(sum(o.size for o in w) for w in wanted) * len(ring.primes) * ring.n * 8
    step = max(1, batch_bytes // size)
    threads = get_num_threads()
    done = _Counter(len(streams) * len(chunks(cohort.parameters)), progress)
    entries: list[dict[str, Any]] = []
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(streams), step):
            last = min(first + step, len(streams))
            width = min(TEAM, -(-(last - first) // threads))
            teams = [Team(range(b, min(b + width, last)), streams, wanted, ring) for b in range(first, last, width)]
            _sum_chunks(teams, cohort, design, pool, done)

            def write(team: Team) -> list[dict[str, Any]]:
                results = team.results(wanted, design)
                return [vars(artefact.write_entry(folder, f"block-{b:06d}.npy", flat)) for b, flat in results]

            for written in pool.map(write, teams):
                entries += written
    body = {
        "key": cohort.public.fingerprint, "cohort": cohort.digest, "design": design.digest,
        "nonce": design.body["nonce"], "streams": [list(s) for s in streams], "blocks": entries,
    }  # fmt: skip
    return artefact.write_manifest(folder, "results", body, None)


def _sum_chunks(
    teams: list[Team], cohort: EncryptedCohort, design: EncryptedDesign, pool: ThreadPoolExecutor, done: _Counter
) -> None:
    """Add every chunk to every team, a chunk at a time; the columns of the next are read meanwhile if they are small."""
    buffers = threading.local()
    count = len(chunks(cohort.parameters))
    ring = cohort.parameters.ring
    small = CHUNK_GROUPS * design.encrypted * len(ring.primes) * ring.n * 8 <= AHEAD_BYTES

    def columns(chunk: int) -> dict[str, Ciphertexts]:
        return _columns_by_stream(design.read_columns(chunk), design) if design.encrypted else {}

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(columns, 0)
        for chunk in range(count):
            present = ahead.result()
            if small and chunk + 1 < count:
                ahead = reader.submit(columns, chunk + 1)

            def add(team: Team, chunk: int = chunk, present: dict[str, Ciphertexts] = present) -> None:
                team.add(chunk, cohort, present, buffers)
                done.add(len(team.members))

            list(pool.map(add, teams))
            if not small and chunk + 1 < count:
                del present, add
                ahead = reader.submit(columns, chunk + 1)


class _Counter:
    """Progress of several threads."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._lock, self._done, self._total, self._progress = threading.Lock(), 0, total, progress

    def add(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            self._progress(self._done, self._total)


def _columns_by_stream(columns: Ciphertexts | None, design: EncryptedDesign) -> dict[str, Ciphertexts]:
    """Stream -> the encrypted columns that it is multiplied with, where there are any."""
    out: dict[str, Ciphertexts] = {}
    if columns is None:
        return out
    position = np.cumsum([not one for one in design.body["public_ones"]]) - 1
    for stream in ("g", "m", "q"):
        products = [o for o in design.outputs(("g", "m", "q")) if o.stream == stream and o.kind == "product"]
        index = [int(position[o.column]) for o in products]
        if index == list(range(columns.c0.shape[3])):
            out[stream] = columns
        elif index:
            c0, c1 = (np.ascontiguousarray(half[:, :, :, index]) for half in columns.halves())
            out[stream] = Ciphertexts(c0, c1)
    return out


def open_results(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder, checked for form only; its truth is for `verify` to establish."""
    return artefact.read_manifest(folder, "results", None)
