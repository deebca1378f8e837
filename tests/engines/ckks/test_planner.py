"""The plan's bytes and streams are those of the files that are then written."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MemoryReader

from securegen.design.column_bits import phenotype_bits
from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import artefact, cohort, studydesign
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import OwnEncryptor
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.planner import BLOCK_GENOTYPES, STRANDS, Plan, Workload, choose
from securegen.engines.ckks.server import associate
from securegen.model import Columns, variants_with_missing

SAMPLES, VARIANTS, COLUMNS = 90, 4500, 5


def reader(missing: slice) -> MemoryReader:
    dosage = np.random.default_rng(1).integers(0, 3, (VARIANTS, SAMPLES)).astype(np.int8)
    dosage[missing, 7] = -1
    return MemoryReader(dosage)


def plan_for(genotypes: MemoryReader) -> Plan:
    return choose(Workload(SAMPLES, VARIANTS, COLUMNS, 16, streams=1), variants_with_missing(genotypes))


MISSING = {
    "none": slice(0),
    "first": slice(3, 4),
    "last": slice(-1, None),
    "some": slice(0, 3000, 500),
    "all": slice(None),
}


@pytest.mark.parametrize("missing", MISSING)
def test_streams_and_bytes_are_those_of_the_files(missing, tmp_path):
    genotypes = reader(MISSING[missing])
    plan = plan_for(genotypes)
    key, p = secret_key.generate(plan.parameters), plan.parameters
    state, encryptor = OwnerState(tmp_path / "owner", key), OwnEncryptor(key)
    info = encrypt_cohort(genotypes, key, tmp_path / "cohort", state, encryptor=encryptor)
    values = np.random.default_rng(2).integers(-200, 200, (SAMPLES, COLUMNS + 1))
    values[:, 0] = 1
    design = Design(Columns(tuple("1abcde"), values, (False,) * (COLUMNS + 1)), ())
    encrypt_design(
        alone(design, len(info.variants)), key, info, state, tmp_path / "design", encryptor=encryptor, keep=str
    )
    opened = cohort.open_cohort(tmp_path / "cohort")
    associate.associate(opened, studydesign.open_design(tmp_path / "design", opened.public), tmp_path / "results")

    streams = [len(part["streams"]) for part in opened.blocks]
    strands = [opened.strands(b) for b in range(len(opened.blocks))]
    assert len(streams) == plan.blocks >= 2 and sum(strands) == plan.strands
    assert plan.workload.streams == pytest.approx(np.average(streams, weights=strands))
    header = 128  # of a .npy file
    files = {name: list((tmp_path / name).glob("*.npy")) for name in ("cohort", "design", "results")}
    size = {name: sum(f.stat().st_size - header for f in found) for name, found in files.items()}
    assert size["cohort"] == plan.bytes()["cohort"] and size["design"] == plan.bytes()["design"]
    # halves are a block's, and blocks of fewer strands count for less in the mean of streams
    polynomial = len(p.ring.primes) * p.ring.n * 4
    assert (
        abs(size["results"] - plan.bytes()["results"])
        <= (COLUMNS * p.column_digits + 2) * polynomial * (len(set(streams)) > 1) + polynomial
    )
    assert (tmp_path / "cohort" / artefact.MANIFEST).stat().st_size < 2000 + 300 * len(files["cohort"])


@pytest.mark.parametrize(
    ("samples", "variants", "most"), [(2_000, 20_000, 9.5), (10_000, 50_000, 7.5), (500_000, 50_000, 8.5)]
)
def test_a_genotype_takes_few_bytes(samples, variants, most):
    """12 covariates of 16 bits and a phenotype: cohort and design, and no more with missing calls."""
    w = Workload(samples, variants, 13, phenotype_bits(samples, 0.75), streams=1, coarse_bits=16, fine=1)
    for missing in (None, np.ones(variants, bool)):
        plan = choose(w, missing)
        size = plan.bytes()
        assert plan.workload.streams == 1
        assert size["cohort"] + size["design"] <= most * samples * variants


def test_bytes_are_those_of_the_files_with_the_squares_that_the_owner_sends(tmp_path):
    genotypes = reader(MISSING["none"])
    values = np.random.default_rng(2).integers(-200, 200, (SAMPLES, COLUMNS + 1))
    values[:, 0] = 1
    runs = (len(genotypes.variants),)
    plan = choose(Workload(SAMPLES, *runs, COLUMNS, 16, streams=1, owner_squares=2))
    key, p = secret_key.generate(plan.parameters), plan.parameters
    state, encryptor = OwnerState(tmp_path / "owner", key), OwnEncryptor(key)
    info = encrypt_cohort(genotypes, key, tmp_path / "cohort", state, encryptor=encryptor)
    design = Design(Columns(tuple("1abcde"), values, (True, True, *(False,) * (COLUMNS - 1))), ())
    encrypt_design(
        alone(design, *runs), key, info, state, tmp_path / "design", encryptor=encryptor, reader=genotypes, keep=str
    )
    opened = cohort.open_cohort(tmp_path / "cohort")
    associate.associate(opened, studydesign.open_design(tmp_path / "design", opened.public), tmp_path / "results")
    polynomial = len(p.ring.primes) * p.ring.n * 4
    for name, less in (("cohort", 0), ("design", 0), ("results", polynomial)):  # of results the sums fill no whole one
        size = sum(f.stat().st_size - 128 for f in (tmp_path / name).glob("*.npy"))
        assert size <= plan.bytes()[name] <= size + less, name
    assert p.column_digits > 1 and p.block_variants < VARIANTS
    assert Plan.from_json(plan.to_json()) == plan


@given(st.integers(1, 50_000), st.integers(1, 10**6))
def test_there_are_two_blocks_where_there_are_two_strands(samples, variants):
    plan = choose(Workload(samples, variants, 4, 16))
    p = plan.parameters
    assert (plan.blocks >= 2) == (plan.strands >= 2)
    assert 1 <= p.strands <= STRANDS
    if p.strands < STRANDS and plan.strands >= 2:  # one strand more would leave a single block, or nearly one
        wider = dataclasses.replace(p, strands=p.strands + 1)
        assert 2 * wider.block_variants > variants or wider.block_variants * samples > BLOCK_GENOTYPES


@given(st.integers(1, 5000), st.integers(0, 2**32))
def test_missing_calls_never_make_a_plan_smaller(variants, seed):
    missing = np.random.default_rng(seed).random(variants) < 3 / variants
    without, with_them = (choose(Workload(300, variants, 3, 16, streams=1), m) for m in (None, missing))
    assert 1 <= with_them.workload.streams <= 2
    assert (with_them.workload.streams > 1) == (missing.any() and not with_them.parameters.packed)
    assert with_them.cost() >= without.cost()


def test_blocks_that_stop_at_chromosomes_cost_less_in_larger_studies():
    """The numbers of docs/explanation/benchmarks.md: planned bytes of 22 chromosomes over those of one."""
    ratios = []
    for people, variants, bits in ((500, 50_000, 17), (5_000, 100_000, 18), (100_000, 500_000, 21)):
        ends = [variants * i // 22 for i in range(23)]
        runs = tuple(b - a for a, b in zip(ends, ends[1:], strict=False))
        one = Workload(people, variants, 5, bits, streams=1, coarse_bits=16, fine=1)
        ratios.append(
            sum(choose(dataclasses.replace(one, runs=runs)).bytes().values()) / sum(choose(one).bytes().values())
        )
    assert [round(r, 2) for r in ratios] == [1.07, 1.03, 1.00]
