"""No wrong integer in a million products as large as those of 500,000 people, where truncating protocols fail."""

from __future__ import annotations

import numpy as np

from securegen.engines.mpc import aggregates, vertical
from securegen.engines.mpc.aggregate_plan import AggregatePlan
from securegen.engines.mpc.association import receive_cohort
from securegen.engines.mpc.dealer import block_dealer
from securegen.engines.mpc.shares import multiword
from securegen.engines.mpc.shares.lifting import Pair, deal_products, products
from securegen.engines.mpc.state_file import StateFile
from securegen.model import Columns

from .conftest import Cohort, results

PEOPLE = 500_000
N, M, K = 40, 125_000, 8
ROLES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
NAMES = vertical.Roles(*ROLES)


def test_a_million_sums_of_biobank_magnitude_are_exact(study, tmp_path):
    """Forty people with columns 12,500 times larger: Σ g y is as large as over 500,000 people at 16 bits."""
    draw = np.random.default_rng(8)
    g = draw.integers(0, 3, (M, N)).astype(np.int8)
    y = draw.integers(-(1 << 16) * PEOPLE // N, (1 << 16) * PEOPLE // N, (N, K))
    step = 1 << 14
    blocks = [vertical.Block(s, {"g": g[s : s + step]}) for s in range(0, M, step)]

    def ada(s):
        sides = vertical.genotype_side(
            s, NAMES, blocks, samples=N, columns=K, cohort="c", state=StateFile(tmp_path / "a"), column_limit=K
        )
        return [side.streams["g"] for side in sides]

    def bob(s):
        return [side.streams["g"] for side in vertical.phenotype_side(s, NAMES, y, state=StateFile(tmp_path / "b"))]

    out = results(study(ROLES).run({"ada": ada, "bob": bob, "dan": lambda s: block_dealer(s, left="ada", right="bob")}))
    found = (np.concatenate(out["ada"]) + np.concatenate(out["bob"])).view(np.int64)
    wanted = g.astype(np.int64) @ y
    assert found.size == 1_000_000 and np.abs(wanted).max() > 1 << 32
    np.testing.assert_array_equal(found, wanted)


def summed(study, tmp_path, g, columns):
    """Every sum of `--reveal aggregates`, through digits, chunks, small rings and lifts."""
    cohort = Cohort(g, np.zeros(g.shape, bool))

    def ada(s):
        state = StateFile(tmp_path / "a")
        aggregates.genotype_run(
            s, NAMES, cohort, cohort="c", state=state, consent_aggregates=True, column_limit=99, level="all"
        )

    def bob(s):
        variants = receive_cohort(s, "ada").variants
        state = StateFile(tmp_path / "b")
        return list(aggregates.sums(s, NAMES, columns, variants=variants, dosage_max=2, state=state))

    programs = {"ada": ada, "bob": bob, "dan": lambda s: aggregates.deal(s, NAMES)}
    return np.concatenate([part.g for part in results(study(ROLES).run(programs))["bob"]])


def test_a_million_sums_put_together_from_small_rings_are_exact(study, tmp_path):
    """As large as the rings allow: everybody homozygous and every digit at its edge, among others."""
    draw = np.random.default_rng(10)
    g = draw.integers(0, 3, (M, N)).astype(np.int8)
    g[::7] = 2
    largest = (1 << 16) * PEOPLE // N
    y = draw.integers(-largest, largest, (N, K))
    y[:, 0], y[:, 1], y[:, 2] = largest, -largest, -(1 << 29)
    columns = Columns(tuple("abcdefgh"), y, (False,) * K)
    wanted = g.astype(np.int64) @ y
    assert wanted.size == 1_000_000 and np.abs(wanted).max() > 1 << 35
    np.testing.assert_array_equal(summed(study, tmp_path, g, columns), wanted)


def test_sums_over_half_a_million_people_are_exact(study, tmp_path):
    draw = np.random.default_rng(11)
    g = draw.integers(0, 3, (12, PEOPLE), np.int8)
    y = draw.integers(-(1 << 16), 1 << 16, (PEOPLE, 3))
    g[0], y[:, 0] = 2, 1 << 16
    columns = Columns(("a", "b", "c"), y, (False,) * 3)
    assert AggregatePlan.of(columns, PEOPLE, 12, 2).form().widths["g"] <= 32
    np.testing.assert_array_equal(summed(study, tmp_path, g, columns), g.astype(np.int64) @ y)


def test_a_million_squares_are_exact(study):
    draw = np.random.default_rng(9)
    x = draw.integers(1 - (1 << 62), 1 << 62, 1_000_000)
    own = draw.integers(0, 1 << 64, (len(x), 1, 1), np.uint64)
    share, pair = {"ada": own, "bob": x.view(np.uint64)[:, None, None] - own}, Pair(*ROLES)

    def party(s):
        return products(s, pair, share[s.me], [(0, 0)], step="t")

    deal = lambda s: deal_products(s, pair, own.shape, [(0, 0)], step="t")  # noqa: E731
    out = results(study(ROLES).run({"ada": party, "bob": party, "dan": deal}))
    size = multiword.widen(np.abs(x).view(np.uint64), 2)
    np.testing.assert_array_equal(multiword.add(out["ada"], out["bob"])[:, 0], multiword.multiply(size, size))
