"""Security of the ring, the noise bound, and the planner."""

from __future__ import annotations

import bisect
import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MemoryReader

from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import cohort, studydesign
from securegen.engines.ckks.owner import decrypt, encryption, secret_key
from securegen.engines.ckks.owner.design_secrets import read_secrets
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import Plan, Workload, choose
from securegen.engines.ckks.server import associate
from securegen.errors import ArtefactError, PlanError
from securegen.kernels import fold
from securegen.model import Columns
from securegen.rlwe import seal
from securegen.rlwe.ring import STANDARD_128, Ring, is_prime, ntt_primes

# Homomorphic Encryption Standard 2018, table 1: ternary secret, classical, 128 bits. Written again, not imported.
TABLE = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}


def test_security_limits_are_those_of_the_standard():
    assert STANDARD_128 == TABLE


def primal_attack_bits(n: int, bits: int) -> float:
    """log2 of the steps of the primal attack (uSVP) on ring learning with errors as on any lattice: the least blocksize β for
    which the projected secret is shorter than what BKZ finds (Alkim et al. 2016), at core-SVP cost 2^0.292β for each of 8d
    calls, and 2^16.4; a ternary secret, errors of variance 10.5, the best number of samples."""
    sigma = math.sqrt(10.5)

    def found(beta: int, d: int) -> bool:
        root = (beta / (2 * math.pi * math.e) * (math.pi * beta) ** (1 / beta)) ** (1 / (2 * (beta - 1)))
        volume = ((d - n - 1) * bits + n * math.log2(sigma / math.sqrt(2 / 3))) / d
        return math.log2(sigma) + math.log2(beta) / 2 <= (2 * beta - d - 1) * math.log2(root) + volume

    def steps(d: int) -> float:
        beta = bisect.bisect_left(range(60, d), True, key=lambda b: found(b, d)) + 60
        return 0.292 * beta + 16.4 + math.log2(8 * d)

    return min(steps(n + m + 1) for m in range(n // 2, 2 * n, n // 64))


def test_steps_of_the_primal_attack_are_those_of_the_page_of_noise():
    assert [round(primal_attack_bits(n, data)) for n, data in ((4096, 90), (8192, 180), (16384, 420))] == [
        158,
        159,
        134,
    ]
    assert all(round(primal_attack_bits(n, TABLE[n])) == 128 for n in (4096, 8192, 16384))


@pytest.mark.parametrize("n", [4096, 8192])
def test_a_modulus_above_the_standard_is_refused(n):
    fitting = TABLE[n] // 30
    Ring(n, ntt_primes(n, 30, fitting - 1), ntt_primes(n, 29, 1)[0])
    with pytest.raises(PlanError, match="less than 128-bit security"):
        Ring(n, ntt_primes(n, 30, fitting), ntt_primes(n, 29, 1)[0])
    with pytest.raises(PlanError, match="do not fit ring dimension"):
        Ring.standard(n, fitting + 1)


@pytest.mark.parametrize(("n", "count"), [(4096, 3), (8192, 3), (8192, 6)])
def test_seal_accepts_the_ring_at_128_bits(n, count):
    ring = Ring.standard(n, count)
    assert math.log2(ring.modulus * ring.special) <= TABLE[n]
    context = seal.context(ring)
    assert context.parameters_set()
    assert math.log2(ring.modulus) > 29.99 * count


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": 3000}, "not one of"),
        ({"primes": (1073692673, 1073692673, 1073643521)}, "different primes"),
        ({"primes": (1073692673, 1073668097, 8192 * 2 + 1)}, "different primes"),  # 1 mod 2n, but composite
        ({"primes": (1073692673, 1073668097, 1073741789)}, "different primes"),  # prime, but not 1 mod 2n
        ({"lanes": 100}, "100 lanes are not a multiple of 16 that divides"),
    ],
)
def test_rings_that_are_none_are_refused(changed, message):
    good = Ring.standard(4096, 3)
    with pytest.raises(PlanError, match=message):
        dataclasses.replace(good, **changed)


