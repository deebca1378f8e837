"""A vendor's encrypted model on a hospital's plain genotypes; the vendor holds the key and returns one blinded integer.

The vendor encrypts w(X) = Σ_j w_j X^j for every n rows, scaled by Δ = ⌊q/P⌋, P > 2|S|. The hospital multiplies with
x(X) = Σ_j x_j X^(n−1−j): coefficient n−1 of the sum over blocks is Δ·S + noise. It sends

    c1 + a·u + e₁     and     (c0 + b·u + e₀)[n−1] + M, M uniform modulo q

and the vendor answers y = round(v/Δ) + constant + h modulo P, and nothing else of v. With R = ⌊M/Δ⌋ and r = M mod Δ the
hospital takes R, and 1 where r > Δ/2, away. M is drawn again while r is within `turn` = noise + (q mod P) of Δ/2, where
rounding turns: then y is exact, also where Δ(S + R) wraps around q. The plan keeps the chance of that below 2^-40 for
all answers of a run together, which is how far M is from uniform.

Who learns what: the hospital its scores, which variants and how many replies the model has; the vendor the cohort's
variants and the number of people. The vendor makes the ciphertexts and chooses their errors: whatever they are, what it
decrypts is uniform modulo q. So the mask is not a multiple of Δ. Ring, Δ, P and noise follow from what both know
(`choose_vendor`), and each computes them itself. Neither can verify the other's arithmetic.

The vendor is a decryption oracle for the hospital, and cannot see what it decrypts: (0, Δ·Σ 3^i X^i) in place of a
product returns log2(P)/log2(3) coefficients of the key, and Enc(w)·X^i a weight, of whichever score. An *answer* is one
integer: a person and a score. So a key, with a model encrypted afresh, serves n/(10·log2 P) answers, which leaves nine
tenths of the key unknown. The ledger caps the answers of all scores of a model together, in its life, at a tenth of its
bits.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from securegen.engines.ckks.ciphertexts import Ciphertexts
from securegen.engines.ckks.owner.encryption import Encryptor
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores.blinding import STATISTICAL_BITS
from securegen.engines.ckks.scores.modeller import uniform_integers
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.weights import ScoreReader, StoredWeights
from securegen.errors import PlanError, ProtocolError
from securegen.kernels.message_tiles import message_tiles
from securegen.kernels.ntt import inverse
from securegen.kernels.plain_mac import mac_plain
from securegen.model import IntArray
from securegen.rlwe.publickey import EncryptionKey, hide, noise_certain
from securegen.rlwe.residues import ring_tables, scaled_residues, to_tiles
from securegen.rlwe.ring import ERROR_MAX, Ring

KEY_SHARE = 10
STREAMS = ("g", "m")
MODULI = 1 << 12  # candidates for P: the one that leaves least of q
RINGS = ((8192, 4), (8192, 5), (8192, 6), (16384, 7))


@dataclass(frozen=True)
class VendorParameters:
    """key: of the ring; modulus: P; columns: scores; noise: largest honest noise.

    Raises PlanError where rounding would be wrong, or masks not be uniform, more often than 2^-40 a run.
    """

    key: Parameters
    modulus: int
    columns: int
    noise: int

    def __post_init__(self) -> None:
        answers = self.key.samples * self.columns
        if answers * (2 * self.turn + 1) << STATISTICAL_BITS > self.delta:
            raise PlanError(f"replies of {self.plain_bits} bits do not fit {math.log2(self.key.ring.modulus):.0f} bits")

    @property
    def plain_bits(self) -> int:
        """log2 of P, rounded up."""
        return self.modulus.bit_length()

    @property
    def delta(self) -> int:
        return self.key.ring.modulus // self.modulus

    @property
    def turn(self) -> int:
        """How far from Δ/2 a mask's remainder keeps: noise, and what a wrap around q moves."""
        return self.noise + self.key.ring.modulus % self.modulus

    @property
    def answers(self) -> int:
        """Integers that a key decrypts: a tenth of its coefficients' bits."""
        return self.key.ring.n // (KEY_SHARE * self.plain_bits)

    @property
    def batch(self) -> int:
        """People a key serves."""
        return self.answers // self.columns

    def bits(self, blur: int) -> float:
        """The most that an answer says of the weights: it is an integer modulo P, blurred."""
        return math.log2(self.modulus) - math.log2(2 * blur + 1)

    @property
    def margin_bits(self) -> float:
        """log2 of ½ over the largest noise, in units of the score."""
        return math.log2(self.delta / 2) - math.log2(self.turn)


