"""A vendor's key: scores are right; the hospital's attacks on the key and the model stop at the caps; the vendor's on
the hospital work only with a protection off."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.ckks import artefact
from securegen.engines.ckks.owner.encryption import OwnEncryptor
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.scores import messages, vendor_model
from securegen.engines.ckks.scores import vendor as vendor_side
from securegen.engines.ckks.scores.blinding import ModelSize, flooding_for
from securegen.engines.ckks.scores.encrypted_model import challenge
from securegen.engines.ckks.scores.key_holder import write_encryption_key
from securegen.engines.ckks.scores.modeller import uniform_integers
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.private import model_size, score_weights
from securegen.engines.ckks.scores.promises import PrivacyRules
from securegen.engines.ckks.scores.vendor import VendorParameters, batch_nonce, choose_vendor, round_reply
from securegen.engines.ckks.scores.weights import ScoreReader
from securegen.errors import ArtefactError, PlanError, PolicyError, ProtocolError
from securegen.kernels.ntt import forward, inverse
from securegen.rlwe.residues import ring_tables, scaled_residues, to_tiles
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform
from securegen.scores.release import release
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

pytestmark = pytest.mark.usefixtures("forked_roles")

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
        polynomials = vendor_side.people_polynomials(self.reader, np.array(people), self.vendor.key.ring)
        return vendor_side.multiply(self.model, polynomials, 1, self.vendor.key.ring)

    def blinded(self, people):
        return vendor_side.blind(self.sums(people), self.encryption_key, self.vendor)


@pytest.fixture(scope="module")
def deal(additive, known_seeds):
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    weights = score_weights(study.plan)
    size = model_size(study.plan, weights, study.inputs)
    vendor = choose_vendor(bound=size.sum_bound, samples=6, rows=len(weights.dosage), columns=1, dosage_max=2)
    key = generate(vendor.key)
    with known_seeds():
        c = vendor_side.encrypt_weights(weights, vendor, OwnEncryptor(key))
    model = (c.c0, expand_uniform(c.seed, c.c0.shape[2], vendor.key.ring))
    reader = ScoreReader(study.reader.select(variants=study.plan.variant), np.empty(0, np.int64))
    scores = plain_scores(study.reader, study.plan).score
    return Deal(key, key.encryption_key(batch_nonce(bytes(32), 0)), model, vendor, weights, reader, scores)


def test_scores_come_out(deal):
    top, c1, masks = deal.blinded(range(6))
    y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
    assert np.array_equal(vendor_side.unmask(y, masks, deal.vendor), deal.scores)


def test_a_wrap_around_the_modulus_changes_nothing(deal, monkeypatch):
    """The largest and smallest masks, and those beside where rounding turns, with positive and negative scores."""
    v = deal.vendor
    half, q = v.delta // 2, v.key.ring.modulus
    beside = [half + v.turn + 1, half - v.turn - 1]
    for mask in (q - 1, 0, v.delta - 1, *beside, *(v.delta * (v.modulus - 1) + b for b in beside), v.delta * v.modulus):
        monkeypatch.setattr(vendor_side.secrets, "randbelow", lambda limit, mask=mask: mask % limit)
        top, c1, masks = deal.blinded(range(6))
        y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
        assert np.array_equal(vendor_side.unmask(y, masks, deal.vendor), deal.scores), mask
    assert (deal.scores > 0).any() and (deal.scores < 0).any()


def test_masks_are_drawn_again_where_rounding_turns(deal, monkeypatch):
    """There a score would be wrong by one; it happens less than once in 2^40 runs."""
    v = deal.vendor
    draws = iter([v.delta // 2, v.delta // 2 + v.turn, 7 * v.delta + (v.delta - 2 * v.turn + 1) // 2, 5])
    monkeypatch.setattr(vendor_side.secrets, "randbelow", lambda limit: next(draws))
    assert vendor_side.draw_mask(v) == (5, 0)
    assert v.key.samples * v.columns * (2 * v.turn + 1) / v.delta <= 2.0**-40
    with pytest.raises(PlanError, match="do not fit"):
        replace(v, noise=v.delta >> 42)


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
    monkeypatch.setattr(vendor_side, "hide", bare)
    assert genotypes_from_c1(deal) == 1


def test_without_the_mask_the_vendor_reads_the_scores(deal, monkeypatch):
    top, c1, _ = deal.blinded(range(6))
    y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
    assert not (vendor_side.unmask(y, np.zeros_like(y), deal.vendor) == deal.scores).any()
    monkeypatch.setattr(vendor_side, "draw_mask", lambda vendor: (0, 0))
    top, c1, _ = deal.blinded(range(6))
    y = round_reply(top, c1, deal.key, deal.vendor, deal.weights.constant)
    assert np.array_equal(vendor_side.unmask(y, np.zeros_like(y), deal.vendor), deal.scores)


def genotypes_from_errors(deal: Deal) -> tuple[float, int]:
    """A vendor that adds M·3^i to the errors of its weights, above flooding and below Δ/4, and looks at v modulo Δ.

    Returns its correlation with the genotypes of all people, and how many genotypes it reads.
    """
    ring, people = deal.vendor.key.ring, range(6)
    unit = 1 << (2 * (masked_by_multiples(deal.vendor)[1] + deal.vendor.noise)).bit_length()
    count = int((math.log2(deal.vendor.delta // 4) - math.log2(unit)) / math.log2(3))
    extra = np.zeros((1, len(ring.primes), ring.n), np.uint64)
    for i in range(count):
        extra[0, :, i] = [unit * 3**i % q for q in ring.primes]
    forward(extra, ring_tables(ring))
    c0 = deal.model[0].copy()
    q = np.array(ring.primes, np.uint64)[:, None, None, None]
    c0[:, :, :1] = (c0[:, :, :1].astype(np.uint64) + to_tiles(extra, ring)) % q
    top, c1, masks = replace(deal, model=(c0, deal.model[1])).blinded(people)
    rest = np.ascontiguousarray(c1.astype(np.uint64) * deal.key.residues % np.array(ring.primes, np.uint64)[:, None])
    inverse(rest, ring_tables(ring))
    basis = [(ring.modulus // p) * pow(ring.modulus // p, -1, p) for p in ring.primes]
    g, found = deal.reader.read(0, count).dosage, np.zeros((count, 6))
    for x in people:
        v = (
            sum((int(a) + int(b)) * m for a, b, m in zip(top[:, x, 0], rest[x, :, -1], basis, strict=True))
            % ring.modulus
        )
        v -= deal.vendor.delta * ((2 * v + deal.vendor.delta) // (2 * deal.vendor.delta))
        v = (v + unit // 2) // unit
        for i in range(count):
            found[i, x], v = v % 3, v // 3
    return float(np.corrcoef(found.ravel(), g.ravel())[0, 1]), int((found == g).all(axis=1).sum())


def masked_by_multiples(vendor: VendorParameters) -> tuple[int, int]:
    """A mask as it was: Δ·R, and flooding that covers honest noise. Also that flooding."""
    flooding = flooding_for(3.24 * 2 * math.sqrt(2 * 400) + 400, 6)
    r = vendor_side.secrets.randbelow(vendor.modulus)
    return vendor.delta * r + uniform_integers(flooding, 1)[0], flooding


def test_the_vendor_reads_nothing_from_errors_of_its_own_choice(deal, monkeypatch):
    correlation, read = genotypes_from_errors(deal)
    # by chance, of 90 genotypes one in three is right: 0.7 is 7 standard deviations, and a row of six is right once in 729
    assert abs(correlation) < 0.7 and read < 6
    monkeypatch.setattr(
        vendor_side, "draw_mask", lambda v: ((m := masked_by_multiples(v)[0]), (2 * m + v.delta) // (2 * v.delta))
    )
    correlation, read = genotypes_from_errors(deal)
    assert correlation == pytest.approx(1) and read >= 10


# the hospital against the vendor's key and model


def ternary_key(deal: Deal) -> np.ndarray:
    row = coefficients(deal.key.residues, deal)[0].astype(np.int64)
    return np.where(row > 1, -1, row)


def ask(deal: Deal, c1: np.ndarray) -> np.ndarray:
    """y for crafted first-degree parts, (people, k, n) coefficients, with c0 = 0."""
    ring = deal.vendor.key.ring
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


def test_the_vendors_answers_spell_its_key_unless_a_key_serves_few(deal):
    n, answers = deal.vendor.key.ring.n, deal.vendor.answers
    assert answers * deal.vendor.plain_bits <= n / 10 < (answers + 1) * deal.vendor.plain_bits
    s = ternary_key(deal)
    questions, digits = key_questions(deal, 0, answers)
    known = read_digits(deal, ask(deal, questions), digits)
    assert np.array_equal(known, s[: len(known)]), "the oracle works"
    assert len(known) <= n / 10, "a tenth of the key is all that one batch can ask for"
    with pytest.raises(ProtocolError, match=f"serves {answers} of them"):
        ask(deal, key_questions(deal, 0, answers + 1)[0])
    # without the limit, so many batches under one key give all of it
    everything = [known]
    for first in range(answers, -(-n // digits), answers):
        everything.append(read_digits(deal, ask(deal, key_questions(deal, first, answers)[0]), digits))
    assert np.array_equal(np.concatenate(everything)[:n], s)


@pytest.mark.parametrize("columns", [1, 2, 3, 8, 22])
def test_a_key_serves_so_many_answers_whatever_the_scores(deal, monkeypatch, columns):
    """People × scores: a file with many scores asked people × scores questions of a key for so many people."""
    vendor = choose_vendor(bound=2**34, samples=60, rows=400, columns=columns, dosage_max=2)
    n, s = vendor.key.ring.n, ternary_key(deal)
    assert vendor.batch >= 1 and vendor.batch * columns * vendor.plain_bits <= n / 10
    assert vendor.key.ring == deal.vendor.key.ring
    wide = replace(deal, vendor=replace(vendor, key=deal.vendor.key))
    shape = (vendor.batch, columns)

    def spell(people: int) -> np.ndarray:
        questions, digits = key_questions(wide, 0, people * columns)
        c1 = np.ascontiguousarray(questions)
        forward(c1, ring_tables(vendor.key.ring))
        top = np.zeros((len(vendor.key.ring.primes), people, columns), np.uint32)
        y = round_reply(top, c1.astype(np.uint32), deal.key, wide.vendor, np.zeros(columns, np.int64))
        return read_digits(wide, y.reshape(-1), digits)

    known = spell(shape[0])
    assert np.array_equal(known, s[: len(known)]) and len(known) <= n / 10
    with pytest.raises(ProtocolError, match=f"{vendor.answers // columns + 1} × {columns} answers of one key"):
        spell(vendor.answers // columns + 1)
    monkeypatch.setattr(VendorParameters, "answers", property(lambda self: 10**9))  # people alone counted
    assert len(spell(26)) > n / 10 or columns == 1


def test_scores_that_no_key_may_answer_for_one_person_are_refused():
    with pytest.raises(PlanError, match="split the scoring file"):
        choose_vendor(bound=2**35, samples=1, rows=400, columns=60, dosage_max=2)


def test_weights_can_be_asked_for_one_by_one_up_to_the_cap(deal):
    """Enc(w)·X^(n−1−j) answers w_j; the cap of the model's life leaves nine tenths of its bits unknown."""
    ring = deal.vendor.key.ring
    w = deal.weights.dosage[:, 0]
    size = ModelSize(deal.weights.norm, deal.weights.sum_bound, int((w != 0).sum()), 26, 6)
    cap = size.cap(deal.vendor.bits(0))
    shift = np.zeros((cap, ring.n), np.int64)
    for j in range(cap):
        shift[j, ring.n - 1 - j] = 1
    turned = scaled_residues(shift, 0, ring)
    c = [half[:, :, 0].reshape(len(ring.primes), -1).astype(np.uint64) for half in deal.model]
    q = np.array(ring.primes, np.uint64)[:, None]
    parts = [np.ascontiguousarray(half[None] * turned % q) for half in c]
    inverse(parts[0], ring_tables(ring))
    top = parts[0][:, :, -1].T[:, :, None].astype(np.uint32)
    answers = []
    for first in range(0, cap, deal.vendor.answers):  # a fresh key a batch would not change the answers
        at = slice(first, first + deal.vendor.answers)
        answers += round_reply(top[:, at], parts[1][at].astype(np.uint32), deal.key, deal.vendor, NOTHING)[
            :, 0
        ].tolist()
    half = deal.vendor.modulus // 2
    found = (np.array(answers) + half) % deal.vendor.modulus - half
    assert np.array_equal(found, w[:cap]), "the oracle works"
    assert cap * deal.vendor.plain_bits <= len(w) * 26 / 10


