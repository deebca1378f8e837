"""Scores from Python: what a flag can do, a keyword can; every engine gives the command line's bytes."""

from __future__ import annotations

import dataclasses
import inspect

import click
import numpy as np
import pytest
from support import genotypes, write_plink

import securegen as sg
from securegen.cli import prs, prs_step, run_local_prs
from securegen.engines.scores import SCORE_ENGINES
from securegen.errors import UsageError
from securegen.scores.study import ScoreInputs

pytestmark = pytest.mark.usefixtures("forked_roles")

# Of a terminal alone: where results go, how a process runs, and what --config, --json and --dry-run do; `sign` is
# `sg.receipt.sign` of what was written.
TERMINAL = {"out", "threads", "memory", "quiet", "plot", "ref_first", "sign", "executor", "workers"}
# Words that name something else there: a choice of engine, a folder of a deployment's step, a secret's place.
ENGINE_FLAGS = {"engine", "private_model", "encrypted_model", "vendor_key"}
SERVER = {"cohort", "model", "public"}


def options(command: click.Command) -> set[str]:
    return {str(p.name) for p in command.params if isinstance(p, click.Option) and p.expose_value}


def keywords(function) -> set[str]:
    return set(inspect.signature(function).parameters)


OPEN = keywords(sg.scores.open) - {"genotypes", "log"}
OF_ENGINES = {f.name for engine in SCORE_ENGINES.values() for f in dataclasses.fields(engine)}


def test_options_of_prs_are_keywords_of_open():
    assert options(prs.command) - TERMINAL - SERVER == OPEN - {"ref_first"}
    assert SERVER | {"out", "blocks"} == keywords(sg.scores.score) - {"progress"}


def test_options_of_run_local_prs_are_keywords_of_open_and_of_engines():
    assert options(run_local_prs.prs) - TERMINAL - ENGINE_FLAGS == OPEN | OF_ENGINES


def test_keywords_of_open_are_the_fields_of_its_inputs():
    assert {f.name for f in dataclasses.fields(ScoreInputs)} <= OPEN


def test_every_step_of_the_command_line_is_a_function_of_python():
    steps = {name.replace("-", "_") for name in prs_step.command.commands}
    renamed = {"open": "open_replies"}
    for step in steps:
        assert callable(getattr(sg.scores, renamed.get(step, step))), step


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """30 people, 40 variants, and a scoring file of their names."""
    folder = tmp_path_factory.mktemp("python")
    rng = np.random.default_rng(5)
    prefix = folder / "c"
    write_plink(prefix, genotypes(rng, 40, 30, missing=0.05))
    rows = [line.split() for line in (folder / "c.bim").read_text().splitlines()]
    score = folder / "s.tsv"
    score.write_text(
        "ID\teffect_allele\tother_allele\teffect_weight\n"
        + "".join(f"{r[1]}\t{r[4]}\t{r[5]}\t{rng.normal():.4f}\n" for r in rows)
    )
    return str(prefix), str(score)


@pytest.fixture(scope="module")
def study(cohort):
    return sg.scores.open(bfile=cohort[0], score=cohort[1], imputation="none")


def test_plain_results_are_a_frame_a_record_and_files(study, tmp_path):
    results = sg.scores.run(study)
    assert repr(results) == "ScoreResults(30 samples, scores SCORE1, engine plain)"
    assert list(results.scores.columns[:4]) == ["#FID", "IID", "ALLELE_CT", "NAMED_ALLELE_DOSAGE_SUM"]
    assert results.receipt["scenario"] == "scores in the clear" and results.scores["SCORE1_SUM"].dtype == np.float64
    written = {path.name for path in results.write(tmp_path / "r")}
    assert written == {"r.sscore", "r.log", "r.run.json", "r.match.tsv"}
    assert (tmp_path / "r.sscore").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("name", ["ckks", "private-model", "encrypted-model", "vendor-key"])
def test_engines_on_ciphertexts_give_the_scores_of_plain(study, name):
    engine = SCORE_ENGINES[name]
    made = engine() if name == "ckks" else engine(allow_small_model="SCORE1", reply_cap=1000)
    plain, results = sg.scores.run(study), sg.scores.run(study, made)
    if name == "ckks":
        assert results.files[".sscore"] == plain.files[".sscore"]
    columns = ["ALLELE_CT", "SCORE1_AVG", "SCORE1_SUM"]
    np.testing.assert_allclose(results.scores[columns], plain.scores[columns], rtol=2e-5, atol=1e-5)
    assert results.record["engine"] == "ckks" and len(results.receipt["parties"]) >= 2


def test_shared_scores_are_those_of_plain(cohort):
    study = sg.scores.open(bfile=cohort[0], score=cohort[1], allow_small_score="SCORE1")
    plain, results = sg.scores.run(study), sg.scores.run(study, "mpc")
    assert results.scores["SCORE1_SUM"].tolist() == plain.scores["SCORE1_SUM"].tolist()


def test_an_engine_refuses_before_work_starts_and_names_the_argument(study, cohort):
    with pytest.raises(UsageError, match="`imputation` cannot be chosen with the engine mpc"):
        sg.scores.run(study, "mpc")
    with pytest.raises(UsageError, match="`engine` is 'fast': choose one of plain, ckks, private-model"):
        sg.scores.run(study, "fast")
    two = sg.scores.open(bfile=cohort[0], score=[cohort[1], cohort[1]][:1], score_col_nums=(1, 2, 4))
    with pytest.raises(UsageError, match="`reply_cap` is 0"):
        sg.scores.run(two, sg.scores.PrivateModelScores(reply_cap=0))


def test_a_cohort_in_memory_is_scored(study):
    memory = sg.scores.open(genotypes=study.reader, score=study.inputs.score, imputation="none")
    assert sg.scores.run(memory).files[".sscore"] == sg.scores.run(study).files[".sscore"]
    with pytest.raises(UsageError, match="reads genotypes from files"):
        sg.scores.run(sg.scores.open(genotypes=study.reader, score=study.inputs.score), "mpc")


def test_the_steps_of_a_private_model_from_python(study, tmp_path):
    """Each party's function, folders in between; the sums are those of the plain engine but for the blur."""
    rules = sg.scores.PrivacyRules(tmp_path / "ledger.json", "hospital", ("SCORE1",), 100)
    request, invitation, private = tmp_path / "request", tmp_path / "invitation", tmp_path / "private"
    sg.scores.request(study.reader, request, imputation="none")
    sg.scores.invite(request, study.inputs, rules, invitation, private)
    key = sg.scores.accept(invitation, study.reader, tmp_path / "own")
    sent = (tmp_path / "own.cohort", tmp_path / "own.publickey")
    sg.scores.reply(*sent, private, study.inputs, rules, tmp_path / "replies")
    table = sg.scores.open_replies(invitation, tmp_path / "replies", key, tmp_path / "own.owner", study.reader)
    plain = sg.scores.run(study).scores["SCORE1_SUM"]
    np.testing.assert_allclose(table.column("SCORE1"), plain, rtol=2e-5, atol=1e-5)
