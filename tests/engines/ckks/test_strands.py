"""Strands: their keys, what the hybrid argument rests on, and what breaks without it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from securegen.engines.ckks.ciphertexts import shares_public_half
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.encryption import ENCRYPTORS, OwnEncryptor, SealEncryptor, strand_keys
from securegen.engines.ckks.owner.strands import strand_secrets
from securegen.engines.ckks.planner import Workload, choose
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import inverse
from securegen.rlwe import encryptor, uniform
from securegen.rlwe.residues import from_tiles, ring_tables

SCALE, COUNT = 31, 8
SIGMAS = 7.5  # for a few hundred normal statistics: all within, but for one run in 10^11


@pytest.fixture(scope="module")
def key() -> secret_key.SecretKey:
    return secret_key.generate(choose(Workload(100, 1000, 2, 12)).parameters)


@pytest.fixture(scope="module")
def ring(key):
    return key.public.parameters.ring


def coefficients(residues: np.ndarray, ring) -> np.ndarray:
    """(…, k, n) residues in NTT form -> (…, k, n) int64 in (−q/2, q/2]."""
    flat = residues.reshape(-1, *residues.shape[-2:]).copy()
    inverse(flat, ring_tables(ring))
    q = np.array(ring.primes, np.int64)[:, None]
    out = flat.astype(np.int64)
    return np.where(out > q // 2, out - q, out).reshape(residues.shape)


def rounded(residues: np.ndarray, ring) -> np.ndarray:
    """(C, k, n) residues in NTT form -> (C, n) integers at SCALE."""
    flat = residues.copy()
    inverse(flat, ring_tables(ring))
    flat = np.ascontiguousarray(flat.transpose(1, 0, 2)).reshape(len(ring.primes), -1)
    return round_residues(flat, ring.primes, SCALE)[0].reshape(len(residues), ring.n)


def test_strand_zero_is_the_key(key):
    for count in (1, 5):
        np.testing.assert_array_equal(strand_secrets(key, range(count))[0], key.residues)


def test_more_strands_do_not_change_the_first(key):
    np.testing.assert_array_equal(strand_secrets(key, range(3)), strand_secrets(key, range(COUNT))[:3])


def test_strands_are_ternary_balanced_and_independent(key, ring):
    """Each digit's count is binomial(n, 1/3); the product of two strands' digits has mean 0 and variance 4/9 a term."""
    small = coefficients(strand_secrets(key, range(COUNT)), ring)
    assert (small == small[:, :1]).all() and set(np.unique(small)) == {-1, 0, 1}
    digits, n = small[1:, 0], ring.n
    for value in (-1, 0, 1):
        counts = (digits == value).sum(1)
        assert (np.abs(counts - n / 3) <= SIGMAS * math.sqrt(n * 2 / 9)).all()
    for i in range(COUNT):
        for j in range(i):
            for shift in (0, 1, n // 2):
                product = small[i, 0] * np.roll(small[j, 0], shift)
                assert abs(product.sum()) <= SIGMAS * math.sqrt(n * 4 / 9)
    neighbours = (digits[:, 1:] * digits[:, :-1]).sum(1)
    assert (np.abs(neighbours) <= SIGMAS * math.sqrt(n * 4 / 9)).all()


def test_the_key_file_determines_the_strands(key, tmp_path):
    before = strand_secrets(key, range(COUNT))
    secret_key.write_secret(tmp_path / "k.secret", key, passphrase=b"correct horse battery")
    again = secret_key.read_secret(tmp_path / "k.secret", passphrase=b"correct horse battery")
    np.testing.assert_array_equal(strand_secrets(again, range(COUNT)), before)
    other = secret_key.generate(key.public.parameters)
    mixed = dataclasses.replace(key, master=other.master)  # strands come from the master key, and strand 0 does not
    for stranger in (strand_secrets(other, range(COUNT)), strand_secrets(mixed, range(COUNT))):
        digits = coefficients(stranger[1:], key.public.parameters.ring)[:, 0]
        assert (
            (coefficients(before[1:], key.public.parameters.ring)[:, 0] == digits).mean(1) < 0.4
        ).all()  # 1/3 by chance
    np.testing.assert_array_equal(strand_secrets(mixed, range(1)), before[:1])


def encrypted(secrets: np.ndarray, messages: np.ndarray, ring) -> tuple[bytes, np.ndarray]:
    """Seed and (G, S, k, n) residues."""
    seed, c0 = encryptor.encrypt_strands(secrets, messages, SCALE, ring)
    return seed, from_tiles(c0, ring)


def some_messages(ring, groups: int, strands: int) -> np.ndarray:
    return np.random.default_rng(strands).integers(-2, 3, (groups, strands, ring.n))


def test_equal_secrets_would_give_the_difference_of_messages(key, ring):
    """Strands under one key: c0 − c0' is 2^scale·(m − m') but for the errors, without any secret. Under keys of their
    own the same subtraction gives noise, and so it does for every pair of strands."""
    messages = some_messages(ring, 1, 4)
    modulus = np.array(ring.primes, np.uint64)[:, None]

    def share_of_differences(secrets: np.ndarray) -> list[float]:
        _, c0 = encrypted(secrets, messages, ring)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        stolen = rounded(np.stack([(c0[0, i] + modulus - c0[0, j]) % modulus for i, j in pairs]), ring)
        return [
            float((row == messages[0, i] - messages[0, j]).mean()) for row, (i, j) in zip(stolen, pairs, strict=True)
        ]

    assert min(share_of_differences(np.repeat(key.residues[None], 4, axis=0))) == 1
    assert max(share_of_differences(strand_secrets(key, range(4)))) < 0.001


def test_a_strand_opens_with_its_own_key_and_no_other(key, ring):
    """Whoever learns one strand's key reads that strand alone."""
    messages, secrets = some_messages(ring, 2, 3), strand_secrets(key, range(3))
    seed, c0 = encrypted(secrets, messages, ring)
    a = from_tiles(uniform.expand_uniform(seed, 2, ring), ring)
    modulus = np.array(ring.primes, np.uint64)[:, None]
    for strand in range(3):
        for s, secret in enumerate(secrets):
            opened = rounded((c0[:, strand] + a * secret % modulus) % modulus, ring)
            right = (opened == messages[:, strand]).mean()
            assert right == 1 if s == strand else right < 0.001


