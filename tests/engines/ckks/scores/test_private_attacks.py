"""A private model against its key holder: attacks on one reply work only with a protection off."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from ckks_tools import stored_halves

from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import OwnEncryptor
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.planner import PACKS
from securegen.engines.ckks.scores import key_holder, messages, modeller, private, promises
from securegen.engines.ckks.scores.blinding import (
    Blinding,
    ModelSize,
    choose_blinded,
    filling,
    flooding_for,
    largest_pack,
    reply_deviation,
    room_for,
    rounded_up,
    told_bits,
)
from securegen.engines.ckks.scores.private import (
    model_size,
    score_weights,
)
from securegen.engines.ckks.scores.server import encrypted_scores
from securegen.engines.ckks.scores.weights import ScoreReader, weight_polynomials
from securegen.errors import ArtefactError, PolicyError, StorageError
from securegen.kernels.ntt import forward, inverse
from securegen.rlwe import publickey
from securegen.rlwe.publickey import EncryptionKey, add_zeros, hide, noise_certain, noise_sd
from securegen.rlwe.residues import ring_tables, scaled_residues
from securegen.rlwe.ring import ERROR_SD, Ring
from securegen.scores.ledger import Asked, Ledger
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs


@dataclass(frozen=True)
class Exchange:
    """One person's genotypes under its key, and a model on them: everything but the reply."""

    key: object
    encryption_key: EncryptionKey
    cohort: object
    weights: object
    blinding: Blinding
    genotypes: np.ndarray
    score: int

    @property
    def p(self):
        return self.key.public.parameters

    def reply(self, parameters=None):
        """(c0 residues, c1 residues) as the model owner blinds them."""
        p = parameters or self.p
        (_, sums), *_ = list(encrypted_scores(self.cohort, self.weights))
        return modeller.blind(sums, 0, self.weights.constant, self.encryption_key, self.blinding, p)


@pytest.fixture(scope="module")
def exchange(additive, tmp_path_factory, known_seeds):
    folder = tmp_path_factory.mktemp("exchange")
    # weights below half a prime, so that the attacks read them modulo one
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,), weight_bits=24))
    one = open_scores(study.genotypes, study.inputs, opened=study.reader.select(np.array([2])))
    weights = score_weights(one.plan)
    size = model_size(one.plan, weights, one.inputs)
    p, blinding = choose_blinded(size, samples=1, rows=len(weights.dosage), columns=1, dosage_max=2)
    key = generate(p)
    reader = ScoreReader(one.reader.select(variants=one.plan.variant), np.empty(0, np.int64))
    with known_seeds():
        encrypt_cohort(reader, key, folder / "cohort", OwnerState(folder / "owner", key), encryptor=OwnEncryptor(key))
    score = int(plain_scores(one.reader, one.plan).score[0, 0])
    genotypes = reader.read(0, len(reader.variants)).dosage[:, 0].astype(np.int64)
    return Exchange(
        key, key.encryption_key(bytes(32)), open_cohort(folder / "cohort"), weights, blinding, genotypes, score
    )


