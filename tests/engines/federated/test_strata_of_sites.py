"""X, Y, MT and predictions by chromosome over three sites: the plain engine's tables of the pooled cohort, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from securegen.engines.plain.engine import write_plain, write_plain_qc
from securegen.io.loco import read_offsets
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import study_of
from securegen.study.predictions import with_rows
from securegen.study.traits import read_traits

from .strata_sites import StrataRun, strata_study


def plain_tables(inputs: Inputs, folder: Path) -> dict[str, bytes]:
    prefix, study = str(folder / "plain"), study_of(inputs)
    found = [t.path for t in write_plain(study, prefix)]
    if inputs.qc:
        found += write_plain_qc(study, prefix)
    return {path.removeprefix(prefix): Path(path).read_bytes() for path in found}


def federated_run(inputs: Inputs, folder: Path, *, loco: dict[str, str] | None = None, **changes) -> StrataRun:
    reader = open_genotypes(inputs, haploid=True)
    if loco is not None:
        reader = with_rows(reader, lambda line: None)
    traits, offsets = read_traits(inputs, reader), None
    if loco is not None:
        offsets = {name: read_offsets(path, reader.samples).values for name, path in loco.items()}
        changes |= {"predictions": True, "statistic": "regenie"}
    study = strata_study(
        traits, reader.variants, **{"openings": "all", "qc": inputs.qc, "missing": inputs.missing} | changes
    )
    return StrataRun(reader, traits, study, folder, offsets=offsets)


def of(cohort, **more) -> Inputs:
    return Inputs(cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, **more)


@pytest.mark.parametrize(
    ("told", "changes", "rows"),
    [
        ({"qc": True}, {}, ("afreq", "vmiss", "hardy", "hardy.x")),
        ({"qc": True, "xchr_model": 1, "split_par": "b37"}, {"xchr_model": 1}, ("afreq", "vmiss", "hardy", "hardy.x")),
        ({"statistic": "regenie"}, {"statistic": "regenie"}, ()),
        ({"pheno_name": ("QT",), "missing": "complete", "xchr_model": 1}, {"xchr_model": 1}, ()),
    ],
)
def test_x_y_and_mt_are_those_of_the_pooled_cohort(reference, tmp_path, told, changes, rows):
    inputs = of(reference("sexes"), **told)
    run = federated_run(inputs, tmp_path, **changes)
    assert [s.name for s in run.strata[0]] == ["autosomes", "X", "Y", "MT"]
    expected = plain_tables(inputs, tmp_path)
    assert run.tables(tmp_path) == expected and {f".{name}" for name in rows} <= expected.keys()


def test_strata_share_their_messages(reference, tmp_path):
    """Four strata ask for sums in as many messages as X alone, which asks for most."""
    cohort = reference("sexes")
    steps = {}
    for name in ("1-26", "X"):
        inputs = of(cohort, chr=(name,), pheno_name=("QT",))
        steps[name] = federated_run(inputs, tmp_path / name).design_steps
    assert steps["1-26"] <= steps["X"] + 2


def test_predictions_of_the_sites_give_the_tables_of_the_pooled_cohort(reference, tmp_path):
    cohort = reference("sim_500x5k")
    gold = cohort.gold.parent / "gold_regenie"
    loco = {"QT": str(gold / "qt1_1.loco"), "CC": str(gold / "cc1_1.loco")}
    listed = tmp_path / "pred.list"
    listed.write_text("".join(f"{name} {path}\n" for name, path in loco.items()))
    named = tmp_path / "some"
    ids = [line.split()[1] for line in Path(f"{cohort.bfile}.bim").read_text().splitlines()]
    named.write_text("\n".join(ids[::12]) + "\n")
    inputs = of(cohort, pred=str(listed), extract=str(named), pheno_name=("QT", "CC"), covar_name=("AGE", "SEX"))
    run = federated_run(inputs, tmp_path, loco=loco)
    assert [s.name for s in run.strata[0]] == [f"chr{c}" for c in range(1, 6)]
    assert run.tables(tmp_path) == plain_tables(inputs, tmp_path)
