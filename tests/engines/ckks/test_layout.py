"""What the server returns of a block: every word has one place, and both sides agree on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MemoryReader

from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import cohort, studydesign
from securegen.engines.ckks.layout import block_layout, has_ones, outputs, products
from securegen.engines.ckks.owner import decrypt, secret_key
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.planner import Workload, choose
from securegen.engines.ckks.server import associate
from securegen.engines.plain import sums
from securegen.model import Columns

PARAMETERS = dataclasses.replace(choose(Workload(60, 3000, 3, 12, squares=True)).parameters, pack=16, strands=3)
WIDTH = PARAMETERS.strand_variants

columns = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6)
streams = st.sampled_from([("g",), ("g", "m"), ("g", "q"), ("g", "m", "q")])
sizes = st.sampled_from([1, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH])


def ones_and_squares(flags) -> tuple[list[bool], list[bool]]:
    """At most one column is public."""
    first = next((i for i, (one, _) in enumerate(flags) if one), None)
    return [i == first for i in range(len(flags))], [square for _, square in flags]


@given(columns, streams, sizes, st.booleans(), st.booleans())
def test_split_covers_each_word_once(flags, stored, variants, shared_genotypes, shared_columns):
    wanted = outputs(*ones_and_squares(flags), stored)
    layout = block_layout(
        PARAMETERS, wanted, variants, shared_genotypes=shared_genotypes, shared_columns=shared_columns
    )
    array = np.zeros(layout.shape, np.uint32)
    parts = layout.split(array)
    for part in parts.values():
        part += 1  # views: the array changes
    assert (array == 1).all() and sum(part.size for part in parts.values()) == array.size
    n, strands = PARAMETERS.ring.n, -(-variants // WIDTH)
    for stream in stored:
        if not any(o.stream == stream for o in wanted):
            assert (stream, "sums") not in parts
            continue
        hidden, ones = len(products(wanted, stream)), has_ones(wanted, stream)
        a_g, a_c = 1 if shared_genotypes else strands, min(hidden, 1) if shared_columns else hidden
        shapes = [parts[stream, name].shape[1:] for name in ("sums", "right", "left", "both")]
        assert shapes == [(strands, hidden + ones, WIDTH), (strands, a_c, n), (a_g, hidden + ones, n), (a_g, a_c, n)]
    owner = [o for o in wanted if o.kind == "owner"]
    assert bool(owner) == (("o", "values") in parts) == (any(s for _, s in flags) and "q" not in stored)
    if owner:
        count = -(-len(owner) * variants // n)
        assert parts["o", "values"].shape[1:] == (count, n)
        assert parts["o", "halves"].shape[1:] == (1 if shared_columns else count, n)


@given(columns, streams)
def test_every_sum_has_one_output(flags, stored):
    public, squared = ones_and_squares(flags)
    wanted = outputs(public, squared, stored)
    names = [(("q" if o.stream == "o" else o.stream), o.column) for o in wanted]
    assert len(set(names)) == len(names)
    assert {c for s, c in names if s == "g"} == set(range(len(flags)))
    assert {c for s, c in names if s == "m"} == (set(range(len(flags))) if "m" in stored else set())
    assert {c for s, c in names if s == "q"} == {j for j, s in enumerate(squared) if s}
    for o in wanted:
        assert o.kind == ("owner" if o.stream == "o" else "addition" if public[o.column] else "product")


def test_an_array_of_another_size_is_no_block():
    layout = block_layout(PARAMETERS, outputs([False], [False], ("g",)), 5, shared_genotypes=True, shared_columns=True)
    with pytest.raises(ValueError, match="results of shape"):
        layout.split(np.zeros((layout.shape[0], layout.shape[1] + 1), np.uint32))


@pytest.fixture(scope="module")
def key() -> secret_key.SecretKey:
    return secret_key.generate(PARAMETERS)


@pytest.mark.parametrize("squares", [False, True])
@pytest.mark.parametrize(
    ("of_cohort", "of_design"), [("own", "own"), ("seal", "seal"), ("own", "seal"), ("seal", "own")]
)
def test_server_and_owner_agree(of_cohort, of_design, squares, key, tmp_path):
    """Blocks of three strands and of two, with the owner's squares in two ciphertexts or a q stream; cohort and design
    by different encryptors."""
    rng = np.random.default_rng(2)
    samples = PARAMETERS.samples
    dosage = rng.integers(0, 3, (5 * WIDTH - 9, samples)).astype(np.int8)
    dosage[3 * WIDTH + 1, 5] = -1
    values = rng.integers(-200, 200, (samples, 8))
    values[:, 1] = 1
    data = Columns(tuple("abcdefgh"), values, tuple(j != 2 for j in range(8)))
    reader, state = MemoryReader(dosage), OwnerState(tmp_path / "owner", key)
    info = encrypt_cohort(
        reader, key, tmp_path / "cohort", state, encryptor=ENCRYPTORS[of_cohort](key), squares=squares
    )
    secrets = encrypt_design(
        alone(Design(data, ()), len(dosage)), key, info, state, tmp_path / "design", encryptor=ENCRYPTORS[of_design](key),
        reader=reader, keep=str
    )  # fmt: skip
    opened = cohort.open_cohort(tmp_path / "cohort")
    assert [opened.strands(b) for b in range(2)] == [3, 2] and [len(p["streams"]) for p in opened.blocks] == [
        1 + squares, 2 + squares,
    ]  # fmt: skip
    associate.associate(opened, studydesign.open_design(tmp_path / "design", opened.public), tmp_path / "results")
    for index in range(2):
        _, layout = decrypt.results_layout(key, info, secrets, index)
        assert np.load(tmp_path / "results" / f"block-{index:06d}.npy", mmap_mode="r").shape == layout.shape
        if not squares:
            assert layout.shapes["o", "values"][0] == (2 if index == 0 else 1)
    ours = list(decrypt.decrypt(tmp_path / "results", state, info, secrets))
    theirs = sums.sums(reader, data, block=PARAMETERS.block_variants)
    for a, b in zip(ours, theirs, strict=True):
        for stream in ("g", "m", "q"):
            np.testing.assert_array_equal(getattr(a, stream), getattr(b, stream))
