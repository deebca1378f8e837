"""Every engine by one call from Python, and what the command line can choose Python can."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

import securegen as sg
from securegen.cli.main import main
from securegen.engines import ENGINES
from securegen.engines.choosing import engine_of
from securegen.errors import UsageError
from securegen.results.forms import TableForm
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs

OF_THE_TERMINAL = {"quiet", "out", "engine", "compare_plain"}


@pytest.fixture(scope="module")
def study():
    return sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)


@pytest.fixture(scope="module")
def plain(study):
    return sg.run(study)


@pytest.mark.parametrize("engine", [sg.Ckks(), sg.Federated(sites=2, two_sites_learn_each_other=True, openings="all")])
def test_an_engine_gives_the_frame_of_the_plain_one(study, plain, engine):
    results = sg.run(study, engine)
    assert results["QT"].equals(plain["QT"]) and repr(results) == f"Results({engine.name}, QT)"
    assert results.receipt.scenario != plain.receipt.scenario and results.record["engine"] == engine.name


def test_results_are_written_in_any_form(plain, tmp_path):
    (path,) = plain.write(tmp_path / "x", format="regenie", gzip=True)
    assert path == f"{tmp_path}/x_QT.regenie.gz" and plain.promise["dt_promised"] == 1e-3
    with pytest.raises(UsageError, match="the digits of their run"):
        plain.write(tmp_path / "y", digits=6)


@pytest.mark.parametrize("words", [("run-local", "gwas"), ("run-local", "qc"), ("gwas",), ("qc",)])
def test_every_option_of_a_command_is_a_field_of_python(words):
    command: click.Command = main
    for word in words:
        command = command.get_command(click.Context(command), word)  # type: ignore[attr-defined]
    python = {f.name for kind in (Inputs, TableForm, Filters, *ENGINES.values()) for f in fields(kind)}
    options = {str(p.name) for p in command.params if p.expose_value}
    of_the_server = {"cohort", "design", "public"} if words == ("gwas",) else set()  # sg.ckks.associate
    assert options - python - OF_THE_TERMINAL - of_the_server == set()


def test_an_option_of_another_engine_is_refused_in_one_wording():
    with pytest.raises(UsageError, match="^`sites` is an option of engine federated, not of ckks$"):
        engine_of("ckks", {"sites": 3})
    with pytest.raises(UsageError, match="^`encryptor` is an option of engine ckks, not of federated$"):
        engine_of("threshold", {"encryptor": "own"})
    assert engine_of("mpc", {"split": "horizontal", "sites": 4}) == sg.Federated(sites=4)


def test_an_engine_refuses_a_value_by_the_name_of_its_argument():
    with pytest.raises(UsageError, match="^`reveal` is 'all': choose one of hits, chi2, uv, aggregates$"):
        sg.Mpc(split="vertical", reveal="all")
    with pytest.raises(UsageError, match="^`sites`"):
        sg.Federated(sites=1)
