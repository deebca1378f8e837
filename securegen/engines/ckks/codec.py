"""Where samples and variants lie in the coefficients of a ciphertext (see `parameters`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from securegen.engines.ckks.parameters import Parameters

CHUNK_GROUPS = 64  # of a chunk at most
CHUNK_RESIDUES = 128 * 3 * 4096  # of a strand in a chunk, unless a group has more


class Chunks(Sequence[tuple[int, int]]):
    """(first group, groups) of every chunk that `parameters` give; cohort and design use the same."""

    def __init__(self, parameters: Parameters) -> None:
        self._groups = parameters.groups
        ring = parameters.ring
        self._size = max(1, min(CHUNK_GROUPS, CHUNK_RESIDUES // (ring.n * len(ring.primes))))

    def __len__(self) -> int:
        return -(-self._groups // self._size)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        first = range(0, self._groups, self._size)[index]
        return first, min(self._size, self._groups - first)


def chunks(parameters: Parameters) -> Chunks:
    """(first group, groups) of every chunk."""
    return Chunks(parameters)


def ciphertext_shape(parameters: Parameters, *middle: int) -> tuple[int, ...]:
    """Of one half of ciphertexts (…) in tiles: (k, T, …, L)."""
    ring = parameters.ring
    return (len(ring.primes), ring.tiles, *middle, ring.lanes)


def genotype_messages(stored: np.ndarray, first_group: int, groups: int, parameters: Parameters) -> np.ndarray:
    """(V, N) stored values of one block -> (groups, strands, k, n) coefficients of the same type, in k digits: sample i of a
    group at i + bj of the strand that has the variant, j its place there. A strand's variants fill the places of its
    lowest digit first. As many strands as the variants need; zeros where fewer people remain than were planned."""
    b, width = parameters.pack, parameters.strand_variants
    variants, samples = stored.shape
    strands = strands_of(variants, parameters)
    if strands > parameters.strands or samples > parameters.samples:
        raise ValueError(f"{variants} variants of {samples} samples do not fit a block")
    part = stored[:, first_group * b : min((first_group + groups) * b, samples)]
    padded = np.zeros((strands * width, groups * b), stored.dtype)
    padded[:variants, : part.shape[1]] = part
    out = padded.reshape(strands, parameters.digits, parameters.places, groups, b).transpose(3, 0, 1, 2, 4)
    return np.ascontiguousarray(out).reshape(groups, strands, parameters.digits, parameters.ring.n)


def in_file_order(values: np.ndarray, parameters: Parameters) -> np.ndarray:
    """(S·n/b, k) digits of coefficients, strand after strand -> (S·k·n/b,): variants as `genotype_messages` has them."""
    digits, places = parameters.digits, parameters.places
    return np.ascontiguousarray(values.reshape(-1, places, digits).transpose(0, 2, 1)).reshape(-1)


def strands_of(variants: int, parameters: Parameters) -> int:
    """Strands that hold so many variants."""
    return -(-variants // parameters.strand_variants)


def design_messages(columns: Sequence[np.ndarray], first_group: int, groups: int, parameters: Parameters) -> np.ndarray:
    """J columns (N,) -> (groups, J, n) coefficients: sample i of a group at b−1−i. Of the least type, not below int16, that
    holds what the plan allows."""
    b = parameters.pack
    dtype = next(t for t in (np.int16, np.int32, np.int64) if parameters.norm < np.iinfo(t).max or t is np.int64)
    out = np.zeros((groups, len(columns), parameters.ring.n), dtype)
    padded = np.zeros(groups * b, np.int64)
    for j, column in enumerate(columns):
        if len(column) > parameters.samples:
            raise ValueError(f"a column of {len(column)} samples, {parameters.samples} planned")
        part = column[first_group * b : (first_group + groups) * b]
        if len(part) and max(-int(part.min()), int(part.max())) > parameters.norm:
            raise ValueError("a column has a value that its plan does not allow")
        padded[: len(part)] = part
        out[:, j, :b] = padded.reshape(groups, b)[:, ::-1]
    return out


def ones_message(parameters: Parameters) -> np.ndarray:
    """(n,) int64: the column that is 1 for every sample of a group, as `design_messages` has it."""
    out = np.zeros(parameters.ring.n, np.int64)
    out[: parameters.pack] = 1
    return out


def value_messages(values: np.ndarray, parameters: Parameters) -> np.ndarray:
    """(S, V) integers -> (C, n) int64: all of them one after the other, n a ciphertext."""
    n = parameters.ring.n
    out = np.zeros((-(-values.size // n), n), np.int64)
    out.reshape(-1)[: values.size] = values.reshape(-1)
    return out
