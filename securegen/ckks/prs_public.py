"""Scores of a public model on an encrypted cohort, all steps: encrypt, score, decrypt.

Who learns what: the owner holds the key, learns the scores and knows the weights; the server sees ciphertexts, the
numbers of samples and rows, the weights, and which blocks have missing calls. The server is trusted for availability
only. At encryption the owner keeps h_j = Σ_i r_i x_ij mod 2^61 − 1 for every stored row, with secret r over samples; a
result S passes only if Σ_i r_i S_is = Σ_j w_js h_j for every column, every score is in its range and the noise within
plan (see `verify`, transposed).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks import artefact, codec, verify
from securegen.ckks.cohort import (
    CohortInfo,
    EncryptedCohort,
    OwnerState,
    Progress,
    _make_folder,
    chunks,
    ciphertext_shape,
    no_progress,
)
from securegen.ckks.encryption import ring_tables
from securegen.ckks.keys import PublicKey, SecretKey
from securegen.ckks.parameters import Parameters
from securegen.ckks.prs_parameters import check_exact, noise_bound
from securegen.ckks.prs_server import Expand, encrypted_scores
from securegen.ckks.prs_weights import StoredWeights, cohort_weights, read_scores, stored_weights
from securegen.errors import ArtefactError, VerificationError
from securegen.io.output import write_array
from securegen.kernels.crt import round_residues
from securegen.kernels.modmath61 import dot, weighted_sums
from securegen.kernels.ntt import inverse
from securegen.model import GenotypeReader, iterate_blocks
from securegen.score_plan import ScorePlan
from securegen.scores import ScoreSums

CHECKS = "score-checks"
PLAN_ARRAYS = ("variant", "dosage_weight", "missing_weight", "constant")
BLOCK = 1024


def write_checks(reader: GenotypeReader, key: SecretKey, state: OwnerState, info: CohortInfo) -> None:
    """Keep Σ_i r_i x_ij of every stored row (and of its missing calls) for `decrypt`. reader: what was encrypted."""
    r = _secrets(key, info)
    h = np.zeros((2, len(reader.variants)), np.uint64)
    for block in iterate_blocks(reader, BLOCK):
        at = slice(block.start, block.start + len(block))
        h[0, at] = weighted_sums(np.ascontiguousarray(block.dosage.T), r)
        if block.missing is not None:
            h[1, at] = weighted_sums(np.ascontiguousarray(block.missing.T).view(np.int8), r)
    state.write(CHECKS, {"cohort_id": info.cohort_id}, {"h": h})


def _secrets(key: SecretKey, info: CohortInfo) -> np.ndarray:
    return verify.block_secrets(key, f"scores {info.cohort_id}", 0, len(info.samples))


def plan_header(plan: ScorePlan) -> dict[str, Any]:
    """The part of a plan that is not an array."""
    return {
        "names": list(plan.names), "dosage_grid": plan.dosage_grid, "imputation": plan.imputation,
        "exponent": list(plan.exponent), "bound": [str(b) for b in plan.bound], "error": list(plan.error),
        "file_of": list(plan.file_of), "variants_of": list(plan.variants_of), "left_out": plan.left_out,
    }  # fmt: skip


def plan_arrays(plan: ScorePlan) -> dict[str, np.ndarray]:
    """The arrays of a plan, int64."""
    out = {name: getattr(plan, name) for name in PLAN_ARRAYS}
    return out if plan.second_weight is None else out | {"second_weight": plan.second_weight}


def restore_plan(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> ScorePlan:
    """The plan from both. Raises ArtefactError when they are not a plan."""
    try:
        return ScorePlan(
            tuple(header["names"]), arrays["variant"], int(header["dosage_grid"]), header["imputation"],
            tuple(int(e) for e in header["exponent"]), arrays["dosage_weight"], arrays.get("second_weight"),
            arrays["missing_weight"], arrays["constant"], tuple(int(b) for b in header["bound"]),
            tuple(float(e) for e in header["error"]), tuple(int(f) for f in header["file_of"]),
            tuple(int(v) for v in header["variants_of"]), int(header["left_out"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"not a score model: {error}") from None


@dataclass(frozen=True)
class Model:
    """A public model on a store. cohort_variants: how many the store has when it holds the whole cohort, else None.

    digest: of what the server was sent.
    """

    plan: ScorePlan
    cohort_variants: int | None
    digest: str

    def weights(self) -> StoredWeights:
        """Of every stored row."""
        if self.cohort_variants is None:
            return stored_weights(self.plan)
        return cohort_weights(self.plan, self.cohort_variants)


def write_model(plan: ScorePlan, folder: Path, key: SecretKey, *, cohort_variants: int | None = None) -> Model:
    """Write a public model for the server, signed. cohort_variants: as in `Model`."""
    _make_folder(folder, 0o755)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    entries = {}
    for name, array in plan_arrays(plan).items():
        write_array(folder / f"{name}.npy", array.astype("<i8"))
        entries[name] = {**vars(artefact.entry_for(folder, f"{name}.npy")), "shape": list(array.shape)}
    body = {"key": key.public.fingerprint, "plan": plan_header(plan), "files": entries,
            "cohort_variants": cohort_variants}  # fmt: skip
    return Model(plan, cohort_variants, artefact.write_manifest(folder, "score model", body, key))


def read_model(folder: Path, public: PublicKey) -> Model:
    """A public model. Raises ArtefactError unless it is whole and signed by the owner."""
    body = artefact.read_manifest(folder, "score model", public)
    try:
        arrays = {
            name: artefact.load_array(folder, entry, tuple(int(n) for n in entry["shape"]), "<i8")
            for name, entry in body["files"].items()
        }
        header, whole = body["plan"], body["cohort_variants"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{folder} is not a score model: {error}") from None
    return Model(restore_plan(header, arrays), whole, artefact.manifest_digest(folder))


def score(
    cohort: EncryptedCohort, model: Path, folder: Path, *, expand: Expand, progress: Progress = no_progress
) -> str:
    """The server's step: write the encrypted scores of every sample into `folder`; returns its digest."""
    opened = read_model(model, cohort.public)
    weights = opened.weights()
    check_exact(cohort.parameters, norm=weights.norm, sum_bound=weights.sum_bound)
    _make_folder(folder, 0o755)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    entries = []
    for c, sums in encrypted_scores(cohort, weights, expand=expand, progress=progress):
        tiles = np.moveaxis(sums, 0, 2).reshape(*sums.shape[1:3], -1, sums.shape[-1]).astype(np.uint32)
        write_array(folder / f"scores-{c:04d}.npy", tiles)
        entries.append(vars(artefact.entry_for(folder, f"scores-{c:04d}.npy")))
    body = {"key": cohort.public.fingerprint, "cohort": cohort.digest, "model": opened.digest, "chunks": entries}
    return artefact.write_manifest(folder, "scores", body, None)


