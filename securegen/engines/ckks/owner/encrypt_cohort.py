"""Encrypting a cohort: what the owner writes for the server.

PREFIX.cohort/ (to the server): manifest and ciphertexts of every block of variants, streams g (dosage), on request q (dosage²),
and m (missing, only for blocks where something is) where a coefficient holds one variant, in chunks of groups of samples. A
chunk is (groups, strands) ciphertexts; with the own encryptor the strands of a group share their public half. The checks
stay in the owner's state, and of packed stores the missing calls (`absent`).

Who learns what: the server learns N, M, which blocks have an m stream (in a packed store none has), and nothing about a
genotype (RLWE, 128 bits).
A killed run resumes: a block whose files, data, format and encryptor are unchanged is kept, anything else is encrypted
again, freshly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact, codec
from securegen.engines.ckks.blocks import block_name, block_of, block_sizes, read_blocks, runs_of, starts_of
from securegen.engines.ckks.ciphertexts import shares_public_half, write_ciphertexts
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.absent import lists_of
from securegen.engines.ckks.owner.asked import keep_asked_of
from securegen.engines.ckks.owner.encryption import Encryptor
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, write_info
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, DesignError
from securegen.governance.gate import Asking
from securegen.governance.pin import Pin
from securegen.io.envelope import canonical
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of
from securegen.kernels.threads import in_threads
from securegen.model import GenotypeBlock, GenotypeReader, Progress, coding_of, no_progress
from securegen.study.parts import PartReader, RunPart
from securegen.study.ploidy import xchr_model_of
from securegen.vocabulary import ADDITIVE


def _encrypt_one(
    block: GenotypeBlock, index: int, key: SecretKey, encryptor: Encryptor, folder: Folder, squares: bool
) -> dict[str, Any]:
    """Encrypt the streams of one block; returns its manifest part."""
    p = key.public.parameters
    streams = {"g": block.dosage}
    if block.missing is not None and not p.packed:
        streams["m"] = block.missing.view(np.int8)
    if squares:
        streams["q"] = block.squares

    def encrypt(job: tuple[str, int]) -> list[dict[str, Any]]:
        stream, c = job
        first, count = chunks(p)[c]
        messages = codec.genotype_messages(streams[stream], first, count, p)
        made = encryptor.digits(messages, p.widths, p.genotype_scale)
        entries = write_ciphertexts(folder, f"{stream}-{block_name(index)}-{c:04d}", made)
        encryptor.written(made)
        return entries

    jobs = [(stream, c) for stream in streams for c in range(len(chunks(p)))]
    written: dict[str, list[Any]] = {stream: [] for stream in streams}
    for (stream, _), entries in zip(jobs, in_threads(encrypt, jobs), strict=True):
        written[stream].append(entries)
    return {"variants": len(block), "streams": written}


def _still_valid(folder: Folder, there: Mapping[str, int], part: dict[str, Any]) -> bool:
    """Whether every file of a block is as it was written. there: bytes of the folder's files."""
    entries = [e for stream in part["streams"].values() for chunk in stream for e in chunk]
    return all(there.get(e["name"]) == e["size"] for e in entries) and all(
        folder.digest(e["name"], e["size"]) == e["blake3"] for e in entries
    )


def encrypt_cohort(
    reader: GenotypeReader,
    key: SecretKey,
    folder: Place,
    state: OwnerState,
    *,
    encryptor: Encryptor,
    squares: bool = False,
    policy: Pin | None = None,
    like: CohortInfo | None = None,
    asking: Asking | None = None,
    progress: Progress = no_progress,
) -> CohortInfo:
    """Encrypt every genotype of `reader` into `folder` and keep the checks in `state`. policy: the one that governs it;
    like: the cohort of which these people remain, whose id and blocks are kept; asking: for which purpose it is encrypted.

    Raises DesignError when the cohort is not the one that was planned (samples, dosage range), KeyFileError when the key
    is retired, StorageError before anything is written when it cannot fit on the disk.
    """
    check_planned(reader, key, squares, like=like)
    sizes = block_sizes(runs_of(reader), key.public.parameters.block_variants) if like is None else like.blocks
    refuse_retired(key, state.folder)
    folder = folder_of(folder)
    folder.make()
    state.make_folder()
    size = least_bytes(sizes, key.public.parameters, squares, encryptor)
    folder.require_space(size - sum(s for name, s in folder.sizes().items() if name.endswith(".npy")))
    with state.alone(), folder.claimed(state.writer):
        state.refuse_parts()
        return _encrypt_blocks(
            reader, sizes, key, folder, state, encryptor, squares, policy, like, asking or Asking(), progress
        )