def test_run_local_tables_equal_those_of_the_private_model(securegen, additive):
    common = ("--engine", "ckks", "--bfile", additive.bfile, "--score", additive.score)
    for flag, out in (("--vendor-key", "a"), ("--private-model", "b")):
        done = securegen("run-local", "prs", flag, *common, "--out", out)
        assert done.exit_code == 0, done.exception
    assert Path("a.sscore").read_bytes() == Path("b.sscore").read_bytes()
    record = json.loads(Path("a.run.json").read_text())
    assert {"offer", "blinded", "rounded"} <= set(record["bytes"]) and record["planned_noise_margin_bits"] > 0
    assert set(record["seconds"]) == {"match", "keygen", "encrypt", "score", "decrypt", "total"}
    assert securegen("report", "a").exit_code == 0


# whole exchanges


@dataclass(frozen=True)
class Exchange:
    """Folders of a run of a vendor's model on a hospital's genotypes."""

    folder: Path
    study: object
    rules: PrivacyRules

    def offer(self) -> None:
        f = self.folder
        messages.write_request(messages.make_request(self.study.reader, "cohort"), f / "request")
        challenge(f / "challenge")
        vendor_model.offer(
            f / "request",
            f / "challenge",
            self.study.inputs,
            self.rules,
            f / "offer",
            f / "kept",
            passphrase=b"correct horse",
        )

    def blind(self) -> None:
        f = self.folder
        vendor_model.blind_scores(f / "offer", f / "challenge", self.study.reader, f / "blinded", f / "masks")

    def answer(self, kept: str = "kept", to: str = "rounded") -> None:
        f = self.folder
        vendor_model.answer(f / "blinded", f / kept, self.study.inputs, self.rules, f / to, passphrase=b"correct horse")

    def unmask(self):
        f = self.folder
        return vendor_model.unmask_scores(f / "rounded", f / "offer", f / "masks", self.study.reader)


