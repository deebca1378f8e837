"""A vertical split that opens less than all sums: exact u and v, hits alone, one threshold, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.design.columns import Analysis
from securegen.engines.mpc import aggregates, batches, deployment, projected, projected_run, vertical
from securegen.engines.mpc.association import announce_cohort
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.shares import radix
from securegen.engines.mpc.shares.radix import Form, choose_form, to_digits
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.errors import PeerError, PolicyError, ProtocolError, UsageError
from securegen.governance.gate import ungoverned
from securegen.io.arrays import from_arrays
from securegen.model import Samples, Variants
from securegen.results.projected import plain_projected
from securegen.stats import projected_statistics, projection
from securegen.study.inputs import Inputs
from securegen.study.opening import open_study

from .conftest import results

ROLES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
VERTICAL = Roles("ada", "bob", "dan")
N, M = 180, 60
THRESHOLD = 1e-3


def named_variants(count):
    text = lambda x: np.array(x, object)  # noqa: E731
    return Variants(
        text(["1"] * count), np.arange(1, count + 1), text([f"rs{j}" for j in range(count)]), text(["A"] * count),
        text(["G"] * count),
    )  # fmt: skip


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
    reader = from_arrays(g, samples, variants=named_variants(M))
    rows = [f"{i}\t{i}\t{'NA' if k % 17 == 3 else q}\t{-q}" for k, (i, q) in enumerate(zip(ids, qt, strict=True))]
    (folder / "pheno.tsv").write_text("#FID\tIID\tQT\tMINUS\n" + "\n".join(rows) + "\n")
    (folder / "covar.tsv").write_text(
        "#FID\tIID\tage\n" + "".join(f"{i}\t{i}\t{a}\n" for i, a in zip(ids, age, strict=True))
    )
    files = {"pheno": str(folder / "pheno.tsv"), "covar": str(folder / "covar.tsv")}
    return reader, files, open_study(reader, **files)


@pytest.fixture(scope="module")
def cases(cohort, tmp_path_factory):
    """The same genotypes with a binary trait."""
    reader, files, _ = cohort
    folder = tmp_path_factory.mktemp("cases")
    draw = np.random.default_rng(8)
    dose = np.where(np.isnan(_dosages(reader)), 0, _dosages(reader))
    case = draw.random(N) < 1 / (1 + np.exp(-(1.6 * dose[7] - 2.0)))
    rows = "".join(f"{i}\t{i}\t{1 + c}\n" for i, c in zip(reader.samples.iid, case, strict=True))
    (folder / "cc.tsv").write_text("#FID\tIID\tCC\n" + rows)
    files = {**files, "pheno": str(folder / "cc.tsv")}
    return reader, files, open_study(reader, **files)


def _dosages(reader):
    block = reader.read(0, M)
    return np.where(block.missing, np.nan, block.dosage) if block.missing is not None else block.dosage


def run(study, cohort, tmp_path, *, reveal, threshold=None, names=None, limit=100, traffic=False):
    """What the parties return, or with traffic=True the bytes they sent."""
    reader, files, _ = cohort
    inputs = Inputs("", **files, pheno_name=names)

    def state(s):
        return StateFile(tmp_path / f"{s.me}.json")

    def ada(s):
        return projected_run.genotype_run(
            s, VERTICAL, reader, reveal=reveal, cohort="c", state=state(s), threshold=threshold, column_limit=limit
        )

    def bob(s):
        return projected_run.phenotype_run(
            s, VERTICAL, inputs, str(tmp_path / "out"), reveal=reveal, state=state(s), threshold=threshold
        )

    def counted(program):
        return lambda s: (program(s), s.traffic.total)[1 if traffic else 0]

    return study.run({"ada": counted(ada), "bob": counted(bob), "dan": lambda s: projected_run.deal(s, VERTICAL)})


def plain_of(opened, name):
    tables = sg.run(opened).frame
    return tables.loc[name] if name in tables.index else tables


def table(path):
    return pd.read_csv(path, sep="\t", dtype={"#CHROM": str})


FORMS = {
    "as planned": None,
    "whole words": Form(32, 20, 3, N, {"g": 32, "m": 32}),
    "chunks": Form(32, 4, 12, 70, {"g": 13, "m": 12}),
    "64 bits": Form(64, 30, 2, N, {"g": 40, "m": 39}),
}


@pytest.mark.parametrize(
    ("batch", "form"), [(1 << 12, "as planned"), (16, "whole words"), (16, "chunks"), (16, "64 bits")]
)
def test_uv_are_the_plain_engines_text_for_text(study, cohort, tmp_path, monkeypatch, batch, form):
    """Two traits with different people; batches of all variants, and of a few; every kind of ring."""
    monkeypatch.setattr(batches, "BATCH", batch)
    if FORMS[form] is not None:
        monkeypatch.setattr(projected, "choose_form", lambda *_, **__: FORMS[form])
    monkeypatch.setattr(vertical, "block_size", lambda samples, bits=64: 7)
    results(run(study(ROLES), cohort, tmp_path, reveal="uv"))
    _, _, opened = cohort
    plain_projected(opened.reader, opened.strata, str(tmp_path / "plain"), gate=ungoverned())
    for name in ("QT", "MINUS"):
        assert (tmp_path / f"out.{name}.uv").read_text() == (tmp_path / f"plain.{name}.uv").read_text()


def test_uv_of_a_score_test_are_the_plain_engines_too(study, cases, tmp_path):
    results(run(study(ROLES), cases, tmp_path, reveal="uv"))
    plain_projected(cases[2].reader, cases[2].strata, str(tmp_path / "plain"), gate=ungoverned())
    assert (tmp_path / "out.CC.uv").read_text() == (tmp_path / "plain.CC.uv").read_text()


@pytest.mark.parametrize("which", ["cohort", "cases"])
def test_chisq_alone_is_that_of_all_sums_within_the_printed_bound(study, request, tmp_path, which):
    given = request.getfixturevalue(which)
    out = results(run(study(ROLES), given, tmp_path, reveal="chi2"))
    assert out["ada"] is False
    for summary in out["bob"]:
        name = summary.analysis.phenotype
        found, whole = table(tmp_path / f"out.{name}.chi2"), plain_of(given[2], name)
        assert not {"BETA", "SE", "U", "V"} & set(found.columns)
        want = whole["CHISQ"].to_numpy() if "CHISQ" in whole else whole["T_STAT"].to_numpy() ** 2
        ok = found["ERRCODE"].to_numpy() == "."
        assert ok.sum() >= M - 2 and not ok[3]  # the constant variant says no more than that
        error = np.abs(found["CHISQ"].to_numpy()[ok] - want[ok]) / np.maximum(1, want[ok])
        assert error.max() <= summary.promise["dchisq_certain"] <= projected_statistics.TARGET
        oracle = plain_projected(
            given[2].reader, given[2].strata, str(tmp_path / "p"), reveal="chi2", gate=ungoverned()
        )
        assert oracle[0].codes == out["bob"][0].codes


@pytest.mark.parametrize("which", ["cohort", "cases"])
def test_hits_are_those_of_plain_and_nothing_else_is_opened(study, request, tmp_path, which):
    given = request.getfixturevalue(which)
    name = given[2].design.analyses[0].phenotype
    out = results(run(study(ROLES), given, tmp_path, reveal="hits", threshold=THRESHOLD, names=(name,)))
    plain = plain_of(given[2], name)
    expected = plain.loc[plain["P"] <= THRESHOLD, "ID"].tolist()
    hits = table(tmp_path / f"out.{name}.hits")
    assert hits["ID"].tolist() == expected and 0 < len(expected) < M
    want = plain.set_index("ID").loc[expected]
    for column in ("BETA", "SE"):
        np.testing.assert_allclose(hits[column], want[column], rtol=1e-6)
    assert out["ada"] is False and out["bob"][0].variants == len(expected)


@pytest.mark.parametrize("which", ["cohort", "cases"])
def test_fractional_dosages_are_revealed_like_whole_ones(study, request, tmp_path, which):
    reader, files, _ = request.getfixturevalue(which)
    block = reader.read(0, M)
    dosage = np.clip(block.dosage + np.random.default_rng(2).integers(-64, 65, block.dosage.shape) / 256, 0, 2)
    dosage[3] = 1.0
    fractional = from_arrays(np.where(block.missing, np.nan, dosage), reader.samples, variants=reader.variants)
    assert fractional.dosage_grid == 256
    given, made = (fractional, files, open_study(fractional, **files)), study(ROLES)
    for reveal, limit in (("uv", 0), ("chi2", projected_statistics.TARGET)):
        folder = tmp_path / reveal
        folder.mkdir()
        results(run(made, given, folder, reveal=reveal))
        for oracle in plain_projected(
            fractional, given[2].strata, str(folder / "plain"), reveal=reveal, gate=ungoverned()
        ):
            found, want = (table(folder / f"{p}.{oracle.analysis.phenotype}.{reveal}") for p in ("out", "plain"))
            assert (found["CHISQ"] - want["CHISQ"]).abs().max() <= limit * max(1, want["CHISQ"].max())
            assert found["ERRCODE"].equals(want["ERRCODE"])
            assert (want["ERRCODE"] == ".").sum() >= M - 1


def test_what_is_not_a_hit_is_opened_as_zero(study, cohort, tmp_path, monkeypatch):
    seen = []
    original = projected_run.Opened.add
    monkeypatch.setattr(projected_run.Opened, "add", lambda self, found: (seen.append(found), original(self, found)))
    results(run(study(ROLES), cohort, tmp_path, reveal="hits", threshold=THRESHOLD, names=("QT",)))
    (found,) = seen
    assert found["opened"].any() and not found["opened"].all()
    any_hit = found["opened"].any(axis=1)
    for name, hit in (("u", found["opened"]), ("v", any_hit), ("variation", any_hit)):
        assert (found[name][~hit] == 0).all() and (found[name][hit] != 0).all()


@pytest.mark.parametrize("samples", [500, 10_000, 500_000])
@pytest.mark.parametrize("covariates", [0, 12])
def test_the_certain_bound_of_chisq_is_below_a_millionth_at_every_size(samples, covariates):
    """For variants from a frequency of 1 % that covariates explain up to the limit of collinearity."""
    model = SimpleNamespace(covariates=("c",) * covariates)
    analysed = np.ones(samples, bool)
    p = projection.Projection(
        "linear",
        (Analysis("linear", "y", (), (), model),),
        analysed,
        np.zeros((samples, covariates)),
        analysed[:, None],
        (1.0,),
    )
    scales = projection.choose_scales(samples)
    noise = projected_statistics.Noise.of(scales)
    chisq = np.array([1.0, 30.0, 300.0])
    for explained in (0.0, 0.9, 0.99):
        v = np.full(3, 0.02 * samples * (1 - explained))
        u = np.sqrt(v * chisq / (chisq + p.df))
        bound = projected_statistics.statistics(u, v, p, 0, noise)["DCHISQ_BOUND"]
        assert (bound <= projected_statistics.TARGET * chisq).all(), (bound, explained)
    assert projected_statistics.planned_error(samples, scales) <= projected_statistics.TARGET
    ratio = chisq / (chisq + p.df)
    error = projected_statistics.ratio_error(
        ratio, p, projected_statistics.Noise.of(scales, normalised=True), projected_statistics.RATIO_LIMIT["linear"]
    )
    opened = projected_statistics.from_ratio(ratio, np.ones(3, bool), p, 0, error)
    assert (opened["DCHISQ_BOUND"] <= projected_statistics.TARGET * chisq).all(), opened["DCHISQ_BOUND"]


def test_a_second_threshold_and_too_many_columns_are_refused(study, cohort, tmp_path):
    """Thresholds that differ would bisect every p-value; the same one again is allowed until the columns are used up."""
    s = study(ROLES)
    again = {"reveal": "hits", "names": ("QT",), "limit": 4}
    results(run(s, cohort, tmp_path, threshold=THRESHOLD, **again))
    assert isinstance(run(s, cohort, tmp_path, threshold=1e-4, **again)["ada"], PolicyError)
    other = {**again, "names": ("MINUS",), "limit": 3}  # above the limit: its threshold is not remembered
    assert "2 of at most 3" in str(run(s, cohort, tmp_path, threshold=1e-4, **other)["ada"])
    assert "MINUS" not in (tmp_path / "ada.json").read_text()
    results(run(s, cohort, tmp_path, threshold=THRESHOLD, **again))
    last = run(s, cohort, tmp_path, threshold=THRESHOLD, **again)
    assert isinstance(last["ada"], PolicyError) and "at most 4" in str(last["ada"])


def test_with_the_rule_off_thresholds_bisect_p(study, cohort, tmp_path):
    """The attack: every run halves the interval of −log10 p of a variant that was never a hit at the agreed threshold."""
    plain = sg.run(cohort[2]).frame.loc["QT"]
    target = int(np.argsort(plain["P"].to_numpy())[5])
    low, high = 0.0, 10.0
    s = study(ROLES)
    for step in range(6):
        middle = (low + high) / 2
        fresh = tmp_path / str(step)  # a new state file: the rule is off
        fresh.mkdir()
        run(s, cohort, fresh, reveal="hits", threshold=min(10**-middle, 0.49), names=("QT",))
        hit = f"\trs{target}\t" in (fresh / "out.QT.hits").read_text()
        low, high = (middle, high) if hit else (low, middle)
    assert low <= plain["LOG10_P"].iloc[target] <= high and high - low < 0.2


def task(tmp_path, inputs, **more):
    return deployment.Task(inputs, str(tmp_path / "out"), StateFile(tmp_path / "state"), **more)


def test_owners_must_name_the_same_reveal(study, tmp_path):
    s = study(ROLES)
    out = {}

    def ada(session):
        deployment._agree(session, "bob", task(tmp_path, Inputs("")))

    def bob(session):
        deployment._agree(session, "ada", task(tmp_path, Inputs(""), threshold=1e-3))

    out = s.run({"ada": ada, "bob": bob, "dan": lambda session: session.receive_json("ada", "dealer/reveal")})
    assert any(isinstance(e, ProtocolError) and "hits below" in str(e) for e in out.values()), out


def test_counts_and_aggregates_without_consent_are_refused(study, cases, tmp_path):
    reader, files, _ = cases
    for model in ("trend", "allelic"):
        with pytest.raises(UsageError, match="`model` logistic without covariates"):
            projection.project(open_study(reader, **files, model=model).design)
    s = study(ROLES)
    with pytest.raises(PolicyError, match="`consent_aggregates`"):
        deployment.run_party(
            s.parties,
            PartyIdentity.in_directory(s.directory, "bob"),
            task(tmp_path, Inputs("", **files), reveal="aggregates"),
        )
    with pytest.raises(UsageError, match="p-value"):
        deployment.run_party(
            s.parties,
            PartyIdentity.in_directory(s.directory, "bob"),
            task(tmp_path, Inputs("", **files), threshold=5.0),
        )


@pytest.mark.parametrize("samples", [4, 500, 10_000, 500_000, 1_000_000])
@pytest.mark.parametrize("grid", [1, 32])
def test_scales_and_digits_leave_room_for_every_sum(samples, grid):
    """Largest sums from Cauchy and Schwarz, and of digits from their size, in Python integers."""
    s = projection.choose_scales(samples, grid)
    root = int(np.sqrt(samples)) + 1
    largest = 2 * grid * root * ((1 << s.basis_bits) + root) << s.mean_bits
    assert largest**2 < 1 << 191
    for test in ("linear", "logistic"):
        group = projected.PhenotypeGroup(test, ("Y",), 3, samples, ())
        plan = projected.make_plan("uv", (group,), s, samples, grid)
        form = plan.form
        assert form.bits == 32 and form.chunk * form.chunks(samples) >= samples
        for name, size in {"g": 2 * grid, "q": 4 * grid * grid, "m": 1}.items():
            if name in form.widths:
                assert size * form.chunk << (form.digit - 1) < 1 << (form.widths[name] - 2)
                assert form.widths[name] <= 32
        if plan.first == 1:  # whole sums, of unit columns or of weights up to 1
            most = 4 * grid * grid * samples if test == "logistic" else 2 * grid * root
            assert most * ((1 << s.basis_bits) + root) < 1 << 62
        x = np.array([[1 << s.basis_bits, -(1 << s.basis_bits), 0, 12345]])
        digits = to_digits(x, form).reshape(1, 4, -1).astype(object)
        assert (np.abs(digits) <= 1 << (form.digit - 1)).all()
        assert ((digits * [1 << (form.digit * i) for i in range(form.digits)]).sum(axis=2) == x).all()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("reveal", ["uv", "hits", "chi2"])
def test_bytes_of_a_variant_and_of_a_further_phenotype(study, tmp_path, reveal, missing):
    """Online bytes of both parties, as they are promised, and half of a further phenotype's are the same for any N."""
    people, variants, covariates = 400, 512, 3
    draw = np.random.default_rng(13)
    g = draw.binomial(2, 0.3, (variants, people)).astype(np.float64)
    if missing:
        g[draw.random(g.shape) < 0.02] = np.nan
    ids = np.array([f"p{i}" for i in range(people)], object)
    reader = from_arrays(g, Samples(ids, ids, np.ones(people, bool)), variants=named_variants(variants))
    for path, names in ((tmp_path / "p.tsv", ["A", "B", "C"]), (tmp_path / "c.tsv", ["u", "v", "w"][:covariates])):
        rows = ["\t".join([i, i, *map(str, draw.normal(size=len(names)).round(3))]) for i in ids]
        path.write_text("\n".join(["\t".join(["#FID", "IID", *names]), *rows]) + "\n")
    made, sent, given = (
        study(ROLES),
        {},
        (reader, {"pheno": str(tmp_path / "p.tsv"), "covar": str(tmp_path / "c.tsv")}, None),
    )
    for count in (1, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        out = results(run(made, given, folder, reveal=reveal, threshold=THRESHOLD if reveal == "hits" else None,
                          names=("A", "B", "C")[:count], traffic=True))  # fmt: skip
        sent[count] = (out["ada"] + out["bob"]) / variants
    plan_digits = 12  # digits of a column at most: its δ goes once, whatever the variants
    fixed = (4 * people * plan_digits * (covariates + 3) + 120 * people + 16_384) / variants
    assert sent[1] <= 8.1 * people + fixed
    assert (sent[3] - sent[1]) / 2 <= 100 + 4 * people * plan_digits / variants


@pytest.mark.parametrize("reveal", ["uv", "hits", "aggregates"])
def test_masked_genotypes_that_were_kept_are_not_sent_again(study, cohort, tmp_path, reveal):
    """A later session with another phenotype, other people and all; not after the owner lost its masks."""
    reader, files, _ = cohort
    made = study(ROLES)

    def session(name, owner, folder):
        folder.mkdir(exist_ok=True)
        inputs, module = (
            Inputs("", **files, pheno_name=(name,)),
            aggregates if reveal == "aggregates" else projected_run,
        )
        terms = {"reveal": reveal, "threshold": THRESHOLD if reveal == "hits" else None}
        terms = {"consent_aggregates": True} if reveal == "aggregates" else terms

        def ada(s):
            own = {"level": "all"} if reveal == "aggregates" else {}
            module.genotype_run(
                s, VERTICAL, reader, cohort="c", state=StateFile(owner), column_limit=99, **terms, **own
            )
            return s.traffic.total

        def bob(s):
            state, keep = StateFile(tmp_path / "bob"), None if folder == tmp_path / "no" else tmp_path / "masked"
            return module.phenotype_run(s, VERTICAL, inputs, str(folder / "t"), state=state, masked=keep, **terms)

        out = made.run({"ada": ada, "bob": bob, "dan": lambda s: module.deal(s, VERTICAL)})
        return out["ada"]

    first = session("QT", tmp_path / "ada", tmp_path / "first")
    assert first - session("MINUS", tmp_path / "ada", tmp_path / "again") > M * 2 * N
    session("MINUS", tmp_path / "ada", tmp_path / "no")
    again, fresh = (next((tmp_path / f).glob("t.MINUS.*")) for f in ("again", "no"))
    if reveal == "hits":  # of which the last bits depend on where shares were cut
        pd.testing.assert_frame_equal(table(again), table(fresh), rtol=1e-6)
    else:
        assert again.read_bytes() == fresh.read_bytes()
    assert isinstance(session("QT", tmp_path / "lost", tmp_path / "third"), PeerError)  # bob has other masks
    assert not list((tmp_path / "third").iterdir())


def test_masked_genotypes_take_few_bytes_at_every_size():
    """Linear: 3 to 4 bytes a genotype, 8 at most with missing calls; a score test 8 at most."""
    for samples in (500, 2_000, 10_000, 100_000, 500_000):
        bits = projection.choose_scales(samples).basis_bits
        linear = choose_form(samples, {"g": 2, "m": 1}, bits, few=True)
        assert radix.wire_bytes(["g"], linear.widths) <= 4 and radix.wire_bytes(["g", "m"], linear.widths) <= 8
        assert linear.chunks(samples) * linear.digits * 2 <= 32
        weighted = choose_form(samples, {"g": 2, "q": 4, "m": 1}, bits, few=False)
        assert radix.wire_bytes(["g", "q", "m"], weighted.widths) <= 8
        if samples >= 2_000:
            lifts = 10 * weighted.chunks(samples) * weighted.digits * 3 / 4
            assert radix.wire_bytes(["g", "q", "m"], weighted.widths) * samples + lifts + 1300 <= 8.1 * samples


def test_a_wrong_batch_or_group_ends_the_session_for_everybody(study, cohort, tmp_path):
    def ada(s):
        announce_cohort(s, "bob", cohort[0])
        s.receive_json("bob", "groups")
        s.send_json("dan", "dealer/plan", {"groups": [{"test": "linear"}], "reveal": "uv", "sizes": [N, M, 1]})
        s.receive("bob", "analysed/0")
        s.receive("dan", "dealer/correlation key")

    reader, files, _ = cohort
    out = study(ROLES).run({
        "ada": ada,
        "bob": lambda s: projected_run.phenotype_run(
            s, VERTICAL, Inputs("", **files), str(tmp_path / "o"), reveal="uv", state=StateFile(tmp_path / "s")
        ),
        "dan": lambda s: projected_run.deal(s, VERTICAL),
    })  # fmt: skip
    assert isinstance(out["dan"], ProtocolError) and "malformed phenotypes" in str(out["dan"])
    assert all(isinstance(e, Exception) for e in out.values()) and not list(tmp_path.glob("o*"))
