"""Appending to an encrypted cohort: chromosomes that arrive later, encrypted as further blocks under the same key.

Blocks that are there keep their files, their numbers and their checks, and need not be here: the server has them. The
cohort's digest changes, since its manifest names every block, and what it was before. So earlier designs and results are
refused by name. Until the last new block is done everything is as it was; a killed run goes on when it runs again.

Who learns what: the server sees that the cohort grew, and by how many variants in which blocks.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact, bodies
from securegen.engines.ckks.blocks import MOST_BLOCKS, block_name, block_of, block_sizes, runs_of
from securegen.engines.ckks.owner.design_secrets import all_designs
from securegen.engines.ckks.owner.encrypt_cohort import (
    check_planned,
    cohort_body,
    encrypt_blocks,
    least_bytes,
    remove_blocks,
    remove_unfinished,
    with_missing,
    write_cohort,
)
from securegen.engines.ckks.owner.encryption import make_encryptor
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, Version, read_info, write_info
from securegen.errors import ArtefactError, InputError, PlanError
from securegen.io.filesets import CHROMOSOMES, EXPECTED, order_of
from securegen.io.folder import Folder
from securegen.io.text import count
from securegen.kernels.residue_matmul import LANES
from securegen.model import (
    GenotypeReader,
    IntArray,
    Progress,
    SelectableReader,
    Variants,
    boundaries_of,
    coding_of,
    no_progress,
)
from securegen.study.inputs import Log, silent
from securegen.study.ploidy import counting_copies, xchr_model_of
from securegen.study.relabelled import Relabelled
from securegen.vocabulary import canonical_chromosome


def append_cohort(
    reader: SelectableReader,
    key: SecretKey,
    folder: Folder,
    state: OwnerState,
    *,
    name: str = "these genotypes",
    xchr_model: int | None = None,
    progress: Progress = no_progress,
    log: Log = silent,
) -> CohortInfo:
    """Encrypt the files of `reader` that the cohort of `state` has not, behind what it has. Returns what it is then.

    name: of the genotypes in messages; xchr_model: how males on X count, None for as they do there.
    A file that is there already with the same genotypes is left out aloud. Raises InputError for other people, for a coarser or
    finer dosage grid and for variants that are there already, ArtefactError when the owner's folder has no whole cohort of
    this key or the folder is of another, DesignError when it was not planned, StorageError when another process writes or the
    disk is too small, KeyFileError when the key is retired.
    """
    if key.public.parameters.ring.lanes != LANES:
        raise ArtefactError(
            f"{state.folder} belongs to a cohort that is stored for scores: encrypt it again with all its rows"
        )
    if not state.folder.is_dir():
        raise ArtefactError(f"{state.folder} is not there: the first part of a cohort is encrypted without `append`")
    refuse_retired(key, state.folder)
    with state.alone(), folder.claimed(state.writer):
        info, parts = recorded(read_info(state), state, key)
        reader = _fitted(reader, info, name, log)
        model = _xchr_model(xchr_model, info)
        counted = counting_copies(reader, model)
        check_planned(counted, key, info.squares, like=info)
        rows = _missing_rows(counted, info, state, name, log)
        _refuse_another(folder, info, parts, state)
        folder.make()
        if not len(rows):
            log(f"nothing is appended: the cohort has every variant of {name}")
            _settle(folder, info, parts, key)
            return info
        for design in (d for d in all_designs(state) if d.cohort_digest == info.digest):
            log(f"WARNING: {design.line()}: it ends with this append, and results of it cannot be read any more")
        new = counting_copies(reader.select(variants=rows), model)
        return _append(new, info, parts, key, folder, state, progress, log)


def _append(
    reader: GenotypeReader, info: CohortInfo, parts: list[dict[str, Any]], key: SecretKey, folder: Folder,
    state: OwnerState, progress: Progress, log: Log,
) -> CohortInfo:  # fmt: skip
    sizes, first = block_sizes(runs_of(reader), key.public.parameters.block_variants), len(parts)
    if first + len(sizes) > MOST_BLOCKS:
        raise PlanError(f"{first + len(sizes):,} blocks are more than a cohort has, {MOST_BLOCKS:,}")
    encryptor = make_encryptor(info.encryptor, key)
    there = sum(size for name, size in folder.sizes().items() if (block_of(name) or 0) >= first)
    folder.require_space(least_bytes(sizes, key.public.parameters, info.squares, encryptor) - there)
    _settle(folder, info, parts, key)
    remove_unfinished(folder, state)
    added, identities = encrypt_blocks(
        reader, sizes, first, info.cohort_id, key, folder, state, encryptor, info.squares, progress
    )
    parts = [*parts, *added]
    table = {
        field: np.concatenate([getattr(info.variants, field), getattr(reader.variants, field)])
        for field in Variants.__annotations__
    }
    version = Version(info.digest, len(info.variants), time.strftime("%Y-%m-%d %H:%M:%S"))
    later = replace(
        info, variants=Variants(**table), dosage_max=max(info.dosage_max, reader.dosage_max),
        missing_blocks=with_missing(parts), blocks=(*info.blocks, *sizes), identities=(*info.identities, *identities),
        earlier=(*info.earlier, version), samples=replace(info.samples, sex=reader.samples.sex),
        xchr_model=info.xchr_model or xchr_model_of(reader),
    )  # fmt: skip
    folder.confirm(state.writer)
    later = write_cohort(folder, later, parts, key)
    write_info(state, later)
    remove_blocks(folder, state, len(parts))
    log(
        f"appended: {count(len(reader.variants), 'variant')} in blocks {first:,} to {len(parts) - 1:,}, "
        f"{count(len(later.variants), 'variant')} now, {chromosomes_line(later.variants)}"
    )
    return later


def recorded(info: CohortInfo, state: OwnerState, key: SecretKey) -> tuple[CohortInfo, list[dict[str, Any]]]:
    """The cohort with the identities of its blocks, and the manifest's part of every block, from the owner's records: the
    files may be with the server alone.

    Raises ArtefactError unless they are those of the recorded cohort.
    """
    headers = [state.read(f"block-{block_name(index)}")[0] for index in range(len(info.blocks))]
    parts, identities = ([header[name] for header in headers] for name in ("part", "identity"))
    info = replace(info, identities=info.identities or tuple(identities))
    if (
        info.identities != tuple(identities)
        or artefact.digest_of("cohort", cohort_body(info, parts, key)) != info.digest
    ):
        raise ArtefactError(
            f"{state.folder}: the records of blocks are not those of its cohort: encrypt it again, whole"
        )
    return info, parts


def _fitted(reader: SelectableReader, info: CohortInfo, name: str, log: Log) -> SelectableReader:
    """The genotypes of the cohort's people, in its order and on its dosage grid."""
    if coding_of(reader) != info.coding:
        raise InputError(
            f"{name}: counted by the {coding_of(reader)} genetic model, the encrypted cohort by the {info.coding} one: give the "
            "one with which the cohort was encrypted"
        )
    order = order_of(info.samples, reader.samples, ("the encrypted cohort", name))
    if order is not None:
        log(f"{name}: people in another order than in the encrypted cohort, aligned by their ids")
        reader = reader.select(samples=order)
    if info.samples.sex.any():  # by which designs that are there were made, and X was counted
        if (other := int((reader.samples.sex != info.samples.sex).sum())) and reader.samples.sex.any():
            log(f"WARNING: {name} says another sex of {count(other, 'person')}; those of the encrypted cohort are used")
        reader = Relabelled(reader, replace(reader.samples, sex=info.samples.sex), reader.variants)
    if reader.dosage_grid > info.dosage_grid or info.dosage_grid % reader.dosage_grid:
        raise InputError(
            f"{name}: dosages in steps of 1/{reader.dosage_grid}, the encrypted cohort has steps of 1/{info.dosage_grid}: "
            "give hard calls, or encrypt the whole cohort again with that `dosage_grid`"
        )
    return reader.on_grid(info.dosage_grid)


