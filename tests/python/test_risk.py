"""`sg.risk` and the command: every kind of table, of the attack on a published one, refusals, and nothing of a person."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import genotypes, securegen, write_plink, write_tsv

import securegen as sg
from securegen.errors import InputError, PolicyError, UsageError
from securegen.governance.audit_beside import log_of
from securegen.governance.gate import ungoverned
from securegen.governance.membership import log_ratio
from securegen.governance.opened_columns import opened_columns
from securegen.python.assessment import share_of
from securegen.report.html import NOTHING
from securegen.report.risk import risk_section
from securegen.results.read import read_frame
from securegen.results.released import read_released

pytestmark = pytest.mark.usefixtures("forked_roles")

PEOPLE, VARIANTS = 400, 500


@pytest.fixture(scope="module")
def runs(small, tmp_path_factory) -> Path:
    """A finished run of every test, with its record: linear and logistic together, trend, allelic, quality control."""
    folder = tmp_path_factory.mktemp("runs")
    cohort = ["--bfile", small.bfile]
    for name, command in {
        "both": ["gwas", "--pheno-name", "QT,CC", "--covar", small.covar],
        "trend": ["gwas", "--pheno-name", "CC", "--model", "trend"],
        "allelic": ["gwas", "--pheno-name", "CC", "--model", "allelic"],
        "uv": ["run-local", "gwas", "--engine", "plain", "--reveal", "uv", "--pheno-name", "QT"],
    }.items():
        done = securegen(*command, *cohort, "--pheno", small.pheno, "--out", folder / name)
        assert done.code == 0, done.err
    assert securegen("qc", *cohort, "--out", folder / "quality").code == 0
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A cohort drawn from known frequencies, its table, and people who are not in it."""
    rng, folder = np.random.default_rng(17), tmp_path_factory.mktemp("published")
    p = rng.uniform(0.05, 0.95, VARIANTS)
    inside, outside = (rng.binomial(2, p, (n, VARIANTS)).astype(np.int8) for n in (PEOPLE, 4_000))
    y = rng.normal(size=PEOPLE)
    write_plink(folder / "cohort", inside.T)
    rows = [(f"F{i}", f"I{i}", f"{v:.5f}") for i, v in enumerate(y)]
    pheno = write_tsv(folder / "pheno.tsv", ("#FID", "IID", "Y"), rows)
    study = sg.open_study(folder / "cohort", pheno=pheno)
    sg.run(study, out=folder / "table")
    return folder / "table", p, inside, outside, y


def caught(inside: np.ndarray, outside: np.ndarray, fpr: float) -> float:
    return float((inside > np.quantile(outside, 1 - fpr)).mean())


def test_the_attack_on_a_published_table_finds_what_was_said(published):
    """Members and others by the text of the table alone, with the population's frequencies: within four standard errors of
    400 members (0.1), at both tests."""
    prefix, p, inside, outside, y = published
    found = {t.what: t.power[0] for t in sg.risk(prefix, fpr=0.05).tests}
    frame = read_frame(f"{prefix}.Y.glm.linear")
    copies = np.rint(2 * frame["OBS_CT"] * frame["A1_FREQ"]).to_numpy(np.int64)
    ratio = [log_ratio(g, copies, PEOPLE, p).sum(axis=1) for g in (inside, outside)]
    bound = 4 * math.sqrt(0.25 / PEOPLE)
    assert abs(caught(*ratio, 0.05) - found["frequencies"]) < bound
    z = (frame["BETA"] / frame["SE"]).to_numpy()
    theirs = np.sign(np.random.default_rng(2).normal(size=len(outside)))
    scores = [((g - 2 * p) / np.sqrt(2 * p * (1 - p))) @ z for g in (inside, outside)]
    known = caught(scores[0] * np.sign(y - y.mean()), scores[1] * theirs, 0.05)
    assert abs(known - found["effects, trait known"]) < bound
    assert min(found.values()) > 0.15  # the attack does find members


