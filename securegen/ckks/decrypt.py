"""The key holder: encrypted results -> verified integer sums.

Nothing decrypted leaves this module before its block passed all checks: the right cohort, design and nonce; every
coefficient within the planned noise of an integer; every sum in its range; the linear check of `verify`. Which check
failed, where, and the measured noise stay here: the error is one fixed sentence, and the key is retired by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks import artefact, codec, verify
from securegen.ckks.cohort import CohortInfo, ciphertext_shape
from securegen.ckks.encryption import ring_tables
from securegen.ckks.keys import SecretKey
from securegen.ckks.studydesign import DesignSecrets, Output, outputs
from securegen.errors import ArtefactError, VerificationError
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import inverse
from securegen.model import Sums


def insecure_decrypt_unverified(
    tiles: np.ndarray, wanted: list[Output], key: SecretKey, variants: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decrypt the results of one block WITHOUT verification: (outputs, V) int64 sums, and (outputs,) largest noise.

    tiles: (k, T, Σ sizes, L). A crafted result makes these numbers spell the secret key: never let them leave.
    """
    p = key.public.parameters
    ring = p.ring
    modulus = np.array(ring.primes, np.uint64)[:, None]
    polynomials = codec.from_tiles(tiles, ring)
    if (polynomials >= modulus).any():
        raise ArtefactError("a result holds residues that are not below their prime")
    s, k = key.residues, len(ring.primes)
    messages = np.empty((len(wanted), k, ring.n), np.uint64)
    at = 0
    for i, o in enumerate(wanted):
        c = polynomials[at : at + o.size]
        at += o.size
        messages[i] = c[0] + c[1] * s % modulus
        if o.size == 3:
            messages[i] += c[2] * s % modulus * s % modulus
    messages %= modulus
    inverse(messages, ring_tables(ring))
    sums, noise = np.empty((len(wanted), variants), np.int64), np.empty(len(wanted))
    for kind in ("product", "addition", "owner"):
        rows = [i for i, o in enumerate(wanted) if o.kind == kind]
        if not rows:
            continue
        used = messages[rows] if kind == "addition" else codec.read_products(messages[rows], p)
        flat = np.ascontiguousarray(used.transpose(1, 0, 2)).reshape(k, -1)
        scale = p.result_scale if kind == "product" else p.genotype_scale
        values, distance = (x.reshape(len(rows), -1) for x in round_residues(flat, ring.primes, scale))
        whole = codec.read_additions(values, p) if kind == "addition" else values
        noise[rows] = np.where(whole[:, variants:].any(axis=1), 1.0, distance.max(axis=1))  # padding must be zero
        sums[rows] = whole[:, :variants]
    return sums, noise


def decrypt_block(
    tiles: np.ndarray, index: int, streams: list[str], key: SecretKey, info: CohortInfo, secrets: DesignSecrets
) -> Sums:
    """Verified sums of one block. Raises VerificationError (fixed text) when any check fails."""
    p = key.public.parameters
    wanted = outputs(secrets.public_ones, secrets.squared, streams)
    start = index * p.block_variants
    variants = min(p.block_variants, len(info.variants) - start)
    sums, noise = insecure_decrypt_unverified(tiles, wanted, key, variants)
    largest = np.array([_bound(o, secrets, info) for o in wanted], dtype=object)
    in_range = all(
        -top <= int(row.min(initial=0)) and int(row.max(initial=0)) <= top
        for row, top in zip(sums, largest, strict=True)
    )
    r = verify.block_secrets(key, info.cohort_id, index, variants)
    checked = verify.passes(r, np.ascontiguousarray(sums.T), secrets.checks[index])
    # all checks are made before any is looked at
    if not (in_range and checked and bool((noise <= p.noise_bound).all())):
        raise VerificationError
    g, m, q = (np.zeros((variants, len(secrets.squared)), np.int64) for _ in range(3))
    for o, row in zip(wanted, sums, strict=True):
        {"g": g, "m": m, "q": q, "o": q}[o.stream][:, o.column] = row
    return Sums(start, g, m, q[:, [j for j, s in enumerate(secrets.squared) if s]])


def _bound(o: Output, secrets: DesignSecrets, info: CohortInfo) -> int:
    """Largest |sum| that honest data can give."""
    top = 2 * info.dosage_grid
    return int(secrets.sum_abs[o.column]) * {"g": top, "m": 1, "q": top * top, "o": top * top}[o.stream]


def decrypt(folder: Path, key: SecretKey, info: CohortInfo, secrets: DesignSecrets) -> Iterator[Sums]:
    """Yield the verified sums of every block, in file order.

    Raises ArtefactError when files are damaged or the results are not of this cohort and design, VerificationError when
    a block fails verification.
    """
    body: dict[str, Any] = artefact.read_manifest(folder, "results", None)
    p = key.public.parameters
    if body.get("key") != key.public.fingerprint:
        raise ArtefactError(f"{folder} belongs to another key")
    bound_to = (body.get("cohort"), body.get("design"), body.get("nonce"))
    # the cohort as it is now: results of an earlier version of it are old, although its design is still known
    if bound_to != (info.digest, secrets.digest, secrets.nonce):
        raise ArtefactError(f"{folder} was computed from another cohort or design than the one encrypted here")
    blocks = body.get("blocks")
    if not isinstance(blocks, list) or len(blocks) != len(secrets.checks):
        found = len(blocks) if isinstance(blocks, list) else "no"
        raise ArtefactError(f"{folder} has {found} blocks, {len(secrets.checks)} expected")
    for index, entry in enumerate(blocks):
        streams = ["g", *(["m"] if index in info.missing_blocks else []), *(["q"] if info.squares else [])]
        width = sum(o.size for o in outputs(secrets.public_ones, secrets.squared, streams))
        tiles = artefact.load_array(folder, entry, ciphertext_shape(p, width))
        yield decrypt_block(tiles, index, streams, key, info, secrets)
