"""KING-robust kinship: against plink2, against counting by hand, and whom it leaves out."""

import numpy as np
import pandas as pd
import pytest
from support import MemoryReader, securegen

import securegen as sg
from securegen.errors import DesignError
from securegen.kernels.pair_counts import add_pair_counts, genotype_bits
from securegen.structure import kinship

from .conftest import WHOLE

ROUNDED = 0.51e-6  # of a share below 0.1, or of a kinship, that is printed with six digits


@pytest.mark.parametrize("variants", [1, 63, 64, 65, 300])
def test_counts_of_pairs_are_those_of_people(variants):
    rng = np.random.default_rng(variants)
    g = rng.integers(0, 3, (variants, 9)).astype(np.int8)
    missing = rng.random(g.shape) < 0.2
    g[missing] = 0
    counts = np.zeros((7, 9, 5), np.uint32)
    add_pair_counts(genotype_bits(g, missing), 2, counts)
    for i in range(2, 9):
        for j in range(i):
            both = ~missing[:, i] & ~missing[:, j]
            a, b = g[both, i], g[both, j]
            expected = [
                both.sum(),
                (a == 1).sum(),
                (b == 1).sum(),
                ((a == 1) & (b == 1)).sum(),
                (abs(a - b) == 2).sum(),
            ]
            assert counts[i - 2, j].tolist() == expected


def test_kinship_is_that_of_plink2(whole, tmp_path):
    """plink2 2.00a3.5 counts one variant more in NSNP of 14 pairs; counting by hand gives ours."""
    code = securegen("kinship", *whole.options()[:2], "--king-table-filter", "0.02", "--out", str(tmp_path / "k")).code
    ours = pd.read_csv(tmp_path / "k.kin0", sep="\t")
    theirs = pd.read_csv(WHOLE / "king.kin0.gz", sep="\t")
    assert code == 0 and len(ours) == len(theirs) == 11_805
    assert (ours[["#FID1", "IID1", "FID2", "IID2"]] == theirs[["#FID1", "IID1", "FID2", "IID2"]]).all(axis=None)
    assert (ours["KINSHIP"] - theirs["KINSHIP"]).abs().max() <= ROUNDED
    more = theirs["NSNP"] - ours["NSNP"]
    assert set(more) == {0, 1} and more.sum() == 14
    for name in ("HETHET", "IBS0"):
        counts = [(table[name] * table["NSNP"]).round() for table in (ours, theirs)]
        assert (counts[0] == counts[1]).all()


def test_rows_at_a_time_do_not_change_a_pair(reader):
    few = reader.select(np.arange(40), np.arange(500))
    at_once = list(kinship.pairs(few))
    in_turns = list(kinship.pairs(few, count_bytes=40 * 5 * 4 * 3))
    for a, b in zip(at_once, in_turns, strict=True):
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_sample_twice_is_a_half_and_of_it_one_remains():
    rng = np.random.default_rng(3)
    g = rng.integers(0, 3, (400, 6)).astype(np.int8)
    g[:, 5] = g[:, 1]
    found = list(kinship.pairs(MemoryReader(g)))
    by_pair = {(int(p.first[k]), int(p.second[k])): p.kinship[k] for p in found for k in range(len(p))}
    assert by_pair[5, 1] == 0.5 and len(by_pair) == 15
    assert max(value for pair, value in by_pair.items() if pair != (5, 1)) < 0.1
    left = kinship.unrelated(6, [p.at_least(0.2) for p in found])
    assert left.tolist() == [True] * 5 + [False]


def test_who_has_most_relatives_goes_first():
    star = kinship.Pairs(np.array([1, 2, 3]), np.array([0, 0, 0]), *np.zeros((3, 3), int), np.full(3, 0.25))
    assert kinship.unrelated(5, [star]).tolist() == [False, True, True, True, True]


def test_nobody_heterozygous_has_no_kinship():
    g = np.array([[0, 2, 1], [2, 0, 1]], np.int8)
    assert np.isnan(list(kinship.pairs(MemoryReader(g)))[0].kinship[0])


def test_fractions_are_refused():
    with pytest.raises(DesignError, match="hard calls"):
        next(kinship.pairs(MemoryReader(np.zeros((2, 2), np.int8), dosage_grid=256)))


def test_lists_of_the_command_are_for_keep(whole, tmp_path):
    out = str(tmp_path / "k")
    assert securegen("kinship", *whole.options()[:2], "--king-cutoff", "0.0884", "--out", out).code == 0
    inside, outside = (pd.read_csv(f"{out}.king.cutoff.{n}.id", sep="\t") for n in ("in", "out"))
    assert len(inside) + len(outside) == 500 and not set(inside["IID"]) & set(outside["IID"]) and len(outside)
    related = sg.kinship(sg.Inputs(bfile=whole.bfile, keep=f"{out}.king.cutoff.in.id"), king_table_filter=0.0885)
    assert related.empty
