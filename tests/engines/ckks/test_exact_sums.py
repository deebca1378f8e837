"""Decrypted sums are the plain engine's integers, whatever the shape and the data."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import MemoryReader

from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import cohort, studydesign
from securegen.engines.ckks.owner import decrypt, secret_key
from securegen.engines.ckks.owner.design_secrets import read_secrets
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.planner import Workload, choose
from securegen.engines.ckks.server import associate
from securegen.engines.plain import sums
from securegen.model import Columns


@lru_cache
def key_for(samples: int, grid: int = 1, squares: bool = False):
    return secret_key.generate(choose(Workload(samples, 100, 4, 16, dosage_max=2 * grid, squares=squares)).parameters)


def through_ckks(reader: MemoryReader, columns: Columns, key, *, squares=False, encryptor="own", batch_bytes=1 << 28):
    """The sums of every block, encrypted, computed by the server from its folders, verified and decrypted."""
    with tempfile.TemporaryDirectory() as name:
        folder, encryptor = Path(name), ENCRYPTORS[encryptor](key)
        state = OwnerState(folder / "owner", key)
        info = encrypt_cohort(reader, key, folder / "cohort", state, encryptor=encryptor, squares=squares)
        made = encrypt_design(
            alone(Design(columns, ()), len(info.variants)),
            key,
            info,
            state,
            folder / "design",
            encryptor=encryptor,
            reader=reader,
            keep=str,
        )
        opened = cohort.open_cohort(folder / "cohort")
        served = studydesign.open_design(folder / "design", opened.public)
        associate.associate(opened, served, folder / "results", batch_bytes=batch_bytes)
        assert read_secrets(state).digest == made.digest
        info = read_info(state)
        return list(decrypt.decrypt(folder / "results", state, info, read_secrets(state)))


def assert_equal_to_plain(reader: MemoryReader, columns: Columns, key, **options) -> None:
    width = key.public.parameters.block_variants
    ours = through_ckks(reader, columns, key, **options)
    theirs = list(sums.sums(reader, columns, block=width))
    assert len(ours) == len(theirs) == -(-len(reader.variants) // width)
    for a, b in zip(ours, theirs, strict=True):
        assert a.start == b.start
        for stream in ("g", "m", "q"):
            np.testing.assert_array_equal(getattr(a, stream), getattr(b, stream))


@pytest.mark.parametrize("squared", [(True, True), (True, False), (False, True), (False, False)])
def test_the_ones_column_may_be_squared_or_not(squared):
    """Streams that are multiplied with the same columns share them, and only those."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(-9, 9, 33), np.ones(33, int)], 1).astype(np.int64)
    reader = MemoryReader(rng.integers(0, 3, (5, 33)).astype(np.int8))
    assert_equal_to_plain(reader, Columns(("y", "one"), values, squared), key_for(33, 1, True), squares=True)


@st.composite
def studies(draw):
    """Few people, a number of variants around the edge of a block, columns with and without public ones."""
    samples = draw(st.sampled_from([1, 7, 33]))
    width = key_for(samples).public.parameters.block_variants
    variants = draw(st.sampled_from([1, 5, width - 1, width, width + 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dosage = rng.integers(0, 3, (variants, samples)).astype(np.int8)
    missing = draw(st.sampled_from(["none", "some", "all", "last block"]))
    if missing == "some":
        dosage[rng.random(dosage.shape) < 0.3] = -1
    elif missing == "all":
        dosage[:] = -1
    elif missing == "last block":
        dosage[-1, 0] = -1
    names, width = "abcd", draw(st.integers(1, 4))
    values = rng.integers(-13000, 13001, (samples, width))
    for j in range(width):
        kind = draw(st.sampled_from(["values", "values", "ones", "indicator", "zeros"]))
        values[:, j] = {"ones": 1, "zeros": 0, "indicator": values[:, j] > 0, "values": values[:, j]}[kind]
    squared = tuple(draw(st.lists(st.booleans(), min_size=width, max_size=width)))
    return MemoryReader(dosage), Columns(tuple(names[:width]), values.astype(np.int64), squared)


@settings(max_examples=25)
@given(studies(), st.sampled_from(sorted(ENCRYPTORS)))
def test_encrypted_sums_equal_plain_sums(study, encryptor):
    reader, columns = study
    assert_equal_to_plain(reader, columns, key_for(len(columns.values)), encryptor=encryptor)


@pytest.mark.parametrize("grid", [1, 8])
def test_sums_at_the_largest_data(grid):
    """Every dosage at its maximum and every column at the largest norm that the plan allows."""
    samples = 40
    key = key_for(samples, grid)
    top = int(key.public.parameters.norm / np.sqrt(samples))
    values = np.full((samples, 3), top, np.int64)
    values[:, 1] *= -1
    values[:, 2] = 0
    values[0, 2] = int(key.public.parameters.norm)  # all of the norm on one person
    dosage = np.full((20, samples), 2 * grid, np.int8)
    dosage[3], dosage[4] = 0, -1
    assert_equal_to_plain(MemoryReader(dosage, grid), Columns(("a", "b", "c"), values, (False, False, False)), key)


@pytest.mark.parametrize("grid", [1, 4])
def test_weighted_squares_come_from_their_own_stream(grid):
    rng = np.random.default_rng(2)
    key = key_for(30, grid, squares=True)
    dosage = rng.integers(-1, 2 * grid + 1, (50, 30)).astype(np.int8)
    values = rng.integers(0, 9000, (30, 3))
    values[:, 0] = 1
    assert_equal_to_plain(
        MemoryReader(dosage, grid), Columns(("one", "w", "x"), values, (True, True, False)), key, squares=True
    )


def test_memory_for_one_block_at_a_time_changes_nothing():
    rng = np.random.default_rng(6)
    key = key_for(33)
    variants = 2 * key.public.parameters.block_variants + 9
    reader = MemoryReader(rng.integers(-1, 3, (variants, 33)).astype(np.int8))
    columns = Columns(("a", "b"), rng.integers(-9000, 9000, (33, 2)), (True, False))
    assert_equal_to_plain(reader, columns, key, batch_bytes=1)


def test_more_groups_than_a_chunk():
    """More than 64 groups of samples: several chunks of the design."""
    from securegen.engines.ckks.codec import CHUNK_GROUPS

    samples = 1040
    key = secret_key.generate(dataclasses.replace(key_for(samples).public.parameters, pack=16))
    assert key.public.parameters.groups > CHUNK_GROUPS
    rng = np.random.default_rng(7)
    reader = MemoryReader(rng.integers(0, 3, (6, samples)).astype(np.int8))
    columns = Columns(
        ("one", "a"), np.column_stack([np.ones(samples, int), rng.integers(-9000, 9000, samples)]), (True, False)
    )
    assert_equal_to_plain(reader, columns, key)
