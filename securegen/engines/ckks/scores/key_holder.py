"""The key holder of blinded replies: it sends an encryption key, and opens one integer for each person and score.

Who learns what: the key holder learns its scores. It cannot verify them, because it does not know the weights: the
sender of the reply is trusted to have computed the score. Scores beyond the announced bound are refused. Nothing that
was opened should be sent back to the sender, who could have crafted it to depend on the key.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.scores.blinding import Blinding
from securegen.engines.ckks.scores.schema import read_message
from securegen.engines.ckks.scores.weights import read_scores
from securegen.errors import ArtefactError, VerificationError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import inverse
from securegen.model import IntArray
from securegen.rlwe.publickey import EncryptionKey
from securegen.rlwe.residues import ring_tables


def open_reply(c0: np.ndarray, higher: np.ndarray, key: SecretKey, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """One chunk: c0 (k, G·b, C) uint32 coefficients, higher (G·C, d, k, n) uint32: what goes with s, s², …, NTT form.

    Returns (G·b, C) int64 and the distance of each from an integer, in units of 2^scale.
    """
    p = key.public.parameters
    ring, columns = p.ring, c0.shape[2]
    q = np.array(ring.primes, np.uint64)[:, None]
    rest = np.zeros((len(higher), len(ring.primes), ring.n), np.uint64)
    power = np.ones_like(key.residues)
    for d in range(higher.shape[1]):
        power = power * key.residues % q
        rest = (rest + higher[:, d].astype(np.uint64) * power) % q
    inverse(rest, ring_tables(ring))
    used = read_scores(rest, p).reshape(-1, columns, len(ring.primes), p.pack)
    groups = len(used)
    lifted = used.transpose(2, 0, 3, 1).reshape(len(ring.primes), groups * p.pack, columns)
    message = (c0.astype(np.uint64) + lifted) % q[:, :, None]
    values, distance = round_residues(np.ascontiguousarray(message.reshape(len(q), -1)), ring.primes, scale)
    return values.reshape(-1, columns), distance.reshape(-1, columns)


def open_replies(
    folder: Path, key: SecretKey, *, columns: int, nonce: bytes, cohort: str, bound: int, blinding: Blinding
) -> IntArray:
    """(N, columns) int64 scores of every person, each within the blur of the exact one.

    Raises ArtefactError when files are damaged or not the reply to this cohort and nonce, VerificationError when a
    score is beyond its bound, or too far from an integer.
    """
    body = read_message(folder, "score replies")
    p = key.public.parameters
    if (body["key"], body["cohort"], body["nonce"]) != (key.public.fingerprint, cohort, nonce):
        raise ArtefactError(f"{folder} is not the reply to the genotypes and the key that were sent")
    parts = chunks(p)
    if len(body["chunks"]) != len(parts) or body["columns"] != columns:
        raise ArtefactError(f"{folder} has {len(body['chunks'])} chunks, {len(parts)} expected")
    k, n = len(p.ring.primes), p.ring.n
    values, distances = [], []
    for entries, (_, groups) in zip(body["chunks"], parts, strict=True):
        c0 = artefact.load_array(folder, entries[0], (k, groups * p.pack, columns))
        higher = [artefact.load_array(folder, e, (groups * columns, k, n)) for e in entries[1:]]
        opened, distance = open_reply(c0, np.stack(higher, axis=1), key, blinding.scale)
        values.append(opened)
        distances.append(distance)
    scores = np.concatenate(values)[: p.samples]  # the rest is padding
    far = float(np.concatenate(distances)[: p.samples].max())
    limit = bound + blinding.blur
    in_range = bool(((scores >= -limit) & (scores <= limit)).all())
    tolerated = (blinding.flooding + blinding.noise) / 2.0**blinding.scale
    if not (in_range and far <= tolerated * (1 + 2.0**-20)):
        raise VerificationError
    return scores


def write_encryption_key(key: EncryptionKey, folder: Path, sign: SecretKey) -> None:
    """What the genotype owner sends beside the cohort: b, signed. sign: its secret key."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    entry = vars(artefact.write_entry(folder, "b.npy", key.b.astype("<u4")))
    body = {"key": sign.public.fingerprint, "public": sign.public.to_json(), "nonce": key.nonce.hex(), "b": entry}
    artefact.write_manifest(folder, "encryption key", body, sign)