def check_planned(reader: GenotypeReader, key: SecretKey, squares: bool, *, like: CohortInfo | None = None) -> None:
    """Raise DesignError when a cohort is not what its key was planned for. like: as in `encrypt_cohort`; its people and fewer
    fit, with less noise."""
    p, planned = key.public.parameters, key.planned
    stored_max = reader.dosage_max**2 if squares else reader.dosage_max
    fits = len(reader.samples) == p.samples if like is None else len(reader.samples) <= len(like.samples) <= p.samples
    if fits and stored_max <= p.dosage_max:
        return
    names = f" ({', '.join(planned.phenotypes)}: {', '.join(planned.models)})" if planned and planned.phenotypes else ""
    squared = ", since it stores squares: a score test (logistic) or --squares needs them" if squares else ""
    raise DesignError(
        f"the key was planned for {p.samples} samples and stored values up to {p.dosage_max}{names}; this cohort has "
        f"{len(reader.samples)} and {stored_max}{squared}: plan again with all phenotypes of this run"
    )


def _encrypt_blocks(
    reader: GenotypeReader, sizes: Sequence[int], key: SecretKey, folder: Folder, state: OwnerState, encryptor: Encryptor,
    squares: bool, policy: Pin | None, like: CohortInfo | None, asking: Asking, progress: Progress,
) -> CohortInfo:  # fmt: skip
    earlier = state.cohort_digest()
    folder.remove([artefact.MANIFEST])
    (state.folder / "cohort.box").unlink(missing_ok=True)
    remove_unfinished(folder, state)
    cohort_id = _cohort_id(reader, key, encryptor, squares) if like is None else like.cohort_id
    parts, identities = encrypt_blocks(reader, sizes, 0, cohort_id, key, folder, state, encryptor, squares, progress)
    info = CohortInfo(
        "", cohort_id, reader.samples, reader.variants, reader.dosage_grid, reader.dosage_max, with_missing(parts), squares,
        encryptor.name, tuple(sizes), identities, coding=coding_of(reader), xchr_model=xchr_model_of(reader),
        policy=policy,
    )  # fmt: skip
    folder.confirm(state.writer)
    info = write_cohort(folder, info, parts, key)
    state.forget_others(info.digest, earlier)
    keep_asked_of(state, info.digest, asking, np.ones(len(info.samples), bool))  # before the record that ends it
    write_info(state, info)
    remove_blocks(folder, state, len(parts))
    return info


def _cohort_id(reader: GenotypeReader, key: SecretKey, encryptor: Encryptor, squares: bool) -> str:
    coding = coding_of(reader)
    told = [] if coding == ADDITIVE else [coding]
    named = [key.public.fingerprint, reader.variants.digest(), squares, encryptor.name, artefact.FORMAT_VERSION, *told]
    return hashlib.sha256(canonical(named)).hexdigest()


def encrypt_part(
    reader: GenotypeReader, key: SecretKey, folder: Place, state: OwnerState, part: RunPart, *, encryptor: Encryptor,
    squares: bool = False, progress: Progress = no_progress,
) -> range:  # fmt: skip
    """Encrypt the blocks of one part alone, beside processes that encrypt others; `encrypt_cohort` then finds them and ends
    the cohort. Returns their numbers.

    Each block is encrypted by one process at a time, freshly. Raises as `encrypt_cohort`, UsageError for more parts than blocks.
    """
    check_planned(reader, key, squares)
    p = key.public.parameters
    sizes = block_sizes(runs_of(reader), p.block_variants)
    start, stop = part.span(len(sizes), "blocks")
    refuse_retired(key, state.folder)
    folder = folder_of(folder)
    folder.make()
    state.make_folder()
    with state.part(str(part).replace("/", "of")), folder.claimed(state.writer, keep=True):
        folder.require_space(least_bytes(sizes[start:stop], p, squares, encryptor))
        first = starts_of(sizes)
        own = PartReader(reader, int(first[start]), int(first[stop]))
        cohort_id = _cohort_id(reader, key, encryptor, squares)
        encrypt_blocks(own, sizes[start:stop], start, cohort_id, key, folder, state, encryptor, squares, progress)
    return range(start, stop)


