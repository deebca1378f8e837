"""The own encryptor: against SEAL both ways, against a slow twin, its distributions, and what breaks without its rules."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from securegen.engines.ckks.owner import strands
from securegen.engines.ckks.owner.encryption import OwnEncryptor, SealEncryptor
from securegen.engines.ckks.owner.secret_key import SecretKey, generate
from securegen.engines.ckks.planner import Workload, choose
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import forward, inverse
from securegen.rlwe import encryptor, seal, uniform
from securegen.rlwe.residues import from_tiles, ring_tables, scaled_residues
from securegen.rlwe.ring import Ring

SCALE = 31
SEED, OTHER_SEED, ERROR_KEY = bytes(range(16)), bytes(range(1, 17)), bytes(range(100, 116))
RANDOM = 1e-9  # the fixed streams of the tests below may be as unlikely as this


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return generate(choose(Workload(100, 1000, 2, 16), whole=True).parameters)


@pytest.fixture(scope="module")
def ring(key) -> Ring:
    return key.public.parameters.ring


def phase(c0: np.ndarray, c1: np.ndarray, key: SecretKey) -> np.ndarray:
    """c0 + c1·s as residues of coefficients, (C, k, n)."""
    ring = key.public.parameters.ring
    modulus = np.array(ring.primes, np.uint64)[:, None]
    out = (from_tiles(c0, ring) + from_tiles(c1, ring) * key.residues % modulus) % modulus
    inverse(out, ring_tables(ring))
    return out


def rounded(residues: np.ndarray, scale: int, ring: Ring) -> np.ndarray:
    """(C, k, n) -> (C, n) integers."""
    flat = np.ascontiguousarray(residues.transpose(1, 0, 2)).reshape(len(ring.primes), -1)
    return round_residues(flat, ring.primes, scale)[0].reshape(len(residues), ring.n)


def errors(c0: np.ndarray, c1: np.ndarray, key: SecretKey) -> np.ndarray:
    """The error of encryptions of zero, (C, n)."""
    return rounded(phase(c0, c1, key) * np.uint64(2) % modulus_of(key), 1, key.public.parameters.ring)


def modulus_of(key: SecretKey) -> np.ndarray:
    return np.array(key.public.parameters.ring.primes, np.uint64)[:, None]


def some_messages(ring: Ring, count: int, largest: int) -> np.ndarray:
    return np.random.default_rng(count).integers(-largest, largest + 1, (count, ring.n))


# Both ways with SEAL


def as_seal(c0: np.ndarray, c1: np.ndarray, key: SecretKey, context) -> object:
    """One of our ciphertexts, (k, n) each half, as a SEAL object: the residues of a SEAL encryption are replaced."""
    import tenseal.sealapi as api

    maker = api.Encryptor(context, seal.load(api.SecretKey(), context, key.seal_stream))
    zero = api.Ciphertext()
    maker.encrypt_zero_symmetric(context.first_parms_id(), zero)
    stream = seal.dump(zero)
    body = seal.body(stream)
    ours = np.stack([c0, c1]).astype("<u8").tobytes()
    body = body[: len(body) - len(ours)] + ours
    header = bytearray(stream[:16])
    header[5] = 0  # not compressed
    header[8:16] = (16 + len(body)).to_bytes(8, "little")
    return seal.load(api.Ciphertext(), context, bytes(header) + body)


def test_seal_decrypts_ours(key, ring):
    import tenseal.sealapi as api

    messages = some_messages(ring, 3, 1 << 40)
    ours = OwnEncryptor(key)(messages, SCALE)
    c0 = from_tiles(ours.c0, ring)
    c1 = from_tiles(uniform.expand_uniform(ours.seed, 3, ring), ring)
    context = seal.context(ring)
    decryptor = api.Decryptor(context, seal.load(api.SecretKey(), context, key.seal_stream))
    plain = np.empty((3, len(ring.primes), ring.n), np.uint64)
    for i in range(3):
        out = api.Plaintext()
        decryptor.decrypt(as_seal(c0[i], c1[i], key, context), out)
        plain[i] = seal.residues(out, 1, len(ring.primes), ring.n)[0]
    inverse(plain, ring_tables(ring))
    assert np.array_equal(rounded(plain, SCALE, ring), messages)


@pytest.mark.parametrize("make", [OwnEncryptor, SealEncryptor])
def test_one_decryption_reads_both(make, key, ring):
    messages = some_messages(ring, 2, 1 << 40)
    made = make(key)(messages, SCALE)
    c1 = made.c1 if made.c1 is not None else uniform.expand_uniform(made.seed, 2, ring)
    assert np.array_equal(rounded(phase(made.c0, c1, key), SCALE, ring), messages)


@settings(max_examples=20, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 60))
def test_every_int64_and_scale(key, value, scale):
    """The phase is 2^scale·m + e modulo each prime, |e| at most 21, for any m."""
    ring = key.public.parameters.ring
    messages = np.zeros((1, ring.n), np.int64)
    messages[0, [0, 5, ring.n - 1]] = value
    seed, c0 = encryptor.encrypt_block(key.residues, messages, scale, ring)
    got = phase(c0, uniform.expand_uniform(seed, 1, ring), key)[0]
    for p, q in enumerate(ring.primes):
        wanted = np.array([int(m) * 2**scale % q for m in messages[0]], np.int64)
        error = (got[p].astype(np.int64) - wanted + q // 2) % q - q // 2
        assert np.abs(error).max() <= encryptor.CENTRE


@pytest.mark.parametrize(
    ("dtype", "count", "n", "k"), [(np.int8, 10, 16384, 12), (np.int16, 16, 8192, 6), (np.int32, 5, 4096, 3)]
)
def test_messages_in_digits(dtype, count, n, k):
    """The phase is Σ 2^w·digit + e modulo each prime, for the extremes of every type; one digit is the message itself."""
    ring, width = Ring.standard(n, k), 62 if dtype == np.int32 else 21
    rng, limits = np.random.default_rng(n), np.iinfo(dtype)
    digits = rng.integers(limits.min, limits.max + 1, (1, 2, count, n)).astype(dtype)
    digits[0, 0], digits[0, 1, :, 0] = limits.max, limits.min
    secrets = np.stack([rng.integers(0, q, (2, n), dtype=np.uint64) for q in ring.primes], 1)
    ((seed, c0),) = encryptor.encrypt_digits(secrets, [digits], (width,) * count, 17, ring)
    q, a = np.array(ring.primes, np.int64)[:, None], from_tiles(uniform.expand_uniform(seed, 1, ring), ring)
    got = from_tiles(c0, ring)[0]
    got = (got + a * secrets % q.astype(np.uint64)) % q.astype(np.uint64)
    inverse(got, ring_tables(ring))
    wanted = np.zeros((2, k, n), np.int64)
    for l in range(count):
        weights = np.array([pow(2, 17 + width * l, p) for p in ring.primes])[:, None]
        wanted = (wanted + digits[0, :, l, None].astype(np.int64) % q * weights) % q
    errors = (got.astype(np.int64) - wanted + q // 2) % q - q // 2
    assert np.abs(errors).max() <= encryptor.CENTRE and (errors == errors[:, :1]).all() and np.ptp(errors) > 20
    fixed = lambda d: encryptor._encrypt_with(SEED, ERROR_KEY, secrets, d, [5], ring)  # noqa: E731
    assert np.array_equal(fixed(digits[:, :, :1]), fixed(digits[:, :, :1].astype(np.int64)))


def test_digits_that_are_none():
    ring = Ring.standard(4096, 2)
    secrets = np.zeros((1, 2, 4096), np.uint64)
    for digits, widths in (
        (np.zeros((1, 1, 17, 4096), np.int8), (2,) * 17), (np.zeros((1, 1, 2, 4096), np.int8), (2,)),
        (np.zeros((1, 1, 1, 4096), np.uint8), (2,)), (np.zeros((1, 1, 1, 4096), ">i4"), (2,)),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            next(encryptor.encrypt_digits(secrets, [digits], widths, 0, ring))


def test_two_rings_and_piece_borders():
    """n = 8192 with four primes, and block sizes around the pieces that threads take."""
    plan = choose(Workload(200_000, 1000, 2, 20))
    key = generate(plan.parameters)
    ring = plan.parameters.ring
    assert ring.n == 8192
    for count in (1, encryptor.PIECE, encryptor.PIECE + 1):
        messages = some_messages(ring, count, 2)
        seed, c0 = encryptor.encrypt_block(key.residues, messages, SCALE, ring)
        assert np.array_equal(rounded(phase(c0, uniform.expand_uniform(seed, count, ring), key), SCALE, ring), messages)


# A slow twin, and vectors of its answers


def encrypted_with(
    seed: bytes, error_key: bytes, residues: np.ndarray, messages: np.ndarray, scale: int, ring: Ring
) -> np.ndarray:
    """`encrypt_block` for given keys: (C, n) messages as groups of one strand -> (k, T, C, L)."""
    return encryptor._encrypt_with(seed, error_key, residues[None], messages[:, None, None], [scale], ring)[:, :, :, 0]


def aes_words(key: bytes, nonce: int, first_byte: int, size: int) -> bytes:
    counter = nonce.to_bytes(8, "big") + bytes(8)
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(first_byte + size))
    return stream[first_byte:]


def slow_cell(seed: bytes, number: int, prime: int, lanes: int) -> list[int]:
    """One cell as the module docstring of `uniform` says it, word by word."""
    size, mask, out = 4 * uniform.budget(lanes), (1 << prime.bit_length()) - 1, []
    streams = [aes_words(seed, 0, number * size, size), aes_words(seed, 1 + number, 0, 64 * size)]
    for stream in streams:
        for i in range(0, len(stream), 4):
            x = int.from_bytes(stream[i : i + 4], "little") & mask
            if x < prime and len(out) < lanes:
                out.append(x)
    assert len(out) == lanes
    return out


def test_uniform_equals_slow_twin(ring):
    fast = uniform.expand_uniform(SEED, 3, ring)
    for p, t, c in [(0, 0, 0), (0, 0, 2), (1, 17, 1), (2, ring.tiles - 1, 2)]:
        assert fast[p, t, c].tolist() == slow_cell(SEED, (p * ring.tiles + t) * 3 + c, ring.primes[p], ring.lanes)


@pytest.mark.parametrize("lanes", [16, 64, 128])
def test_rejection_cannot_run_out(lanes):
    """With half of the words rejected nearly every cell needs its overflow stream; tiles still expand alone."""
    primes, tiles, count = ((1 << 29) + 11, 3), 4, 5
    whole = np.empty((2, tiles, count, lanes), np.uint32)
    uniform._expand(SEED, primes, tiles, range(tiles), whole, 2)
    for p, prime in enumerate(primes):
        assert (whole[p] < prime).all()
        for t, c in [(0, 0), (3, 4)]:
            assert whole[p, t, c].tolist() == slow_cell(SEED, (p * tiles + t) * count + c, prime, lanes)
    alone = np.empty((2, 1, count, lanes), np.uint32)
    uniform._expand(SEED, primes, tiles, range(2, 3), alone, 1)
    assert np.array_equal(alone[:, 0], whole[:, 2])


def slow_encryption(seed: bytes, error_key: bytes, key: SecretKey, message: np.ndarray) -> np.ndarray:
    """c0 of a block of one, (k, n), from big integers and one popcount a coefficient."""
    ring = key.public.parameters.ring
    n = ring.n
    bits = aes_words(error_key, 0, 0, 6 * n)
    wide = [int.from_bytes(bits[4 * j : 4 * j + 4], "little") for j in range(n)]
    narrow = [int.from_bytes(bits[4 * n + 2 * j : 4 * n + 2 * j + 2], "little") & 0x3FF for j in range(n)]
    e = [(w << 10 | x).bit_count() - 21 for w, x in zip(wide, narrow, strict=True)]
    out = np.empty((1, len(ring.primes), n), np.uint64)
    for p, q in enumerate(ring.primes):
        out[0, p] = [(int(m) * 2**SCALE + x) % q for m, x in zip(message, e, strict=True)]
    forward(out, ring_tables(ring))
    a = from_tiles(uniform.expand_uniform(seed, 1, ring), ring)[0].astype(object)
    q = np.array(ring.primes, object)[:, None]
    return ((out[0].astype(object) - a * key.residues.astype(object)) % q).astype(np.uint64)


def test_encryption_equals_slow_twin(key, ring):
    messages = some_messages(ring, 1, 1 << 50)
    fast = encrypted_with(SEED, ERROR_KEY, key.residues, messages, SCALE, ring)
    assert np.array_equal(from_tiles(fast, ring)[0], slow_encryption(SEED, ERROR_KEY, key, messages[0]))


def test_strands_equal_slow_twin(key, ring):
    """Two groups of three strands: each with its group's `a`, its own key, and the next error of the stream."""
    secrets, messages = strands.strand_secrets(key, range(3)), some_messages(ring, 6, 1 << 50)
    fast = encryptor._encrypt_with(SEED, ERROR_KEY, secrets, messages.reshape(2, 3, 1, ring.n), [SCALE], ring)
    assert fast.shape == (len(ring.primes), ring.tiles, 2, 3, ring.lanes)
    a, c0 = from_tiles(uniform.expand_uniform(SEED, 2, ring), ring), from_tiles(fast, ring)
    modulus = modulus_of(key)
    bits = encryptor.keystream(ERROR_KEY, 0, 6 * 6 * ring.n)
    wide, narrow = bits[: 24 * ring.n].view("<u4"), bits[24 * ring.n :].view("<u2") & 0x3FF
    error = (np.bitwise_count(wide).astype(np.int64) + np.bitwise_count(narrow) - 21).reshape(2, 3, ring.n)
    for g in range(2):
        for s in range(3):
            left = (c0[g, s] + a[g] * secrets[s] % modulus) % modulus
            inverse(left[None], ring_tables(ring))
            value = messages.reshape(2, 3, -1)[g, s].astype(object) * 2**SCALE + error[g, s]
            for p, q in enumerate(ring.primes):
                assert np.array_equal(left[p].astype(object), value % q)