def choose_vendor(*, bound: int, samples: int, rows: int, columns: int, dosage_max: int) -> VendorParameters:
    """The smallest ring that holds the replies, from what vendor and hospital both know. bound: |score|, blurred.

    Raises PlanError when none does, or a key would serve no person.
    """
    least, served = 2 * bound + 1, 0
    for n, count in RINGS:
        ring = Ring.standard(n, count)
        noise = 2 * rows * dosage_max * ERROR_MAX + noise_certain(ring)
        modulus = min(range(least, least + MODULI), key=lambda p: ring.modulus % p)  # noqa: B023
        try:
            # the scale of these key parameters is not used: Δ is not a power of two
            key = store_parameters(ring, 1, 16, dosage_max=dosage_max, samples=samples)
            vendor = VendorParameters(key, modulus, columns, noise)
        except PlanError:
            continue
        if vendor.batch:
            return vendor
        served = max(served, vendor.answers)
    if served:
        raise PlanError(
            f"{columns} scores of {least.bit_length()} bits are more than a key may answer for one person, {served}: split the "
            "scoring file into several, each with fewer scores"
        )
    raise PlanError(
        f"no parameters hold replies of {least.bit_length()} bits: use fewer bits per weight (`weight_bits`)"
    )


def batch_nonce(nonce: bytes, batch: int) -> bytes:
    """The hospital's nonce for the encryption key of one batch."""
    return hashlib.sha256(b"securegen batch" + batch.to_bytes(8, "big") + nonce).digest()


