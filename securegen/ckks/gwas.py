"""The server: encrypted cohort × encrypted design -> encrypted sums. No function here can be handed a secret key.

Who learns what: the server sees ciphertexts and the public shape of the study. It is trusted for availability only: what
it returns is verified by the owner before anything is shown (see `verify`).

Each chunk of the design is read (and its seeds expanded) once for a batch of blocks; accumulators of the batch stay in
memory, so memory does not grow with N or M.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks import artefact
from securegen.ckks.cohort import EncryptedCohort, Progress, _make_folder, chunks, no_progress
from securegen.ckks.encryption import Ciphertexts
from securegen.ckks.studydesign import EncryptedDesign, Output
from securegen.errors import ArtefactError
from securegen.io.output import write_array
from securegen.kernels.residue_mac import add_parts, mac_parts

BATCH_BYTES = 256 << 20


def associate(
    cohort: EncryptedCohort,
    design: EncryptedDesign,
    folder: Path,
    *,
    progress: Progress = no_progress,
    batch_bytes: int = BATCH_BYTES,
) -> str:
    """Sum every stream of every block against every column; write the results folder and return its digest.

    Raises ArtefactError when the design was not made for this cohort or a file was altered.
    """
    if design.body["cohort"] != cohort.digest:
        raise ArtefactError("the design was made for another cohort, or for another version of this one")
    _make_folder(folder, 0o755)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    ring = cohort.parameters.ring
    streams = [tuple(part["streams"]) for part in cohort.blocks]
    wanted = [design.outputs(s) for s in streams]
    polynomial = len(ring.primes) * ring.n * 8
    size = max(sum(o.size for o in w) for w in wanted) * polynomial
    step = max(1, batch_bytes // size)
    done, entries = 0, []
    for first in range(0, len(streams), step):
        batch = range(first, min(first + step, len(streams)))
        sums = {b: _accumulators(wanted[b], ring) for b in batch}
        for c in range(len(chunks(cohort.parameters))):
            columns = design.read_columns(c) if design.encrypted else None
            prepared: dict[str, Ciphertexts | None] = {}
            for b in batch:
                for stream in streams[b]:
                    if stream not in prepared:
                        prepared[stream] = _columns_for(stream, columns, wanted[b], design)
                    _accumulate(cohort.read(b, stream, c), prepared[stream], wanted[b], stream, ring, sums[b])
                done += 1
                progress(done, len(streams) * len(chunks(cohort.parameters)))
        for b in batch:
            if any(o.kind == "owner" for o in wanted[b]):
                own = design.read_squares(b)
                for i, o in enumerate(o for o in wanted[b] if o.kind == "owner"):
                    sums[b][o] = np.stack([own.c0[:, :, i], own.halves()[1][:, :, i]], 2)
            flat = np.concatenate([sums[b][o].astype(np.uint32) for o in wanted[b]], axis=2)
            name = f"block-{b:06d}.npy"
            write_array(folder / name, flat)
            entries.append(vars(artefact.entry_for(folder, name)))
            del sums[b]
    body = {
        "key": cohort.public.fingerprint, "cohort": cohort.digest, "design": design.digest,
        "nonce": design.body["nonce"], "streams": [list(s) for s in streams], "blocks": entries,
    }  # fmt: skip
    return artefact.write_manifest(folder, "results", body, None)


def _accumulators(wanted: Sequence[Output], ring) -> dict[Output, np.ndarray]:
    """Zeros (k, T, size, L) for every output; products of one stream are views of one array."""
    out: dict[Output, np.ndarray] = {}
    k, t, lanes = len(ring.primes), ring.tiles, ring.lanes
    for stream in ("g", "m", "q"):
        products = [o for o in wanted if o.stream == stream and o.kind == "product"]
        block = np.zeros((k, t, len(products), 3, lanes), np.uint64)
        for i, o in enumerate(products):
            out[o] = block[:, :, i]
        for o in wanted:
            if o.stream == stream and o.kind == "addition":
                out[o] = np.zeros((k, t, 2, lanes), np.uint64)
    return out


def _columns_for(
    stream: str, columns: Ciphertexts | None, wanted: Sequence[Output], design: EncryptedDesign
) -> Ciphertexts | None:
    """The encrypted columns that a stream is multiplied with."""
    products = [o for o in wanted if o.stream == stream and o.kind == "product"]
    if columns is None or not products:
        return None
    position = np.cumsum([not one for one in design.body["public_ones"]]) - 1
    index = [int(position[o.column]) for o in products]
    if index == list(range(columns.c0.shape[3])):
        return columns
    c0, c1 = (np.ascontiguousarray(half[:, :, :, index]) for half in columns.halves())
    return Ciphertexts(c0, c1)


def _accumulate(
    g: Ciphertexts,
    columns: Ciphertexts | None,
    wanted: Sequence[Output],
    stream: str,
    ring,
    sums: dict[Output, np.ndarray],
) -> None:
    primes = np.array(ring.primes, np.uint64)
    products = [o for o in wanted if o.stream == stream and o.kind == "product"]
    if products and columns is not None:
        mac_parts(*g.halves(), *columns.halves(), primes, _shared(sums, products))
    additions = [o for o in wanted if o.stream == stream and o.kind == "addition"]
    if additions:
        add_parts(*g.halves(), primes, sums[additions[0]])
        for other in additions[1:]:  # several columns of ones: the same number
            sums[other][...] = sums[additions[0]]


def _shared(sums: dict[Output, np.ndarray], products: list[Output]) -> np.ndarray:
    """The one array (k, T, J, 3, L) that the accumulators of a stream's products are views of."""
    whole = sums[products[0]].base
    assert whole is not None
    return whole


def open_results(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder, checked for form only; its truth is for `verify` to establish."""
    return artefact.read_manifest(folder, "results", None)
