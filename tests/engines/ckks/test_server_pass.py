"""The server's pass: the same results however the work is shared and cut, and memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from support import MemoryReader

from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import artefact, codec, cohort, studydesign
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import OwnEncryptor
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.planner import Workload, choose
from securegen.engines.ckks.server import accumulators, associate, packed_design, pass_memory
from securegen.model import Columns

SAMPLES, BLOCKS = 70, 7


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """Seven blocks, two of them with missing calls, and three columns, one of them public; three chunks of groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "CHUNK_GROUPS", 3)
        yield made(tmp_path_factory.mktemp("encrypted"))


def made(folder):
    key = generate(choose(Workload(SAMPLES, 1000, 3, 10, squares=True)).parameters)
    width = key.public.parameters.block_variants
    rng = np.random.default_rng(1)
    dosage = rng.integers(0, 3, (BLOCKS * width - 3, SAMPLES)).astype(np.int8)
    dosage[2 * width : 4 * width, 5] = -1
    values = np.column_stack([np.ones(SAMPLES, np.int64), rng.integers(-200, 200, (SAMPLES, 2))])
    columns = Columns(("one", "a", "b"), values, (True, False, True))
    state, encryptor = OwnerState(folder / "owner", key), OwnEncryptor(key)
    reader = MemoryReader(dosage)
    info = encrypt_cohort(reader, key, folder / "cohort", state, encryptor=encryptor, squares=True)
    design = alone(Design(columns, ()), len(dosage))
    encrypt_design(design, key, info, state, folder / "design", encryptor=encryptor, reader=reader, keep=str)
    opened = cohort.open_cohort(folder / "cohort")
    return opened, studydesign.open_design(folder / "design", opened.public)


def digests(folder) -> list[str]:
    return [entry["blake3"] for entry in artefact.read_manifest(folder, "results", None)["blocks"]]


def test_results_do_not_depend_on_threads_or_batches(encrypted, tmp_path):
    """The ciphertexts that are returned are equal in every bit."""
    reports = []
    associate.associate(*encrypted, tmp_path / "whole", progress=lambda *report: reports.append(report))
    want = digests(tmp_path / "whole")
    steps = BLOCKS * len(encrypted[0].parameters.ring.primes)  # a slice is all tiles of a prime, where these are few
    assert len(set(want)) == BLOCKS and reports[-1] == (steps, steps) and reports == sorted(reports)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        associate.associate(*encrypted, tmp_path / "one thread")
    finally:
        numba.set_num_threads(before)
    assert digests(tmp_path / "one thread") == want
    for size in (1, 3 << 20):
        associate.associate(*encrypted, tmp_path / f"batches {size}", batch_bytes=size)
        assert digests(tmp_path / f"batches {size}") == want


@pytest.mark.parametrize(("tiles", "span"), [(64, 1), (128, 2), (256, 2)])
def test_results_do_not_depend_on_slices_or_on_chunks_taken_together(tiles, span, encrypted, tmp_path, monkeypatch):
    """Sums of a slice wait for the next chunks, in memory that is counted."""
    associate.associate(*encrypted, tmp_path / "whole")
    real = associate.plan_pass
    monkeypatch.setattr(
        associate,
        "plan_pass",
        lambda *arguments, **options: replace(real(*arguments, **options), tiles=tiles, span=span),
    )
    associate.associate(*encrypted, tmp_path / "cut")
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_little_memory_cuts_slices_first_and_then_groups(encrypted):
    wide, narrow = (associate.memory_of(*encrypted, limit) for limit in (1 << 28, 1))
    assert (wide.tiles, wide.span, len(wide.batches)) == (256, 3, 1)
    assert (narrow.tiles, narrow.span, len(narrow.batches)) == (64, 1, BLOCKS) and narrow.working < wide.working
    some = associate.memory_of(*encrypted, narrow.working * 4)
    assert some.span == 3 and narrow.tiles <= some.tiles < wide.tiles and some.working <= narrow.working * 4


def test_a_batch_is_given_back_before_the_next(encrypted, tmp_path, monkeypatch):
    """With a batch of one block no accumulators but its own exist."""
    alive: weakref.WeakSet = weakref.WeakSet()

    class Counted(accumulators.Accumulators):
        def __init__(self, *arguments) -> None:
            assert not alive, "accumulators of an earlier batch are still in memory"
            super().__init__(*arguments)
            alive.add(self)

    monkeypatch.setattr(associate, "Accumulators", Counted)
    associate.associate(*encrypted, tmp_path / "results", batch_bytes=1)
    assert len(digests(tmp_path / "results")) == BLOCKS


@pytest.mark.parametrize("damage", ["flipped", "truncated", "header", "absent"])
def test_damage_found_by_a_thread_stops_the_run(damage, encrypted, tmp_path):
    """A file is checked as it is read: nothing is returned."""
    opened, design = encrypted
    entry = opened.blocks[3]["streams"]["g"][0][0]
    path = Path(opened.folder) / entry["name"]
    whole = path.read_bytes()
    try:
        if damage == "absent":
            path.unlink()
        else:
            changed = {
                "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
                "truncated": whole[:-4],
                "header": whole[:20] + b"X" + whole[21:],
            }
            path.write_bytes(changed[damage])
        with pytest.raises(artefact.ArtefactError, match=entry["name"]):
            associate.associate(opened, design, tmp_path / "results")
        assert not (tmp_path / "results" / artefact.MANIFEST).exists()
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("limit", [1, 3 << 20, 1 << 28])
def test_the_memory_that_is_planned_is_what_is_taken(limit, encrypted, tmp_path):
    """Sums, columns and buffers, and no more than the odd megabyte beside them."""
    associate.load_kernels()
    planned = associate.memory_of(*encrypted, limit)
    assert planned.working <= limit or len(planned.batches) == BLOCKS
    tracemalloc.start()
    try:
        associate.associate(*encrypted, tmp_path / "results", batch_bytes=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert planned.working / 4 < peak < planned.working + (3 << 20)


def test_a_plan_counts_columns_and_buffers_and_not_sums_alone(encrypted):
    """Fifty phenotypes of ten thousand people: what is left for sums is what the rest leaves."""
    opened, design = encrypted
    few = associate.memory_of(opened, design, 64 << 20)
    counts = [{s: c * 20 for s, c in packed_design.packed_designs(design)[0].count.items()}] * len(opened.blocks)
    layouts = associate.layouts_of(opened, design)
    many = pass_memory.plan_pass(opened, layouts, counts, 20, 4000, 64 << 20, 2)
    assert many.tiles < few.tiles and many.working > few.working and many.mapped > 0
    more = pass_memory.plan_pass(opened, layouts, counts, 20, 4000, 640 << 20, 2)
    assert (more.tiles, more.span) > (many.tiles, many.span)
