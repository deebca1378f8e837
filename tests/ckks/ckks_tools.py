"""Crafting polynomials and manifests as a dishonest server can."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from securegen.ckks import artefact
from securegen.ckks.codec import to_tiles
from securegen.ckks.encryption import scaled_residues
from securegen.ckks.parameters import Parameters


def crafted(parameters: Parameters, message: np.ndarray, scale: int) -> np.ndarray:
    """(n,) integers at 2^scale as one polynomial in tiles, (k, T, L) uint64: what anybody can compute."""
    return to_tiles(scaled_residues(message[None].astype(np.int64), scale, parameters.ring), parameters.ring)[
        :, :, 0
    ].astype(np.uint64)


def add(parameters: Parameters, tiles: np.ndarray, at: int, polynomial: np.ndarray) -> None:
    """tiles[:, :, at] += polynomial, modulo each prime, in place."""
    primes = np.array(parameters.ring.primes, np.uint64)[:, None, None]
    tiles[:, :, at] = ((tiles[:, :, at] + polynomial) % primes).astype(np.uint32)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Results are not signed: a server writes what it likes."""
    body = artefact.read_manifest(folder, "results", None) | changes
    artefact.write_manifest(folder, "results", body, None)
