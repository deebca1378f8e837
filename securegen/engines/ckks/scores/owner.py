"""The owner's side of scores with a public model: what is kept at encryption, and verified decryption.

Who learns what: the owner holds the key, learns the scores and knows the weights; the server sees ciphertexts, the
numbers of samples and rows, the weights, and which blocks have missing calls. The server is trusted for availability
only. At encryption the owner keeps h_j = Σ_i r_i x_ij mod 2^61 − 1 for every stored row, with secret r over samples; a
result S passes only if Σ_i r_i S_is = Σ_j w_js h_j for every column, every score is in its range, below 2^60, and the
noise within plan (see `verify`, transposed).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact, codec
from securegen.engines.ckks.blocks import read_blocks
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.encryption import strand_keys
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores.parameters import check_provable, noise_bound
from securegen.engines.ckks.scores.public_model import Model
from securegen.engines.ckks.scores.schema import read_message
from securegen.engines.ckks.scores.weights import StoredWeights, read_scores
from securegen.errors import ArtefactError, VerificationError
from securegen.kernels.crt import round_residues
from securegen.kernels.modmath61 import dot, weighted_sums
from securegen.kernels.ntt import inverse
from securegen.model import GenotypeReader
from securegen.rlwe.residues import from_tiles, ring_tables
from securegen.scores.sums import ScoreSums

CHECKS = "score-checks"
OTHER_GENOTYPES = "these are not the genotypes that were encrypted: give the same files and filters"


def write_checks(reader: GenotypeReader, key: SecretKey, state: OwnerState, info: CohortInfo) -> None:
    """Keep Σ_i r_i x_ij of every stored row (and of its missing calls) for `decrypt`. reader: what was encrypted.

    Raises ArtefactError when it is not: an honest server's scores would fail verification.
    """
    r = _secrets(key, info)
    h = np.zeros((2, len(reader.variants)), np.uint64)
    if not info.same_people_and_variants(reader):
        raise ArtefactError(OTHER_GENOTYPES)
    for index, block in enumerate(read_blocks(reader, info.blocks)):
        if info.identities and state.identity(info.cohort_id, index, block) != info.identities[index]:
            raise ArtefactError(OTHER_GENOTYPES)
        at = slice(block.start, block.start + len(block))
        h[0, at] = weighted_sums(np.ascontiguousarray(block.dosage.T), r)
        if block.missing is not None:
            h[1, at] = weighted_sums(np.ascontiguousarray(block.missing.T).view(np.int8), r)
    state.write(CHECKS, {"cohort_id": info.cohort_id, "cohort": info.digest}, {"h": h})


def _secrets(key: SecretKey, info: CohortInfo) -> np.ndarray:
    return verify.block_secrets(key, f"scores {info.cohort_id}", 0, len(info.samples))


def insecure_decrypt_unverified(
    tiles: np.ndarray, key: SecretKey, columns: int, keys: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decrypt one chunk WITHOUT verification: (G·b, C) int64 and the distance from an integer of each, same shape.

    tiles: (k, T, G·C·(1 + S), L); keys: (S, k, n) of the strands, None for the key alone. A crafted result makes these
    numbers spell the secret key: never let them leave.
    """
    p: Parameters = key.public.parameters
    ring = p.ring
    modulus = np.array(ring.primes, np.uint64)[:, None]
    both = from_tiles(tiles, ring)
    if (both >= modulus).any():
        raise ArtefactError("a result holds residues that are not below their prime")
    keys = key.residues[None] if keys is None else keys
    both = both.reshape(-1, columns, 1 + len(keys), *both.shape[-2:])
    groups = len(both)
    message = both[:, :, 0]
    for strand, secret in enumerate(keys):
        message = (message + both[:, :, 1 + strand] * secret % modulus) % modulus
    message = np.ascontiguousarray(message.reshape(-1, *both.shape[-2:]))
    inverse(message, ring_tables(ring))
    used = read_scores(message, p)  # (G·C, k, b)
    flat = np.ascontiguousarray(used.transpose(1, 0, 2)).reshape(len(ring.primes), -1)
    values, distance = round_residues(flat, ring.primes, p.genotype_scale)
    shape = (groups, columns, p.pack)
    return tuple(x.reshape(shape).transpose(0, 2, 1).reshape(-1, columns) for x in (values, distance))  # type: ignore[return-value]


def read_results(folder: Path, key: SecretKey, info: CohortInfo, model: Model) -> dict[str, Any]:
    """The manifest of scores that a server computed. Raises ArtefactError when they are damaged or of another cohort or model."""
    body: dict[str, Any] = read_message(folder, "scores")
    if (before := info.before(body["cohort"])) is not None:
        raise ArtefactError(
            f"{folder} was computed from {before.line()}: add the model again, for the server to compute anew"
        )
    if (body["key"], body["cohort"], body["model"]) != (key.public.fingerprint, info.digest, model.digest):
        raise ArtefactError(f"{folder} was computed from another cohort, model or key than the one sent")
    return body


def decrypt(folder: Path, key: SecretKey, info: CohortInfo, state: OwnerState, model: Model) -> ScoreSums:
    """Verified scores of every sample. model: what was sent.

    Raises ArtefactError as `read_results` and when files are damaged, PlanError when the check would not
    prove sums as large as the model allows, VerificationError (fixed text) when any check fails; the caller then retires
    the key.
    """
    body = read_results(folder, key, info, model)
    p, weights = key.public.parameters, model.weights()
    check_provable(weights.sum_bound)
    parts = chunks(p)
    if len(body["chunks"]) != len(parts):
        raise ArtefactError(f"{folder} has {len(body['chunks'])} chunks, {len(parts)} expected")
    strands = codec.strands_of(max(info.blocks), p)
    keys, values, noise = strand_keys(info.encryptor, key, strands), [], 0.0
    for entry, (_, groups) in zip(body["chunks"], parts, strict=True):
        tiles = artefact.load_array(folder, entry, ciphertext_shape(p, groups * weights.columns * (1 + strands)))
        part, distance = insecure_decrypt_unverified(tiles, key, weights.columns, keys)
        values.append(part)
        noise = max(noise, float(distance.max()))
    whole = np.concatenate(values)
    sums, padding = whole[: p.samples], whole[p.samples :]
    if not (passes(sums, weights, key, info, state) and not padding.any() and noise <= noise_bound(p, weights.norm)):
        raise VerificationError
    return ScoreSums(model.plan, sums + weights.constant)


def passes(sums: np.ndarray, weights: StoredWeights, key: SecretKey, info: CohortInfo, state: OwnerState) -> bool:
    """Whether (N, C) sums without constants are in range and equal to what the stored rows give."""
    header, kept = state.read(CHECKS)
    if (header["cohort_id"], header.get("cohort", info.digest)) != (info.cohort_id, info.digest):
        raise ArtefactError("the owner's checks belong to another encryption of the cohort: add the model again")
    h = kept["h"]
    expected = (dot(h[0], weights.dosage) + dot(h[1], weights.missing)) % np.uint64(verify.MODULUS)
    limit = np.array(weights.bound, np.int64)
    in_range = bool((np.abs(sums) <= limit).all()) and bool((sums > np.iinfo(np.int64).min).all())
    return verify.passes(_secrets(key, info), np.ascontiguousarray(sums), expected) and in_range