@given(st.integers(2, 20000))
def test_primality(value):
    assert is_prime(value) == all(value % d for d in range(2, math.isqrt(value) + 1))


def test_a_strong_pseudoprime_is_no_prime():
    assert not is_prime(3215031751) and not is_prime(3825123056546413051) and is_prime((1 << 61) - 1)


WORKLOADS = st.builds(
    Workload, samples=st.integers(1, 600_000), variants=st.integers(1, 10**6), columns=st.integers(1, 40),
    bits=st.integers(14, 24), streams=st.integers(1, 3), dosage_max=st.sampled_from([2, 2, 7, 32, 2048]), squares=st.booleans(),
)  # fmt: skip


@given(WORKLOADS)
def test_a_plan_is_exact_and_secure_or_refused(workload):
    try:
        plan = choose(workload)
    except PlanError as error:
        assert "use fewer bits (`bits`) or a coarser grid" in str(error)
        assert workload.dosage_max > 2 or workload.squares or workload.bits > 16
        return
    p = plan.parameters
    assert (
        p.pack * p.block_variants == p.ring.n * p.strands * p.digits
        and p.groups * p.pack >= p.samples > (p.groups - 1) * p.pack
    )
    assert math.log2(p.ring.modulus * p.ring.special) <= TABLE[p.ring.n]
    # the bound of docs/explanation/noise.md, written again: three terms, 15 standard deviations, one half
    sigma, terms = math.sqrt(10.5), p.ring.n * p.groups
    packed = sum(2 ** (p.digit_bits * l) for l in range(p.digits))
    a = sigma * p.dosage_max * packed * math.sqrt(terms) / 2**p.design_scale
    b = sigma * p.norm / 2**p.genotype_scale
    c = 21 * sigma * math.sqrt(terms) / 2 ** (p.design_scale + p.genotype_scale)
    assert 15 * math.sqrt(a * a + (b + c) ** 2) <= 0.5 and p.margin_bits >= 0
    largest = p.dosage_max * math.sqrt(p.samples) * p.norm
    assert p.digits == 1 or 2 * largest < 2**p.digit_bits
    assert p.column_digits > 1 or p.norm == workload.norm
    assert 2 * (largest * packed + 0.5) * 2 ** (p.design_scale + p.genotype_scale) < p.ring.modulus
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert all(v > 0 for v in (*plan.bytes().values(), *plan.seconds().values()))


def test_the_planner_refuses_what_no_ring_holds():
    with pytest.raises(PlanError, match="no parameters hold sums over 500000 samples at 24 bits .* up to 131072 units"):
        choose(Workload(500_000, 1000, 5, 24, dosage_max=1 << 17, squares=True))


def test_half_a_million_people_fit():
    assert choose(Workload(500_000, 1000, 10, 18)).parameters.samples == 500_000


def base() -> Parameters:
    return choose(Workload(200, 500, 4, 16), whole=True).parameters


def test_parameters_that_could_round_wrongly_are_refused():
    p = base()
    with pytest.raises(PlanError, match="noise of 15 standard deviations reaches"):
        dataclasses.replace(p, design_scale=10)
    with pytest.raises(PlanError, match=r"sums need .* bits, the modulus has 90"):
        dataclasses.replace(p, design_scale=p.design_scale + 20)
    with pytest.raises(PlanError, match="do not divide ring dimension"):
        dataclasses.replace(p, pack=24)
    with pytest.raises(PlanError, match="only sums below 2\\^60 can be verified"):
        Parameters(Ring.standard(8192, 6), 16, 58, 45, dosage_max=2048, norm=2.0**46, samples=200)


