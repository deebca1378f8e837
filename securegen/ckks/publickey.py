"""Public-key encryption under a `SecretKey`: encryptions of zero that hide how a reply was computed, and of messages.

b = −a·s + e, where `a` is expanded (SHAKE-256, rejection) from a nonce that the *other* party chose: with an `a` of the
key holder's own choice, a·u + e₁ would hide nothing from it. An encryption is (b·u + e₀ + m, a·u + e₁), u ternary and
errors centred binomial, all fresh; it decrypts with noise e·u + e₀ + e₁·s. (Lyubashevsky, Peikert and Regev 2010.)

Who learns what: without s, nothing about m (RLWE, 128 bits). The key holder sees m and the noise, which is a linear
equation in (u, e₀, e₁): whoever must hide more than m adds flooding. Randomness comes from the operating system.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from securegen.ckks.encryption import ring_tables
from securegen.ckks.keys import SecretKey
from securegen.ckks.parameters import ERROR_MAX, ERROR_SD, Ring
from securegen.ckks.threshold import _once, _quotient, _times, centred_binomial, expand_public, ternary
from securegen.kernels.ntt import forward
from securegen.kernels.threads import over_range
from securegen.randomness import fresh_key

NONCE_BYTES = 32


@dataclass(frozen=True)
class EncryptionKey:
    """Anybody encrypts with it. nonce: what `a` is expanded from; b: (k, n) uint64, NTT form."""

    ring: Ring
    nonce: bytes
    b: np.ndarray

    @property
    def a(self) -> np.ndarray:
        """(k, n) uint64, NTT form."""
        return expand_a(self.nonce, self.ring)


def expand_a(nonce: bytes, ring: Ring) -> np.ndarray:
    """`a` of a nonce, (k, n) uint64 uniform below each prime."""
    assert len(nonce) == NONCE_BYTES
    return expand_public(hashlib.sha256(b"securegen encryption key" + nonce).digest(), ring)


def noise_certain(ring: Ring) -> int:
    """Largest |e·u + e₀ + e₁·s|, whatever is drawn."""
    return (2 * ring.n + 1) * ERROR_MAX


def noise_sd(ring: Ring) -> float:
    """Standard deviation of e·u + e₀ + e₁·s for ternary u and s."""
    return ERROR_SD * (4 * ring.n / 3 + 1) ** 0.5


def _residues(values: np.ndarray, ring: Ring) -> np.ndarray:
    """(C, n) small int64 -> (C, k, n) uint64, NTT form; no branch on the values."""
    q = np.array(ring.primes, np.int64)[:, None]
    out = (values[:, None, :] + ((values >> 63)[:, None, :] & q)).astype(np.uint64)
    forward(out, ring_tables(ring))
    return out


def publish(key: SecretKey, nonce: bytes) -> EncryptionKey:
    """The encryption key of a secret key for one nonce. One nonce, one key: the error is fresh at every call."""
    ring = key.public.parameters.ring
    q = np.array(ring.primes, np.uint64)[:, None]
    e = _residues(centred_binomial(fresh_key(), 0, ring.n)[None], ring)[0]
    b = (e + q - expand_a(nonce, ring) * key.residues % q) % q
    return EncryptionKey(ring, nonce, b)


def encrypt(key: EncryptionKey, messages: np.ndarray) -> np.ndarray:
    """(C, k, n) residues in NTT form -> (C, 2, k, n) uint64, NTT form, each with randomness of its own."""
    ring, count = key.ring, len(messages)
    q, a, stream = np.array(ring.primes, np.uint64)[:, None], key.a, fresh_key()
    a_quotient, b_quotient = _quotient(a, q), _quotient(key.b, q)
    out = np.empty((count, 2, len(ring.primes), ring.n), np.uint64)

    def work(first: int, last: int) -> None:
        for c in range(first, last):
            u = ternary(stream, 3 * c, ring.n)
            e0, e1 = (centred_binomial(stream, 3 * c + i, ring.n) for i in (1, 2))
            u_ntt, e0_ntt, e1_ntt = _residues(np.stack([u, e0, e1]), ring)
            out[c, 0] = _once(_once(_times(u_ntt, key.b, b_quotient, q) + e0_ntt, q) + messages[c], q)
            out[c, 1] = _once(_times(u_ntt, a, a_quotient, q) + e1_ntt, q)

    over_range(count, work)
    return out


def encrypt_zeros(key: EncryptionKey, count: int) -> np.ndarray:
    """(count, 2, k, n) uint64: fresh encryptions of zero, NTT form."""
    return encrypt(key, np.zeros((count, len(key.ring.primes), key.ring.n), np.uint64))
