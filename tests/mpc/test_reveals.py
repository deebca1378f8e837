"""A vertical split that opens less than all sums: exact u and v, hits alone, one threshold, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from securegen import api
from securegen.errors import PolicyError, ProtocolError, UsageError
from securegen.io.arrays import from_arrays
from securegen.model import Samples, Variants
from securegen.mpc import deployment, projected, projected_run
from securegen.mpc.local import identity
from securegen.mpc.state import OwnerState
from securegen.mpc.vertical import Roles
from securegen.stats import projection
from securegen.stats.projected_tables import plain_uv
from securegen.study import Inputs

from .conftest import results

ROLES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
VERTICAL = Roles("ada", "bob", "dan")
N, M = 180, 60
THRESHOLD = 1e-3


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Genotypes with missing calls and a constant variant; two traits with different people; an effect at variant 7."""
    folder = tmp_path_factory.mktemp("reveals")
    draw = np.random.default_rng(5)
    g = draw.binomial(2, draw.uniform(0.1, 0.5, M)[:, None], (M, N)).astype(np.float64)
    age = draw.normal(50, 10, N).round(1)
    qt = (0.9 * g[7] - 0.8 * g[20] + 0.05 * age + draw.normal(size=N)).round(4)
    g[draw.random((M, N)) < 0.03] = np.nan
    g[3] = 1
    ids = [f"p{i}" for i in range(N)]
    samples = Samples(np.array(ids, object), np.array(ids, object), np.ones(N, bool))
    text = lambda x: np.array(x, object)  # noqa: E731
    variants = Variants(
        text(["1"] * M), np.arange(1, M + 1), text([f"rs{j}" for j in range(M)]), text(["A"] * M), text(["G"] * M)
    )
    reader = from_arrays(g, samples, variants=variants)
    rows = [f"{i}\t{i}\t{'NA' if k % 17 == 3 else q}\t{-q}" for k, (i, q) in enumerate(zip(ids, qt, strict=True))]
    (folder / "pheno.tsv").write_text("#FID\tIID\tQT\tMINUS\n" + "\n".join(rows) + "\n")
    (folder / "covar.tsv").write_text(
        "#FID\tIID\tage\n" + "".join(f"{i}\t{i}\t{a}\n" for i, a in zip(ids, age, strict=True))
    )
    files = {"pheno": str(folder / "pheno.tsv"), "covar": str(folder / "covar.tsv")}
    return reader, files, api.open_study(reader, **files)


def run(study, cohort, tmp_path, *, threshold, names=None, limit=100):
    reader, files, _ = cohort
    inputs = Inputs("", **files, pheno_name=names)

    def state(s):
        return OwnerState(tmp_path / f"{s.me}.json")

    return study.run(
        {
            "ada": lambda s: projected_run.genotype_run(
                s, VERTICAL, reader, cohort="c", state=state(s), threshold=threshold, column_limit=limit
            ),
            "bob": lambda s: projected_run.phenotype_run(
                s, VERTICAL, inputs, str(tmp_path / "out"), state=state(s), threshold=threshold
            ),
            "dan": lambda s: projected.deal_passes(s, VERTICAL),
        }
    )


def test_uv_are_the_plain_engines_text_for_text(study, cohort, tmp_path):
    results(run(study(ROLES), cohort, tmp_path, threshold=None))
    _, _, opened = cohort
    plain_uv(opened.reader, opened.design, str(tmp_path / "plain"))
    for name in ("QT", "MINUS"):
        assert (tmp_path / f"out.{name}.uv").read_text() == (tmp_path / f"plain.{name}.uv").read_text()


def test_chisq_from_uv_is_that_of_all_sums_within_the_printed_bound(cohort):
    _, _, opened = cohort
    tables = api.run_plain(opened)
    for a in opened.design.analyses:
        df = a.model.samples - len(a.model.gram) - 1
        for threshold in (None, projection.t_squared(5e-8, df)):
            scales = projection.choose_scales(N, df, threshold=threshold)
            parts = list(projection.sums(opened.reader, opened.design.columns, a, scales))
            u, v = (np.array([x for p in parts for x in p[i]], float) for i in (1, 2))
            found = projection.statistics(u, v, a.model, scales)
            plain = tables.loc[a.phenotype]
            squared = plain["T_STAT"].to_numpy() ** 2
            error = np.abs(found["CHISQ"] - squared)
            ok = found["ERRCODE"] == "."
            np.testing.assert_array_equal(found["ERRCODE"], plain["ERRCODE"].to_numpy())
            assert (error[ok] <= found["DCHISQ_BOUND"][ok]).all()
            assert (error[ok] <= projection.TARGET * np.maximum(1, squared[ok])).all()
            assert (found["DCHISQ_EXPECTED"][ok] < found["DCHISQ_BOUND"][ok]).all()


def test_hits_are_those_of_plain_and_nothing_else_is_opened(study, cohort, tmp_path):
    out = results(run(study(ROLES), cohort, tmp_path, threshold=THRESHOLD, names=("QT",)))
    plain = api.run_plain(cohort[2]).loc["QT"]
    expected = plain.loc[plain["P"] <= THRESHOLD, "ID"].tolist()
    rows = [line.split("\t") for line in (tmp_path / "out.QT.hits").read_text().splitlines()]
    place = {n: i for i, n in enumerate(rows[0])}
    assert [r[place["ID"]] for r in rows[1:]] == expected and 0 < len(expected) < M
    want = plain.set_index("ID").loc[expected]
    for name in ("BETA", "SE", "T_STAT"):
        np.testing.assert_allclose([float(r[place[name]]) for r in rows[1:]], want[name], rtol=1e-5)
    assert out["ada"] is None and out["bob"][0].variants == len(expected)