def test_chosen_rows_stay_below_the_power(published, tmp_path):
    """The rows that are named, released alone, pass the same gate; one more would not."""
    prefix, *_ = published
    found = sg.risk(prefix, power=0.3, out=tmp_path / "x")
    names = set((tmp_path / "x.table.Y.glm.linear.risk.in").read_text().split())
    assert 0 < len(names) < VARIANTS and len(names) == len(found.chosen[0].places)
    head, *rows = Path(f"{prefix}.Y.glm.linear").read_text().splitlines()
    kept = [row for row in rows if row.split("\t")[2] in names]
    (tmp_path / "part.Y.glm.linear").write_text("\n".join([head, *kept]) + "\n")
    assert 0.29 < sg.risk(tmp_path / "part.Y.glm.linear", max_power=0.3).largest <= 0.3
    with pytest.raises(PolicyError, match=r"risk\.max_power"):
        sg.risk(prefix, max_power=0.3)


@pytest.mark.parametrize(
    "run, expected, columns",
    [
        ("both", {"frequencies": 2, "effects, trait known": 2, "frequencies and effects, a case": 1}, 3),
        ("trend", {"frequencies of cases": 1, "frequencies of controls": 1, "cases against controls, a case": 1}, 2),
        ("allelic", {"frequencies of cases": 1, "cases against controls, a case": 1}, 2),
        ("quality", {"frequencies": 1, "counts of genotypes": 1}, 2),
        ("uv", {"effects, trait known": 1, "effects, trait unknown": 1}, 1),
    ],
)
def test_every_kind_of_table_has_its_tests(runs, run, expected, columns):
    found = sg.risk(runs / run)
    what = [t.what for t in found.tests]
    assert {name: what.count(name) for name in expected} == expected
    assert found.columns[0].columns == columns
    assert (
        all(0 <= t.power[1] <= t.power[0] <= 1 for t in found.tests) and found.largest > 0.5
    )  # 1,300 variants of 90 people


def test_tables_of_counts_and_of_scores_agree_on_a_case(runs):
    """Counts of cases and controls, or frequencies with a score test: the same two columns in the same people."""
    distance = {
        name: next(t.distance for t in sg.risk(runs / name).tests if t.what.endswith("a case"))
        for name in ("trend", "both")
    }
    assert distance["trend"] == pytest.approx(distance["both"], rel=0.05)


def test_fewer_independent_variants_are_less(runs, small):
    counted = sg.risk(runs / "both", genotypes=sg.Inputs(bfile=small.bfile))
    few = sg.risk(runs / "both", independent=10)
    every = sg.risk(runs / "both")
    assert every.largest >= counted.largest > few.largest
    assert few.tests[0].independent == 10 and counted.tests[0].independent <= every.tests[0].variants


def test_variants_that_the_genotypes_lack_count_as_independent(runs, small):
    lines: list[str] = []
    table = read_released(runs / "both.QT.glm.linear")
    share, linked = share_of(table, sg.read_plink(small.bfile).select(None, np.arange(3)), None, lines.append)
    assert "counted as independent" in lines[0] and share == pytest.approx(1, abs=0.01) and linked is not None


def test_columns_that_parties_open_are_counted():
    """Of a federated record by what it says was opened, of the vertical split by what is revealed."""
    rounds = [
        {"name": "design-0012", "rows": 49, "numbers": 49}, {"name": "variants-00000-flags", "rows": 59, "numbers": 118},
        {"name": "variants-00000-counts", "rows": 42, "numbers": 126},
        {"name": "variants-00000-columns", "rows": 42, "numbers": 294},
        {"name": "variants-00001-columns", "rows": 40, "numbers": 280},
        {"name": "components-01-products", "rows": 500, "numbers": 3000},
        {"name": "components-02-products", "rows": 500, "numbers": 3000},
    ]  # fmt: skip
    base = {"samples": 100, "phenotypes": ["QT"], "covariates": 6}
    (site,) = opened_columns(base | {"engine": "federated", "opened": {"rounds": rounds}})
    assert (site.who, site.columns) == ("every site", 1 + 7 + 6 + 6) and "above 0.16" in site.line()
    model = [
        {"name": "step1-block-00000-gram", "rows": 840}, {"name": "step1-block-00000-beside", "rows": 80},
        {"name": "step1-predictors-0-gram", "rows": 210}, {"name": "step1-predictors-0-beside", "rows": 20},
        {"name": "step1-predictors-1-beside", "rows": 20}, {"name": "step1-newton-1-0-00-gram", "rows": 231},
    ]  # fmt: skip
    (site,) = opened_columns(base | {"engine": "federated", "opened": {"rounds": rounds + model}})
    assert site.columns == 20 + 20 + 40, "B and the predictors of two phenotypes, as the ledger counts"
    assert next(opened_columns(base | {"engine": "federated"})).columns == 8
    assert next(opened_columns(base | {"engine": "mpc", "reveal": "aggregates"})).columns == 8
    assert next(opened_columns(base | {"engine": "mpc", "reveal": "uv"})).columns == 1
    assert "above 0.85" in next(opened_columns(base | {"samples": 9, "engine": "mpc", "reveal": "aggregates"})).line()
    assert not list(opened_columns(base | {"engine": "ckks"})) and not list(opened_columns({}))


