"""Association sums of every split against the plain engine: equal integers, and scaling shared by sites."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.design import linear_design
from securegen.engines import plain
from securegen.errors import PolicyError
from securegen.model import Columns, GenotypeBlock
from securegen.mpc import gwas, outsourced, vertical
from securegen.mpc.dealer import block_dealer, server_dealer
from securegen.mpc.secure_sum import PairwiseMasks
from securegen.mpc.state import OwnerState
from securegen.stats.linear import linear

from .conftest import results

DATA = np.random.default_rng(21)
N, M, V = 151, 60, 20
SITES = ("ada", "bob", "cyd")
ROLES = vertical.Roles("gen", "phe", "deal")


@pytest.fixture(scope="module")
def cohort():
    """Blocks of which the second has no missing calls, and covariates with a quantitative phenotype."""
    g = DATA.binomial(2, DATA.uniform(0.05, 0.5, (M, 1)), (M, N)).astype(np.int8)
    missing = DATA.random((M, N)) < 0.03
    missing[V : 2 * V] = False
    g[missing] = 0
    x = np.stack([DATA.normal(50, 12, N), DATA.integers(0, 2, N).astype(float)], 1)
    y = 0.02 * x[:, 0] + 0.3 * g[3] + DATA.normal(size=N)
    return g, missing, x, y


def blocks(g, missing, rows=slice(None)):
    for start in range(0, M, V):
        part = missing[start : start + V, rows]
        yield GenotypeBlock(
            start, g[start : start + V, rows].copy(), part if missing[start : start + V].any() else None
        )


def design(x, y, total=None):
    options = {} if total is None else {"total": total}
    return linear_design(np.ones(len(y), bool), x, ("age", "sex"), y[:, None], ["bmi"], **options)


def columns_with_weights(cohort):
    """The linear design and one more column for which Σ g² w is needed too."""
    columns = design(*cohort[2:]).columns
    weight = DATA.integers(-1000, 1000, (N, 1))
    values = np.concatenate([columns.values, weight], axis=1)
    return Columns((*columns.names, "w"), values, (*columns.squared, True))


def assert_equal_sums(found, wanted):
    found, wanted = list(found), list(wanted)
    assert [s.start for s in found] == [s.start for s in wanted]
    for a, b in zip(found, wanted, strict=True):
        for name in ("g", "m", "q", "mm"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None)
            if y is not None:
                np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("pairs", [False, True])
def test_horizontal_sites_scale_and_sum_as_one(study, cohort, pairs):
    g, missing, x, y = cohort
    pooled = design(x, y)
    wanted = [plain.block_sums(b, pooled.columns, pairs=pairs) for b in blocks(g, missing)]

    def site(s):
        rows = slice(s.rank, None, 3)
        masks = PairwiseMasks.agree(s)
        own = design(x[rows], y[rows], gwas.sum_over_sites(s, masks))
        np.testing.assert_array_equal(own.columns.values, pooled.columns.values[rows])
        assert own.analyses == pooled.analyses
        return own, list(gwas.horizontal_sums(s, masks, blocks(g, missing, rows), own.columns, pairs=pairs))

    out = results(study(SITES, timeout=30).run(dict.fromkeys(SITES, site)))
    for name in SITES:
        own, found = out[name]
        assert_equal_sums(found, wanted)
        for a, b in zip(found, wanted, strict=True):  # and so the tables are the same text
            mine, theirs = linear(a, own.analyses[0].model), linear(b, pooled.analyses[0].model)
            for column in theirs:
                np.testing.assert_array_equal(mine[column], theirs[column])


def test_big_integers_are_added_exactly(study):
    values = {
        n: [int(v) ** 7 * sign for v, sign in zip(DATA.integers(1, 1 << 62, 5), (1, -1, 1, -1, 1), strict=True)]
        for n in SITES
    }
    out = results(
        study(SITES).run(dict.fromkeys(SITES, lambda s: gwas.sum_over_sites(s, PairwiseMasks.agree(s))(values[s.me])))
    )
    assert out["ada"] == out["bob"] == out["cyd"] == [sum(v) for v in zip(*values.values(), strict=True)]


@pytest.mark.parametrize("pairs", [False, True])
def test_vertical_sums_equal_plain(study, tmp_path, cohort, pairs):
    g, missing = cohort[:2]
    columns = columns_with_weights(cohort)
    opened = gwas.opened_columns(columns, pairs=pairs)

    def gen(s):
        return gwas.vertical_genotypes(
            s, ROLES, blocks(g, missing), samples=N, columns=len(opened["m"]), opened=opened, cohort="c",
            state=OwnerState(tmp_path / "gen"), consent_aggregates=True, column_limit=99,
        )  # fmt: skip

    def phe(s):
        state = OwnerState(tmp_path / "phe")
        return list(gwas.vertical_phenotypes(s, ROLES, columns, state=state, pairs=pairs, consent_aggregates=True))

    roles = {"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}
    out = results(
        study(roles).run({"gen": gen, "phe": phe, "deal": lambda s: block_dealer(s, left="gen", right="phe")})
    )
    assert out["gen"] is None
    assert_equal_sums(out["phe"], (plain.block_sums(b, columns, pairs=pairs) for b in blocks(g, missing)))


def test_vertical_aggregates_need_consent(cohort, tmp_path):
    columns = design(*cohort[2:]).columns
    state = OwnerState(tmp_path / "s")
    with pytest.raises(PolicyError, match="--consent-aggregates"):
        next(gwas.vertical_phenotypes(None, ROLES, columns, state=state))
    with pytest.raises(PolicyError, match="--consent-aggregates"):
        gwas.vertical_genotypes(None, ROLES, [], samples=N, columns=4, opened={}, cohort="c", state=state)


@pytest.mark.parametrize("pairs", [False, True])
def test_outsourced_sums_equal_plain(study, tmp_path, cohort, pairs):
    g, missing = cohort[:2]
    columns = columns_with_weights(cohort)
    opened = gwas.opened_columns(columns, pairs=pairs)
    roles = outsourced.OutsourcedRoles("gen", "phe", ("s-one", "s-two"), "deal", "phe")
    width = len(opened["m"])

    def gen(s):
        streams = (gwas.genotype_streams(b, squares=True) for b in blocks(g, missing))
        outsourced.genotype_owner(
            s, roles, streams, samples=N, columns=width, cohort="c", state=OwnerState(tmp_path / "gen"), column_limit=99
        )

    def phe(s):
        values = gwas.shared_columns(columns, pairs=pairs)
        outsourced.phenotype_owner(s, roles, values, state=OwnerState(tmp_path / "phe"))
        return list(gwas.outsourced_sums(s, roles, columns, pairs=pairs))

    programs = {
        "gen": gen,
        "phe": phe,
        "s-one": lambda s: outsourced.server(s, roles, samples=N, columns=width, opened=opened),
        "s-two": lambda s: outsourced.server(s, roles, samples=N, columns=width, opened=opened),
        "deal": lambda s: server_dealer(s, left="gen", right="phe", servers=roles.servers),
    }
    parties = {"gen": "genotypes", "phe": "phenotypes", "s-one": "server", "s-two": "server", "deal": "dealer"}
    out = results(study(parties).run(programs))
    assert_equal_sums(out["phe"], (plain.block_sums(b, columns, pairs=pairs) for b in blocks(g, missing)))