def test_what_is_not_a_hit_is_opened_as_zero(study, cohort, tmp_path):
    reader, _, opened = cohort
    a = opened.design.analyses[0]
    analysed = opened.design.columns.values[:, a.columns[0]] == 1
    plan = projected_run.plan_pass("QT", len(a.model.gram), N, int(analysed.sum()), THRESHOLD)
    x = projection.basis(opened.design.columns, a, plan.scales)
    oracle = list(projection.sums(reader, opened.design.columns, a, plan.scales))
    u, v = ([value for part in oracle for value in part[i]] for i in (1, 2))

    def ada(s):
        projected.genotype_pass(
            s, VERTICAL, reader, plan, analysed, cohort="c", state=OwnerState(tmp_path / "a"), column_limit=9
        )
        s.send_json("dan", "dealer/pass", None)

    def bob(s):
        return projected.phenotype_pass(s, VERTICAL, x, plan, variants=M, state=OwnerState(tmp_path / "b"))

    which, got_u, got_v = results(
        study(ROLES).run({"ada": ada, "bob": bob, "dan": lambda s: projected.deal_passes(s, VERTICAL)})
    )["bob"]
    positive = [(uu << plan.scales.lead_bits) ** 2 > vv for uu, vv in zip(u, v, strict=True)]
    np.testing.assert_array_equal(which, positive)
    np.testing.assert_array_equal(got_u, np.where(positive, np.array(u, object), 0))
    np.testing.assert_array_equal(got_v, np.where(positive, np.array(v, object), 0))


def test_a_second_threshold_and_too_many_columns_are_refused(study, cohort, tmp_path):
    """Thresholds that differ would bisect every p-value; the same one again is allowed until the columns are used up."""
    s = study(ROLES)
    results(run(s, cohort, tmp_path, threshold=THRESHOLD, names=("QT",), limit=4))
    assert isinstance(run(s, cohort, tmp_path, threshold=1e-4, names=("QT",), limit=4)["ada"], PolicyError)
    results(run(s, cohort, tmp_path, threshold=THRESHOLD, names=("QT",), limit=4))
    last = run(s, cohort, tmp_path, threshold=THRESHOLD, names=("QT",), limit=4)
    assert isinstance(last["ada"], PolicyError) and "at most 4" in str(last["ada"])


def test_with_the_rule_off_thresholds_bisect_p(study, cohort, tmp_path):
    """The attack: every run halves the interval of −log10 p of a variant that was never a hit at the agreed threshold."""
    plain = api.run_plain(cohort[2]).loc["QT"]
    target = int(np.argsort(plain["P"].to_numpy())[5])
    low, high = 0.0, 10.0
    s = study(ROLES)
    for step in range(6):
        middle = (low + high) / 2
        fresh = tmp_path / str(step)  # a new state file: the rule is off
        fresh.mkdir()
        run(s, cohort, fresh, threshold=min(10**-middle, 0.49), names=("QT",))
        hit = f"\trs{target}\t" in (fresh / "out.QT.hits").read_text()
        low, high = (middle, high) if hit else (low, middle)
    assert low <= plain["LOG10_P"].iloc[target] <= high and high - low < 0.2


def task(tmp_path, inputs, **more):
    return deployment.Task(inputs, str(tmp_path / "out"), OwnerState(tmp_path / "state"), **more)


def test_owners_must_name_the_same_reveal(study, tmp_path):
    s = study(ROLES)
    out = {}

    def ada(session):
        deployment._agree(session, "bob", task(tmp_path, Inputs("")))

    def bob(session):
        deployment._agree(session, "ada", task(tmp_path, Inputs(""), threshold=1e-3))

    out = s.run({"ada": ada, "bob": bob, "dan": lambda session: session.receive_json("ada", "dealer/reveal")})
    assert any(isinstance(e, ProtocolError) and "hits below" in str(e) for e in out.values()), out


def test_binary_traits_and_aggregates_without_consent_are_refused(study, cohort, tmp_path):
    reader, files, _ = cohort
    logistic = api.open_study(reader, pheno=_cases(tmp_path, reader))
    with pytest.raises(UsageError, match="--model linear"):
        projected_run.check_linear(logistic.design)
    s = study(ROLES)
    with pytest.raises(PolicyError, match="--consent-aggregates"):
        deployment.run_party(
            s.parties, identity(s.directory, "bob"), task(tmp_path, Inputs("", **files), reveal="aggregates")
        )
    with pytest.raises(UsageError, match="p-value"):
        deployment.run_party(
            s.parties, identity(s.directory, "bob"), task(tmp_path, Inputs("", **files), threshold=5.0)
        )


def _cases(tmp_path, reader):
    rows = "".join(f"{i}\t{i}\t{1 + k % 2}\n" for k, i in enumerate(reader.samples.iid))
    (tmp_path / "cc.tsv").write_text("#FID\tIID\tCC\n" + rows)
    return str(tmp_path / "cc.tsv")


@pytest.mark.parametrize("samples", [4, 500, 10_000, 500_000, 4_000_000])
def test_scales_leave_room_for_every_sum(samples):
    """Largest sums from Cauchy and Schwarz, in Python integers."""
    for covariates in (0, 12):
        df = max(samples - covariates - 2, 1)
        for threshold in (None, projection.t_squared(5e-8, df)):
            s = projection.choose_scales(samples, df, threshold=threshold)
            root = int(np.sqrt(samples)) + 1
            largest = ((1 << s.basis_bits) + root) * ((1 << s.dosage_bits) + 1) * np.sqrt(samples)
            assert largest < 1 << 62
            assert (int(largest) << s.lead_bits) ** 2 < 1 << 127 and s.lead <= 2**s.lead_bits
            assert (2 << s.dosage_bits) < 2**31.5