@pytest.mark.parametrize("field", ["ring", "pack", "genotype_scale", "norm", "samples", "strands"])
def test_parameters_from_a_file_are_checked_again(field):
    value = base().to_json()
    for bad in (None, "x", -1, 0, [1]):
        with pytest.raises(ArtefactError, match="parameters are not valid"):
            Parameters.from_json({**value, field: bad})
    del value[field]
    with pytest.raises(ArtefactError, match="parameters are not valid"):
        Parameters.from_json(value)


def tight(p: Parameters) -> Parameters:
    """The same workload with the smallest scales that the bound allows."""
    for name in ("genotype_scale", "design_scale"):
        while True:
            try:
                p = dataclasses.replace(p, **{name: getattr(p, name) - 1})
            except PlanError:
                break
    return p


@pytest.mark.parametrize(("pack", "grid", "name"), [(8, 1, "own"), (8, 1, "seal"), (64, 1, "own"), (8, 16, "own")])
def test_measured_noise_stays_within_the_bound_at_the_largest_data(pack, grid, name, tmp_path):
    """Every dosage at its maximum, columns at their norm, scales as small as the bound allows: the standard deviation
    over all sums is near the formula's, none is above 7 of them, and every integer is right."""
    samples, columns = 96, 12
    strands = 2
    width = 4096 // pack * strands
    w = Workload(samples, width, columns, 16, dosage_max=2 * grid)
    p = tight(dataclasses.replace(choose(w, whole=True).parameters, pack=pack, strands=strands))
    assert 0 <= p.margin_bits < 1.5
    key = secret_key.generate(p)
    top = int(p.norm / math.sqrt(samples))
    values = np.full((samples, columns), top, np.int64)
    values[:, ::3] *= -1
    values[::2, 1::3] *= -1
    dosage = np.full((width, samples), 2 * grid, np.int8)
    reader = MemoryReader(dosage, dosage_grid=grid)
    state, encryptor = OwnerState(tmp_path / "owner", key), ENCRYPTORS[name](key)
    info = encrypt_cohort(reader, key, tmp_path / "cohort", state, encryptor=encryptor)
    design = Design(Columns(tuple("abcdefghijkl"), values, (False,) * columns), ())
    encrypt_design(
        alone(design, len(info.variants)), key, info, state, tmp_path / "design", encryptor=encryptor, keep=str
    )

    opened = cohort.open_cohort(tmp_path / "cohort")
    associate.associate(opened, studydesign.open_design(tmp_path / "design", opened.public), tmp_path / "results")
    words = np.load(tmp_path / "results" / "block-000000.npy")
    secrets = read_secrets(state)
    layout = decrypt.results_layout(key, info, secrets, 0)[1]
    parts = [layout.split(words)["g", name] for name in ("sums", "right", "left", "both")]
    strand_keys, column_keys = (encryption.strand_keys(name, key, count) for count in (p.strands, columns))
    opened = fold.open_products(*parts, strand_keys, np.ascontiguousarray(column_keys), pack, p.ring.primes)
    q = p.ring.modulus
    factors = np.array([q // r * pow(q // r, -1, r) for r in p.ring.primes], object)
    messages = (opened.astype(object) * factors[:, None]).sum(2) % q  # by the textbook Chinese remainder
    messages = np.where(messages > q // 2, messages - q, messages)
    assert messages.shape == (p.strands, columns, p.strand_variants)
    noise = []
    for j, expected in enumerate((values.sum(0) * 2 * grid).tolist()):
        error = messages[:, j].ravel() - (expected << p.result_scale)
        assert max(abs(e) for e in error) * 2 < 1 << p.result_scale
        noise.append(error.astype(float) / 2.0**p.result_scale)
    sd = p.noise_bound / 15
    measured = float(np.sqrt(np.mean(np.square(noise))))
    print(f"{name}, pack {pack}, grid {grid}: measured / planned standard deviation {measured / sd:.2f}")
    assert np.abs(noise).max() <= 7 * sd
    # the sums of a column share most of their error, so that this is a mean of no more than 12 independent squares:
    # outside once in 10^10 runs
    assert 0.1 * sd < measured < 2.6 * sd
