"""Encrypting a design: phenotype and covariate columns for one cohort.

PREFIX.design/ goes to the server: ciphertexts of the columns, and of Σ g² where the owner knows the sample set and the
cohort has no g² stream. Its manifest is signed and names the cohort and a nonce. What the sums mean stays with the owner
(see `design_secrets`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.ckks import artefact, codec
from securegen.engines.ckks.blocks import read_blocks
from securegen.engines.ckks.ciphertexts import write_ciphertexts
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.column_digits import in_digits
from securegen.engines.ckks.column_pool import ColumnPool, pooled
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.design_secrets import DesignSecrets, forget, save, without_values
from securegen.engines.ckks.owner.encryption import Encryptor
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, block_arrays
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, DesignError, UsageError
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of
from securegen.kernels.integer_sums import squared_sums
from securegen.kernels.modmath61 import dot
from securegen.kernels.threads import in_threads
from securegen.model import GenotypeReader, Progress, no_progress


def encrypt_design(
    strata: Sequence[Stratum],
    key: SecretKey,
    info: CohortInfo,
    state: OwnerState,
    folder: Place,
    *,
    encryptor: Encryptor,
    reader: GenotypeReader | None = None,
    keep: Callable[[str], None],
    progress: Progress = no_progress,
) -> DesignSecrets:
    """Encrypt the columns of the strata of a study into `folder`; keep what reads the results in `state`.

    reader: the genotypes, needed where Σ g² is and the cohort was encrypted without squares; keep: called
    with the digest before the manifest is written, to store what else belongs to the design.
    Raises DesignError when the columns do not fit the planned parameters, PlanError when a sum would be too large to be
    verified, ArtefactError when `reader` does not have the genotypes that were encrypted, KeyFileError when the key is
    retired.
    """
    refuse_retired(key, state.folder)
    whole = pooled(strata, [int(start) for start in info.starts])
    verify.check_bounds(whole.sum_abs, whole.sets.squared, info.dosage_max)
    pool = in_digits(whole, key.public.parameters)
    _check_columns(pool, key.public.parameters, len(info.samples))
    verify.check_bounds(pool.sum_abs, pool.sets.squared, info.dosage_max)
    folder = folder_of(folder)
    folder.make()
    with state.alone(), folder.claimed(state.writer):
        return _encrypt(strata, pool, key, info, state, folder, encryptor, reader, keep, progress)


def _encrypt(
    strata: Sequence[Stratum], pool: ColumnPool, key: SecretKey, info: CohortInfo, state: OwnerState, folder: Folder,
    encryptor: Encryptor, reader: GenotypeReader | None, keep: Callable[[str], None], progress: Progress,
) -> DesignSecrets:  # fmt: skip
    p = key.public.parameters
    sets = pool.sets
    forget(state, folder.place)
    for left_by_a_kill in [p for kind in ("asked", "null", "design") for p in state.folder.glob(f".{kind}-*.box.*")]:
        left_by_a_kill.unlink()
    stale = [name for name in folder.sizes() if name.endswith(".npy") or (name.startswith(".") and ".npy." in name)]
    folder.remove([artefact.MANIFEST, *stale])
    owner_squares = any(sets.squared) and not info.squares
    if owner_squares and reader is None:
        raise UsageError("the cohort was encrypted without `squares`: give the genotypes (`bfile`) with the design")
    hidden = sum(map(len, sets.parts))

    def encrypt(c: int) -> list[dict[str, Any]]:
        first, count = chunks(p)[c]
        parts = (codec.design_messages([pool.columns[j] for j in part], first, count, p) for part in sets.parts)
        out = []
        for number, made in enumerate(encryptor.parts(parts, hidden, p.design_scale)):
            name = f"columns-{c:04d}" if len(sets.parts) == 1 else f"columns-{c:04d}-{number:04d}"
            out += write_ciphertexts(folder, name, made)
        return out

    entries = in_threads(encrypt, range(len(chunks(p)))) if hidden else []
    progress(len(entries), len(chunks(p)))
    squares, checks = [], []
    values, of = pool.of(0), 0
    parts = read_blocks(reader, info.blocks) if owner_squares and reader is not None else None
    for index in range(len(info.blocks)):
        own, number = None, sets.of(index)
        if number != of:  # one at a time: together they may be as large as the cohort
            values, of = pool.of(number), number
        if parts is not None:
            block = next(parts)
            if info.identities and state.identity(info.cohort_id, index, block) != info.identities[index]:
                raise ArtefactError("these are not the genotypes that were encrypted: give the same files and filters")
            squared = [sets.sets[number].index(j) for j in sets.squares(number)]
            own = (
                squared_sums(block.dosage, np.ascontiguousarray(values[:, squared]), block.alleles).T
                if squared
                else None
            )
            squares.append([] if own is None else _write_squares(folder, index, own, encryptor, p))
        checks.append(_expected(key, info, state, index, values, sets, own))
    nonce = secrets.token_hex(16)
    body = {
        "key": key.public.fingerprint, "cohort": info.digest, "nonce": nonce, "samples": len(info.samples), **sets.to_body(),
        "columns": entries, "squares": squares, "encryptor": encryptor.name,
    }  # fmt: skip
    folder.confirm(state.writer)
    keep(artefact.digest_of("design", body))
    digest = artefact.write_manifest(folder, "design", body, key)
    made = DesignSecrets(
        digest, info.digest, nonce, tuple(map(without_values, strata)), sets, pool.places,
        pool.digits or tuple((1,) * len(own) for own in pool.places), pool.sum_abs, checks,
        encryptor.name, folder.place, time.strftime("%Y-%m-%d %H:%M:%S"),
        tuple(np.asarray(s.design.columns.values) for s in strata) if info.policy is not None else None,
        smallest(pool.columns) if p.packed else None,
    )  # fmt: skip
    save(state, made)
    return made


def smallest(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(J, N) integers of the narrowest type that holds them."""
    together = np.stack(columns)
    least, most = int(together.min(initial=0)), int(together.max(initial=0))
    kinds = (np.int8, np.int16, np.int32, np.int64)
    return together.astype(next(k for k in kinds if np.iinfo(k).min <= least and most <= np.iinfo(k).max))


