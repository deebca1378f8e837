"""Encrypting a design: phenotype and covariate columns for one cohort.

PREFIX.design/ goes to the server: ciphertexts of the columns, and of Σ g² where the owner knows the sample set and the
cohort has no g² stream. Its manifest is signed and names the cohort and a nonce. What the sums mean stays with the owner
(see `design_secrets`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.columns import Design
from securegen.engines.ckks import artefact, codec
from securegen.engines.ckks.blocks import read_blocks
from securegen.engines.ckks.ciphertexts import write_ciphertexts
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.layout import outputs
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.design_secrets import DesignSecrets, forget, save
from securegen.engines.ckks.owner.encryption import Encryptor
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, block_check
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, DesignError, UsageError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.kernels.integer_sums import squared_sums
from securegen.kernels.modmath61 import dot
from securegen.kernels.threads import in_threads
from securegen.model import GenotypeReader, Progress, no_progress


def encrypt_design(
    design: Design,
    key: SecretKey,
    info: CohortInfo,
    state: OwnerState,
    folder: Path,
    *,
    encryptor: Encryptor,
    reader: GenotypeReader | None = None,
    progress: Progress = no_progress,
) -> DesignSecrets:
    """Encrypt the columns of `design` into `folder`; keep what reads the results in `state`.

    reader: the genotypes, needed where Σ g² is and the cohort was encrypted without squares.
    Raises DesignError when the columns do not fit the planned parameters, PlanError when a sum would be too large to be
    verified, ArtefactError when `reader` does not have the genotypes that were encrypted, KeyFileError when the key is
    retired.
    """
    refuse_retired(key, state.folder)
    _check_columns(design.columns.values, key.public.parameters)
    verify.check_bounds(np.abs(design.columns.values).sum(0), design.columns.squared, info.dosage_max)
    with state.alone():
        return _encrypt(design, key, info, state, folder, encryptor, reader, progress)


def _encrypt(
    design: Design, key: SecretKey, info: CohortInfo, state: OwnerState, folder: Path, encryptor: Encryptor,
    reader: GenotypeReader | None, progress: Progress,
) -> DesignSecrets:  # fmt: skip
    p = key.public.parameters
    columns = design.columns
    forget(state, str(folder.resolve()))
    make_folder(folder, FOLDER_FOR_OTHERS)
    for stale in (folder / artefact.MANIFEST, *folder.glob("*.npy"), *folder.glob(".*.npy.*")):
        stale.unlink(missing_ok=True)
    ones = tuple(columns.is_ones(j) for j in range(len(columns.names)))
    encrypted = [j for j, public in enumerate(ones) if not public]
    owner_squares = any(columns.squared) and not info.squares
    if owner_squares and reader is None:
        raise UsageError("the cohort was encrypted without `squares`: give the genotypes (`bfile`) with the design")

    def encrypt(c: int) -> list[dict[str, Any]]:
        first, count = chunks(p)[c]
        block = encryptor.strands(codec.design_messages(columns.values[:, encrypted], first, count, p), p.design_scale)
        return write_ciphertexts(folder, f"columns-{c:04d}", block)

    entries = in_threads(encrypt, range(len(chunks(p)))) if encrypted else []
    progress(len(entries), len(chunks(p)))
    squares, checks = [], []
    parts = read_blocks(reader, info.blocks) if owner_squares and reader is not None else None
    for index in range(len(info.blocks)):
        own = None
        if parts is not None:
            block = next(parts)
            if info.identities and state.identity(info.cohort_id, index, block) != info.identities[index]:
                raise ArtefactError("these are not the genotypes that were encrypted: give the same files and filters")
            own = squared_sums(block.dosage, columns.values[:, columns.squared_index], block.alleles).T
            # at the scale of one factor: a sum of weighted squares may exceed what a product is planned for
            made = encryptor.strands(codec.value_messages(own, p)[None], p.genotype_scale)
            squares.append(write_ciphertexts(folder, f"squares-{index:06d}", made))
        checks.append(_expected(key, info, state, index, columns.values, ones, columns.squared, own))
    nonce = secrets.token_hex(16)
    body = {
        "key": key.public.fingerprint, "cohort": info.digest, "nonce": nonce, "samples": p.samples,
        "public_ones": list(ones), "squared": list(columns.squared), "columns": entries, "squares": squares,
        "encryptor": encryptor.name,
    }  # fmt: skip
    digest = artefact.write_manifest(folder, "design", body, key)
    hidden = DesignSecrets(
        digest, info.digest, nonce, design.analyses, ones, columns.squared, np.abs(columns.values).sum(0), checks,
        encryptor.name, str(folder.resolve()), time.strftime("%Y-%m-%d %H:%M:%S"),
    )  # fmt: skip
    save(state, hidden)
    return hidden


def _check_columns(values: np.ndarray, p: Parameters) -> None:
    if len(values) != p.samples:
        raise DesignError(f"the design has {len(values)} samples, the plan {p.samples}")
    norms = np.sqrt((values.astype(np.float64) ** 2).sum(0))
    if (norms > p.norm).any():
        raise DesignError(
            f"a design column has norm 2^{np.log2(norms.max()):.1f}, the plan allows 2^{np.log2(p.norm):.1f}: plan again "
            "with this design"
        )


def _expected(
    key: SecretKey, info: CohortInfo, state: OwnerState, index: int, values: np.ndarray, ones: Sequence[bool],
    squared: Sequence[bool], own: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Check of every output of one block, (outputs,) uint64."""
    h = block_check(state, info, index)
    per_stream = {s: verify.expected_check(h[i], values) for i, s in enumerate(("g", "m", "q"))}
    if own is not None:
        size = own.shape[1]
        r = verify.block_secrets(key, info.cohort_id, index, size)
        owner = dict(zip((j for j, s in enumerate(squared) if s), dot(r, own.T.copy()), strict=True))
    wanted = outputs(ones, squared, info.streams(index))
    return np.array([owner[o.column] if o.kind == "owner" else per_stream[o.stream][o.column] for o in wanted], "u8")
