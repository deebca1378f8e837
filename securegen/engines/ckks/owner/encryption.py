"""Encrypting blocks of coefficient messages under the secret key: by `encryptor` (the default) or by SEAL.

SEAL encrypts zero with its own randomness; we add NTT(2^scale · message). Both kinds decrypt alike.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from securegen.engines.ckks.ciphertexts import OWN, SEAL, Ciphertexts, shares_public_half
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.strands import strand_secrets
from securegen.kernels.memory import Rooms
from securegen.rlwe import seal
from securegen.rlwe.encryptor import encrypt_block, encrypt_digits, encrypt_parts
from securegen.rlwe.residues import scaled_residues, to_tiles


class Encryptor(Protocol):
    """Encrypts int64 messages at a scale of 2^scale_log2, freshly at every call: (C, n) under the key itself, or
    (G, S, n) as S strands under the secret keys that `strand_keys` has for them; the strands may come in parts. `digits`:
    strands (G, S, k, n) of 8, 16 or 32 bits, whose messages are Σ_l 2^(widths before l) digit_l. `written`: these
    ciphertexts are needed no more."""

    name: str

    def __call__(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts: ...

    def strands(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts: ...

    def digits(self, messages: np.ndarray, widths: Sequence[int], scale_log2: int) -> Ciphertexts: ...

    def parts(self, parts: Iterable[np.ndarray], strands: int, scale_log2: int) -> Iterator[Ciphertexts]: ...

    def written(self, made: Ciphertexts) -> None: ...


class OwnEncryptor:
    """`encryptor`; a seed is stored for the second half of the ciphertexts, which the strands of a group share."""

    name = OWN

    def __init__(self, key: SecretKey) -> None:
        self._ring, self._key = key.public.parameters.ring, key
        self._secrets: np.ndarray | None = None
        self._rooms = Rooms()

    def __call__(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts:
        seed, c0 = encrypt_block(self._key.residues, messages, scale_log2, self._ring)
        return Ciphertexts(c0, None, seed)

    def strands(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts:
        return next(self.parts([messages], messages.shape[1], scale_log2))

    def parts(self, parts: Iterable[np.ndarray], strands: int, scale_log2: int) -> Iterator[Ciphertexts]:
        """As `strands` of all parts together, (G, S_i, n) of `strands` in all: each has a Ciphertexts, and the seed of all."""
        for seed, c0 in encrypt_parts(self._keys(strands), parts, scale_log2, self._ring):
            yield Ciphertexts(c0, None, seed)

    def digits(self, messages: np.ndarray, widths: Sequence[int], scale_log2: int) -> Ciphertexts:
        keys = self._keys(messages.shape[1])
        made = encrypt_digits(keys, [messages], widths, scale_log2, self._ring, room=self._rooms.take)
        seed, c0 = next(iter(made))
        return Ciphertexts(c0, None, seed)

    def written(self, made: Ciphertexts) -> None:
        """The memory of what `digits` returned may be used for the next."""
        self._rooms.give(made.c0)

    def _keys(self, strands: int) -> np.ndarray:
        if self._secrets is None or len(self._secrets) < strands:
            self._secrets = strand_keys(self.name, self._key, strands)
        return self._secrets[:strands]


class SealEncryptor:
    """Encryption by SEAL's symmetric encryption of zero; both halves of the ciphertext are stored."""

    name = SEAL

    def __init__(self, key: SecretKey) -> None:
        self._ring = key.public.parameters.ring
        self._zero = seal.ZeroEncryptor(self._ring, key.seal_stream)
        self._one_at_a_time = threading.Lock()  # SEAL fills one object of ours

    def __call__(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts:
        return self._hide(scaled_residues(messages, scale_log2, self._ring))

    def _hide(self, residues: np.ndarray) -> Ciphertexts:
        """Encryptions of residues (C, k, n) in NTT form."""
        ring = self._ring
        both = np.empty((2, len(residues), len(ring.primes), ring.n), np.uint64)
        with self._one_at_a_time:
            for i in range(len(residues)):
                both[:, i] = self._zero()
        modulus = np.array(ring.primes, np.uint64)[:, None]
        both[0] = (both[0] + residues) % modulus
        return Ciphertexts(to_tiles(both[0], ring), to_tiles(both[1], ring))

    def strands(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts:
        flat = messages.reshape(-1, messages.shape[2]).astype(np.int64)
        return self._in_groups(scaled_residues(flat, scale_log2, self._ring), messages)

    def digits(self, messages: np.ndarray, widths: Sequence[int], scale_log2: int) -> Ciphertexts:
        flat, modulus = (
            messages.reshape(-1, *messages.shape[2:]).astype(np.int64),
            np.array(self._ring.primes, np.uint64),
        )
        scales = itertools.accumulate(widths[:-1], initial=scale_log2)
        parts = (scaled_residues(flat[:, l], scale, self._ring) for l, scale in enumerate(scales))
        return self._in_groups(functools.reduce(lambda a, b: (a + b) % modulus[:, None], parts), messages)

    def _in_groups(self, residues: np.ndarray, messages: np.ndarray) -> Ciphertexts:
        groups, count = messages.shape[:2]
        made = self._hide(residues)
        shape = (*made.c0.shape[:2], groups, count, self._ring.lanes)
        c0, c1 = (half.reshape(shape) for half in made.halves())
        return Ciphertexts(c0, c1)

    def written(self, made: Ciphertexts) -> None:
        """Nothing: every ciphertext has memory of its own."""

    def parts(self, parts: Iterable[np.ndarray], strands: int, scale_log2: int) -> Iterator[Ciphertexts]:
        """Part after part: each ciphertext has its own second half."""
        return (self.strands(messages, scale_log2) for messages in parts)


def strand_keys(encryptor: str, key: SecretKey, count: int) -> np.ndarray:
    """Secret keys of `count` strands of this encryptor, (count, k, n) uint64 residues in NTT form."""
    return keys_at(encryptor, key, range(count))


def keys_at(encryptor: str, key: SecretKey, strands: Sequence[int]) -> np.ndarray:
    """As `strand_keys`, of these strands."""
    if shares_public_half(encryptor):
        return strand_secrets(key, strands)
    return np.broadcast_to(key.residues, (len(strands), *key.residues.shape))


ENCRYPTORS: dict[str, type[OwnEncryptor] | type[SealEncryptor]] = {OWN: OwnEncryptor, SEAL: SealEncryptor}


def make_encryptor(name: str, key: SecretKey) -> Encryptor:
    """The encryptor of that name: own (docs/explanation/encryptor.md) or seal."""
    return ENCRYPTORS[name](key)
