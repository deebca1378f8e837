"""Where samples and variants lie in the coefficients of a ciphertext (see `parameters`), and tiles in memory."""

from __future__ import annotations

import numpy as np

from securegen.ckks.parameters import Parameters, Ring


def genotype_messages(stored: np.ndarray, first_group: int, groups: int, parameters: Parameters) -> np.ndarray:
    """(V, N) stored values of one block -> (groups, n) int64 coefficients: sample i of a group, variant j at i + bj."""
    b, width = parameters.pack, parameters.block_variants
    variants, samples = stored.shape
    assert variants <= width and samples == parameters.samples
    padded = np.zeros((width, groups * b), np.int64)
    part = stored[:, first_group * b : min((first_group + groups) * b, samples)]
    padded[:variants, : part.shape[1]] = part
    return np.ascontiguousarray(padded.reshape(width, groups, b).transpose(1, 0, 2)).reshape(groups, parameters.ring.n)


def design_messages(values: np.ndarray, first_group: int, groups: int, parameters: Parameters) -> np.ndarray:
    """(N, J) columns -> (groups·J, n) int64 coefficients: sample i of a group at b−1−i."""
    b = parameters.pack
    samples, width = values.shape
    assert samples == parameters.samples
    padded = np.zeros((groups * b, width), np.int64)
    part = values[first_group * b : (first_group + groups) * b]
    padded[: len(part)] = part
    out = np.zeros((groups, width, parameters.ring.n), np.int64)
    out[:, :, :b] = padded.reshape(groups, b, width)[:, ::-1].transpose(0, 2, 1)
    return out.reshape(groups * width, parameters.ring.n)


def value_messages(values: np.ndarray, parameters: Parameters) -> np.ndarray:
    """(S, V) integers -> (S, n): value of variant j where a product has it, at bj+b−1."""
    out = np.zeros((len(values), parameters.ring.n), np.int64)
    out[:, parameters.pack - 1 :: parameters.pack][:, : values.shape[1]] = values
    return out


def read_products(coefficients: np.ndarray, parameters: Parameters) -> np.ndarray:
    """(…, n) integers -> (…, n/b): the sum of variant j from coefficient bj+b−1."""
    return coefficients[..., parameters.pack - 1 :: parameters.pack]


def read_additions(coefficients: np.ndarray, parameters: Parameters) -> np.ndarray:
    """(…, n) integers -> (…, n/b): the sum over the b samples of a group of variant j."""
    return coefficients.reshape(*coefficients.shape[:-1], parameters.block_variants, parameters.pack).sum(-1)


def to_tiles(residues: np.ndarray, ring: Ring) -> np.ndarray:
    """(C, k, n) residues -> (k, T, C, L) uint32."""
    c, k, n = residues.shape
    return np.ascontiguousarray(residues.reshape(c, k, ring.tiles, ring.lanes).transpose(1, 2, 0, 3).astype(np.uint32))


def from_tiles(tiles: np.ndarray, ring: Ring) -> np.ndarray:
    """(k, T, …, L) -> (…, k, n) uint64."""
    moved = np.moveaxis(tiles, (0, 1), (-3, -2)).astype(np.uint64)
    return np.ascontiguousarray(moved).reshape(*moved.shape[:-3], len(ring.primes), ring.n)
