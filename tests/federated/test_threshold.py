"""Threshold encryption on residues: exact sums, certain bounds, samplers, smudging."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen.ckks import threshold as th
from securegen.errors import PlanError, ProtocolError
from securegen.federated.packing import LIMBS, Layout, field_bits, from_limbs, limbs_of
from securegen.kernels.ntt import inverse

P = 3
PARAMETERS = th.ThresholdParameters.standard(P, 512)
PRIMES = PARAMETERS.ring.primes


def lift(residues: np.ndarray) -> list[int]:
    """(k, X) residues -> X integers in (−q/2, q/2]."""
    q = prod(PRIMES)
    basis = [q // p * pow(q // p, -1, p) for p in PRIMES]
    values = [sum(int(r) * b for r, b in zip(column, basis, strict=True)) % q for column in residues.T]
    return [v - q if v > q // 2 else v for v in values]


@pytest.fixture(scope="module")
def keys() -> tuple[list[th.SecretShare], th.JointKey]:
    n = PARAMETERS.ring.n
    shares = [th.share_from(PARAMETERS, th.ternary(th.fresh_key(), 0, n)) for _ in range(P)]
    a = th.expand_public(b"seed", PARAMETERS.ring)
    return shares, th.joint_key(PARAMETERS, a, [th.public_share(PARAMETERS, s, a) for s in shares])


def summed(cts: list[np.ndarray]) -> np.ndarray:
    total = cts[0]
    for c in cts[1:]:
        total = th.add(total, c, PARAMETERS.ring)
    return total


def test_sums_of_all_sites_are_exact(keys):
    shares, key = keys
    widths = (20, 36, 62, 31, 5)
    layout = Layout(PARAMETERS, 5000, widths)
    rng = np.random.default_rng(3)
    top = [(1 << (w - 1)) // P for w in widths]
    values = [np.stack([rng.integers(-t, t + 1, 5000) for t in top], 1) for _ in range(P)]
    for v in values:  # the ends of every field, together
        v[0], v[1] = top, [-t for t in top]
    total = summed([th.encrypt(key, layout.encode(v)) for v in values])
    partials = [th.partial_decrypt(PARAMETERS, s, total[:, 1], th.fresh_key()) for s in shares]
    assert np.array_equal(layout.decode(th.combine(PARAMETERS, total[:, 0], partials)), sum(values))


def test_all_sites_but_one_cannot_decrypt(keys):
    shares, key = keys
    layout = Layout(PARAMETERS, 100, (20,))
    values = np.full((100, 1), 7)
    total = summed([th.encrypt(key, layout.encode(values)) for _ in range(P)])
    partials = [th.partial_decrypt(PARAMETERS, s, total[:, 1], th.fresh_key()) for s in shares[:-1]]
    with pytest.raises(ProtocolError, match="do not add up"):
        layout.decode(th.combine(PARAMETERS, total[:, 0], [*partials, np.zeros_like(partials[0])]))


def test_errors_stay_within_their_certain_bounds(keys, monkeypatch):
    shares, key = keys
    zero = np.zeros((1, *PARAMETERS.shape), np.uint64)
    total = summed([th.encrypt(key, zero) for _ in range(P)])
    errors = []
    for quiet in (True, False):
        with monkeypatch.context() as patch:
            if quiet:
                patch.setattr(th, "smudging", lambda parameters, key, index: zero.copy())
            partials = [th.partial_decrypt(PARAMETERS, s, total[:, 1], th.fresh_key()) for s in shares]
        errors.append(max(map(abs, lift(th.combine(PARAMETERS, total[:, 0], partials)[0]))))
    noise, everything = errors
    # the noise is there, and within the bound; with smudging it is drowned
    assert 0 < noise <= PARAMETERS.noise_bound
    assert 1 << (PARAMETERS.smudging_bits - 2) < everything <= PARAMETERS.largest_error < 1 << (PARAMETERS.scale - 2)


@pytest.mark.parametrize(("sites", "ciphertexts"), [(2, 1), (3, 512), (10, 4096), (100, 65536)])
def test_smudging_hides_the_noise_of_the_whole_study(sites, ciphertexts):
    p = th.ThresholdParameters.standard(sites, ciphertexts)
    coefficients = ciphertexts * p.ring.n * sites
    assert Fraction(coefficients * p.noise_bound, 2 ** (p.smudging_bits + 1)) <= Fraction(1, 2**40)
    largest = (2**p.message_bits << p.scale) + p.largest_error
    assert 4 * p.largest_error <= 2**p.scale and largest <= p.ring.modulus // 2


def test_parameters_that_hold_no_sum_are_refused():
    with pytest.raises(PlanError, match="bits for a sum"):
        th.ThresholdParameters.standard(1000, 1 << 40)
    with pytest.raises(PlanError, match="two sites"):
        th.ThresholdParameters.standard(1, 512)


def test_smudging_is_uniform_in_its_range_and_fixed_by_its_key():
    key, t = bytes(16), PARAMETERS.smudging_bits
    f = lift(th.smudging(PARAMETERS, key, 5)[0])
    assert all(-(1 << t) <= v < 1 << t for v in f)
    counts = np.bincount([(v + (1 << t)) >> (t - 3) for v in f], minlength=16)
    expected = len(f) / 16
    assert (np.abs(counts - expected) < 6 * np.sqrt(expected)).all()  # six standard deviations
    assert np.array_equal(th.smudging(PARAMETERS, key, 5), th.smudging(PARAMETERS, key, 5))
    assert not np.array_equal(th.smudging(PARAMETERS, key, 5), th.smudging(PARAMETERS, key, 6))


def test_samplers_have_their_ranges_and_moments():
    n = 1 << 16
    u, e = th.ternary(bytes(16), 1, n), th.centred_binomial(bytes(16), 1, n)
    assert set(np.unique(u)) == {-1, 0, 1} and np.abs(e).max() <= 21
    assert (np.abs(np.bincount(u + 1) - n / 3) < 6 * np.sqrt(n * 2 / 9)).all()
    assert abs(e.mean()) < 6 * np.sqrt(10.5 / n)
    # Var(e²) = μ₄ − σ⁴ with μ₄ = 3σ⁴ − σ²/2 for 42 fair bits
    assert abs((e * e).mean() - 10.5) < 6 * np.sqrt((2 * 10.5**2 - 10.5 / 2) / n)


def test_two_encryptions_of_the_same_numbers_share_nothing(keys):
    _, key = keys
    message = np.zeros((1, *PARAMETERS.shape), np.uint64)
    first, second = th.encrypt(key, message), th.encrypt(key, message)
    assert (first == second).mean() < 1e-3


def test_common_polynomial_is_canonical_and_depends_on_the_seed():
    a = th.expand_public(b"one", PARAMETERS.ring)
    assert th.canonical_residues(a, PARAMETERS.ring)
    assert np.array_equal(a, th.expand_public(b"one", PARAMETERS.ring))
    assert (a == th.expand_public(b"two", PARAMETERS.ring)).mean() < 1e-3


def test_public_share_is_the_share_times_a_and_a_small_error(keys):
    shares, key = keys
    q = np.array(PRIMES, np.uint64)[:, None]
    b = th.public_share(PARAMETERS, shares[0], key.a)
    error = ((b + key.a * shares[0].s) % q)[None].copy()
    inverse(error, th.ring_tables(PARAMETERS.ring))
    assert 0 < max(map(abs, lift(error[0]))) <= 21


@given(st.lists(st.integers(-(2**62) + 1, 2**62 - 1), min_size=1, max_size=8), st.integers(1, 2**170))
def test_scaled_residues_are_products_of_integers(values, factor):
    got = th.scaled_residues(np.array([values], np.int64), factor, PRIMES)[0]
    assert got.tolist() == [[v * factor % p for v in values] for p in PRIMES]


@given(st.lists(st.integers(-(2**238), 2**238), min_size=1, max_size=6), st.integers(1, 9))
def test_limbs_add_up_to_the_sum(values, sites):
    limbs = sum(limbs_of(values) for _ in range(sites))
    assert limbs.shape == (len(values), LIMBS) and from_limbs(limbs) == [sites * v for v in values]


def test_an_integer_too_large_for_the_limbs_is_refused():
    with pytest.raises(PlanError, match="does not fit"):
        limbs_of([1 << 240])


@given(st.lists(st.integers(1, 62), min_size=1, max_size=9), st.data())
def test_fields_come_back_whatever_their_neighbours(widths, data):
    layout = Layout(PARAMETERS, 2, tuple(widths))
    bounds = [(1 << (w - 1)) - 1 for w in widths]
    rows = np.array([[data.draw(st.sampled_from([-b, b, 0, b // 2])) for b in bounds] for _ in range(2)], np.int64)
    assert np.array_equal(layout.decode(layout.encode(rows)), rows)
    assert all(bound == 0 or field_bits(bound) == w for bound, w in zip(bounds, widths, strict=True))
    assert max(offset + widths[f] for slot in layout.slots for f, offset in slot) <= PARAMETERS.message_bits


def test_a_field_wider_than_a_message_is_refused():
    with pytest.raises(PlanError, match="use fewer --bits"):
        Layout(PARAMETERS, 1, (63,))