def exchange(cohort, tmp_path, columns: int, allow: tuple[str, ...] | None = None) -> Exchange:
    rng = np.random.default_rng(3)
    header, *rows = Path(cohort.score).read_text().splitlines()
    score = tmp_path / "many.tsv"
    names = [f"W{c}" for c in range(columns)]
    lines = ["\t".join(["ID", "effect_allele", "other_allele", *names])]
    lines += ["\t".join([*row.split("\t")[:3], *(f"{w:.5f}" for w in rng.normal(size=columns))]) for row in rows]
    score.write_text("\n".join(lines) + "\n")
    study = open_scores(Inputs(cohort.bfile), ScoreInputs((str(score),)))
    allow = tuple(names) if allow is None else allow
    rules = PrivacyRules(tmp_path / "ledger.json", "hospital", allow, 10**6 if allow else None)
    return Exchange(tmp_path, study, rules)


def test_many_scores_are_equal_to_the_plain_engines(additive, tmp_path):
    """22 scores: a key serves one person; 6 people are 6 keys, each used to its last answer but one."""
    x = exchange(additive, tmp_path, 22)
    x.offer()
    x.blind()
    x.answer()
    plain = release(plain_scores(x.study.reader, x.study.plan))
    assert np.array_equal(x.unmask().total, plain.total)
    content = json.loads(x.rules.ledger.read_text())["ledger"]
    assert [list(c.values()) for c in content["replies"].values()] == [[6 * 22]] * 22


