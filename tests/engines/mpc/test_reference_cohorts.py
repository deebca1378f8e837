"""The reference cohorts: tables of every split equal the plain engine's, text for text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.design.strata import alone
from securegen.engines.mpc import projected_run, vertical
from securegen.engines.mpc.aggregates import deal, genotype_run, phenotype_run
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.plain.engine import write_plain
from securegen.governance.gate import ungoverned
from securegen.results.projected import plain_projected
from securegen.stats.projected_statistics import TARGET
from securegen.study.build import build_design
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import Study, open_study

from .conftest import over_tls, results

COHORTS = ("cineca", "hail_1kg", "regenie_example", "fastlmm_toydata", "sim_500x5k", "edge")


@pytest.fixture(params=COHORTS)
def cohort(request, reference, tmp_path):
    """A folder with the plain tables, and the inputs of the cohort."""
    found = reference(request.param)
    inputs = Inputs(found.bfile, pheno=found.pheno, covar=found.covar)
    write_plain(open_study(found.bfile, pheno=found.pheno, covar=found.covar), str(tmp_path / "plain"))
    return tmp_path, inputs


def tables(folder, prefix):
    return {p.name.removeprefix(f"{prefix}."): p.read_text() for p in folder.glob(f"{prefix}.*.glm.*")}


def test_two_parties_write_the_plain_tables(study, cohort):
    folder, inputs = cohort
    reader = open_genotypes(inputs)
    roles = vertical.Roles("gen", "phe", "deal")
    programs = {
        "gen": lambda s: genotype_run(
            s,
            roles,
            reader,
            cohort="c",
            state=StateFile(folder / "g"),
            consent_aggregates=True,
            column_limit=1000,
            level="all",
        ),
        "phe": lambda s: phenotype_run(
            s, roles, inputs, str(folder / "vertical"), state=StateFile(folder / "p"), consent_aggregates=True
        ),
        "deal": lambda s: deal(s, roles),
    }
    results(study({"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}, timeout=60).run(programs))
    plain = tables(folder, "plain")
    assert plain and tables(folder, "vertical") == plain


@pytest.mark.parametrize("model", ["linear", None])
def test_two_numbers_a_variant_are_those_of_the_plain_engine(study, cohort, model):
    """model None: the score test where a phenotype is binary."""
    folder, inputs = cohort
    inputs = replace(inputs, model=model)
    reader, roles = open_genotypes(inputs), vertical.Roles("gen", "phe", "deal")
    programs = {
        "gen": lambda s: projected_run.genotype_run(
            s, roles, reader, reveal="uv", cohort=f"c-{model}", state=StateFile(folder / "g"), column_limit=1000
        ),
        "phe": lambda s: projected_run.phenotype_run(
            s, roles, inputs, str(folder / "vertical"), reveal="uv", state=StateFile(folder / "p")
        ),
        "deal": lambda s: projected_run.deal(s, roles),
    }
    results(study({"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}, timeout=60).run(programs))
    opened = Study(inputs, reader, alone(build_design(inputs, reader), len(reader.variants)))
    for made in plain_projected(reader, opened.strata, str(folder / "oracle"), gate=ungoverned()):
        name = made.analysis.phenotype
        assert (folder / f"vertical.{name}.uv").read_bytes() == (folder / f"oracle.{name}.uv").read_bytes()
        own = alone(replace(opened.design, analyses=(made.analysis,)), len(reader.variants))
        plain = sg.run(replace(opened, strata=own)).frame
        found = pd.read_csv(made.path, sep="\t")
        squared = plain["CHISQ"] if "CHISQ" in plain else plain["T_STAT"] ** 2
        error, ok = (found["CHISQ"] - squared).abs() / np.maximum(1, squared), found["ERRCODE"] == "."
        usual = ok & plain["ERRCODE"].isin([".", "LOW_MAC"])
        assert error[usual].max() <= TARGET and error[ok].max() <= made.promise["dchisq_certain"]


def test_three_sites_write_the_plain_tables(tmp_path, cohort):
    folder, inputs = cohort
    made = over_tls(tmp_path, inputs, timeout=60)
    plain = tables(folder, "plain")
    for name in made:
        assert plain and tables(tmp_path / name, "result") == plain
