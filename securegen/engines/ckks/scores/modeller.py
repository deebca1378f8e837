"""The model owner's reply: encrypted genotypes × its own weights, blinded so that the key holder learns scores only.

Of each group of people and score the reply holds
    c1 + a·u + e₁              a whole polynomial: the encryption of zero makes it look random to the key holder
    c0[i] + (b·u + e₀)[i] + Δ(constant + h) + f     for the coefficients of real people; no other one is sent
with (u, e₀, e₁), the blur h and the flooding f fresh. `blinding` says how large they are and what they cost.

Who learns what: the model owner sees ciphertexts and the request; the key holder learns, for each person and score, one
integer: the score to within the blur. It cannot check it: the model owner is trusted to compute what it promised.
Without the encryption of zero, c1 = Σ w(X)·a(X) gives the weights; without the mask (all of c0) n equations a reply do;
without the cap, V replies do: the tests run these attacks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores.blinding import Blinding
from securegen.engines.ckks.scores.schema import read_message, refuse_residues
from securegen.engines.ckks.scores.server import encrypted_scores
from securegen.engines.ckks.scores.weights import StoredWeights
from securegen.errors import ArtefactError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.model import Progress, no_progress
from securegen.rlwe.publickey import EncryptionKey, hide


def uniform_integers(limit: int, count: int) -> list[int]:
    """`count` integers uniform in [−limit, limit], from the operating system."""
    return [secrets.randbelow(2 * limit + 1) - limit for _ in range(count)]


def offsets(constant: int, blinding: Blinding, count: int) -> list[int]:
    """What is added to `count` coefficients: Δ(constant + h) + f."""
    blur, flooding = uniform_integers(blinding.blur, count), uniform_integers(blinding.flooding, count)
    return [((constant + h) << blinding.scale) + f for h, f in zip(blur, flooding, strict=True)]


def people_of(group: int, parameters: Parameters) -> int:
    """How many of a group's b coefficients belong to people; the others are padding and never sent."""
    return min(parameters.pack, parameters.samples - group * parameters.pack)


def blind(
    sums: np.ndarray, first_group: int, constant: np.ndarray, key: EncryptionKey, blinding: Blinding, p: Parameters
) -> tuple[np.ndarray, np.ndarray]:
    """(k, T, G, C, 2, L) sums of a chunk -> (k, G·b, C) uint32 residues of the people's coefficients of c0, zero for
    padding, and (G·C, k, n) uint32 residues of c1, NTT form."""
    k, tiles, groups, columns, _, lanes = sums.shape
    top, c1 = hide(key, sums.reshape(k, tiles, groups * columns, 2, lanes), p.pack)
    return flood(top, first_group, constant, blinding, p).reshape(k, groups * p.pack, columns), c1


def flood(top: np.ndarray, first_group: int, constant: np.ndarray, blinding: Blinding, p: Parameters) -> np.ndarray:
    """(G·C, k, b) uint64, the people's coefficients -> (k, G, b, C) uint32: flooded and blurred, zero for padding."""
    columns, k = len(constant), len(p.ring.primes)
    groups = len(top) // columns
    added = np.zeros((groups, p.pack, columns), object)
    for g in range(groups):
        count = people_of(first_group + g, p)
        for c in range(columns):
            added[g, :count, c] = offsets(int(constant[c]), blinding, count)
    out = np.empty((k, groups, p.pack, columns), np.uint32)
    sent = np.arange(groups * p.pack).reshape(groups, p.pack) < p.samples - first_group * p.pack
    for i, prime in enumerate(p.ring.primes):
        coefficients = top[:, i].reshape(groups, columns, p.pack).transpose(0, 2, 1)
        residues = (coefficients + (added % prime).astype(np.uint64)) % np.uint64(prime)
        out[i] = np.where(sent[:, :, None], residues, 0)
    return out


def replies(
    cohort: EncryptedCohort, weights: StoredWeights, key: EncryptionKey, blinding: Blinding, *,
    progress: Progress = no_progress,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Yield the two parts of `blind` for every chunk of groups."""
    p = cohort.parameters
    for chunk, sums in encrypted_scores(cohort, weights, progress=progress):
        yield blind(sums, chunks(p)[chunk][0], weights.constant, key, blinding, p)


def write_replies(
    cohort: EncryptedCohort, weights: StoredWeights, key: EncryptionKey, blinding: Blinding, folder: Path, *,
    progress: Progress = no_progress,
) -> None:  # fmt: skip
    """Write the replies for every person. The caller has charged them (`scores.ledger`)."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    entries = []
    for i, parts in enumerate(replies(cohort, weights, key, blinding, progress=progress)):
        entries.append(
            [vars(artefact.write_entry(folder, f"reply-{i:04d}.c{h}.npy", part)) for h, part in enumerate(parts)]
        )
    body = {
        "key": cohort.public.fingerprint, "cohort": cohort.digest, "nonce": key.nonce.hex(), "chunks": entries,
        "columns": weights.columns,
    }  # fmt: skip
    artefact.write_manifest(folder, "score replies", body, None)


def read_encryption_key(folder: Path, public: PublicKey, nonce: bytes) -> EncryptionKey:
    """The encryption key made for this nonce. Raises ArtefactError when it is for another one or not its owner's."""
    body, ring = read_message(folder, "encryption key", public), public.parameters.ring
    if body["nonce"] != nonce:
        raise ArtefactError(f"{folder} was not made for the nonce of this invitation")
    b = artefact.load_array(folder, body["b"], (len(ring.primes), ring.n))
    refuse_residues(b, ring.primes, f"{folder}")
    return EncryptionKey(ring, nonce, b.astype(np.uint64))