def encrypt_weights(weights: StoredWeights, vendor: VendorParameters, encryptor: Encryptor) -> Ciphertexts:
    """Vendor: both streams of every n rows, all columns: R·C ciphertexts in the order (stream, block, column)."""
    ring = vendor.key.ring
    blocks = -(-len(weights.dosage) // ring.n)
    messages = np.zeros((len(STREAMS), blocks * ring.n, weights.columns), np.int64)
    for i, stream in enumerate(STREAMS):
        messages[i, : len(weights.dosage)] = weights.stream(stream)
    flat = messages.reshape(-1, ring.n, weights.columns).transpose(0, 2, 1).reshape(-1, ring.n)
    zeros = encryptor(np.zeros_like(flat), 0)
    scaled = scaled_residues(np.ascontiguousarray(flat), 0, ring)
    q = np.array(ring.primes, np.uint64)[:, None]
    scaled = scaled * np.array([vendor.delta % p for p in ring.primes], np.uint64)[:, None] % q
    tiles = to_tiles(scaled, ring).astype(np.uint64) + zeros.c0
    return Ciphertexts((tiles % q[:, None, None]).astype(np.uint32), zeros.c1, zeros.seed)


def people_polynomials(reader: ScoreReader, people: IntArray, ring: Ring) -> Iterator[np.ndarray]:
    """Hospital: (k, T, people, L) uint32 of x(X) for every n rows of g, then of m."""
    chosen = ScoreReader(reader.used.select(samples=people), reader.second)
    rows = len(chosen.variants)
    for stream in STREAMS:
        for start in range(0, rows, ring.n):
            block = chosen.read(start, min(start + ring.n, rows))
            values = block.dosage if stream == "g" else block.missing
            messages = np.zeros((len(people), ring.n), np.int64)
            if values is not None:
                messages[:, ring.n - len(block) :] = values[::-1].T
            yield message_tiles(messages, ring_tables(ring), ring.lanes)


def multiply(
    model: tuple[np.ndarray, np.ndarray], polynomials: Iterator[np.ndarray], columns: int, ring: Ring
) -> np.ndarray:
    """Hospital: Σ over blocks and streams, (k, T, people, C, 2, L) uint32, NTT form. model: halves (k, T, R·C, L) uint32."""
    primes = np.array(ring.primes, np.uint64)
    out: np.ndarray | None = None
    for r, x in enumerate(polynomials):
        people = x.shape[2]
        if out is None:
            out = np.zeros((columns, len(primes), ring.tiles, 1, people, 2, ring.lanes), np.uint32)
        if not x.any():
            continue
        for c in range(columns):
            g0, g1 = (half[:, :, r * columns + c, None, None] for half in model)
            mac_plain(g0, g1, x[:, :, None], primes, out[c])
    if out is None:
        raise ProtocolError("there are no genotypes to multiply")
    return np.stack([part[:, :, 0] for part in out], axis=3)


def draw_mask(vendor: VendorParameters) -> tuple[int, int]:
    """M uniform modulo q, where rounding does not turn, and what it adds to a rounded score: R or R + 1."""
    while True:
        mask = secrets.randbelow(vendor.key.ring.modulus)
        rounded, rest = divmod(mask, vendor.delta)
        if abs(2 * rest - vendor.delta) > 2 * vendor.turn:
            return mask, rounded + (2 * rest > vendor.delta)


def blind(sums: np.ndarray, key: EncryptionKey, vendor: VendorParameters) -> tuple[np.ndarray, np.ndarray, IntArray]:
    """Hospital: (k, T, people, C, 2, L) -> coefficient n−1 of c0, (k, people, C) uint32; c1, (people·C, k, n) uint32; and
    what the masks add to scores, (people, C) int64 in [0, P + 1], which stays."""
    ring = vendor.key.ring
    q = np.array(ring.primes, np.uint64)
    k, tiles, people, columns, _, lanes = sums.shape
    last, c1 = hide(key, sums.reshape(k, tiles, people * columns, 2, lanes), 1)
    drawn = [draw_mask(vendor) for _ in last]
    top = np.empty((len(q), len(last)), np.uint32)
    for i, p in enumerate(ring.primes):
        top[i] = (last[:, i, 0] + np.array([mask % p for mask, _ in drawn], np.uint64)) % q[i]
    kept = np.array([added for _, added in drawn], np.int64).reshape(people, columns)
    return top.reshape(len(q), people, columns), c1, kept


def round_reply(
    top: np.ndarray, c1: np.ndarray, key: SecretKey, vendor: VendorParameters, constant: IntArray, blur: int = 0
) -> np.ndarray:
    """Vendor: y of every person and score, (people, C) int64 in [0, P): all that it may return of what it decrypts.

    Raises ProtocolError for more answers than a key gives.
    """
    ring, (_, people, columns) = vendor.key.ring, top.shape
    if people * columns > vendor.answers or len(c1) != people * columns or len(constant) != columns:
        raise ProtocolError(
            f"the hospital asks for {people} × {columns} answers of one key, which serves {vendor.answers} of them"
        )
    q = np.array(ring.primes, np.uint64)[:, None]
    rest = np.ascontiguousarray(c1.astype(np.uint64) * key.residues % q)
    inverse(rest, ring_tables(ring))
    residues = (top.reshape(len(ring.primes), -1).astype(np.uint64) + rest[:, :, -1].T) % q
    modulus = ring.modulus
    basis = [(modulus // p) * pow(modulus // p, -1, p) for p in ring.primes]
    blurred = uniform_integers(blur, residues.shape[1])
    out = np.empty(residues.shape[1], np.int64)
    for i in range(residues.shape[1]):
        v = sum(int(r) * m for r, m in zip(residues[:, i], basis, strict=True)) % modulus
        y = (2 * v + vendor.delta) // (2 * vendor.delta)
        out[i] = (y + int(constant[i % columns]) + blurred[i]) % vendor.modulus
    return out.reshape(people, columns)


def unmask(y: np.ndarray, masks: np.ndarray, vendor: VendorParameters) -> IntArray:
    """Hospital: (people, C) int64 scores."""
    half = vendor.modulus // 2
    return np.array((y.astype(object) - masks.astype(object) + half) % vendor.modulus - half, dtype=np.int64)