def test_known_answers():
    """The layout of both streams is part of the file format: digests of what `slow_cell` and `slow_encryption` give."""
    ring = Ring.standard(4096, 3)
    a = uniform.expand_uniform(SEED, 2, ring)
    assert hashlib.sha256(a.tobytes()).hexdigest() == A_DIGEST
    s = np.stack([np.arange(ring.n, dtype=np.uint64) * np.uint64(7919) % np.uint64(q) for q in ring.primes])
    messages = np.arange(2 * ring.n, dtype=np.int64).reshape(2, ring.n) % 3
    c0 = encrypted_with(SEED, ERROR_KEY, s, messages, SCALE, ring)
    assert hashlib.sha256(c0.tobytes()).hexdigest() == C0_DIGEST


A_DIGEST = "6494bc22bd3c1956391d0bc2ea51036ad414cbb839d2d218e03024d58b85da96"
C0_DIGEST = "13da29cd7d3984ca24de3780cadcd582f777759f09e18b32cb1de78a50311703"


# Distributions


def test_error_is_centred_binomial(key, ring):
    count = 64
    c0 = encrypted_with(SEED, ERROR_KEY, key.residues, np.zeros((count, ring.n), np.int64), SCALE, ring)
    e = errors(c0, uniform.expand_uniform(SEED, count, ring), key).ravel()
    assert np.abs(e).max() <= 21
    expected = np.array([math.comb(42, i) for i in range(43)]) / 2.0**42 * e.size
    seen = np.bincount(e + 21, minlength=43)
    tails = expected < 10
    pooled = [np.append(x[~tails], x[tails].sum()) for x in (seen, expected)]
    assert ((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum() < chi2.isf(RANDOM, len(pooled[0]) - 1)
    # neighbours are independent: the sum of products has variance σ⁴ a term
    correlation = (e[1:] * e[:-1]).sum() / math.sqrt(e.size - 1) / 10.5
    assert abs(correlation) < 6


def test_a_is_uniform(ring):
    a = uniform.expand_uniform(SEED, 32, ring)
    for p, q in enumerate(ring.primes):
        values = a[p].ravel()
        assert values.max() < q
        bins = 256
        seen = np.bincount(
            (values.astype(np.uint64) * np.uint64(bins) // np.uint64(q)).astype(np.int64), minlength=bins
        )
        width = np.diff([-(-q * i // bins) for i in range(bins + 1)])
        expected = values.size * width / q
        assert ((seen - expected) ** 2 / expected).sum() < chi2.isf(RANDOM, bins - 1)


# What the rules are for


def error_guess(seed: bytes, ring: Ring) -> np.ndarray:
    """The NTT of the error that somebody who holds `seed` computes by using it as the error key, (k, n)."""
    bits = encryptor.keystream(seed, 0, 6 * ring.n)
    ones = lambda view: np.bitwise_count(view).astype(np.int64)
    e = ones(bits[: 4 * ring.n].view("<u4")) + ones(bits[4 * ring.n :].view("<u2") & 0x3FF) - 21
    return scaled_residues(e[None], 0, ring)[0]


def recovered_key(seed: bytes, c0: np.ndarray, ring: Ring) -> np.ndarray:
    """s = (e − c0)/a from an encryption of zero, (k, n)."""
    a = from_tiles(uniform.expand_uniform(seed, 1, ring), ring)[0]
    c0, e = from_tiles(c0, ring)[0], error_guess(seed, ring)
    out = np.empty_like(a)
    for p, q in enumerate(ring.primes):
        out[p] = [
            (int(x) - int(y)) * pow(int(z), -1, q) % q if z else 0 for x, y, z in zip(e[p], c0[p], a[p], strict=True)
        ]
    return out


def test_public_seed_does_not_determine_the_error(key, ring):
    """One key for both streams gives the secret key from one block of padding; two keys do not."""
    padding = np.zeros((1, ring.n), np.int64)
    broken = encrypted_with(SEED, SEED, key.residues, padding, SCALE, ring)
    assert (recovered_key(SEED, broken, ring) == key.residues).mean() > 0.999
    seed, c0 = encryptor.encrypt_block(key.residues, padding, SCALE, ring)
    assert (recovered_key(seed, c0, ring) == key.residues).mean() < 0.001


@pytest.mark.parametrize("variants", [1, 2])
def test_a_seed_used_twice_gives_the_difference(variants, key, ring):
    """Without the secret key: c0 − c0' is 2^scale·(m − m') + e − e' when `a` is the same, and noise when it is not. Packed or
    not: m is Σ_l 2^(Bl) m_l, and its digits are read."""
    bits = 16
    first, second = (some_messages(ring, c * variants, 2).reshape(c, variants, ring.n)[:1, None] for c in (2, 3))
    weights = [SCALE + bits * l for l in range(variants)]

    def difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        modulus = modulus_of(key)
        d = (from_tiles(x, ring) + modulus - from_tiles(y, ring)) % modulus
        inverse(d, ring_tables(ring))
        return rounded(d, SCALE, ring)[0]

    def of_digits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return sum((one - other)[0, 0, l] << (bits * l) for l in range(variants))

    reused = [
        encryptor._encrypt_with(SEED, k, key.residues[None], m, weights, ring)[:, :, :, 0]
        for k, m in ((ERROR_KEY, first), (OTHER_SEED, second))
    ]
    assert np.array_equal(difference(*reused), of_digits(first, second))
    ((seed, x),), ((other, y),) = (
        list(encryptor.encrypt_digits(key.residues[None], [m], (bits,) * variants, SCALE, ring))
        for m in (first, second)
    )
    assert seed != other
    assert (difference(x[:, :, :, 0], y[:, :, :, 0]) == of_digits(first, second)).mean() < 0.001
