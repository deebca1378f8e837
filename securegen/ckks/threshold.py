"""N-of-N threshold encryption of integers on RLWE residues: joint key, encryption, addition, partial decryption.

Site i holds a ternary s_i and publishes b_i = −a s_i + e_i; the joint public key is (Σ b_i, a). An encryption is
(b u + e0 + 2^s m, a u + e1) with u ternary and centred-binomial errors. Of the sum (c0, c1) of all sites' encryptions,
site i publishes d_i = c1 s_i + f_i, and c0 + Σ d_i = 2^s Σm + noise + Σ f_i rounds to the exact sum.
(Asharov et al. 2012; Mouchet et al. 2021.)

Trust: any set of sites that lacks one learns nothing about a ciphertext (RLWE; the modulus is below the standard's bound
for 128 bits). f_i, uniform in ±2^t, hides the noise, which depends on the keys; `ThresholdParameters` makes the
statistical distance 2^-40 for all openings of a study together. These functions decrypt whatever they are given: which
sum may be opened is decided in `securegen.federated.rounds`, and nowhere else may `partial_decrypt` be called.

No branch, table look-up or division depends on a secret: reduction is by precomputed quotients (Shoup) and minimum.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen.ckks.encryption import ring_tables
from securegen.ckks.parameters import ERROR_MAX, Ring
from securegen.errors import PlanError
from securegen.kernels.ntt import forward, inverse
from securegen.randomness import fresh_key, keystream

RING_DIMENSION = 8192
STATISTICAL_BITS = 40
_U32 = np.uint64(32)


@dataclass(frozen=True)
class ThresholdParameters:
    """ring; sites: P; ciphertexts: how many sums of ciphertexts a study may open (each site counts and refuses more).

    Raises PlanError when the ring leaves less than 48 bits and the sign for a message.
    """

    ring: Ring
    sites: int
    ciphertexts: int

    def __post_init__(self) -> None:
        if self.sites < 2 or self.ciphertexts < 1:
            raise PlanError(f"a joint key needs two sites or more and a ciphertext to open, not {self.sites}")
        if self.message_bits < 49 + self.sites.bit_length():
            raise PlanError(
                f"{self.sites} sites and {self.ciphertexts} ciphertexts leave {self.message_bits} bits for a sum: "
                "use more primes or fewer ciphertexts a study"
            )

    @property
    def noise_bound(self) -> int:
        """Largest |noise| of the sum of P honest encryptions, for certain.

        One has e u + e0 + e1 s, with |e| ≤ 21 P, |u| ≤ 1, |e1| ≤ 21, |s| ≤ P and products of n terms.
        """
        return self.sites * (2 * self.ring.n * ERROR_MAX * self.sites + ERROR_MAX)

    @property
    def smudging_bits(self) -> int:
        """t: f_i is uniform in [−2^t, 2^t). Shifting it by the noise B moves it by B/2^(t+1) in statistical distance;
        over every opened coefficient and site that is at most 2^-40."""
        opened = self.ciphertexts * self.ring.n * self.sites * self.noise_bound
        return (opened - 1).bit_length() + STATISTICAL_BITS - 1

    @property
    def largest_error(self) -> int:
        """Σ|f_i| + noise: how far c0 + Σ d_i may be from 2^s Σm."""
        return (self.sites << self.smudging_bits) + self.noise_bound

    @property
    def scale(self) -> int:
        """s: the error stays below a quarter of 2^s, so that rounding is certain and garbage is noticed."""
        return (4 * self.largest_error - 1).bit_length()

    @property
    def error_share(self) -> float:
        """Largest distance of c0 + Σ d_i from a multiple of 2^s, as a share of 2^s."""
        return self.largest_error / 2.0**self.scale

    @property
    def margin_bits(self) -> float:
        """log2 of ½ over the largest error: a certain bound, nothing is left to chance."""
        return math.log2(0.5 / self.error_share)

    @property
    def message_bits(self) -> int:
        """Sums m with |m| < 2^message_bits are recovered exactly."""
        return ((self.ring.modulus // 2 - self.largest_error) >> self.scale).bit_length() - 1

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.ring.primes), self.ring.n

    @property
    def ciphertext_bytes(self) -> int:
        return 2 * 4 * math.prod(self.shape)

    @staticmethod
    def standard(sites: int, ciphertexts: int) -> ThresholdParameters:
        """Ring dimension 8192 with six primes of 30 bits."""
        return ThresholdParameters(Ring.standard(RING_DIMENSION, 6), sites, ciphertexts)


def _column(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), np.uint64)[:, None]


def _once(x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """x mod q for x < 2q: the wrapped difference is the larger one where x < q."""
    return np.minimum(x, x - q)


def _quotient(w: np.ndarray, q: np.ndarray) -> np.ndarray:
    """floor(w 2^32/q) of a public factor w < q."""
    return (w << _U32) // q


def _times(x: np.ndarray, w: np.ndarray, quotient: np.ndarray, q: np.ndarray) -> np.ndarray:
    """x w mod q for x < 2^32."""
    return _once(x * w - ((x * quotient) >> _U32) * q, q)


def _lift(x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(C, n) int64 with |x| < 2^30 -> (C, k, n) residues."""
    return (x[:, None, :] + ((x >> 63)[:, None, :] & q.astype(np.int64))).astype(np.uint64)