def encrypt_blocks(
    reader: GenotypeReader, sizes: Sequence[int], first: int, cohort_id: str, key: SecretKey, folder: Folder,
    state: OwnerState, encryptor: Encryptor, squares: bool, progress: Progress,
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:  # fmt: skip
    """Encrypt a reader's blocks, those that are there already aside, as the blocks `first` … of a cohort.

    Returns their manifest parts and their identities.
    """
    parts, identities, there = [], [], folder.sizes()
    left: dict[int | None, list[str]] = {}
    for name in there:
        left.setdefault(block_of(name) if fnmatchcase(name, "?-*-*") else None, []).append(name)
    for index, block in enumerate(read_blocks(reader, sizes), first):
        identity = state.identity(cohort_id, index, block)
        with state.one_block(index):
            part = _resume(state, folder, there, index, identity)
            if part is None:
                folder.remove(left.get(index, ()))
                part = _encrypt_one(block, index, key, encryptor, folder, squares)
                r = verify.block_secrets(key, cohort_id, index, len(block))
                h = verify.block_check(r, block, squares)
                absent = lists_of(block) if key.public.parameters.packed else {}
                state.write(f"block-{block_name(index)}", {"identity": identity, "part": part}, {"h": h, **absent})
        parts.append(part)
        identities.append(identity)
        progress(index - first + 1, len(sizes))
    return parts, tuple(identities)


def with_missing(parts: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """Which blocks have missing calls."""
    return tuple(i for i, part in enumerate(parts) if "m" in part["streams"])


def cohort_body(info: CohortInfo, parts: Sequence[dict[str, Any]], key: SecretKey) -> dict[str, Any]:
    """The manifest of a cohort. It follows from the owner's records alone, so that it can be written again."""
    earlier = {"earlier": [version.digest for version in info.earlier]} if info.earlier else {}
    return {
        "key": key.public.fingerprint, "public": key.public.to_json(), "cohort_id": info.cohort_id,
        "samples": len(info.samples), "variants": len(info.variants), "dosage_grid": info.dosage_grid,
        "squares": info.squares, "encryptor": info.encryptor, "blocks": list(parts), **earlier,
    }  # fmt: skip


def write_cohort(folder: Folder, info: CohortInfo, parts: Sequence[dict[str, Any]], key: SecretKey) -> CohortInfo:
    """Write the manifest of a cohort whose blocks are there. Returns what is known of it, with its digest."""
    return replace(info, digest=artefact.write_manifest(folder, "cohort", cohort_body(info, parts, key), key))


def remove_unfinished(folder: Folder, state: OwnerState) -> None:
    """Remove files that a killed run had begun."""
    folder.remove([name for name in folder.sizes() if name.startswith(".") and ".npy." in name])
    for left_by_a_kill in state.folder.glob(".*.box.*"):
        left_by_a_kill.unlink()


def remove_blocks(folder: Folder, state: OwnerState, first: int) -> None:
    """Remove what an earlier or abandoned run left of the blocks `first` …."""
    stored = [name for name in folder.sizes() if fnmatchcase(name, "?-*-*.npy")]
    folder.remove([name for name in stored if (of := block_of(name)) is not None and of >= first])
    for box in state.folder.glob("block-*.box"):
        if (of := block_of(box.name)) is not None and of >= first:
            box.unlink()


def least_bytes(sizes: Sequence[int], p: Parameters, squares: bool, encryptor: Encryptor) -> int:
    """Of the files of blocks without missing calls: those of their own streams come on top."""
    strands = sum(codec.strands_of(size, p) for size in sizes)
    halves = 1 if shares_public_half(encryptor.name) else 2
    return strands * halves * (1 + squares) * p.groups * len(p.ring.primes) * p.ring.n * 4


def _resume(
    state: OwnerState, folder: Folder, there: Mapping[str, int], index: int, identity: str
) -> dict[str, Any] | None:
    if not state.has_block(index):
        return None
    try:
        header, _ = state.read(f"block-{block_name(index)}")
    except ArtefactError:
        return None
    return header["part"] if header["identity"] == identity and _still_valid(folder, there, header["part"]) else None
