"""A vendor's key: scores are right; the hospital's attacks on the key and the model stop at the caps; the vendor's on
the hospital work only with a protection off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from securegen.ckks import prs_vendor
from securegen.ckks.encryption import OwnEncryptor, ring_tables, scaled_residues
from securegen.ckks.keys import generate
from securegen.ckks.prs_blinding import ModelSize
from securegen.ckks.prs_vendor import VendorParameters, batch_nonce, choose_vendor, round_reply
from securegen.ckks.prs_weights import ScoreReader
from securegen.ckks.publickey import publish
from securegen.ckks.uniform import expand_uniform
from securegen.errors import ProtocolError
from securegen.kernels.ntt import inverse
from securegen.private_scores import model_size, score_weights
from securegen.score_study import ScoreInputs, open_scores
from securegen.scores import plain_scores
from securegen.study import Inputs

NOTHING = np.zeros(1, np.int64)


@dataclass(frozen=True)
class Deal:
    """A vendor's key and encrypted model, a hospital's genotypes."""

    key: object
    encryption_key: object
    model: tuple
    vendor: VendorParameters
    weights: object
    reader: ScoreReader
    scores: np.ndarray

    def sums(self, people) -> np.ndarray:
        polynomials = prs_vendor.people_polynomials(self.reader, np.array(people), self.vendor.key.ring)
        return prs_vendor.multiply(self.model, polynomials, 1, self.vendor.key.ring)

    def blinded(self, people):
        return prs_vendor.blind(self.sums(people), self.encryption_key, self.vendor)


@pytest.fixture(scope="module")
def deal(additive):
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    weights = score_weights(study.plan)
    size = model_size(study.plan, weights, study.inputs)
    vendor = choose_vendor(size, samples=6, rows=len(weights.dosage), columns=1, dosage_max=2)
    key = generate(vendor.key)
    c = prs_vendor.encrypt_weights(weights, key, vendor, OwnEncryptor(key))
    model = (c.c0, expand_uniform(c.seed, c.c0.shape[2], vendor.key.ring))
    reader = ScoreReader(study.reader.select(variants=study.plan.variant), np.empty(0, np.int64))
    scores = plain_scores(study.reader, study.plan).score
    return Deal(key, publish(key, batch_nonce(bytes(32), 0)), model, vendor, weights, reader, scores)


def test_scores_come_out(deal):
    top, c1, masks = deal.blinded(range(6))
    y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
    assert np.array_equal(prs_vendor.unmask(y, masks, deal.vendor), deal.scores)


def test_a_wrap_around_the_modulus_changes_nothing(deal, monkeypatch):
    """The largest mask, with positive and negative scores: Δ(S + R) passes q, or zero, and y is the same modulo P."""
    for mask in (deal.vendor.modulus - 1, 0):
        monkeypatch.setattr(prs_vendor.secrets, "randbelow", lambda limit, mask=mask: min(mask, limit - 1))
        top, c1, masks = deal.blinded(range(6))
        y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
        assert np.array_equal(prs_vendor.unmask(y, masks, deal.vendor), deal.scores)
        assert (deal.scores > 0).any() and (deal.scores < 0).any()


# the vendor against the hospital


def coefficients(ntt_form: np.ndarray, deal: Deal) -> np.ndarray:
    out = np.ascontiguousarray(ntt_form[None].astype(np.uint64))
    inverse(out, ring_tables(deal.vendor.key.ring))
    return out[0]


def genotypes_from_c1(deal: Deal) -> float:
    """c1 / a, for a model of one block."""
    _, c1, _ = deal.blinded([0])
    ring = deal.vendor.key.ring
    a = deal.model[1][0, :, 0].reshape(-1)
    q = ring.primes[0]
    every = np.zeros((len(ring.primes), ring.n), np.uint64)
    every[0] = c1[0, 0].astype(np.uint64) * np.array([pow(int(v), -1, q) for v in a], np.uint64) % np.uint64(q)
    rows = len(deal.weights.dosage)
    found = coefficients(every, deal)[0][::-1][:rows].astype(np.int64)
    return float((found == deal.reader.read(0, rows).dosage[:, 0]).mean())


def test_without_the_encryption_of_zero_the_vendor_reads_the_genotypes(deal, monkeypatch, bare):
    assert genotypes_from_c1(deal) < 0.05
    monkeypatch.setattr(prs_vendor, "hide", bare)
    assert genotypes_from_c1(deal) == 1


def test_without_the_mask_the_vendor_reads_the_scores(deal, monkeypatch):
    top, c1, _ = deal.blinded(range(6))
    y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
    assert not (prs_vendor.unmask(y, np.zeros_like(y), deal.vendor) == deal.scores).any()
    monkeypatch.setattr(prs_vendor.secrets, "randbelow", lambda limit: 0)
    monkeypatch.setattr(prs_vendor, "uniform_integers", lambda limit, count: [0] * count)
    top, c1, _ = deal.blinded(range(6))
    y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
    assert np.array_equal(prs_vendor.unmask(y, np.zeros_like(y), deal.vendor), deal.scores)


# the hospital against the vendor's key and model


def ternary_key(deal: Deal) -> np.ndarray:
    row = coefficients(deal.key.residues, deal)[0].astype(np.int64)
    return np.where(row > 1, -1, row)


def ask(deal: Deal, c1: np.ndarray) -> np.ndarray:
    """y for crafted first-degree parts, (people, k, n) coefficients, with c0 = 0."""
    ring = deal.vendor.key.ring
    from securegen.kernels.ntt import forward

    c1 = np.ascontiguousarray(c1)
    forward(c1, ring_tables(ring))
    top = np.zeros((len(ring.primes), len(c1), 1), np.uint32)
    return round_reply(top, c1.astype(np.uint32), deal.key, deal.vendor, NOTHING)[:, 0]


def key_questions(deal: Deal, first: int, people: int) -> tuple[np.ndarray, int]:
    """Each asks for Δ·Σ_i 3^i s_(at + i): as many coefficients of the key as y has ternary digits."""
    ring, digits = deal.vendor.key.ring, int((deal.vendor.plain_bits - 2) / np.log2(3))
    c1 = np.zeros((people, len(ring.primes), ring.n), np.uint64)
    for x in range(people):
        for i in range(digits):
            at = (first + x) * digits + i
            if at < ring.n:
                for k, p in enumerate(ring.primes):
                    # coefficient n−1 of s(X)·X^(n−1−at) is s_at
                    c1[x, k, ring.n - 1 - at] = deal.vendor.delta * 3**i % p
    return c1, digits


def read_digits(deal: Deal, y: np.ndarray, digits: int) -> np.ndarray:
    half = deal.vendor.modulus // 2
    found = []
    for value in y.tolist():
        value = (value + half) % deal.vendor.modulus - half
        for _ in range(digits):
            digit = (value + 1) % 3 - 1
            found.append(digit)
            value = (value - digit) // 3
    return np.array(found)


def test_the_vendors_answers_spell_its_key_unless_a_key_serves_few_people(deal):
    n, batch = deal.vendor.key.ring.n, deal.vendor.batch
    s = ternary_key(deal)
    questions, digits = key_questions(deal, 0, batch)
    known = read_digits(deal, ask(deal, questions), digits)
    assert np.array_equal(known, s[: len(known)]), "the oracle works"
    assert len(known) <= n / 10, "a tenth of the key is all that one batch can ask for"
    with pytest.raises(ProtocolError, match=f"serves {batch}"):
        ask(deal, key_questions(deal, 0, batch + 1)[0])
    # without the limit, so many batches under one key give all of it
    everything = [known]
    for first in range(batch, -(-n // digits), batch):
        everything.append(read_digits(deal, ask(deal, key_questions(deal, first, batch)[0]), digits))
    assert np.array_equal(np.concatenate(everything)[:n], s)


def test_weights_can_be_asked_for_one_by_one_up_to_the_cap(deal):
    """Enc(w)·X^(n−1−j) answers w_j; the cap of the model's life leaves nine tenths of its bits unknown."""
    ring = deal.vendor.key.ring
    w = deal.weights.dosage[:, 0]
    size = ModelSize(deal.weights.norm, deal.weights.sum_bound, int((w != 0).sum()), 20, 6)
    shift = np.zeros((size.cap, ring.n), np.int64)
    for j in range(size.cap):
        shift[j, ring.n - 1 - j] = 1
    turned = scaled_residues(shift, 0, ring)
    c = [half[:, :, 0].reshape(len(ring.primes), -1).astype(np.uint64) for half in deal.model]
    q = np.array(ring.primes, np.uint64)[:, None]
    parts = [np.ascontiguousarray(half[None] * turned % q) for half in c]
    inverse(parts[0], ring_tables(ring))
    top = parts[0][:, :, -1].T[:, :, None].astype(np.uint32)
    answers = []
    for first in range(0, size.cap, deal.vendor.batch):  # a fresh key a batch would not change the answers
        at = slice(first, first + deal.vendor.batch)
        answers += round_reply(top[:, at], parts[1][at].astype(np.uint32), deal.key, deal.vendor, NOTHING)[
            :, 0
        ].tolist()
    half = deal.vendor.modulus // 2
    found = (np.array(answers) + half) % deal.vendor.modulus - half
    assert np.array_equal(found, w[: size.cap]), "the oracle works"
    assert size.cap * deal.vendor.plain_bits <= 1.2 * len(w) * 20 / 10


def test_run_local_tables_equal_those_of_the_private_model(securegen, additive):
    common = ("--engine", "ckks", "--bfile", additive.bfile, "--score", additive.score)
    for flag, out in (("--vendor-key", "a"), ("--private-model", "b")):
        done = securegen("run-local", "prs", flag, *common, "--out", out)
        assert done.exit_code == 0, done.exception
    assert Path("a.sscore").read_bytes() == Path("b.sscore").read_bytes()
    record = json.loads(Path("a.run.json").read_text())
    assert {"offer", "blinded", "rounded"} <= set(record["bytes"]) and record["planned_noise_margin_bits"] > 0
    assert set(record["seconds"]) == {"match", "keygen", "encrypt", "score", "decrypt", "total"}