def test_a_vendors_file_with_several_scores_counts_all_their_answers_for_each(additive, tmp_path):
    """The hospital multiplies: it may ask about one score in the place of all others. 400 weights: 20 answers."""
    few = exchange(additive, tmp_path, 3, ())
    few.offer()
    with pytest.raises(PolicyError, match="18 answers \\(people × scores\\) and the 18 given or promised"):
        (tmp_path / "again").mkdir()
        replace(few, folder=tmp_path / "again").offer()
    (tmp_path / "more").mkdir()
    with pytest.raises(PolicyError, match="fewer than 20 for each of 24 answers"):
        exchange(additive, tmp_path / "more", 4, ()).offer()


def test_an_offer_is_answered_once_also_from_a_copy(additive, tmp_path):
    x = exchange(additive, tmp_path, 2)
    x.offer()
    shutil.copytree(tmp_path / "kept", tmp_path / "copy")
    x.blind()
    x.answer()
    with pytest.raises(ArtefactError, match="outstanding"):
        x.answer("copy", "second")
    assert not (tmp_path / "second").exists() and not list((tmp_path / "kept").glob("*.secret"))


def test_an_answer_that_was_killed_while_it_forgot_its_keys_says_so(additive, tmp_path):
    x = exchange(additive, tmp_path, 2)
    x.offer()
    x.blind()
    (tmp_path / "kept" / "batch-0000.secret").unlink()
    with pytest.raises(ArtefactError, match="was used already"):
        x.answer()


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("bound", str(1 << 59), "no plan|keys|parameters"), ("bound", "-1", "bound"),
        ("bound", 10**9, "bound"), ("blur", str(1 << 59), "bounds"), ("blur", "x", "blur"), ("rows", 7, "rows"),
        ("batches", [], "batches"), ("names", ["A", "A"], "twice"), ("names", ["A\nB"], "names"), ("digits", 10**9, "digits"),
        ("exponent", [10**9, 0], "exponent"), ("imputation", "zzz", "imputation"), ("cap", -1, "cap"),
        ("vendor", {"flooding": "0"}, "unknown field"),
    ],
)  # fmt: skip
def test_an_offer_with_other_numbers_is_refused(additive, tmp_path, field, value, why):
    """Ring, Δ, noise and masks are the hospital's own: nothing in an offer sets them."""
    x = exchange(additive, tmp_path, 2)
    x.offer()
    body = artefact.read_manifest(tmp_path / "offer", "score offer", None) | {field: value}
    (tmp_path / "offer" / "manifest.json").write_text(json.dumps({"body": body, "signature": ""}))
    with pytest.raises(ArtefactError, match=why):
        x.blind()
    assert not (tmp_path / "blinded").exists() and (tmp_path / "challenge").exists()