def insecure_decrypt_unverified(
    tiles: np.ndarray, key: SecretKey, columns: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Decrypt one chunk WITHOUT verification: (G·b, C) int64 and the distance from an integer of each, same shape.

    tiles: (k, T, G·C·2, L). A crafted result makes these numbers spell the secret key: never let them leave.
    """
    p: Parameters = key.public.parameters
    ring = p.ring
    modulus = np.array(ring.primes, np.uint64)[:, None]
    both = codec.from_tiles(tiles, ring)
    if (both >= modulus).any():
        raise ArtefactError("a result holds residues that are not below their prime")
    both = both.reshape(-1, columns, 2, *both.shape[-2:])
    groups = len(both)
    message = ((both[:, :, 0] + both[:, :, 1] * key.residues % modulus) % modulus).reshape(-1, *both.shape[-2:])
    message = np.ascontiguousarray(message)
    inverse(message, ring_tables(ring))
    used = read_scores(message, p)  # (G·C, k, b)
    flat = np.ascontiguousarray(used.transpose(1, 0, 2)).reshape(len(ring.primes), -1)
    values, distance = round_residues(flat, ring.primes, p.genotype_scale)
    shape = (groups, columns, p.pack)
    return tuple(x.reshape(shape).transpose(0, 2, 1).reshape(-1, columns) for x in (values, distance))  # type: ignore[return-value]


def decrypt(folder: Path, key: SecretKey, info: CohortInfo, state: OwnerState, model: Model) -> ScoreSums:
    """Verified scores of every sample. model: what was sent.

    Raises ArtefactError when files are damaged or belong to another cohort or model, VerificationError (fixed text)
    when any check fails; the caller then retires the key.
    """
    body = artefact.read_manifest(folder, "scores", None)
    p, weights = key.public.parameters, model.weights()
    if (body.get("key"), body.get("cohort"), body.get("model")) != (key.public.fingerprint, info.digest, model.digest):
        raise ArtefactError(f"{folder} was computed from another cohort, model or key than the one sent")
    parts = chunks(p)
    if len(body["chunks"]) != len(parts):
        raise ArtefactError(f"{folder} has {len(body['chunks'])} chunks, {len(parts)} expected")
    values, noise = [], 0.0
    for entry, (_, groups) in zip(body["chunks"], parts, strict=True):
        tiles = artefact.load_array(folder, entry, ciphertext_shape(p, groups * weights.columns * 2))
        part, distance = insecure_decrypt_unverified(tiles, key, weights.columns)
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
    if header["cohort_id"] != info.cohort_id:
        raise ArtefactError("the owner's checks are of another cohort")
    h = kept["h"]
    expected = (dot(h[0], weights.dosage) + dot(h[1], weights.missing)) % np.uint64(verify.MODULUS)
    limit = np.array(weights.bound, np.int64)
    in_range = bool((np.abs(sums) <= limit).all()) and bool((sums > np.iinfo(np.int64).min).all())
    return verify.passes(_secrets(key, info), np.ascontiguousarray(sums), expected) and in_range