def _xchr_model(told: int | None, info: CohortInfo) -> int:
    """How males on X count: as they do in the cohort, where it has X. Raises InputError where another way is asked for."""
    if info.xchr_model is not None and told not in (None, 0, info.xchr_model):  # 0: X is left out
        raise InputError(
            f"`xchr_model` {told}: X of the encrypted cohort is counted by `xchr_model` {info.xchr_model}: give that"
        )
    return info.xchr_model or told or 2


def _missing_rows(reader: GenotypeReader, info: CohortInfo, state: OwnerState, name: str, log: Log) -> IntArray:
    """Rows of the files that the cohort has not. Raises InputError where it has some variants of a file, or all of them
    with other genotypes."""
    rows = []
    for first, last in itertools.pairwise(boundaries_of(reader)):
        table = reader.variants.take(slice(first, last))
        known = _first_known(table, info.variants)
        if known is None:
            rows.append(np.arange(first, last))
            continue
        if not _is_stored(reader, table, first, info, state):
            row, place = known
            v = table.take(slice(row, row + 1))
            raise InputError(
                f"{name}: the encrypted cohort has variant {v.id[0]} of chromosome {v.chromosome[0]} at {v.position[0]} already "
                f"(row {place + 1:,} there): what is encrypted is not changed; leave out what is there"
            )
        log(
            f"{name}: {count(len(table), 'variant')} of {', '.join(_chromosomes(table))} are encrypted already, as they are here"
        )
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _keys(variants: Variants) -> list[tuple[str, int, str, str, str]]:
    """What makes a variant the same: place, id and alleles, whichever of them is counted."""
    names = {name: canonical_chromosome(name) for name in dict.fromkeys(variants.chromosome)}
    alleles = zip(variants.effect_allele, variants.other_allele, strict=True)
    return [
        (names[c], int(p), i, min(pair), max(pair))
        for c, p, i, pair in zip(variants.chromosome, variants.position, variants.id, alleles, strict=True)
    ]


