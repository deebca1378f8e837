"""Taking people out of an encrypted cohort: everybody else is encrypted again, under the same key, with fresh randomness.

Every block is new, so that its files say nothing of who left; the server sees how many. The record of the cohort takes the
name LEAVING first, and from then on no earlier result is decrypted and no design is made. The new cohort is made whole
beside the old one. Its checks are compared with the old ones, person by person (h_i = Σ_j r_j g_ij): nobody's genotypes
changed on the way. Then old checks, designs and digests are deleted, and the new ones take their place. Each step may be
repeated; a run that was killed goes on when it runs again.

The numbers r stay: they follow from the cohort's id and never leave. A person's h_i is gone with the old checks.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.blocks import block_name
from securegen.engines.ckks.owner.asked import keep_registers, registers_of
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import make_encryptor
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import (
    LEAVING,
    CohortInfo,
    OwnerState,
    names_of,
    read_info,
    read_record,
    write_info,
)
from securegen.errors import ArtefactError, InputError, PolicyError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder, sync_folder
from securegen.kernels.residue_matmul import LANES
from securegen.model import GenotypeReader, Progress, Samples, SelectableReader, coding_of, no_progress
from securegen.study.ploidy import counting_copies
from securegen.study.relabelled import Relabelled

NEXT = "next"  # of the owner's folder, and behind the name of the cohort's
_NOW = "%Y-%m-%d %H:%M:%S"


def leave_cohort(
    reader: SelectableReader,
    key: SecretKey,
    folder: Path,
    state: OwnerState,
    left: Callable[[Samples], np.ndarray],
    *,
    register: str,
    progress: Progress = no_progress,
) -> tuple[CohortInfo, int]:
    """Take out of the cohort in `folder` whoever left. Returns what it is then, and how many left.

    reader: its genotypes, with or without those people; left: (N,) bool of its people; register: that of consent which says
    so, known from then on. Raises InputError where somebody else is not in `reader`, ArtefactError where these are not the
    genotypes that were encrypted or the owner's folder has no whole cohort, PolicyError where nobody remains, StorageError
    when another process writes or the disk is too small, KeyFileError when the key is retired.
    """
    if key.public.parameters.ring.lanes != LANES:
        raise ArtefactError(
            f"{state.folder} belongs to a cohort that is stored for scores: encrypt it again without them"
        )
    if not state.folder.is_dir():
        raise ArtefactError(f"{state.folder} is not there: there is no encrypted cohort to take people out of")
    refuse_retired(key, state.folder)
    after, beside = OwnerState(state.folder / NEXT, key), folder.with_name(f"{folder.name}.{NEXT}")
    with state.alone():
        if (state.folder / f"{LEAVING}.box").exists() and state.read(LEAVING)[0]["digest"] == "":
            _replace(folder, state, beside, after, register)  # whose record has no digest: all that is new is whole
        begun = (state.folder / f"{LEAVING}.box").exists()
        info = read_record(state, LEAVING) if begun else read_info(state)
        gone = left(info.samples)
        if gone.all():
            raise PolicyError("consent.withdrawn: everybody withdrew; delete the cohort and its key")
        if not begun:
            _remove(beside, after)
            if not gone.any():
                return info, 0
        remaining = _remaining(reader, info, ~gone)
        if not begun:
            write_info(state, info, LEAVING)
        (state.folder / "cohort.box").unlink(missing_ok=True)
        sync_folder(state.folder)
        made = encrypt_cohort(
            remaining, key, beside, after, encryptor=make_encryptor(info.encryptor, key), squares=info.squares,
            policy=info.policy, like=info, progress=progress,
        )  # fmt: skip
        _refuse_other_genotypes(state, after, info, ~gone, beside)
        write_info(after, replace(made, without=(*info.without, time.strftime(_NOW))))
        write_info(state, replace(info, digest="", earlier=()), LEAVING)
        _replace(folder, state, beside, after, register)
        return read_info(state), int(gone.sum())


def _remaining(reader: SelectableReader, info: CohortInfo, stay: np.ndarray) -> GenotypeReader:
    """The genotypes of who stays, as they were encrypted. Raises InputError or ArtefactError where they are others."""
    place = {name: i for i, name in enumerate(names_of(reader.samples))}
    chosen = np.flatnonzero(stay)
    samples = info.samples.take(chosen)
    found = [place.get(name, -1) for name in names_of(samples)]
    if (absent := found.count(-1)) > 0:
        raise InputError(f"{absent} of the people who stay in the encrypted cohort are not in these genotypes")
    if coding_of(reader) != info.coding or reader.variants.digest() != info.variants.digest():
        raise ArtefactError(
            "these are not the variants that were encrypted: give the same files, filters and genetic model"
            + info.other_order(reader.variants)
        )
    if reader.dosage_grid > info.dosage_grid or info.dosage_grid % reader.dosage_grid:
        raise ArtefactError(f"dosages in steps of 1/{reader.dosage_grid}, the cohort has steps of 1/{info.dosage_grid}")
    mine: SelectableReader = reader.select(samples=np.array(found, np.int64))
    if info.samples.sex.any():
        mine = Relabelled(mine, replace(mine.samples, sex=samples.sex), mine.variants)
    return counting_copies(mine.on_grid(info.dosage_grid), info.xchr_model or 2)


def _refuse_other_genotypes(
    state: OwnerState, after: OwnerState, info: CohortInfo, stay: np.ndarray, beside: Path
) -> None:
    """Raise ArtefactError where a person's checks are not what they were: the genotypes are others."""
    for index in range(len(info.blocks)):
        before, now = (of.read(f"block-{block_name(index)}")[1]["h"] for of in (state, after))
        if not np.array_equal(before[:, stay], now):
            _remove(beside, after)
            raise ArtefactError(
                f"block {index}: these are not the genotypes that were encrypted: give the same files and filters. The people "
                "who withdrew stay refused; run it again"
            )


def _replace(folder: Path, state: OwnerState, beside: Path, after: OwnerState, register: str) -> None:
    """Put the new cohort, which is whole, in place of the old one; whatever was done of it already is left."""
    made = read_record(after, "cohort")
    keep_registers(state, made.digest, {*registers_of(state, made.digest), register}, len(made.samples))
    for path in (*state.folder.glob("design-*.box"), *state.folder.glob("asked-*.box")):
        if made.digest[:32] not in path.name:
            path.unlink()
    for box in sorted(after.folder.glob("block-*.box")):
        os.replace(box, state.folder / box.name)
    make_folder(folder, FOLDER_FOR_OTHERS)
    if (beside / artefact.MANIFEST).exists():
        (folder / artefact.MANIFEST).unlink(missing_ok=True)  # never beside files of two versions
        for path in sorted(beside.glob("*.npy")):
            os.replace(path, folder / path.name)
        named = _files(beside)
        for path in folder.glob("?-*-*.npy"):
            if path.name not in named:
                path.unlink()
        sync_folder(folder)
        os.replace(beside / artefact.MANIFEST, folder / artefact.MANIFEST)
    sync_folder(folder)
    write_info(state, made)
    (state.folder / f"{LEAVING}.box").unlink()
    sync_folder(state.folder)
    _remove(beside, after)


def _files(folder: Path) -> set[str]:
    """Names of the files of a manifest."""
    blocks = artefact.open_manifest(folder, "cohort").body["blocks"]
    return {
        entry["name"] for block in blocks for stream in block["streams"].values() for part in stream for entry in part
    }


def _remove(beside: Path, after: OwnerState) -> None:
    for folder in (beside, after.folder):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
