"""Noise on phenotypes in studies: one draw in every engine, and no way round by command, from Python or by editing files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support import Cohort

import securegen as sg
from securegen.engines.federated import rehearsal
from securegen.engines.federated.cohort import read_traits
from securegen.errors import PolicyError, UsageError
from securegen.study.traits import read_traits as read_whole

FEW = {"chr": "1", "to_bp": 40_000}


@pytest.fixture
def own(small: Cohort, tmp_path: Path) -> dict[str, object]:
    """What opens a study whose draws are in a folder of this test."""
    shutil.copy(small.pheno, tmp_path / "p.tsv")
    return {"bfile": small.bfile, "pheno": tmp_path / "p.tsv", "covar": small.covar, **FEW}


def test_every_engine_has_the_same_draw(own, tmp_path):
    """A second run gives the same table; a site reads the values that the whole study has; the exact table is another."""
    exact = sg.run(sg.open_study(**own, pheno_name="CC"))["CC"]
    said: list[str] = []
    study = sg.open_study(**own, pheno_name="CC", dp_epsilon=1.0, log=said.append)
    first = sg.run(study, "plain")["CC"]
    assert first.equals(sg.run(sg.open_study(**own, pheno_name="CC", dp_epsilon=1.0))["CC"])
    assert not first.equals(exact)
    assert any("0.462117 times" in line and "people in effect" in line for line in said)
    engine = sg.Federated(sites=2, two_sites_learn_each_other=True, openings="all")
    local, made = engine._set_up(study, tmp_path / "sites")
    roles = [rehearsal.site_role(tmp_path / "sites", study.inputs, s, rehearsal.Filters()) for s in local]
    assert all(role.options["dp_epsilon"] == 1.0 for role in roles)
    people = study.reader.samples
    mine = read_traits(made, "site1", study.inputs, people, np.zeros((len(people), 0))).phenotypes[0]
    whole = read_whole(study.inputs, study.reader).phenotypes[0]
    assert np.array_equal(mine.values, whole.values, equal_nan=True) and mine.noise == whole.noise is not None


def test_a_quantitative_phenotype_needs_public_bounds(own):
    with pytest.raises(UsageError, match="dp_bounds"):
        sg.open_study(**own, pheno_name="QT", dp_epsilon=1.0)
    study = sg.open_study(**own, pheno_name="QT", dp_epsilon=1.0, dp_bounds=(-10, 90))
    facts = sg.run(study).record["label_noise"]
    assert facts["bounds"] == [-10, 90] and facts["noise_deviation"] == pytest.approx(141.42, abs=0.1)


def test_exact_statistics_of_what_has_noise_and_renamed_columns_are_refused(own):
    sg.open_study(**own, pheno_name="CC", dp_epsilon=3.0)
    text = Path(str(own["pheno"])).read_text()
    Path(str(own["pheno"])).write_text(text.replace("CC", "OTHER", 1))
    with pytest.raises(PolicyError, match=r"noise\.exact"):
        sg.open_study(**own, pheno_name="OTHER")
    with pytest.raises(PolicyError, match=r"noise\.budget"):
        sg.open_study(**own, pheno_name="OTHER", dp_epsilon=3.0)
    sg.open_study(**own, pheno_name="QT")
