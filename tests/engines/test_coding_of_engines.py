"""Genetic models on every engine: tables, run.json and receipts of the plain engine's, byte for byte, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import simulate, write_plink

import securegen as sg
from securegen.engines.ckks import steps
from securegen.engines.federated import steps as federated
from securegen.engines.mpc.aggregate_plan import AggregatePlan
from securegen.engines.mpc.association import people_columns
from securegen.errors import ArtefactError, UsageError
from securegen.stats.qc import Filters

pytestmark = pytest.mark.usefixtures("forked_roles")
ENGINES = {
    "ckks": sg.Ckks(),
    "aggregates": sg.Mpc(split="vertical", reveal="aggregates", consent_aggregates=True, openings="all"),
    "outsourced": sg.Mpc(split="outsourced", openings="all"),
    "federated": sg.Federated(openings="all"),
}
MODELS = ("dominant", "recessive", "hetonly")
TRIED = [("ckks", m) for m in MODELS] + [("aggregates", "recessive"), ("outsourced", "hetonly")]
TRIED += [("federated", m) for m in ("dominant", "recessive")]
FILTERS = Filters(maf=0.1, hwe=0.01)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("coding") / "c", variants=40)


def opened(cohort, *names: str, **options) -> sg.Study:
    return sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=names or None, covar=cohort.covar, **options)


def tables(study, engine, out, **more) -> dict[str, bytes]:
    return {name: Path(path).read_bytes() for name, path in sg.run(study, engine, out=out, **more).paths.items()}


@pytest.mark.parametrize(("name", "model"), TRIED)
def test_equal_tables_of_both_tests(cohort, tmp_path, name, model):
    study = opened(cohort, "QT", "CC", **{model: True})
    plain = tables(study, "plain", tmp_path / "plain")
    results = sg.run(study, ENGINES[name], out=tmp_path / "other")
    assert {p: Path(path).read_bytes() for p, path in results.paths.items()} == plain
    assert plain["QT"] != tables(opened(cohort, "QT"), "plain", tmp_path / "additive")["QT"]
    assert results.record["genetic_model"] == model
    assert f"genetic model{':' if name != 'ckks' else ''} {model}" in results.record["receipt"]["design"]


def test_equal_tables_where_alleles_are_filtered_and_squares_stored(cohort, tmp_path):
    study = opened(cohort, "QT", "CC", recessive=True, qc=True)
    plain = tables(study, "plain", tmp_path / "plain", filters=FILTERS)
    assert tables(study, "ckks", tmp_path / "ckks", filters=FILTERS) == plain
    key = steps.generate_key(steps.plan(study, squares=True))
    made = steps.encrypt(study, key, tmp_path / "s", squares=True)
    results = steps.associate(made.cohort, made.design, tmp_path / "r")
    written = steps.decrypt_tables(results, key, made.owner, str(tmp_path / "d"), filters=FILTERS)
    assert {t.analysis.phenotype: Path(t.path).read_bytes() for t in written} == plain


def test_a_later_design_has_the_model_of_its_cohort(cohort, tmp_path):
    study = opened(cohort, "QT", dominant=True)
    key = steps.generate_key(steps.plan(study, squares=True))
    made = steps.encrypt(study, key, tmp_path / "s", squares=True)
    told = {"pheno": cohort.pheno, "covar": cohort.covar, "pheno_name": "QT"}
    later = steps.open_later_study(made.owner, key, **told)
    folder = steps.encrypt_design(later, key, made.owner, tmp_path / "late.design")
    results = steps.associate(made.cohort, folder, tmp_path / "r")
    (table,) = steps.decrypt_tables(results, key, made.owner, str(tmp_path / "d"), design=folder)
    assert Path(table.path).read_bytes() == tables(study, "plain", tmp_path / "plain")["QT"]
    assert steps.read_design(key, made.owner, folder).record()["genetic_model"] == "dominant"
    with pytest.raises(ArtefactError, match="give the same files, filters and genetic model"):
        steps.encrypt_design(opened(cohort, "QT"), key, made.owner, tmp_path / "other.design")
    with pytest.raises(UsageError, match="these genotypes are recoded .dominant., which `model` trend does not take"):
        steps.open_later_study(made.owner, key, **told | {"pheno_name": "CC", "model": "trend"})


def test_the_model_of_an_encrypted_cohort_is_not_chosen_by_a_design(cohort, tmp_path):
    study = opened(cohort, "QT")
    key = steps.generate_key(steps.plan(study, squares=True))
    made = steps.encrypt(study, key, tmp_path / "s", squares=True)
    inputs = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name="QT", recessive=True).inputs
    with pytest.raises(UsageError, match="recessive: the people and variants of a design"):
        steps.later_study_of(type(inputs)(pheno=cohort.pheno, recessive=True), made.owner, key)


def test_two_numbers_a_variant_of_two_owners_are_those_in_the_clear(cohort, tmp_path):
    """Shares of 0 and 1, of both tests."""
    study = opened(cohort, "QT", "CC", recessive=True)
    plain = tables(study, sg.Plain(reveal="uv"), tmp_path / "plain")
    assert tables(study, sg.Mpc(split="vertical", reveal="uv"), tmp_path / "mpc") == plain
    frame = sg.run(study, sg.Plain(reveal="uv"))["QT"]
    whole = sg.run(study)["QT"]
    assert set(frame["TEST"]) == {"REC"}
    both = (frame["ERRCODE"] == ".") & (whole["ERRCODE"] == ".")
    assert both.sum() > 20 and abs(frame["CHISQ"] - whole["T_STAT"] ** 2)[both].max() < 1e-3


def test_cases_are_not_told_to_the_genotype_owner(cohort):
    """Alleles of cases are summed too, and not by an owner who hears who they are."""
    study = opened(cohort, "CC", dominant=True)
    columns, analysis = study.design.columns, study.design.analyses[0]
    people, case = people_columns(study.design.analyses), analysis.columns[1]
    assert columns.squared[case] and not set(people) & {case}
    size = (len(columns.values), len(study.reader.variants), 2)
    assert case in AggregatePlan.of(columns, *size).analysed  # by names and squares alone
    plan = AggregatePlan.of(columns, *size, people)
    assert plan.analysed == tuple(people) and case in plan.weights


def test_sites_recode_once_their_alleles_are_aligned(cohort, tmp_path):
    """A site whose file counts the other allele has the same people with two copies of A1."""
    whole = sg.read_plink(cohort.bfile)
    block, count = whole.read(0, len(whole.variants)), len(whole.samples)
    called = np.where(block.missing, -127, block.dosage) if block.missing is not None else block.dosage
    members = []
    for i, turned in enumerate((False, True, False)):
        rows = np.arange(i, count, 3)
        own = called[:, rows]
        prefix = tmp_path / f"site{i}"
        write_plink(prefix, np.where(own < 0, own, 2 - own).astype(np.int8) if turned else own)
        fam = Path(f"{cohort.bfile}.fam").read_text().splitlines()
        prefix.with_suffix(".fam").write_text("".join(fam[r] + "\n" for r in rows))
        if turned:
            bim = [line.split("\t") for line in prefix.with_suffix(".bim").read_text().splitlines()]
            swapped = "".join("\t".join([*b[:4], b[5], b[4]]) + "\n" for b in bim)
            prefix.with_suffix(".bim").write_text(swapped)
        members.append(
            sg.Inputs(
                bfile=str(prefix),
                pheno=cohort.pheno,
                pheno_name="QT",
                covar=cohort.covar,
                recessive=True,
                common_samples=True,
            )
        )
    plain = tables(opened(cohort, "QT", recessive=True), "plain", tmp_path / "plain")
    assert tables(sg.open_sites(members), sg.Federated(openings="all"), tmp_path / "sites") == plain


def test_sites_filter_by_alleles_and_withhold_few(tmp_path):
    large = simulate(tmp_path / "c", samples=900, variants=30)
    study = opened(large, "QT", dominant=True, qc=True, common_samples=True)
    plain = sg.run(study, "plain", out=tmp_path / "plain", filters=FILTERS)["QT"]
    every = sg.run(study, sg.Federated(openings="all"), out=tmp_path / "all", filters=FILTERS)["QT"]
    assert every["ID"].tolist() == plain["ID"].tolist() and every["A1_FREQ"].tolist() == plain["A1_FREQ"].tolist()
    whole = sg.run(study, "plain", out=tmp_path / "whole")["QT"]
    strict = sg.run(study, sg.Federated(openings="strict", few_missing="round"), out=tmp_path / "s")["QT"]
    few = strict["ERRCODE"] == "FEW_CARRIERS"
    assert 3 < few.sum() < 25 and strict["BETA"][few].isna().all()
    shown = ~few & (whole["ERRCODE"] == ".")
    assert shown.sum() > 3 and (strict["T_STAT"] - whole["T_STAT"])[shown].abs().max() < 1e-3


def test_what_a_study_of_sites_refuses(tmp_path):
    (tmp_path / "v.bim").write_text("1\ta\t0\t5\tA\tG\nX\tb\t0\t5\tA\tG\nMT\tc\t0\t5\tA\tG\n")
    keys = {}
    for name in ("a", "b", "c"):
        keys[name] = tmp_path / f"{name}.public"
        federated.keygen(tmp_path / name, keys[name])

    def init(folder: str, **options):
        told = {"phenotypes": {"QT": "quantitative", "CC": "case-control-12"}} | options
        log: list[str] = []
        study, _ = federated.init(tmp_path / folder, tmp_path / "key", sites=keys, variant_lists=[tmp_path / "v.bim"],
                                  log=log.append, **told)  # fmt: skip
        return study, "\n".join(log)

    study, log = init("one", hetonly=True)
    assert study.genetic_model == "hetonly" and study.variants == 1 and "2 variants on X, Y or MT left out" in log
    assert 'genetic_model = "hetonly"' in (tmp_path / "one" / "study.toml").read_text()
    assert federated.open_folder(tmp_path / "one")[0].genetic_model == "hetonly"
    assert init("two", dominant=True, statistic="regenie")[0].strata == ("X",)
    assert "genetic_model" not in (init("three")[1] + (tmp_path / "three" / "study.toml").read_text())
    for options, said in (
        ({"dominant": True, "recessive": True}, "one genetic model"), ({"hetonly": True, "dosage_grid": 256}, "hard calls"),
        ({"hetonly": True, "model": "trend", "phenotypes": {"CC": "case-control-12"}}, "not for trend"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            init("refused", **options)
        assert not (tmp_path / "refused").exists()