def _write_squares(
    folder: Folder, index: int, own: np.ndarray, encryptor: Encryptor, p: Parameters
) -> list[dict[str, Any]]:
    # at the scale of one factor: a sum of weighted squares may exceed what a product is planned for
    made = encryptor.strands(codec.value_messages(own, p)[None], p.genotype_scale)
    return write_ciphertexts(folder, f"squares-{index:06d}", made)


def _check_columns(pool: ColumnPool, p: Parameters, samples: int) -> None:
    if any(len(c) != samples for c in pool.columns):
        raise DesignError(f"the design has {len(pool.columns[0])} samples, the cohort {samples}")
    if pool.largest_norm > p.norm:
        raise DesignError(
            f"a design column has norm 2^{np.log2(pool.largest_norm):.1f}, the plan allows 2^{np.log2(p.norm):.1f}: plan again "
            "with this design"
        )


def _expected(
    key: SecretKey, info: CohortInfo, state: OwnerState, index: int, values: np.ndarray, sets: ColumnSets,
    own: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Check of every output of one block, (outputs,) uint64. values: (N, J) of the columns of its set; own: its Σ g²."""
    h = block_arrays(state, info, index)["h"]
    per_stream = {s: verify.expected_check(h[i], values) for i, s in enumerate(("g", "m", "q"))}
    wanted = sets.outputs(sets.of(index), info.streams(index))
    if own is not None:
        r = verify.block_secrets(key, info.cohort_id, index, own.shape[1])
        owner = dict(zip((o.column for o in wanted if o.kind == "owner"), dot(r, own.T.copy()), strict=True))
    return np.array([owner[o.column] if o.kind == "owner" else per_stream[o.stream][o.column] for o in wanted], "u8")
