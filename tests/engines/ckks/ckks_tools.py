"""Crafting polynomials and manifests as a dishonest server can."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.ciphertexts import read_ciphertexts
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.owner import decrypt
from securegen.engines.ckks.owner.design_secrets import read_secrets
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.parameters import Parameters
from securegen.kernels.fold import fold_tiles
from securegen.rlwe.residues import scaled_residues, to_tiles

Parts = dict[tuple[str, str], np.ndarray]


def crafted(p: Parameters, message: np.ndarray, scale: int) -> np.ndarray:
    """(n,) integers at 2^scale as one polynomial, (k, n) uint64 in NTT form: what anybody can compute."""
    return scaled_residues(message[None].astype(np.int64), scale, p.ring)[0]


def folded(p: Parameters, message: np.ndarray, scale: int) -> np.ndarray:
    """The same with only its sums kept: (k, n/b) uint64."""
    tiles = to_tiles(crafted(p, message, scale)[None], p.ring)[:, :, :, None]
    return fold_tiles(tiles, p.pack, p.ring.primes)[:, 0, 0].astype(np.uint64)


def add(p: Parameters, at: np.ndarray, polynomial: np.ndarray) -> None:
    """at, a view (k, …) uint32, += polynomial, modulo each prime."""
    primes = np.array(p.ring.primes, np.uint64)[:, None]
    at[:] = ((at + polynomial) % primes).astype(np.uint32)


def one_at(p: Parameters, place: int, value: int = 1) -> np.ndarray:
    """(n,) int64: a single coefficient."""
    out = np.zeros(p.ring.n, np.int64)
    out[place] = value
    return out


def sum_at(p: Parameters, variant: int, value: int = 1) -> np.ndarray:
    """(n,) int64: the coefficient where a strand has the sum of its variant."""
    return one_at(p, variant * p.pack + p.pack - 1, value)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Results are not signed: a server writes what it likes."""
    body = artefact.read_manifest(folder, "results", None) | changes
    artefact.write_manifest(folder, "results", body, None)


class Victim:
    """The owner of results: its key and records, and the parts of a block's array."""

    def __init__(self, key: SecretKey, owner: Path, results: Path) -> None:
        state = OwnerState(owner, key)
        self.key, self.owner, self.results = key, owner, results
        self.info, self.secrets = read_info(state), read_secrets(state)

    @property
    def parameters(self) -> Parameters:
        return self.key.public.parameters

    def wanted(self, index: int) -> list:
        return decrypt.results_layout(self.key, self.info, self.secrets, index)[0]

    def parts(self, index: int, array: np.ndarray) -> Parts:
        return decrypt.results_layout(self.key, self.info, self.secrets, index)[1].split(array)

    def array(self, index: int) -> np.ndarray:
        return np.load(self.results / f"block-{index:06d}.npy", allow_pickle=False)

    def unverified(self, index: int, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return decrypt.insecure_decrypt_unverified(array, self.key, self.info, self.secrets, index)


def stored_halves(cohort, block: int, stream: str) -> tuple[np.ndarray, np.ndarray]:
    """Both halves (k, T, G, L) uint32 of the first chunk of a block of one strand, as they are stored."""
    p = cohort.parameters
    c0, c1 = np.empty((2, len(p.ring.primes), p.ring.tiles, chunks(p)[0][1], p.ring.lanes), np.uint32)
    read_ciphertexts(
        cohort.folder, cohort.blocks[block]["streams"][stream][0], p.ring, c0[:, :, :, None], c1[:, :, :, None]
    )
    return c0, c1
