"""Blocks of ciphertexts as arrays and as files: what the owner writes and the server reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact
from securegen.io.folders import Place
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

OWN, SEAL = "own", "seal"  # names of the encryptors, as the manifests have them
ENCRYPTOR_NAMES = (OWN, SEAL)


@dataclass(frozen=True)
class Ciphertexts:
    """Ciphertexts in tiles. c0: (k, T, C, L) uint32, or (k, T, G, S, L) of S strands; c1: the same, or with one row where
    the strands share it, (k, T, G, 1, L); or None when `uniform` expands it from `seed`."""

    c0: np.ndarray
    c1: np.ndarray | None
    seed: bytes | None = None

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Both halves; c1 must have been stored or expanded."""
        if self.c1 is None:
            raise ValueError("the second half was neither stored nor expanded")
        return self.c0, self.c1


def shares_public_half(encryptor: str) -> bool:
    """Whether strands of this encryptor share one public half; else each has its own."""
    return encryptor == OWN


def write_ciphertexts(folder: Place, name: str, block: Ciphertexts) -> list[dict[str, Any]]:
    """Write NAME.c0.npy (and NAME.c1.npy where it is stored); returns their manifest entries."""
    out = []
    for half, array in (("c0", block.c0), ("c1", block.c1)):
        if array is not None:
            seed = block.seed if half == "c0" else None
            out.append(vars(artefact.write_entry(folder, f"{name}.{half}.npy", array, seed)))
    return out


def read_ciphertexts(
    folder: Place,
    entries: list[dict[str, Any]],
    ring: Ring,
    c0: np.ndarray,
    c1: np.ndarray,
    threads: int | None = 1,
) -> None:
    """Fill both halves of a chunk, (k, T, …, L) uint32; the second, which may have fewer ciphertexts, is read or expanded
    from its seed."""
    artefact.load_array(folder, entries[0], c0.shape, out=c0)
    read_second_halves(folder, entries, ring, c1, threads)


def read_second_halves(
    folder: Place, entries: list[dict[str, Any]], ring: Ring, c1: np.ndarray, threads: int | None = 1
) -> None:
    """The second half only."""
    if len(entries) == 2:
        artefact.load_array(folder, entries[1], c1.shape, out=c1)
        return
    k, tiles, *middle, lanes = c1.shape
    flat = c1.reshape(k, tiles, -1, lanes)
    expand_uniform(bytes.fromhex(entries[0]["seed"]), flat.shape[2], ring, out=flat, threads=threads)