def test_keys_with_other_parameters_and_residues_beyond_their_prime_are_refused(additive, tmp_path):
    x = exchange(additive, tmp_path, 1)
    x.offer()
    shutil.rmtree(tmp_path / "offer" / "batch-0000.publickey")
    ring = Ring.standard(8192, 5)
    key = generate(store_parameters(ring, 1, 16, dosage_max=2, samples=6))
    write_encryption_key(key.encryption_key(bytes(32)), tmp_path / "offer" / "batch-0000.publickey", key)
    with pytest.raises(ArtefactError, match="has parameters that no plan"):
        x.blind()
    (tmp_path / "two").mkdir()
    x = exchange(additive, tmp_path / "two", 1)
    x.offer()
    offer = tmp_path / "two" / "offer"
    body = artefact.read_manifest(offer, "score offer", None)
    name = body["batches"][0][0]["name"]
    tiles = np.load(offer / name)
    tiles[0, 0, 0, 0] = 2**32 - 1
    entry = vars(artefact.write_entry(offer, name, tiles)) | {"seed": body["batches"][0][0]["seed"]}
    body["batches"][0][0] = entry
    (offer / "manifest.json").write_text(json.dumps({"body": body, "signature": ""}))
    with pytest.raises(ArtefactError, match="not below their prime"):
        x.blind()
    assert (tmp_path / "two" / "challenge").exists()


def test_parameters_do_not_hold_at_one_answer_more(deal):
    """The condition on masks at its limit: the plan with the most people that fit, and with twice as many."""
    v = deal.vendor
    most = (v.delta >> 40) // (2 * v.turn + 1)
    assert VendorParameters(replace(v.key, samples=1), v.modulus, most, v.noise).columns == most
    with pytest.raises(PlanError, match="do not fit"):
        VendorParameters(replace(v.key, samples=1), v.modulus, most + 1, v.noise)


def test_an_answer_says_no_more_than_its_bits():
    for bound, blur in ((2**35, 0), (2**35 + 100, 100)):
        vendor = choose_vendor(bound=bound, samples=1, rows=1, columns=1, dosage_max=2)
        assert 2 * bound < vendor.modulus < 2 * bound + 2**13 and vendor.modulus <= 1 << vendor.plain_bits
        assert vendor.bits(blur) == pytest.approx(math.log2(vendor.modulus / (2 * blur + 1)))


def test_masks_are_taken_off_for_the_people_that_were_blinded(additive, tmp_path, monkeypatch):
    x = exchange(additive, tmp_path, 1, ())
    x.offer()
    x.blind()
    x.answer()
    turned = x.study.reader.select(samples=np.arange(len(x.study.reader.samples))[::-1])
    other = replace(x, study=replace(x.study, reader=turned))
    with pytest.raises(ArtefactError, match="holds other people than these"):
        other.unmask()
    kept = json.loads((tmp_path / "masks" / "people.json").read_text())["sha256"]
    monkeypatch.setattr(vendor_model, "_people", lambda reader: kept)
    assert np.array_equal(other.unmask().total, x.unmask().total), "each under another's name"