def test_small_scores_are_counted_from_the_files_of_the_run(tmp_path):
    rng = np.random.default_rng(5)
    write_plink(tmp_path / "c", genotypes(rng, 30, 20, missing=0))
    weights = [(f"rs{j}", "A", f"{w:.7f}") for j, w in enumerate(rng.normal(size=8))]
    score = write_tsv(tmp_path / "s.tsv", ("ID", "effect_allele", "effect_weight"), weights)
    done = securegen(
        "prs", "--bfile", tmp_path / "c", "--score", score, "--allow-small-score", "SCORE1", "--out", tmp_path / "x"
    )
    assert done.code == 0, done.err
    (model,) = sg.risk(tmp_path / "x").scores
    assert model.exact and model.variants == 8 and model.alone > 0.9
    score.write_text(score.read_text().replace("rs1", "rs9"))
    (bound,) = sg.risk(tmp_path / "x").scores
    assert not bound.exact and bound.variants == 8
    (tmp_path / "x.run.json").unlink()
    with pytest.raises(InputError, match=r"run\.json"):
        sg.risk(tmp_path / "x")


def test_tables_without_frequencies_or_effects_are_refused(runs, small, tmp_path):
    head, *rows = (runs / "both.QT.glm.linear").read_text().splitlines()
    places = [head.split("\t").index(c) for c in ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "OBS_CT", "P", "LOG10_P")]
    lines = ["\t".join(line.split("\t")[i] for i in places) for line in (head, *rows)]
    (tmp_path / "p.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"no frequencies .* no effects"):
        sg.risk(tmp_path / "p.tsv")
    with pytest.raises(InputError, match="no table of results"):
        sg.risk(tmp_path / "nothing")
    wrong = (runs / "both.QT.glm.linear").read_text().splitlines()
    cells = wrong[1].split("\t")
    cells[wrong[0].split("\t").index("A1_FREQ")] = "1.5"
    (tmp_path / "w.QT.glm.linear").write_text("\n".join([wrong[0], "\t".join(cells), *wrong[2:]]) + "\n")
    with pytest.raises(InputError, match="between 0 and 1"):
        sg.risk(tmp_path / "w.QT.glm.linear")


@pytest.mark.parametrize(
    "options",
    [{"fpr": 0.0}, {"fpr": ()}, {"power": 0.01}, {"max_power": 1.0}, {"independent": 0}, {"power": float("nan")}],
)
def test_values_that_make_no_sense_are_refused(runs, options):
    with pytest.raises(UsageError):
        sg.risk(runs / "both", **options)


def test_the_command_gates_a_pipeline_and_writes_nothing_of_a_person(runs, small, tmp_path):
    out = tmp_path / "r"
    done = securegen("risk", runs / "both", "--max-power", "0.6", "--json", "--out", out)
    assert done.code == PolicyError.exit_code
    said = json.loads(done.out)
    assert said["error"]["class"] == "PolicyError" and "risk.max_power" in said["error"]["message"]
    kept = json.loads(Path(f"{out}.risk.json").read_text())
    assert kept["note"] == "power of this test; stronger ones exist" and kept["tests"] == said["tests"]
    assert len(kept["fact"]["inputs"]) == 64 and all(len(d) == 64 for d in kept["tables"].values())
    written = Path(f"{out}.risk.json").read_text() + done.out
    assert (
        not [i for i in sg.read_plink(small.bfile).samples.iid.tolist() if f'"{i}"' in written]
        and "safe" not in written
    )
    assert securegen("risk", runs / "both", "--max-power", "0.6", "--independent", "5", "--out", out).code == 0


def test_a_rehearsal_writes_nothing(runs, tmp_path):
    done = securegen("risk", runs / "both", "--dry-run", "--out", tmp_path / "r")
    assert done.code == 0 and "r.risk.json" in done.out and not list(tmp_path.iterdir())


def test_under_a_policy_every_estimate_and_refusal_is_logged(runs, tmp_path):
    """Also from Python; the entries hold digests and counts."""
    shutil.copy(runs / "both.QT.glm.linear", tmp_path / "x.QT.glm.linear")
    (tmp_path / "policy.toml").write_text("")
    sg.risk(tmp_path / "x")
    with pytest.raises(PolicyError):
        sg.risk(tmp_path / "x", max_power=0.5)
    entries = log_of(tmp_path / "policy.toml").folder / "entries"
    kinds = [json.loads(line)["kind"] for p in sorted(entries.iterdir()) for line in p.read_text().splitlines()]
    assert kinds == ["run", "run", "refusal"]


def test_an_estimate_that_counts_in_genotypes_is_in_their_log_and_of_the_people_who_are_asked_for(
    runs, small, tmp_path, monkeypatch
):
    """A table from anywhere asks which variants are linked there."""
    shutil.copy(runs / "both.QT.glm.linear", tmp_path / "x.QT.glm.linear")
    away = tmp_path / "away"
    away.mkdir()
    for end in ("bed", "bim", "fam"):
        shutil.copy(f"{small.bfile}.{end}", away / f"c.{end}")
    policy, key = away / "policy.toml", tmp_path / "steward.secret"
    sg.policy.init(policy, "Test", key=key, settings={"budgets.releases": 2, "budgets.columns_share": 0.16})
    sg.policy.sign(policy, key)
    inputs = {"bfile": str(away / "c"), "chr": ("1",)}
    with pytest.raises(PolicyError, match=r"policy\.purpose"):
        sg.risk(tmp_path / "x", genotypes=sg.Inputs(**inputs))
    sg.run(sg.open_study(away / "c", chr="1", pheno=small.pheno, pheno_name="QT", purpose="HMB"))  # of fewer people
    ours = sg.Inputs(**inputs, purpose="HMB")
    whole = sg.risk(tmp_path / "x", genotypes=ours)
    assert sg.risk(tmp_path / "x", genotypes=ours).tests == whole.tests, "a repetition is no further release"
    kinds = [e.kind for e in sg.audit.verify(away).entries]
    assert kinds.count("refusal") == 1 and kinds.count("release") == 3 and kinds.count("run") == 2
    with pytest.raises(PolicyError, match=r"budget\.releases"):
        sg.risk(tmp_path / "x", genotypes=ours, power=0.9)
    with monkeypatch.context() as patch:
        patch.setattr(
            importlib.import_module("securegen.python.risk"), "gate_of_inputs", lambda *_: ungoverned()
        )  # the protection
        sg.risk(tmp_path / "x", genotypes=sg.Inputs(**inputs))
    people = [line.split()[:2] for line in (away / "c.fam").read_text().splitlines()[:30]]
    (tmp_path / "few").write_text("".join(f"{fid} {iid}\n" for fid, iid in people))
    chosen = sg.Inputs(**inputs, keep=str(tmp_path / "few"))
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        sg.risk(tmp_path / "x", genotypes=chosen)
    policy.unlink()
    (away / "policy.toml.sig").unlink()
    fewer = sg.risk(tmp_path / "x", genotypes=chosen)
    assert fewer.tests[0].independent != whole.tests[0].independent


def test_the_report_shows_the_estimate_of_these_tables_alone(runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs securegen[plot]")
    head, *rows = (runs / "both.QT.glm.linear").read_text().splitlines(keepends=True)
    table, prefix = tmp_path / "x.QT.glm.linear", str(tmp_path / "x")
    table.write_text("".join([head, *rows[:200]]))
    assert risk_section(prefix) == NOTHING
    sg.risk(prefix, out=prefix, fpr=0.05)
    sg.write_report(table, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "What it gives away" in page and "stronger ones exist" in page and "effects, trait known" in page
    table.write_text("".join([head, *rows[:199]]))
    assert "run securegen risk again" in risk_section(prefix).html
    Path(f"{prefix}.risk.json").write_text('{"note": 3}')
    with pytest.raises(InputError):
        risk_section(prefix)