def test_every_strand_has_an_error_of_its_own(key, ring):
    """Errors of strands that share `a` are independent: the sum of products has variance 10.5² a term."""
    zeros, secrets = np.zeros((1, COUNT, ring.n), np.int64), strand_secrets(key, range(COUNT))
    seed, c0 = encrypted(secrets, zeros, ring)
    a = from_tiles(uniform.expand_uniform(seed, 1, ring), ring)
    modulus = np.array(ring.primes, np.uint64)[:, None]
    e = coefficients((c0[0] + a * secrets % modulus) % modulus, ring)
    assert (e == e[:, :1]).all() and np.abs(e).max() <= encryptor.CENTRE
    assert abs(np.square(e[:, 0]).mean() - 10.5) <= SIGMAS * 10.5 * math.sqrt(2 / e[:, 0].size)
    products = np.tril((e[:, 0] @ e[:, 0].T), -1)
    assert np.abs(products).max() <= SIGMAS * 10.5 * math.sqrt(ring.n)


def test_the_seed_does_not_determine_the_error(key, ring):
    """The error that the public seed's own stream would give is not that of any strand."""
    zeros, secrets = np.zeros((1, 3, ring.n), np.int64), strand_secrets(key, range(3))
    guess = lambda seed: encryptor._encrypt_with(seed, seed, secrets, zeros[:, :, None], [SCALE], ring)  # noqa: E731
    seed, c0 = encryptor.encrypt_strands(secrets, zeros, SCALE, ring)
    assert (guess(seed) == c0).mean() < 0.001
    broken = encryptor._encrypt_with(seed, seed, secrets, zeros[:, :, None], [SCALE], ring)
    assert np.array_equal(guess(seed), broken)  # with one key for both, whoever has s can; and e − c0 = a·s gives s


def test_own_strands_share_a_seed_and_seals_share_nothing(key, ring):
    messages = some_messages(ring, 2, 3)
    own, other = OwnEncryptor(key).strands(messages, SCALE), SealEncryptor(key).strands(messages, SCALE)
    assert own.c1 is None and len(own.seed) == 16 and other.seed is None
    assert own.c0.shape == other.c0.shape == other.c1.shape == (len(ring.primes), ring.tiles, 2, 3, ring.lanes)
    halves = from_tiles(other.c1, ring).reshape(6, -1)
    for i in range(6):
        for j in range(i):
            assert (halves[i] == halves[j]).mean() < 0.001
    assert shares_public_half("own") and not shares_public_half("seal")


@pytest.mark.parametrize("name", ENCRYPTORS)
def test_strand_keys_open_what_the_encryptor_made(name, key, ring):
    """In any order of calls: few strands first, then more, then few; more ciphertexts than a piece of `encryptor`."""
    make = ENCRYPTORS[name](key)
    modulus = np.array(ring.primes, np.uint64)[:, None]
    for count in (2, 5, 1):
        messages = some_messages(ring, 7, count)
        made = make.strands(messages, SCALE)
        c1 = made.c1 if made.c1 is not None else uniform.expand_uniform(made.seed, 7, ring)[:, :, :, None]
        opened = (from_tiles(made.c0, ring) + from_tiles(c1, ring) * strand_keys(name, key, count) % modulus) % modulus
        np.testing.assert_array_equal(
            rounded(opened.reshape(-1, *opened.shape[2:]), ring).reshape(messages.shape), messages
        )