def centred(row: np.ndarray, q: int) -> np.ndarray:
    row = row.astype(np.int64)
    return np.where(row > q // 2, row - q, row)


def recovered(row: np.ndarray, x: Exchange, q: int) -> np.ndarray:
    """Weights from the coefficients of w(X) modulo one prime: row j of the store is at X^(n−1−j)."""
    return centred(row, q)[::-1][: len(x.weights.dosage)]


def share_of_weights(found: np.ndarray, x: Exchange) -> float:
    """Share of the non-zero weights that were found exactly."""
    w = x.weights.dosage[:, 0]
    return float((found == w)[w != 0].mean())


def inverse_residues(a: np.ndarray, q: int) -> np.ndarray:
    return np.array([pow(int(v), -1, q) for v in a], np.uint64)


def in_coefficients(ntt_form: np.ndarray, x: Exchange) -> np.ndarray:
    out = np.ascontiguousarray(ntt_form[None].astype(np.uint64))
    inverse(out, ring_tables(x.p.ring))
    return out[0]


def test_the_score_comes_out(exchange):
    c0, c1 = exchange.reply()
    values, distance = key_holder.open_reply(c0, c1[:, None], exchange.key, exchange.blinding.scale)
    assert values.tolist() == [[exchange.score]] and distance.max() < 0.5


# 1. the encryption of zero


def attack_c1(x: Exchange) -> float:
    """c1 / a: the key holder knows the `a` it encrypted with."""
    _, c1 = x.reply()
    p = x.p
    _, a = stored_halves(x.cohort, 0, "g")
    q = p.ring.primes[0]
    quotient = c1[0, 0].astype(np.uint64) * inverse_residues(a[0].reshape(-1), q) % np.uint64(q)
    every = np.zeros((len(p.ring.primes), p.ring.n), np.uint64)
    every[0] = quotient
    return share_of_weights(recovered(in_coefficients(every, x)[0], x, q), x)


def test_without_the_encryption_of_zero_one_reply_gives_every_weight(exchange, monkeypatch, bare):
    assert attack_c1(exchange) < 0.01
    monkeypatch.setattr(modeller, "hide", bare)
    assert attack_c1(exchange) == 1


def attack_chosen_upload(x: Exchange, key: EncryptionKey) -> float:
    """An upload with c1 = 2^40 in place of a random a: c1 of the reply is 2^40·w(X) and what hides it."""
    p, shift = x.p, 40
    w = weight_polynomials(x.weights.dosage, p, 1 << shift)
    tiles = np.zeros((len(p.ring.primes), p.ring.tiles, 1, 1, 2, p.ring.lanes), np.uint32)
    tiles[:, :, 0, 0, 1] = w[0].reshape(len(p.ring.primes), p.ring.tiles, p.ring.lanes)
    _, c1 = modeller.blind(tiles, 0, x.weights.constant, key, x.blinding, p)
    rows = in_coefficients(c1[0], x)
    q0, q1, q2 = p.ring.primes[:3]
    q = q0 * q1 * q2
    found = []
    for r0, r1, r2 in zip(*(row.tolist() for row in rows[:3]), strict=True):
        v = sum(r * (q // m) * pow(q // m, -1, m) for r, m in ((r0, q0), (r1, q1), (r2, q2))) % q
        found.append((((v - q if v > q // 2 else v) + (1 << (shift - 1))) >> shift) & 0xFFFFFFFFFFFFFFF)
    signed = np.array([v - (1 << 60) if v >> 59 else v for v in found], np.int64)
    return share_of_weights(signed[::-1][: len(x.weights.dosage)], x)


def test_a_key_whose_a_the_client_chose_hides_nothing(exchange, monkeypatch, tmp_path):
    assert attack_chosen_upload(exchange, exchange.encryption_key) < 0.01
    key_holder.write_encryption_key(exchange.encryption_key, tmp_path / "k", exchange.key)
    with pytest.raises(ArtefactError, match="nonce of this invitation"):
        modeller.read_encryption_key(tmp_path / "k", exchange.key.public, b"n" * 32)
    monkeypatch.setattr(publickey, "expand_a", lambda nonce, ring: np.zeros((len(ring.primes), ring.n), np.uint64))
    assert attack_chosen_upload(exchange, exchange.key.encryption_key(bytes(32))) == 1


def attack_false_key(x: Exchange, pack: int) -> float:
    """b = 2F·Σ_d 3^d X^(d·pack) in an encryption key: the coefficients of a reply to `pack` people spell u, and u takes
    a·u from c1, of an upload with c1 = 2^30. Returns the share of weights found, or else minus the share of u."""
    ring, n, shift = x.p.ring, x.p.ring.n, 30
    q = np.array(ring.primes, np.uint64)[:, None]
    unit = 4 * (x.blinding.flooding + x.blinding.noise)
    digits = min(n // pack, int((math.log2(ring.modulus) - 1 - math.log2(unit)) / math.log2(3)))
    b = np.zeros((1, len(ring.primes), n), np.uint64)
    for d in range(digits):
        b[0, :, d * pack] = [unit * 3**d % prime for prime in ring.primes]
    forward(b, ring_tables(ring))
    key = EncryptionKey(ring, bytes(32), b[0])
    p = replace(x.p, pack=pack, samples=pack)
    w = weight_polynomials(x.weights.dosage, x.p, 1 << shift)
    tiles = np.zeros((len(ring.primes), ring.tiles, 1, 1, 2, ring.lanes), np.uint32)
    tiles[:, :, 0, 0, 1] = w[0].reshape(len(ring.primes), ring.tiles, ring.lanes)
    c0, c1 = modeller.blind(tiles, 0, np.zeros(1, np.int64), key, x.blinding, p)
    modulus = ring.modulus
    basis = [(modulus // prime) * pow(modulus // prime, -1, prime) for prime in ring.primes]
    u, known = np.zeros(n, np.int64), np.zeros(n, bool)
    for i in range(pack):
        v = sum(int(r) * m for r, m in zip(c0[:, i, 0], basis, strict=True)) % modulus
        v = ((v - modulus if v > modulus // 2 else v) + unit // 2) // unit
        for d in range(digits):  # coefficient n − pack + i of X^(d·pack)·u
            at = n - pack + i - d * pack
            u[at], known[at] = (v + 1) % 3 - 1, True
            v = (v - u[at]) // 3
    if not known.all():
        return -float(known.mean())
    u_ntt = np.stack([np.where(u < 0, u + prime, u) for prime in ring.primes])[None].astype(np.uint64)
    forward(u_ntt, ring_tables(ring))
    rest = in_coefficients((c1[0] + (q - u_ntt[0] * key.a % q)) % q, x)
    q0, q1 = ring.primes[:2]
    found = []
    for r0, r1 in zip(rest[0].tolist(), rest[1].tolist(), strict=True):
        v = r0 + q0 * ((r1 - r0) * pow(q0, -1, q1) % q1)
        v = v - q0 * q1 if v > q0 * q1 // 2 else v
        found.append((v + (1 << (shift - 1))) >> shift)
    rows = np.array([f if abs(f) < 1 << 40 else 0 for f in found])[::-1][: len(x.weights.dosage)]
    return share_of_weights(rows, x)


def test_a_false_key_reads_u_from_a_reply_to_many_people_but_not_at_the_largest_pack(exchange):
    limit = largest_pack(exchange.p.ring, exchange.blinding.flooding)
    allowed = max(pack for pack in PACKS if pack <= limit)
    assert attack_false_key(exchange, 512) == 1 and 512 > allowed >= 8
    assert -0.11 < attack_false_key(exchange, allowed) < 0


def test_invitations_for_other_variants_do_not_give_weights(exchange):
    """Exact bounds of all variants and of all but one differ by twice a weight; told ones are equal, or coarse."""
    w = np.abs(exchange.weights.dosage[:, 0])
    exact = [2 * int(w.sum() - v) for v in w]
    assert [2 * int(w.sum()) - b for b in exact] == (2 * w).tolist(), "the attack works on exact bounds"
    assert len({rounded_up(b) for b in exact}) <= 2
    assert len({rounded_up(math.sqrt((w.astype(float) ** 2).sum() - float(v) ** 2)) for v in w}) <= 2


# 2. the mask


def attack_all_coefficients(x: Exchange, parameters) -> float:
    """n coefficients of g(X)·w(X), divided by the known g(X)."""
    c0, c1 = x.reply(parameters)
    key = replace(x.key, public=replace(x.key.public, parameters=parameters))
    values, _ = key_holder.open_reply(c0, c1[:, None], key, x.blinding.scale)
    q, n = x.p.ring.primes[0], x.p.ring.n
    product = np.zeros((1, len(x.p.ring.primes), n), np.uint64)
    product[0, 0, n - len(values) :] = (values[:, 0] - x.weights.constant[0]) % q
    g = np.zeros((1, n), np.int64)
    g[0, : len(x.genotypes)] = x.genotypes
    forward(product, ring_tables(x.p.ring))
    g_ntt = scaled_residues(g, 0, x.p.ring)[0, 0]
    product[0, 0] = product[0, 0] * inverse_residues(g_ntt, q) % np.uint64(q)
    return share_of_weights(recovered(in_coefficients(product[0], x)[0], x, q), x)


def test_without_the_mask_one_reply_gives_every_weight(exchange):
    assert attack_all_coefficients(exchange, exchange.p) < 0.01
    n = exchange.p.ring.n
    assert attack_all_coefficients(exchange, replace(exchange.p, pack=n, samples=n)) == 1


def test_padding_is_not_sent(exchange):
    """Of a group of 8 with one person, one coefficient of c0 leaves."""
    c0, _ = exchange.reply(replace(exchange.p, pack=8))
    assert c0.shape[1] == 8 and c0[:, 0].any() and not c0[:, 1:].any()


# 3. flooding


def noise_of_a_reply(x: Exchange) -> int:
    """What is left of the score's coefficient when Δ times the score is taken away, an exact integer."""
    c0, c1 = x.reply()
    q = np.array(x.p.ring.primes, np.uint64)[:, None]
    rest = in_coefficients(c1[0].astype(np.uint64) * x.key.residues % q, x)[:, -1]
    modulus = x.p.ring.modulus
    v = sum(
        (int(a) + int(b)) * (modulus // m) * pow(modulus // m, -1, m)
        for a, b, m in zip(c0[:, 0, 0], rest, x.p.ring.primes, strict=True)
    )
    v = (v - (x.score << x.blinding.scale)) % modulus
    return v - modulus if v > modulus // 2 else v


def own_errors(x: Exchange) -> np.ndarray:
    """The key holder knows the error of every coefficient that it encrypted."""
    p = x.p
    q = np.array(p.ring.primes, np.uint64)[:, None]
    c0, c1 = (c.reshape(len(q), -1).astype(np.uint64) for c in stored_halves(x.cohort, 0, "g"))
    message = np.zeros((1, p.ring.n), np.int64)
    message[0, : len(x.genotypes)] = x.genotypes
    rest = (c0 + c1 * x.key.residues % q + q - scaled_residues(message, p.genotype_scale, p.ring)[0]) % q
    return centred(in_coefficients(rest, x)[0], p.ring.primes[0])


def test_without_flooding_the_noise_is_a_second_equation(exchange):
    """Σ_j w_j e_j to within the noise of the encryption of zero; with flooding it is buried 2^40 deep."""
    e = own_errors(exchange)
    assert np.abs(e).max() <= 21
    second = int((exchange.weights.dosage[:, 0] * e[: len(exchange.weights.dosage)]).sum())
    bare = replace(exchange, blinding=replace(exchange.blinding, flooding=0))
    certain = noise_certain(exchange.p.ring)
    deviation = ERROR_SD * exchange.weights.norm
    assert abs(noise_of_a_reply(bare) - second) <= certain < deviation / 4
    flooded = [abs(noise_of_a_reply(exchange)) for _ in range(4)]
    assert max(flooded) > 2**38 * deviation and max(flooded) <= exchange.blinding.flooding + exchange.blinding.noise


def test_flooding_covers_every_reply_of_the_models_life():
    """Σ over R replies of σ/2F is at most 2^-40."""
    for replies, deviation in ((1, 1e3), (6359, 3.24 * 2**26)):
        assert replies * deviation / (2 * flooding_for(deviation, replies)) <= 2.0**-40


# 4. the cap


def solve(genotypes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.rint(np.linalg.lstsq(genotypes.astype(float), scores.astype(float), rcond=None)[0]).astype(np.int64)


def size_of(x: Exchange) -> ModelSize:
    w = x.weights.dosage[:, 0]
    return ModelSize(x.weights.norm, x.weights.sum_bound, int((w != 0).sum()), int(np.abs(w).max()).bit_length(), 6)


def test_at_the_cap_the_weights_cannot_be_solved_for_and_beyond_it_they_can(exchange, tmp_path):
    w, size = exchange.weights.dosage[:, 0], size_of(exchange)
    cap, asked = size.cap(exchange.blinding.bits(exchange.p.ring)), 0
    ledger = Ledger(tmp_path / "ledger.json")
    with pytest.raises(PolicyError, match=f"the cap is {cap}"):
        while True:
            ledger.reserve(f"{asked:032x}", "client", [Asked("model", "", "S", 1, cap, None)])
            asked += 1
    assert asked == cap
    rng = np.random.default_rng(5)
    genotypes = rng.integers(0, 3, (len(w) + 20, len(w)))
    at_cap = solve(genotypes[:asked], genotypes[:asked] @ w)
    assert share_of_weights(at_cap, exchange) < 0.02 and np.corrcoef(at_cap, w)[0, 1] < 0.5
    assert share_of_weights(solve(genotypes, genotypes @ w), exchange) == 1


def read_by_choosing_errors(x: Exchange, blinding: Blinding) -> tuple[int, int]:
    """A client puts M·B^i into the errors of some variants: what a reply is off by spells those weights.

    Returns how many an answer could spell (digits of B between flooding and q), and how many came out right.
    """
    ring, w = x.p.ring, x.weights.dosage[:, 0]
    base = 2 * int(np.abs(w).max()) + 1
    unit = 4 * (blinding.flooding + blinding.noise)
    count = max(0, int((math.log2(ring.modulus) - 1 - math.log2(unit)) / math.log2(base)))
    offset = modeller.offsets(0, replace(blinding, blur=0), 1)[0]
    v = sum(unit * base**i * int(w[i]) for i in range(count)) + offset + blinding.noise
    v, right = (v + unit // 2) // unit, 0
    for i in range(count):
        digit = (v + base // 2) % base - base // 2
        right += digit == int(w[i])
        v = (v - digit) // base
    return count, right


def test_flooding_fills_what_a_score_does_not_need(exchange):
    """In a ring with room to spare, the least flooding leaves weights to read beside the score; the one chosen does not."""
    size, wide = size_of(exchange), Ring.standard(16384, 10)
    x = replace(
        exchange,
        key=replace(exchange.key, public=replace(exchange.key.public, parameters=replace(exchange.p, ring=wide))),
    )
    deviation = reply_deviation(wide, size.norm)
    noise, least = math.ceil(15 * deviation) + noise_certain(wide), flooding_for(deviation, 1000)
    room = room_for(wide, size)
    count, right = read_by_choosing_errors(x, Blinding(room, least, 0, noise))
    assert count == right >= 5, "with room left between flooding and q a reply gives many weights"
    full = filling(room, size, noise=noise, least=least)
    assert full.bits(wide) < size.released_bits + 3
    assert read_by_choosing_errors(x, full)[0] <= 1, "no more than the score's own bits"


def test_the_cap_says_less_than_a_tenth_of_the_model(exchange):
    size = size_of(exchange)
    for bits in (size.released_bits, exchange.blinding.bits(exchange.p.ring), 200.0):
        assert size.cap(bits) * bits <= size.nonzero * size.bits / 10
    assert size.cap(1.0) == size.most_answers, "an honest answer says that much whatever the parameters"
    assert exchange.blinding.bits(exchange.p.ring) < size.released_bits + 3


# the encryption of zero itself


def test_the_encryption_of_zero_has_the_stated_noise(exchange):
    zeros = np.zeros((3, 2, *exchange.encryption_key.b.shape), np.uint64)
    add_zeros(exchange.encryption_key, zeros)
    assert (zeros < np.array(exchange.p.ring.primes, np.uint64)[:, None]).all()
    q = np.array(exchange.p.ring.primes, np.uint64)[:, None]
    noise = np.ascontiguousarray((zeros[:, 0] + zeros[:, 1] * exchange.key.residues % q) % q)
    inverse(noise, ring_tables(exchange.p.ring))
    values = np.stack([centred(row, exchange.p.ring.primes[0]) for row in noise[:, 0]])
    assert np.abs(values).max() <= noise_certain(exchange.p.ring)
    assert 0.9 < values.std() / noise_sd(exchange.p.ring) < 1.1
    assert len({z.tobytes() for z in zeros[:, 1]}) == 3


@pytest.mark.parametrize("wanted", [1, 3])
def test_only_the_last_coefficients_of_the_first_half_are_made(exchange, wanted):
    """What `hide` sends opens like what it was given, but for the noise of an encryption of zero, fresh at every call."""
    ring = exchange.p.ring
    q = np.array(ring.primes, np.uint64)[:, None]
    rng = np.random.default_rng(2)
    given = np.stack([rng.integers(0, int(p), (2, 2, ring.n)) for p in ring.primes], axis=2).astype(np.uint64)
    want = np.ascontiguousarray((given[:, 0] + given[:, 1] * exchange.key.residues) % q)
    tiles = np.moveaxis(given.reshape(2, 2, len(q), ring.tiles, ring.lanes), (0, 1), (2, 3)).astype(np.uint32)
    (top, c1), other = (hide(exchange.encryption_key, tiles, wanted) for _ in range(2))
    assert top.shape == (2, len(q), wanted) and (top < q).all() and (c1 < q).all() and (c1 != other[1]).mean() > 0.99
    got = np.ascontiguousarray(c1.astype(np.uint64) * exchange.key.residues % q)
    for half in (want, got):
        inverse(half, ring_tables(ring))
    noise = (top + got[..., -wanted:] + q - want[..., -wanted:]) % q
    noise = np.stack([centred(noise[:, i], p) for i, p in enumerate(ring.primes)])
    assert (noise == noise[0]).all(), "one small integer, modulo every prime"
    assert 0 < np.abs(noise).max() <= noise_certain(ring)


def read_signs(size: ModelSize, weights: np.ndarray, answers: int) -> float:
    """Share of weights ±W that so many answers spell: a client uploads 2^i·unit for some variants, so that a reply is
    W·unit·Σ ±2^i beside what it adds."""
    p, blinding = choose_blinded(size, samples=1, rows=len(weights), columns=1, dosage_max=2)
    key = generate(p)
    encryption_key, ring = key.encryption_key(bytes(32)), p.ring
    largest = int(np.abs(weights).max())
    unit = -(-4 * (blinding.flooding + blinding.noise) // largest)
    digits = int(math.log2(ring.modulus // (2 * largest * unit)))
    found = np.zeros(len(weights), np.int64)
    for first in range(0, min(answers * digits, len(weights)), digits):
        part = weights[first : first + digits].tolist()
        score = sum(w * unit * 2**i for i, w in enumerate(part))
        x = np.zeros((1, len(ring.primes), ring.n), np.uint64)
        x[0, :, -1] = [score % prime for prime in ring.primes]  # what the product with an honest model holds there
        forward(x, ring_tables(ring))
        tiles = np.zeros((len(ring.primes), ring.tiles, 1, 1, 2, ring.lanes), np.uint32)
        tiles[:, :, 0, 0, 0] = x[0].reshape(len(ring.primes), ring.tiles, ring.lanes)
        c0, c1 = modeller.blind(tiles, 0, np.zeros(1, np.int64), encryption_key, blinding, p)
        rest = c1[0].astype(np.uint64) * key.residues % np.array(ring.primes, np.uint64)[:, None]
        rest = np.ascontiguousarray(rest[None])
        inverse(rest, ring_tables(ring))
        v = sum(
            (int(a) + int(b)) * (ring.modulus // m) * pow(ring.modulus // m, -1, m)
            for a, b, m in zip(c0[:, 0, 0], rest[0, :, -1], ring.primes, strict=True)
        )
        v = (v + ring.modulus // 2) % ring.modulus - ring.modulus // 2
        v = (v + largest * unit // 2) // (largest * unit)
        bits = (v + (1 << len(part)) - 1) >> 1
        found[first : first + len(part)] = [largest if bits >> i & 1 else -largest for i in range(len(part))]
    return float((found == weights).mean())


def test_weights_of_few_different_values_are_read_many_an_answer():
    """Weights of ±0.5 have one bit each, not the 29 of their scaled integers: one answer spells 35 of them."""
    rng = np.random.default_rng(4)
    weights = rng.choice([-1, 1], 400) << 28
    assert told_bits(weights, 29) == 1
    scaled = ModelSize(rounded_up(2.0**28 * 20), math.ceil(rounded_up(2**29 * 400)), 400, 29, 6)
    told = replace(scaled, bits=told_bits(weights, 29))
    allowed = min(scaled.cap(scaled.released_bits + 1), 400 // 20)  # by scaled integers, and by 20 weights an answer
    assert read_signs(scaled, weights, allowed) == 1
    assert told.cap(told.released_bits + 1) <= 1 and read_signs(told, weights, told.cap(told.released_bits)) < 0.6


@pytest.mark.parametrize("safe", [True, False])
def test_a_private_folder_that_the_client_made_first_gives_replies_without_flooding(
    safe, additive, tmp_path, monkeypatch
):
    """On a machine that both use: the invitation that the model's owner keeps lies in the client's hands."""
    if not safe:
        monkeypatch.setattr(promises, "private_folder", lambda folder: folder.mkdir(exist_ok=True))
    study = open_scores(Inputs(additive.bfile), inputs := ScoreInputs((additive.score,)))
    rules = promises.PrivacyRules(tmp_path / "ledger.json", "clinic")
    messages.write_request(messages.make_request(study.reader, inputs.imputation), tmp_path / "request")
    kept = tmp_path / "clients"
    for folder in (kept, tmp_path / "private"):
        folder.mkdir()
        folder.chmod(0o777)
    (tmp_path / "private" / "invitation").symlink_to(kept)
    ask = partial(private.invite, tmp_path / "request", inputs, rules, tmp_path / "invitation", tmp_path / "private")
    if safe:
        with pytest.raises(StorageError, match="others may write"):
            ask()
        assert not list(kept.iterdir())
        return
    ask()
    manifest = json.loads((kept / "manifest.json").read_text())
    manifest["body"]["blinding"]["flooding"] = "0"
    (kept / "manifest.json").write_text(json.dumps(manifest))
    private.encrypt_for(messages.read_invitation(tmp_path / "invitation"), study.reader, tmp_path / "s")
    used = []
    monkeypatch.setattr(modeller, "offsets", lambda constant, blinding, count: used.append(blinding) or [0] * count)
    private.reply(tmp_path / "s.cohort", tmp_path / "s.publickey", tmp_path / "private", inputs, rules, tmp_path / "r")
    assert {b.flooding for b in used} == {0}