def _first_known(table: Variants, stored: Variants) -> tuple[int, int] | None:
    """(row, place): a variant that is stored already, and where; None for none."""
    mine = {key: row for row, key in reversed(list(enumerate(_keys(table))))}
    here = {key[0] for key in mine}
    names = [name for name in dict.fromkeys(stored.chromosome) if canonical_chromosome(name) in here]
    places = np.flatnonzero(np.isin(stored.chromosome.astype(str), names)) if names else np.zeros(0, np.int64)
    found = (
        (mine[key], int(place)) for place, key in zip(places, _keys(stored.take(places)), strict=True) if key in mine
    )
    return next(found, None)


def _is_stored(reader: GenotypeReader, table: Variants, first: int, info: CohortInfo, state: OwnerState) -> bool:
    """Whether whole blocks hold this file, row by row, with the same genotypes."""
    digest = table.digest()
    for block in range(len(info.blocks)):
        start = int(info.starts[block])
        stop = int(np.searchsorted(info.starts, start + len(table)))
        if stop >= len(info.starts) or info.starts[stop] != start + len(table):
            continue
        there, offset = info.variants, first - start
        if (there.id[start], there.position[start]) != (table.id[0], table.position[0]):
            continue
        if there.take(slice(start, start + len(table))).digest() == digest and all(
            state.identity(info.cohort_id, i, reader.read(int(a) + offset, int(b) + offset)) == info.identities[i]
            for i, (a, b) in enumerate(itertools.pairwise(info.starts[block : stop + 1]), block)
        ):
            return True
    return False


def _chromosomes(variants: Variants) -> list[str]:
    return list(dict.fromkeys(map(str, variants.chromosome)))


def chromosomes_line(variants: Variants) -> str:
    """Which chromosomes there are, and which of 1 to 22, X, Y and MT there are not."""
    names = _chromosomes(variants)
    here = set(map(canonical_chromosome, names))
    holes = [words[0] for words in CHROMOSOMES if words[0] in EXPECTED and words[0] not in here]
    return f"chromosomes {', '.join(names)}" + (f"; none of {', '.join(holes)}" if holes else "")


def _refuse_another(folder: Folder, info: CohortInfo, parts: list[dict[str, Any]], state: OwnerState) -> None:
    """Raise ArtefactError when the folder holds another cohort than the owner's record is of, or a version of it that the
    record does not know and this owner's folder did not begin: its files would be lost."""
    if folder.size(artefact.MANIFEST) is None:
        return
    found = artefact.open_manifest(folder, "cohort")
    body = found.checked(bodies.COHORT)
    if body["cohort_id"] != info.cohort_id:
        raise ArtefactError(f"{folder} is another cohort than the one of {state.folder}: give the --out of that one")
    if found.digest == info.digest or info.before(found.digest) is not None:
        return
    if not _is_begun(body["blocks"], parts, state):
        raise ArtefactError(
            f"{folder} has {count(body['variants'], 'variant')}, {state.folder} knows {len(info.variants):,}: another copy of "
            f"the owner's folder appended. Use that one; or move {folder} away, and append to what this one knows"
        )


def _is_begun(blocks: list[dict[str, Any]], parts: list[dict[str, Any]], state: OwnerState) -> bool:
    """Whether blocks are those of the record and further ones that this owner's folder has: of an append that was killed."""
    if blocks[: len(parts)] != parts:
        return False
    try:
        boxes = (state.read(f"block-{block_name(index)}")[0]["part"] for index in range(len(parts), len(blocks)))
        return list(boxes) == blocks[len(parts) :]
    except ArtefactError:
        return False


def _settle(folder: Folder, info: CohortInfo, parts: list[dict[str, Any]], key: SecretKey) -> None:
    """Write the manifest as it is recorded again where another version lies: a killed append, or a folder from a backup."""
    if folder.size(artefact.MANIFEST) is not None and artefact.manifest_digest(folder) != info.digest:
        write_cohort(folder, info, parts, key)
