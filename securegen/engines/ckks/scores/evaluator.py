"""Scores of a model that is encrypted too: ciphertext × ciphertext, by an evaluator that sees neither.

The genotype owner holds the key; the model owner encrypts its weights under the public part (`publickey`); the evaluator
multiplies, blinds and replies. A reply has three parts, c0 + c1·s + c2·s²; c1 and c2 are made to look random by two
encryptions of zero, (z0, z1) added to (c0, c1) and (z0', z1') added to (c1, c2), and c0 is sent at the coefficients of
people only, with flooding and blur as in `blinding`. The encryption key's nonce is the hash of one of the model
owner's and one of the evaluator's, so the key holder did not choose `a`.

Who learns what: the genotype owner its scores, as with a private model; the model owner the cohort's variants; the
evaluator sizes, bounds and which blocks have missing calls. The evaluator must not collude with the key holder, who
could decrypt the weights, and is trusted to compute the product: nobody can verify it.

Noise of Σ (Δg x + e)(Δw w + f), x the stored values, f of the encryption of the weights: deviation
√((Δg φ ‖x‖)² + (Δw σ ‖w‖)² + (σ φ)² n B + …), φ = σ√(4n/3 + 1), B ciphertexts per person; the bound that exactness needs
takes every error at its maximum.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.blocks import block_sizes, starts_of
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import PACKS
from securegen.engines.ckks.scores.blinding import Blinding, ModelSize, filling, flooding_for, largest_pack, room_for
from securegen.engines.ckks.scores.modeller import flood
from securegen.engines.ckks.scores.parameters import estimate_seconds, store_parameters
from securegen.engines.ckks.scores.schema import read_message, refuse_residues
from securegen.engines.ckks.scores.stream import Term, batches, stretches
from securegen.engines.ckks.scores.weights import StoredWeights, weight_polynomials
from securegen.errors import ArtefactError, PlanError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.kernels.residue_mac import mac
from securegen.model import Progress, no_progress
from securegen.rlwe.publickey import EncryptionKey, add_zeros, encrypt, hide, noise_certain, noise_sd
from securegen.rlwe.residues import from_tiles, scaled_residues
from securegen.rlwe.ring import ERROR_MAX, ERROR_SD, Ring

RINGS = ((8192, 6), (16384, 7), (16384, 8), (16384, 9))


@dataclass(frozen=True)
class ProductNoise:
    """deviation and certain bound of the noise of a reply."""

    deviation: float
    certain: int


def product_noise(
    ring: Ring, *, genotype_scale: int, weight_scale: int, norm: float, weight_sum: int, dosage_max: int, ciphertexts: int
) -> ProductNoise:  # fmt: skip
    """Noise of a reply. ciphertexts: of one group of people, both streams; weight_sum: bound of Σ|w|."""
    phi, cells = noise_sd(ring), ring.n * ciphertexts
    zero = noise_certain(ring)
    deviation = math.hypot(
        2.0**genotype_scale * phi * dosage_max * math.sqrt(cells), 2.0**weight_scale * ERROR_SD * norm,
        ERROR_SD * phi * math.sqrt(cells), phi, phi * math.sqrt(2 * ring.n / 3),
    )  # fmt: skip
    certain = (
        ((dosage_max << genotype_scale) + ERROR_MAX) * cells * zero
        + (weight_sum * ERROR_MAX << weight_scale)
        + (ring.n + 1) * zero
    )
    return ProductNoise(deviation, certain)


def choose_product(
    size: ModelSize, *, samples: int, rows: int, columns: int, dosage_max: int, cap: int = 0
) -> tuple[Parameters, int, Blinding]:
    """Parameters, log2 of Δw, and the blinding (scale: of the product). cap: as in `choose_blinded`.

    Raises PlanError when nothing fits.
    """
    answers = max(size.most_answers, cap, samples) * columns
    for n, count in RINGS:
        ring = Ring.standard(n, count)
        room = room_for(ring, size)
        best: tuple[float, Parameters, int, Blinding] | None = None
        for pack in PACKS:
            if pack > max(1, 2 * samples - 1):
                continue
            blocks = -(-rows // (n // pack)) * 2
            # both terms of the noise alike: Δg φ‖x‖ = Δw σ‖w‖
            tilt = math.log2(noise_sd(ring) * dosage_max * math.sqrt(n * blocks) / (ERROR_SD * size.norm))
            genotype = round((room - tilt) / 2)
            weight = room - genotype
            noise = product_noise(
                ring, genotype_scale=genotype, weight_scale=weight, norm=size.norm, weight_sum=size.sum_bound,
                dosage_max=dosage_max, ciphertexts=blocks,
            )  # fmt: skip
            blinding = filling(room, size, noise=noise.certain, least=flooding_for(noise.deviation, answers))
            if blinding is None or min(genotype, weight) < 1 or pack > max(1, largest_pack(ring, blinding.flooding)):
                continue
            try:
                p = store_parameters(ring, pack, genotype, dosage_max=dosage_max, samples=samples)
            except PlanError:
                continue
            cost = estimate_seconds(p, rows=rows, columns=columns)
            if best is None or cost < best[0]:
                best = cost, p, weight, blinding
        if best is not None:
            return best[1:]
    raise PlanError(
        f"no parameters hold products with scores below 2^{size.sum_bound.bit_length()}: use fewer bits per weight"
    )


def joint_nonce(model_owner: bytes, evaluator: bytes) -> bytes:
    """The nonce of the encryption key, chosen by neither alone."""
    return hashlib.sha256(b"securegen joint nonce" + model_owner + evaluator).digest()


def _used(weights: StoredWeights, parameters: Parameters) -> list[Term]:
    width = parameters.block_variants
    blocks = range(-(-len(weights.dosage) // width))
    return [Term(stream, b) for b in blocks for stream in ("g", "m")]


def encrypt_model(
    weights: StoredWeights, key: EncryptionKey, parameters: Parameters, *, weight_scale: int, scale: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Model owner: yield (name, (C, 2, k, n) uint64) for every block and stream, zeros too, and for the constants.

    Blocks of zeros are encrypted like the others, so that the evaluator does not learn which they are.
    """
    width = parameters.block_variants
    for t in _used(weights, parameters):
        part = weights.stream(t.stream)[t.block * width : (t.block + 1) * width]
        yield f"{t.stream}-{t.block:06d}", encrypt(key, weight_polynomials(part, parameters, 1 << weight_scale))
    spread = np.zeros((weights.columns, parameters.ring.n), np.int64)
    spread[:, -parameters.pack :] = weights.constant[:, None]
    yield "constant", encrypt(key, scaled_residues(spread, scale, parameters.ring))


