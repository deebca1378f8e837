"""Several variants in a coefficient, columns in digits: every integer is right at the bounds, and checks are of digits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ckks_tools import Victim, add, crafted, one_at, rewrite_manifest
from hypothesis import given
from hypothesis import strategies as st
from support import MemoryReader, coefficients
from test_exact_sums import assert_equal_to_plain

from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import artefact, codec, cohort, studydesign
from securegen.engines.ckks.column_digits import digits_needed, digits_of
from securegen.engines.ckks.owner import decrypt, encryption, secret_key, verify
from securegen.engines.ckks.owner.design_secrets import read_secrets
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.owner.strands import strand_secrets
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import LANES, Workload, fit
from securegen.engines.ckks.scores.parameters import check_exact
from securegen.engines.ckks.server import associate
from securegen.engines.ckks.workload import largest_size
from securegen.errors import PlanError, VerificationError
from securegen.kernels import fold
from securegen.model import Columns
from securegen.rlwe.ring import Ring

SAMPLES = 40


def planned(
    n: int, primes: int, pack: int, columns: int, *, bits: int = 16, grid: int = 1, squares=False
) -> Parameters:
    """As many variants per coefficient as this ring holds, columns in so many digits."""
    w = Workload(SAMPLES, 10_000, 4, bits, dosage_max=2 * grid, squares=squares)
    digits = next(d for d in w.digits(columns) if d.fine == columns and d.coarse == columns)
    found = fit(dataclasses.replace(Ring.standard(n, primes), lanes=LANES), pack, digits, w)
    assert found is not None and found.digits > 1
    return dataclasses.replace(found, strands=2)


SMALL = planned(4096, 3, 64, 3)
KEYS = {
    "two digits a column": secret_key.generate(planned(8192, 4, 128, 2)),
    "whole columns": secret_key.generate(planned(8192, 5, 128, 1)),
    "three digits, squares": secret_key.generate(planned(8192, 6, 128, 3, grid=4, squares=True)),
}
LARGE = planned(16384, 14, 256, 2)


@pytest.mark.parametrize("encryptor", sorted(ENCRYPTORS))
@pytest.mark.parametrize("name", KEYS)
def test_encrypted_sums_equal_plain_sums(name, encryptor):
    key = KEYS[name]
    p, rng, squares = key.public.parameters, np.random.default_rng(3), "squares" in name
    grid = 4 if squares else 1
    dosage = rng.integers(-1, 2 * grid + 1, (p.block_variants + p.places + 3, SAMPLES)).astype(np.int8)
    dosage[p.block_variants :][dosage[p.block_variants :] < 0] = 0  # the last block has one stream less
    values = rng.integers(-12_000, 12_000, (SAMPLES, 4))
    values[:, 1], values[:, 3] = 1, values[:, 3] > 0
    columns = Columns(tuple("abcd"), values, (True, True, False, False))
    assert_equal_to_plain(MemoryReader(dosage, grid), columns, key, squares=squares, encryptor=encryptor)


def test_columns_of_fewer_bits_have_fewer_digits_and_no_call_is_stored(tmp_path):
    """Covariates beside a finer phenotype and an indicator; the server stores no stream of missing calls, the owner sums them."""
    w = Workload(SAMPLES, 10_000, 3, 20, coarse_bits=16, fine=1)
    digits = next(d for d in w.digits(4) if (d.fine, d.coarse) == (4, 3))
    p = fit(dataclasses.replace(Ring.standard(8192, 4), lanes=LANES), 128, digits, w)
    key, rng = secret_key.generate(dataclasses.replace(p, strands=2)), np.random.default_rng(3)
    p = key.public.parameters
    assert p.packed and [digits_needed(math.sqrt(SAMPLES) * largest_size(b), p) for b in (2, 16, 20)] == [1, 3, 4]
    values = np.stack([rng.normal(0, 2.0**b / 6, SAMPLES) for b in (16, 20, 16)], axis=1).astype(np.int64)
    values = np.column_stack([np.arange(SAMPLES) % 3 > 0, values, np.ones(SAMPLES)]).astype(np.int64)
    dosage = rng.integers(-1, 3, (p.block_variants + 5, SAMPLES)).astype(np.int8)
    dosage[p.block_variants :] = abs(dosage[p.block_variants :])  # nothing is missing in the second block
    dosage[7] = -1
    columns = Columns(tuple("abcde"), values, (True, False, False, False, True))
    assert_equal_to_plain(MemoryReader(dosage), columns, key)

    state, encryptor = OwnerState(tmp_path / "owner", key), ENCRYPTORS["own"](key)
    info = encrypt_cohort(MemoryReader(dosage), key, tmp_path / "cohort", state, encryptor=encryptor)
    assert {f.name[0] for f in (tmp_path / "cohort").glob("*.npy")} == {"g"} and info.missing_blocks == ()
    design = Design(columns, ())
    secrets = encrypt_design(
        alone(design, len(dosage)),
        key,
        info,
        state,
        tmp_path / "design",
        encryptor=encryptor,
        reader=MemoryReader(dosage),
        keep=str,
    )
    assert secrets.digits == ((1, 3, 4, 3, 1),) and len(secrets.sum_abs) == 12 and secrets.columns.dtype == np.int8
    assert set(read_secrets(state).columns.ravel()) == set(secrets.columns.ravel())


@pytest.mark.parametrize("name", KEYS)
def test_sums_at_the_bounds(name):
    """Every dosage at its maximum or at 0 in neighbouring digits, every digit of a column at its end or its norm."""
    key = KEYS[name]
    p, grid = key.public.parameters, 4 if "squares" in name else 1
    top = int(p.norm / math.sqrt(SAMPLES))
    ends = [-(1 << p.column_bits - 1), (1 << p.column_bits - 1) - 1] if p.column_digits > 1 else [-top, top]
    lower = range(p.column_digits - 1)
    columns = [sum(end << (p.column_bits * d) for d in lower) + (sign * top << (p.column_bits * (p.column_digits - 1)))
               for end in ends for sign in (-1, 1)]  # fmt: skip
    columns = [c if p.column_digits > 1 else math.copysign(top, c) for c in columns]
    values = np.repeat(np.array([columns], np.int64), SAMPLES, 0)
    alone_ = np.zeros((SAMPLES, 1), np.int64)
    alone_[3] = int(p.norm) << (p.column_bits * (p.column_digits - 1))  # all of the norm on one person
    values = np.concatenate([values, alone_], axis=1)
    dosage = np.zeros((p.strand_variants, SAMPLES), np.int8)
    full = np.arange(p.digits)[:, None] % 2 == np.arange(p.places) % 2
    full[:, : p.places // 2] = True  # all digits at their end together, too
    dosage[full.reshape(-1)] = 2 * grid
    assert_equal_to_plain(MemoryReader(dosage, grid), Columns(tuple("abcde"), values, (False,) * 5), key)


def opened(p: Parameters, dosage: np.ndarray, values: np.ndarray, folder) -> np.ndarray:
    """(S, J, places) Python integers: what the key gives, before it is rounded."""
    key = secret_key.generate(p)
    state, encryptor = OwnerState(folder / "owner", key), ENCRYPTORS["own"](key)
    info = encrypt_cohort(MemoryReader(dosage), key, folder / "cohort", state, encryptor=encryptor)
    names = tuple(str(j) for j in range(values.shape[1]))
    design = Design(Columns(names, values, (False,) * len(names)), ())
    encrypt_design(
        alone(design, len(info.variants)), key, info, state, folder / "design", encryptor=encryptor, keep=str
    )
    served = cohort.open_cohort(folder / "cohort")
    associate.associate(served, studydesign.open_design(folder / "design", served.public), folder / "results")
    layout = decrypt.results_layout(key, info, read_secrets(state), 0)[1]
    words = layout.split(np.load(folder / "results" / "block-000000.npy"))
    parts = [words["g", name] for name in ("sums", "right", "left", "both")]
    keys = [np.ascontiguousarray(encryption.strand_keys("own", key, c)) for c in (p.strands, parts[0].shape[2])]
    found, q = fold.open_products(*parts, *keys, p.pack, p.ring.primes), p.ring.modulus
    factors = np.array([q // r * pow(q // r, -1, r) for r in p.ring.primes], object)
    messages = (found.astype(object) * factors[:, None]).sum(2) % q  # by the textbook Chinese remainder
    return np.where(messages > q // 2, messages - q, messages)


@pytest.mark.parametrize("p", [SMALL, LARGE], ids=["n = 4096", "n = 16384"])
def test_measured_noise_stays_within_the_bound_at_the_largest_messages(p, tmp_path):
    """Every message is the whole geometric sum, every digit at its norm: noise as docs/explanation/noise.md has it."""
    top = min(int(p.norm / math.sqrt(SAMPLES)), (1 << p.column_bits - 1) - 1)
    lowest = np.full((SAMPLES, 6), top, np.int64)
    lowest[:, ::3] *= -1
    values = lowest + (top << (p.column_bits * (p.column_digits - 1)))  # so large that it has all digits
    messages = opened(p, np.full((p.block_variants, SAMPLES), 2, np.int8), values, tmp_path)
    assert messages.shape[1] == 6 * p.column_digits
    messages = messages[:, :: p.column_digits]
    noise = []
    for j, total in enumerate((2 * lowest.sum(0)).tolist()):
        expected = sum(total << (p.digit_bits * l) for l in range(p.digits))
        error = messages[:, j].ravel() - (expected << p.result_scale)
        assert max(abs(e) for e in error) * 2 < 1 << p.result_scale
        noise.append(np.array([float(e * 2.0**-40) for e in error]) / 2.0 ** (p.result_scale - 40))
    sd = p.noise_bound / 15
    measured = float(np.sqrt(np.mean(np.square(noise))))
    print(f"{p.digits} a coefficient: measured / planned standard deviation {measured / sd:.2f}")
    assert np.abs(noise).max() <= 7 * sd and 0.05 * sd < measured < 2 * sd


def test_the_bound_counts_the_whole_sum():
    """Digits of 2^B are more than their top one, and sums that reach half of a digit are refused."""
    p = SMALL
    assert p.largest_message == p.dosage_max * sum(2 ** (p.digit_bits * l) for l in range(p.digits))
    assert 2 * p.sum_bound + 1 < 2**p.digit_bits
    with pytest.raises(PlanError, match="do not fit digits of"):
        dataclasses.replace(p, digit_bits=p.digit_bits - 1)
    with pytest.raises(PlanError, match="noise of 15 standard deviations|sums need"):
        dataclasses.replace(p, digits=p.digits + 1)
    for wrong in ({"digits": 1}, {"digit_bits": 0}, {"column_digits": 1}, {"column_bits": 0}, {"digits": 17}):
        with pytest.raises(PlanError, match="expected 1 to"):
            dataclasses.replace(p, **wrong)
    assert Parameters.from_json(p.to_json()) == p


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1), st.integers(1, 4), st.integers(2, 20))
def test_digits_are_the_column(values, count, bits):
    made = digits_of(np.array(values), count, bits)
    assert sum(d.astype(object) << (bits * i) for i, d in enumerate(made)).tolist() == values
    for d in made[:-1]:
        assert d.min() >= -(1 << bits - 1) and d.max() < 1 << bits - 1


def test_variants_lie_where_they_are_read():
    p = LARGE
    stored = np.arange(p.block_variants * 3).reshape(-1, 3).astype(np.int32)
    messages = codec.genotype_messages(stored, 0, 1, p)
    assert messages.shape == (1, p.strands, p.digits, p.ring.n)
    first = messages[0, :, :, :: p.pack].transpose(0, 2, 1).reshape(-1, p.digits)
    np.testing.assert_array_equal(codec.in_file_order(first, p), stored[:, 0])


def of_packed_integers(original, p: Parameters):
    """Secrets of a check of whole coefficients: r of digit l is 2^(Bl) times r of digit 0."""

    def block_secrets(*arguments):
        r = original(*arguments)
        lowest = r[: p.places].astype(object)
        return np.concatenate([(lowest << (p.digit_bits * l)) % verify.MODULUS for l in range(p.digits)]).astype(
            np.uint64
        )

    return block_secrets


@pytest.mark.parametrize("packed_check", [True, False])
def test_a_check_of_packed_integers_would_give_the_key_away(packed_check, tmp_path, monkeypatch):
    """The server adds p times the key to coefficients: nothing modulo p, and within range in a digit above 2^61."""
    p = dataclasses.replace(planned(8192, 6, 128, 1), strands=1)
    assert p.digits >= 3 and 0 < 61 - 2 * p.digit_bits < p.digit_bits - 3 and p.digits >= 3
    if packed_check:
        monkeypatch.setattr(verify, "block_secrets", of_packed_integers(verify.block_secrets, p))
    key, rng = secret_key.generate(p), np.random.default_rng(5)
    state, encryptor = OwnerState(tmp_path / "owner", key), ENCRYPTORS["own"](key)
    reader = MemoryReader(rng.integers(0, 3, (p.strand_variants, SAMPLES)).astype(np.int8))
    info = encrypt_cohort(reader, key, tmp_path / "cohort", state, encryptor=encryptor)
    design = Design(Columns(("Y",), rng.integers(-12_000, 12_000, (SAMPLES, 1)), (False,)), ())
    secrets = encrypt_design(
        alone(design, p.strand_variants), key, info, state, tmp_path / "design", encryptor=encryptor, keep=str
    )
    served = cohort.open_cohort(tmp_path / "cohort")
    associate.associate(served, studydesign.open_design(tmp_path / "design", served.public), tmp_path / "results")
    (honest,) = decrypt.decrypt(tmp_path / "results", state, info, secrets)

    victim = Victim(key, tmp_path / "owner", tmp_path / "results")
    array = np.array(victim.array(0))
    add(p, victim.parts(0, array)["g", "left"][:, 0, 0], crafted(p, one_at(p, 0, verify.MODULUS), p.result_scale))
    rewrite_manifest(victim.results, blocks=[vars(artefact.write_entry(victim.results, "block-000000.npy", array))])
    if not packed_check:
        with pytest.raises(VerificationError):
            list(decrypt.decrypt(tmp_path / "results", state, info, secrets))
        return
    (passed,) = decrypt.decrypt(tmp_path / "results", state, info, secrets)
    difference = (passed.g - honest.g)[2 * p.places : 3 * p.places, 0]
    secret = coefficients(strand_secrets(key, range(1))[0], p.ring)[p.pack - 1 :: p.pack]
    np.testing.assert_array_equal(difference >> (61 - 2 * p.digit_bits), secret.astype(int))


def test_scores_of_a_packed_store_are_refused():
    """One product with weights is no sum of digits, and no flooding of packed replies is proved."""
    with pytest.raises(PlanError, match="several variants in a coefficient"):
        check_exact(SMALL, norm=1.0, sum_bound=1)