def scaled_residues(values: np.ndarray, factor: int, primes: Sequence[int]) -> np.ndarray:
    """(C, n) int64 with |value| < 2^62 -> (C, k, n) uint64 residues of factor·value."""
    assert values.ndim == 2 and values.dtype == np.int64
    q = _column(primes)
    shifted = (values + (1 << 62)).astype(np.uint64)[:, None, :]
    low, high = shifted & np.uint64(0xFFFFFFFF), shifted >> _U32
    out = np.broadcast_to(_column(-(factor << 62) % p for p in primes), (len(values), len(primes), values.shape[1]))
    for half, power in ((low, 0), (high, 32)):
        w = _column((factor << power) % p for p in primes)
        out = _once(out + _times(half, w, _quotient(w, q), q), q)
    return out


def ternary(key: bytes, nonce: int, count: int) -> np.ndarray:
    """(count,) int64 uniform in {−1, 0, 1}: pairs of bits, 3 rejected. When one is rejected says nothing about others."""
    size = -(-count // 8) * 8
    while True:
        raw = keystream(key, nonce, size)
        pairs = ((raw[:, None] >> np.array([0, 2, 4, 6], np.uint8)) & 3).ravel()
        kept = pairs[pairs != 3]
        if len(kept) >= count:
            return kept[:count].astype(np.int64) - 1
        size *= 2


def _ones(x: np.ndarray) -> np.ndarray:
    """Number of bits set in the lower 32."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x55555555))
    x = (x & np.uint64(0x33333333)) + ((x >> np.uint64(2)) & np.uint64(0x33333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F)
    return ((x * np.uint64(0x01010101)) >> np.uint64(24)) & np.uint64(0xFF)


def centred_binomial(key: bytes, nonce: int, count: int) -> np.ndarray:
    """(count,) int64: ones among 21 bits less ones among 21 others; |x| ≤ 21, variance 10.5."""
    raw = keystream(key, nonce, 8 * count).view("<u8")
    mask = np.uint64((1 << 21) - 1)
    return _ones(raw & mask).astype(np.int64) - _ones((raw >> _U32) & mask).astype(np.int64)


def expand_public(seed: bytes, ring: Ring) -> np.ndarray:
    """The common `a` in NTT form, (k, n) uint64 uniform below each prime: SHAKE-256 of the seed, 30 bits, rejection."""
    out = np.empty((len(ring.primes), ring.n), np.uint64)
    for i, p in enumerate(ring.primes):
        size = 8 * ring.n
        while True:
            stream = hashlib.shake_256(b"securegen joint a" + bytes([i]) + seed).digest(size)
            words = np.frombuffer(stream, "<u4") & np.uint32((1 << 30) - 1)
            kept = words[words < p]
            if len(kept) >= ring.n:
                out[i] = kept[: ring.n]
                break
            size *= 2
    return out


@dataclass(frozen=True, repr=False)
class SecretShare:
    """One site's share. s: (k, n) uint64, s_i in NTT form."""

    s: np.ndarray = field(repr=False)


def share_from(parameters: ThresholdParameters, coefficients: np.ndarray) -> SecretShare:
    """The share with these (n,) ternary coefficients."""
    assert coefficients.shape == (parameters.ring.n,)
    s = _lift(coefficients.astype(np.int64)[None], _column(parameters.ring.primes))
    forward(s, ring_tables(parameters.ring))
    return SecretShare(s[0])


def public_share(parameters: ThresholdParameters, share: SecretShare, a: np.ndarray) -> np.ndarray:
    """b_i = −a s_i + e_i with a fresh error that is forgotten: with b_i it would give s_i. (k, n) uint64, NTT form."""
    ring, q = parameters.ring, _column(parameters.ring.primes)
    e = _lift(centred_binomial(fresh_key(), 0, ring.n)[None], q)
    forward(e, ring_tables(ring))
    return _once(e[0] + (q - _times(share.s, a, _quotient(a, q), q)), q)


@dataclass(frozen=True)
class JointKey:
    """Public key of all sites together: b = Σ b_i and a, (k, n) uint64 in NTT form."""

    parameters: ThresholdParameters
    a: np.ndarray
    b: np.ndarray


def joint_key(parameters: ThresholdParameters, a: np.ndarray, shares: Sequence[np.ndarray]) -> JointKey:
    """Add the sites' public shares. Whoever chooses a share after the others chooses the key: commit first."""
    assert len(shares) == parameters.sites and all(b.shape == parameters.shape for b in shares)
    q = _column(parameters.ring.primes)
    total = np.zeros(parameters.shape, np.uint64)
    for b in shares:
        total = _once(total + b, q)
    return JointKey(parameters, a, total)


def encrypt(key: JointKey, messages: np.ndarray) -> np.ndarray:
    """(C, k, n) residues of 2^s m, coefficients -> (C, 2, k, n) uint32, NTT form, with a fresh key of the system."""
    ring = key.parameters.ring
    q, tables, count = _column(ring.primes), ring_tables(ring), len(messages)
    assert messages.shape == (count, *key.parameters.shape) and count < 1 << 32
    stream = fresh_key()
    u = _lift(np.stack([ternary(stream, 3 * c, ring.n) for c in range(count)]), q)
    e0, e1 = (
        _lift(np.stack([centred_binomial(stream, 3 * c + half, ring.n) for c in range(count)]), q) for half in (1, 2)
    )
    e0 = _once(e0 + messages, q)
    for polynomial in (u, e0, e1):
        forward(polynomial, tables)
    out = np.empty((count, 2, *key.parameters.shape), np.uint32)
    out[:, 0] = _once(_times(u, key.b, _quotient(key.b, q), q) + e0, q)
    out[:, 1] = _once(_times(u, key.a, _quotient(key.a, q), q) + e1, q)
    return out


def canonical_residues(array: np.ndarray, ring: Ring) -> bool:
    """Whether every residue of (…, k, n) lies below its prime."""
    return bool((array < np.array(ring.primes, array.dtype)[:, None]).all())


def add(total: np.ndarray, ciphertexts: np.ndarray, ring: Ring) -> np.ndarray:
    """Sum of two (C, 2, k, n) uint32 batches."""
    assert total.shape == ciphertexts.shape
    q = np.array(ring.primes, np.uint32)[:, None]
    return _once(total + ciphertexts, q)


def smudging(parameters: ThresholdParameters, key: bytes, index: int) -> np.ndarray:
    """f of one ciphertext: (1, k, n) residues, uniform in [−2^t, 2^t), from the stream (key, index)."""
    t, n, q = parameters.smudging_bits, parameters.ring.n, _column(parameters.ring.primes)
    words = -(-(t + 1) // 32)
    limbs = keystream(key, index, 4 * words * n).view("<u4").reshape(words, n).astype(np.uint64)
    limbs[-1] &= np.uint64((1 << (t + 1 - 32 * (words - 1))) - 1)
    out = np.broadcast_to(_column(-(1 << t) % p for p in parameters.ring.primes), parameters.shape)
    for i, limb in enumerate(limbs):
        w = _column((1 << (32 * i)) % p for p in parameters.ring.primes)
        out = _once(out + _times(limb[None], w, _quotient(w, q), q), q)
    return out[None]


def partial_decrypt(
    parameters: ThresholdParameters, share: SecretShare, c1: np.ndarray, smudging_key: bytes
) -> np.ndarray:
    """d = c1 s_i + f, (C, k, n) uint32 in NTT form. c1: (C, k, n) uint32 of the sum of all sites' ciphertexts.

    smudging_key: 16 bytes, for this c1 alone: two openings of one c1 under different keys average f away.
    """
    q, tables = _column(parameters.ring.primes), ring_tables(parameters.ring)
    out = np.empty(c1.shape, np.uint32)
    for i, public in enumerate(c1.astype(np.uint64)):
        f = smudging(parameters, smudging_key, i)
        forward(f, tables)
        out[i] = _once(_times(share.s, public, _quotient(public, q), q) + f[0], q)
    return out


def combine(parameters: ThresholdParameters, c0: np.ndarray, partials: Sequence[np.ndarray]) -> np.ndarray:
    """c0 + Σ d_i in coefficients: (C, k, n) uint64 residues of 2^s Σm + error."""
    assert len(partials) == parameters.sites and all(d.shape == c0.shape for d in partials)
    q = _column(parameters.ring.primes)
    total = c0.astype(np.uint64)
    for d in partials:
        total = _once(total + d, q)
    total = np.ascontiguousarray(total)
    inverse(total, ring_tables(parameters.ring))
    return total