def write_encrypted_model(
    weights: StoredWeights, key: EncryptionKey, parameters: Parameters, folder: Path, *, weight_scale: int,
    blinding: Blinding, own_nonce: bytes,
) -> None:  # fmt: skip
    """Model owner: the weights under the genotype owner's key, for the evaluator."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    files = {
        name: vars(artefact.write_entry(folder, f"{name}.npy", both.astype(np.uint32)))
        for name, both in encrypt_model(weights, key, parameters, weight_scale=weight_scale, scale=blinding.scale)
    }
    body = {
        "files": files, "columns": weights.columns, "rows": len(weights.dosage), "nonce": key.nonce.hex(),
        "own_nonce": own_nonce.hex(), "blinding": blinding.to_json(),
        "parameters": parameters.to_json(),
    }  # fmt: skip
    artefact.write_manifest(folder, "encrypted model", body, None)


@dataclass(frozen=True)
class EncryptedModel:
    """Evaluator: what the model owner sent."""

    folder: Path
    files: dict[str, Any]
    columns: int
    blinding: Blinding
    nonce: bytes
    parameters: Parameters

    def read(self, name: str) -> np.ndarray:
        """(C, 2, k, n) uint64."""
        ring = self.parameters.ring
        shape = (self.columns, 2, len(ring.primes), ring.n)
        if name not in self.files:
            raise ArtefactError(f"{self.folder} has no {name}: it was made for other genotypes")
        both = artefact.load_array(self.folder, self.files[name], shape)
        refuse_residues(np.moveaxis(both, 2, 0), ring.primes, f"{self.folder / name}")
        return both.astype(np.uint64)

    def tiles(self, terms: list[Term]) -> list[np.ndarray]:
        """Both halves, (k, T, R, C, L) uint32, of some blocks."""
        ring = self.parameters.ring
        whole = np.stack([self.read(f"{t.stream}-{t.block:06d}") for t in terms])  # (R, C, 2, k, n)
        shape = (len(terms), self.columns, len(ring.primes), ring.tiles, ring.lanes)
        return [
            np.ascontiguousarray(whole[:, :, h].reshape(shape).transpose(2, 3, 0, 1, 4).astype(np.uint32))
            for h in (0, 1)
        ]


def read_encrypted_model(folder: Path, cohort: EncryptedCohort, evaluator_nonce: bytes) -> EncryptedModel:
    """Raises ArtefactError unless the model fits the cohort and its key's nonce is half the evaluator's."""
    body = read_message(folder, "encrypted model")
    nonce, own, rows = body["nonce"], body["own_nonce"], body["rows"]
    model = EncryptedModel(folder, body["files"], body["columns"], body["blinding"], nonce, body["parameters"])
    if nonce != joint_nonce(own, evaluator_nonce):
        raise ArtefactError(f"{folder} is for an encryption key whose nonce this evaluator had no part in")
    if rows != cohort.body["variants"] or model.parameters != cohort.parameters:
        raise ArtefactError(f"{folder} was made for other genotypes")
    regular = block_sizes((rows,), cohort.parameters.block_variants)  # as the model's owner counts them
    if cohort.starts.tolist() != starts_of(regular).tolist():
        raise ArtefactError(f"{cohort.folder} is stored in other blocks than a model is encrypted for")
    return model


def products(
    cohort: EncryptedCohort, model: EncryptedModel, *, progress: Progress = no_progress
) -> Iterator[tuple[int, np.ndarray]]:
    """Evaluator: yield (chunk, sums (G, k, T, C, 3, L) uint64) of Σ genotypes × weights, constants left out."""
    p = cohort.parameters
    primes = np.array(p.ring.primes, np.uint64)
    used = [
        Term(stream, b) for b, part in enumerate(cohort.blocks) for stream in ("g", "m") if stream in part["streams"]
    ]
    for c, (_, groups) in enumerate(chunks(p)):
        sums = np.zeros((groups, *ciphertext_shape(p, model.columns, 3)), np.uint64)
        for batch in batches(used):
            w0, w1 = model.tiles(batch)
            for q, tiles, g0, g1 in stretches(cohort, batch, c):
                for g in range(groups):
                    mac(g0[:, :, :, g], g1[:, :, :, g], w0[q, tiles], w1[q, tiles], primes[q], sums[g][q, tiles])
        progress(c + 1, len(chunks(p)))
        yield c, sums


def blind_product(
    sums: np.ndarray, first_group: int, constant: np.ndarray, key: EncryptionKey, blinding: Blinding, p: Parameters
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(G, k, T, C, 3, L) -> c0 as in `modeller`, and (G·C, k, n) uint32 of c1 and of c2. constant: (C, 2, k, n)
    encrypted."""
    ring, (groups, k, _, columns, _, _) = p.ring, sums.shape
    q = np.array(ring.primes, np.uint64)[:, None]
    parts = from_tiles(np.moveaxis(sums, 0, 2), ring)  # (G, C, 3, k, n)
    if parts.shape != (groups, columns, 3, k, ring.n):
        raise ValueError(f"products of shape {parts.shape}, {(groups, columns, 3, k, ring.n)} expected")
    parts[:, :, :2] = (parts[:, :, :2] + constant) % q
    parts = parts.reshape(groups * columns, 3, k, ring.n)
    add_zeros(key, parts[:, 1:])
    tiles = parts[:, :2].reshape(-1, 2, k, ring.tiles, ring.lanes).transpose(2, 3, 0, 1, 4).astype(np.uint32)
    top, c1 = hide(key, tiles, p.pack)
    c0 = flood(top, first_group, np.zeros(columns, np.int64), blinding, p)
    return c0.reshape(k, groups * p.pack, columns), c1, parts[:, 2].astype(np.uint32)


def write_product_replies(
    cohort: EncryptedCohort, model: EncryptedModel, key: EncryptionKey, folder: Path, *,
    progress: Progress = no_progress,
) -> None:  # fmt: skip
    """Evaluator: the replies for every person."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    p, constant, entries = cohort.parameters, model.read("constant"), []
    for c, sums in products(cohort, model, progress=progress):
        parts = blind_product(sums, chunks(p)[c][0], constant, key, model.blinding, p)
        entries.append(
            [vars(artefact.write_entry(folder, f"reply-{c:04d}.c{h}.npy", part)) for h, part in enumerate(parts)]
        )
    body = {
        "key": cohort.public.fingerprint, "cohort": cohort.digest, "nonce": key.nonce.hex(), "chunks": entries,
        "columns": model.columns,
    }  # fmt: skip
    artefact.write_manifest(folder, "score replies", body, None)
