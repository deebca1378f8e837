"""Association sums of every split against the plain engine: equal integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.design.contingency import contingency_design
from securegen.design.linear import linear_design
from securegen.engines.mpc import aggregate_plan, aggregates, association, batches, gwas, outsourced, vertical
from securegen.engines.mpc.aggregate_plan import AggregatePlan
from securegen.engines.mpc.dealer import server_dealer
from securegen.engines.mpc.shares.radix import Form
from securegen.engines.mpc.state_file import StateFile, digest_array
from securegen.engines.plain import sums as plain
from securegen.errors import PolicyError, ProtocolError
from securegen.model import Columns, GenotypeBlock
from securegen.study.inputs import Inputs

from .conftest import Cohort, results

DATA = np.random.default_rng(21)
N, M, V = 151, 60, 20
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


@pytest.mark.parametrize(("form", "batch"), [(None, 4096), (Form(32, 3, 7, 64, {"g": 12, "q": 13, "m": 12}), 16),
                                             (Form(64, 20, 1, N, {"g": 40, "q": 41, "m": 40}), 16)])  # fmt: skip
def test_vertical_sums_equal_plain(study, tmp_path, cohort, monkeypatch, form, batch):
    """In the rings that are planned, with digits and chunks, and in 64 bits."""
    monkeypatch.setattr(batches, "BATCH", batch)
    monkeypatch.setattr(vertical, "block_size", lambda samples, bits=64: 10)
    if form is not None:
        monkeypatch.setattr(aggregate_plan, "choose_form", lambda *_, **__: form)
    g, missing = cohort[:2]
    columns = columns_with_weights(cohort)
    assert AggregatePlan.of(columns, N, M, 2).analysed == (0,)

    def gen(s):
        aggregates.genotype_run(
            s, ROLES, Cohort(g, missing), cohort="c", state=StateFile(tmp_path / "gen"), consent_aggregates=True,
            column_limit=99, level="all",
        )  # fmt: skip

    def phe(s):
        announced = association.receive_cohort(s, "gen")
        state = StateFile(tmp_path / "phe")
        return list(aggregates.sums(s, ROLES, columns, variants=announced.variants, dosage_max=2, state=state))

    roles = {"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}
    out = results(study(roles).run({"gen": gen, "phe": phe, "deal": lambda s: aggregates.deal(s, ROLES)}))
    assert out["gen"] is None
    ends = [s.start + len(s.g) for s in out["phe"]]
    wanted = [
        plain.block_sums(Cohort(g, missing).read(s.start, e), columns) for s, e in zip(out["phe"], ends, strict=True)
    ]
    assert_equal_sums(out["phe"], [replace(w, mm=None) for w in wanted])
    assert ends[-1] == M and len(ends) == (1 if batch > M else 3)


def test_vertical_aggregates_need_consent(cohort, tmp_path):
    state = StateFile(tmp_path / "s")
    with pytest.raises(PolicyError, match="`consent_aggregates`"):
        aggregates.phenotype_run(None, ROLES, None, "out", state=state, consent_aggregates=False)
    with pytest.raises(PolicyError, match="`consent_aggregates`"):
        aggregates.genotype_run(None, ROLES, None, cohort="c", state=state, consent_aggregates=False)


@pytest.mark.parametrize("change", [{"sizes": [N, M, 1, 3]}, {"analysed": [0, 0]}, {"weights": [3]}, {"analysed": [-1]},
                                    {"sizes": [N, M, 1, 3, True]}, {"more": 1}])  # fmt: skip
def test_malformed_plans_are_refused(change):
    plan = {"sizes": [N, M, 1, 3, 17], "analysed": [0], "weights": []}
    assert AggregatePlan.read(plan, "phe").write() == plan
    with pytest.raises(ProtocolError, match="'phe' announced a malformed plan"):
        AggregatePlan.read({**plan, **change}, "phe")


@pytest.mark.parametrize(("pairs", "bits"), [(False, 64), (True, 64), (False, 32)])
def test_outsourced_sums_equal_plain(study, tmp_path, cohort, pairs, bits):
    g, missing = cohort[:2]
    columns = columns_with_weights(cohort)
    opened = gwas.opened_columns(columns, pairs=pairs)
    roles = outsourced.OutsourcedRoles("gen", "phe", ("s-one", "s-two"), "deal", "phe")
    width = len(opened["m"])
    assert gwas.ring_bits(columns, 2) == 32

    def gen(s):
        streams = (gwas.genotype_streams(b, squares=True) for b in blocks(g, missing))
        outsourced.genotype_owner(
            s,
            roles,
            streams,
            samples=N,
            columns=width,
            cohort="c",
            state=StateFile(tmp_path / "gen"),
            column_limit=99,
            bits=bits,
        )

    def phe(s):
        values = gwas.shared_columns(columns, pairs=pairs)
        outsourced.phenotype_owner(s, roles, values, state=StateFile(tmp_path / "phe"), bits=bits)
        return list(gwas.outsourced_sums(s, roles, columns, pairs=pairs, bits=bits))

    programs = {
        "gen": gen,
        "phe": phe,
        "s-one": lambda s: outsourced.server(s, roles, samples=N, columns=width, opened=opened, bits=bits),
        "s-two": lambda s: outsourced.server(s, roles, samples=N, columns=width, opened=opened, bits=bits),
        "deal": lambda s: server_dealer(s, left="gen", right="phe", servers=roles.servers),
    }
    parties = {"gen": "genotypes", "phe": "phenotypes", "s-one": "server", "s-two": "server", "deal": "dealer"}
    out = results(study(parties).run(programs))
    assert_equal_sums(out["phe"], (plain.block_sums(b, columns, pairs=pairs) for b in blocks(g, missing)))


def aggregates_of(made, folder, dosage, missing, columns, level="strict"):
    """Sums that the phenotype owner sees; what the genotype owner raised."""
    reader = Cohort(dosage, missing)

    def gen(s):
        aggregates.genotype_run(
            s, ROLES, reader, cohort=f"c{digest_array(dosage)[:8]}", state=StateFile(folder / "gen"), consent_aggregates=True,
            column_limit=99, level=level,
        )  # fmt: skip

    def phe(s):
        announced = association.receive_cohort(s, "gen")
        state = StateFile(folder / "phe")
        return list(aggregates.sums(s, ROLES, columns, variants=announced.variants, dosage_max=2, state=state))

    return made.run({"gen": gen, "phe": phe, "deal": lambda s: aggregates.deal(s, ROLES)})


def of_one_set(people: np.ndarray) -> Columns:
    y = np.random.default_rng(1).integers(-99, 99, len(people)) * people
    return Columns(("I", "y"), np.stack([people, y], 1).astype(np.int64), (True, False))


def test_the_genotype_owner_withholds_rows_and_sets(study, tmp_path, cohort):
    """Without the rules one person is the difference of two rows, or of two sessions."""
    g, missing = cohort[0].copy(), np.zeros_like(cohort[1])
    g[g < 0] = 0
    g[:2] = np.arange(N) % 3
    g[1, 5] = (g[1, 5] + 1) % 3
    g[2] = np.arange(N) < 7
    everybody, without_one = np.ones(N, bool), np.arange(N) != 5
    made = study({"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"})

    def opened(folder, people, level):
        out = results(aggregates_of(made, folder, g, missing, of_one_set(people), level))["phe"]
        return np.concatenate([s.g for s in out]), [s.withheld for s in out]

    free, _ = opened(tmp_path, everybody, "all")
    difference = free[1] - free[0]
    assert difference[1] == of_one_set(everybody).values[5, 1] * difference[0]
    less, _ = opened(tmp_path, without_one, "all")
    assert np.array_equal(free[:, 0] - less[:, 0], g[:, 5]), "person 5's genotypes"

    own = tmp_path / "own"
    own.mkdir()
    bound, withheld = opened(own, everybody, "strict")
    assert np.concatenate(withheld)[:3].tolist() == [False, True, True] and not bound[1:3].any()
    assert np.array_equal(bound[~np.concatenate(withheld)], free[~np.concatenate(withheld)])
    out = aggregates_of(made, own, g, missing, of_one_set(without_one))
    assert isinstance(out["gen"], PolicyError)


def test_an_outsourced_run_withholds_rows_and_sets(study, tmp_path, monkeypatch):
    """The receiver has noise for rows that few people tell apart, and no run beside one without one person."""
    people = 60
    g = np.random.default_rng(4).integers(0, 3, (8, people)).astype(np.int8)
    g[1] = g[0]
    g[1, 5] = (g[0, 5] + 1) % 3
    g[2] = np.arange(people) < 7
    names = {"gen": "genotypes", "phe": "phenotypes", "s-one": "server", "s-two": "server", "deal": "dealer"}
    roles, made = outsourced.OutsourcedRoles("gen", "phe", ("s-one", "s-two"), "deal", "phe"), study(names)
    seen = []
    sums = gwas.outsourced_sums
    monkeypatch.setattr(gwas, "outsourced_sums", lambda *a, **k: (seen.append(s) or s for s in sums(*a, **k)))

    def opened(folder, lacks, level):
        """The receiver's sums, its table's codes; what the genotype owner raised."""
        folder.mkdir(exist_ok=True)
        y = ["NA" if i in lacks else f"{i * 37 % 61 / 10}" for i in range(people)]
        (folder / "y.tsv").write_text("#FID\tIID\tY\n" + "".join(f"p{i}\tp{i}\t{v}\n" for i, v in enumerate(y)))
        seen.clear()

        def gen(s):
            association.outsourced_genotype_run(
                s, roles, Cohort(g, np.zeros_like(g, bool)), cohort="c", state=StateFile(folder / "gen"), column_limit=99,
                level=level,
            )  # fmt: skip

        def phe(s):
            state, inputs = StateFile(folder / "phe"), Inputs("", pheno=str(folder / "y.tsv"))
            return association.outsourced_phenotype_run(s, roles, inputs, str(folder / f"out{len(lacks)}"), state=state)

        out = made.run(
            {"gen": gen, "phe": phe, "deal": lambda s: server_dealer(s, left="gen", right="phe", servers=roles.servers)}
            | {name: lambda s: association.outsourced_server_run(s, roles) for name in roles.servers}
        )
        if isinstance(out["gen"], Exception):
            return out["gen"]
        (table,) = results(out)["phe"]
        rows = [line.split("\t")[-1] for line in Path(table.path).read_text().splitlines()[1:]]
        return np.concatenate([s.g for s in seen]), rows

    free, codes = opened(tmp_path / "all", (), "all")
    away = int(g[1, 5]) - int(g[0, 5])
    assert free[1, 0] - free[0, 0] == away and "FEW_CARRIERS" not in codes
    less, _ = opened(tmp_path / "all", (5,), "all")
    assert np.array_equal(free[:, 0] - less[:, 0], g[:, 5]), "person 5's genotypes"
    bound, codes = opened(tmp_path / "own", (), "strict")
    assert [i for i, c in enumerate(codes) if c == "FEW_CARRIERS"] == [1, 2]
    assert np.array_equal(np.delete(bound, [1, 2], 0), np.delete(free, [1, 2], 0))
    assert (np.abs(bound[1:3]) > 1 << 20).any(), "noise"
    assert isinstance(opened(tmp_path / "own", (5,), "strict"), PolicyError)


def test_the_genotype_owner_hears_of_every_set():
    """Also of a test that needs no Σ g²."""
    has, cases = np.arange(40) != 3, np.arange(40) % 2 == 0
    for test in ("trend", "allelic"):
        columns = contingency_design(has, cases, "Y", test).columns
        assert AggregatePlan.of(columns, 40, 5, 2).analysed == (0,)
