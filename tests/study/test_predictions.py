"""Predictions of a whole-genome model: regenie's own tables, who is analysed, on which line of the file, and what is refused."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD
from support import left, securegen

import securegen as sg
from securegen.design.columns import Design
from securegen.design.remade import Workbench, remade
from securegen.errors import InputError, SecuregenError, UsageError
from securegen.model import Columns
from securegen.study import strata
from securegen.study.opening import open_study

REGENIE = GOLD / "sim_500x5k" / "gold_regenie"
TABLES = ("qt_nopred_QT", "qt_pred_QT", "cc_nopred_CC", "cc_pred_CC")
COLUMNS = "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA"


@pytest.fixture(scope="module")
def cohort(reference):
    return reference("sim_500x5k")


def of_trait(trait: str) -> dict[str, object]:
    return {"pred": REGENIE / f"{trait.lower()}1_pred.list"}


def lines_of(trait: str) -> list[list[str]]:
    return [line.split() for line in (REGENIE / f"{trait.lower()}1_1.loco").read_text().splitlines()]


def listed(folder: Path, **files: list[list[str]]) -> Path:
    """A list with a .loco file of these lines for each phenotype."""
    for name, lines in files.items():
        (folder / f"{name}.loco").write_text("".join(" ".join(line) + "\n" for line in lines))
    (folder / "pred.list").write_text("".join(f"{name} {name}.loco\n" for name in files))
    return folder / "pred.list"


def opened(cohort, trait="QT", **options) -> sg.Study:
    return open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=trait, covar=cohort.covar, **options)


def table(study: sg.Study, out: Path) -> bytes:
    (path,) = (p for p in sg.run(study, out=out).paths.values())
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", TABLES)
def test_regenie_at_default_bits(cohort, name, tmp_path):
    """From the command line, in regenie's columns, matched by id."""
    trait = name[-2:]
    more = ("--pred", of_trait(trait)["pred"]) if "_pred_" in name else ()
    done = securegen(
        "gwas", *cohort.options(trait), *more, "--format", "regenie", "--digits", 7, "--out", tmp_path / "t"
    )
    assert done.code == 0, done.err
    path = tmp_path / f"t_{trait}.regenie"
    assert path.read_text().split("\n", 1)[0] == COLUMNS
    ours = pd.read_csv(path, sep=" ").set_index("ID")
    theirs = pd.read_csv(REGENIE / f"{name}.regenie.gz", sep=" ").set_index("ID").loc[ours.index]
    assert (ours["TEST"] == "ADD").all() and len(ours) == 1401
    error = (ours["CHISQ"] - theirs["CHISQ"]).abs()
    assert (error <= 1e-4 * np.maximum(1, theirs["CHISQ"])).all()
    assert (ours["LOG10P"] - theirs["LOG10P"]).abs().max() < 2e-4
    assert (ours["A1FREQ"] - theirs["A1FREQ"]).abs().max() < 1e-6


def test_without_them_nothing_is_as_regenie(cohort):
    """Student's t is another number: the acceptance above would fail with it."""
    theirs = pd.read_csv(REGENIE / "qt_nopred_QT.regenie.gz", sep=" ").set_index("ID")
    ours = sg.run(opened(cohort)).frame.set_index("ID")
    error = (ours["T_STAT"] ** 2 - theirs.loc[ours.index, "CHISQ"]).abs()
    assert (error > 1e-3 * np.maximum(1, theirs.loc[ours.index, "CHISQ"])).mean() > 0.2


def test_from_python_by_name(cohort):
    frame = sg.run(opened(cohort, statistic="regenie"), format="regenie")["QT"]
    assert {"CHISQ", "LOG10_P"} <= set(frame) and len(frame) == 1401


def test_tables_in_regenies_columns_say_when_the_statistic_is_not(cohort, tmp_path):
    for number, (statistic, said) in enumerate([("plink2", True), ("regenie", False)]):
        sg.run(opened(cohort, statistic=statistic, chr="1"), out=tmp_path / str(number), format="regenie")
        assert ("the square of Student's t" in (tmp_path / f"{number}.log").read_text()) == said


def test_strata_are_chromosomes_and_said_in_the_record(cohort):
    study = opened(cohort, **of_trait("QT"))
    assert [s.name for s in study.strata] == [f"chr{c}" for c in range(1, 6)]
    models = [s.design.analyses[0].model for s in study.strata]
    assert len({m.unit for m in models}) == 1 and len({m.null_variance for m in models}) == 5
    record = sg.run(study).record
    assert [s["name"] for s in record["strata"]] == [s.name for s in study.strata]
    assert {"pred", "pred.QT"} <= set(record["inputs"])


def test_each_phenotype_has_its_own_people(cohort, tmp_path):
    """A second trait with a fifth of its values missing changes nothing of the first."""
    pheno = pd.read_csv(cohort.pheno, sep="\t")
    pheno["QT2"] = pheno["QT"].where(np.arange(len(pheno)) % 5 > 0)
    pheno.to_csv(tmp_path / "p.tsv", sep="\t", index=False, na_rep="NA")
    lines = lines_of("QT")
    pred = listed(tmp_path, QT=lines, QT2=lines)

    def tables(name, traits):
        study = open_study(cohort.bfile, pheno=tmp_path / "p.tsv", pheno_name=traits, covar=cohort.covar, pred=pred)
        return {t: Path(p).read_bytes() for t, p in sg.run(study, out=tmp_path / name).paths.items()}

    both = tables("both", ["QT", "QT2"])
    assert both == tables("first", "QT") | tables("second", "QT2")


def test_who_has_no_prediction_is_not_analysed(cohort, tmp_path):
    lines = lines_of("QT")
    gone = [lines[0][j] for j in range(7, 27)]
    for line in lines[1:]:
        line[7:17] = ["NA"] * 10
    lines = [line[:17] + line[27:] for line in lines]  # ten are NA, ten are not in the file
    said: list[str] = []
    study = opened(cohort, pred=listed(tmp_path, QT=lines), log=said.append)
    people = [f"{f}_{i}" for f, i in zip(study.reader.samples.fid, study.reader.samples.iid, strict=True)]
    analysed = study.strata[0].design.columns.values[:, 0] != 0
    assert not {p for p, here in zip(people, analysed, strict=True) if here} & set(gone)
    assert any("have no prediction" in line and "not analysed" in line for line in said)
    (tmp_path / "remove").write_text("".join(p.replace("_", " ", 1) + "\n" for p in gone))
    whole = opened(cohort, **of_trait("QT"), remove=tmp_path / "remove")
    assert table(study, tmp_path / "a") == table(whole, tmp_path / "b")


def with_chromosomes(cohort, folder: Path, names: dict[str, str]) -> str:
    """The cohort with other names of chromosomes."""
    for end in ("bed", "fam"):
        shutil.copy(f"{cohort.bfile}.{end}", folder / f"c.{end}")
    rows = [line.split("\t") for line in Path(f"{cohort.bfile}.bim").read_text().splitlines()]
    (folder / "c.bim").write_text("".join("\t".join([names.get(r[0], r[0]), *r[1:]]) + "\n" for r in rows))
    return str(folder / "c")


@pytest.mark.parametrize(("name", "stratum"), [("X", "X"), ("23", "X"), ("PAR1", "PAR"), ("chr9", "chr9")])
def test_the_line_of_a_chromosome(cohort, tmp_path, name, stratum):
    """Chromosome 5 under another name, with its line where that name's line is, has the same numbers."""
    lines = lines_of("QT")
    row = 9 if name == "chr9" else 23
    lines[row] = [str(row), *lines[5][1:]]
    lines[5] = ["5", *("0" for _ in lines[5][1:])]
    bfile = with_chromosomes(cohort, tmp_path, {"5": name})
    common = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.covar}
    moved = open_study(bfile, **common, chr=name, pred=listed(tmp_path, QT=lines))
    assert [s.name for s in moved.strata] == [stratum]
    there = open_study(cohort.bfile, **common, chr="5", **of_trait("QT"))
    ours, theirs = (sg.run(s).frame.drop(columns="#CHROM") for s in (moved, there))
    pd.testing.assert_frame_equal(ours, theirs)


def test_chromosomes_without_a_line_are_left_out_aloud(cohort, tmp_path):
    bfile = with_chromosomes(cohort, tmp_path, {"4": "MT", "5": "Y"})
    said: list[str] = []
    common = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.covar}
    study = open_study(bfile, **common, **of_trait("QT"), log=said.append)
    assert set(study.reader.variants.chromosome) == {"1", "2", "3"}
    assert any("variants on chromosome MT, Y left out: predictions have no line" in line for line in said)
    with pytest.raises(UsageError, match="no variant is left"):
        open_study(bfile, **common, **of_trait("QT"), chr="MT")


def test_xchr_model_named_gives_plink2s_x(cohort, tmp_path):
    bfile = with_chromosomes(cohort, tmp_path, {"5": "X"})
    fam = [line.split() for line in (tmp_path / "c.fam").read_text().splitlines()]
    rows = [[*f[:4], str(1 + i % 2) if i else "0", f[5]] for i, f in enumerate(fam)]
    (tmp_path / "c.fam").write_text("".join(" ".join(r) + "\n" for r in rows))
    common = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.covar, "chr": "X", **of_trait("QT")}
    stored, named = (open_study(bfile, **common, **more).strata[0] for more in ({}, {"xchr_model": 2}))
    ours, theirs = (s.design.analyses[0].model for s in (stored, named))
    assert len(theirs.covariates) == len(ours.covariates) + 1 and theirs.samples == ours.samples - 1


FAULTS = {
    "no list": (lambda folder, lines: folder / "absent", "absent", 3),
    "no entry for the phenotype": (lambda folder, lines: listed(folder, HEIGHT=lines), "no file for phenotype QT", 3),
    "cut short": (lambda folder, lines: listed(folder, QT=lines[:-3]), "chromosome 21, 22, 23: it is cut short", 3),
    "others' people": (
        lambda folder, lines: listed(folder, QT=[["FID_IID", *(f"X{n}_{n}" for n in lines[0][1:])], *lines[1:]]),
        "none of its 496 people", 3,
    ),
    "a word": (lambda folder, lines: listed(folder, QT=[*lines[:4], [lines[4][0], "x", *lines[4][2:]], *lines[5:]]),
               "line 5 holds something", 3),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_and_nothing_is_written(cohort, tmp_path, fault):
    make, message, code = FAULTS[fault]
    pred = make(tmp_path, lines_of("QT"))
    (tmp_path / "out").mkdir()
    done = securegen("gwas", *cohort.options(), "--pred", pred, "--out", tmp_path / "out" / "t", "--quiet")
    assert done.code == code and message in done.err and "Traceback" not in done.err, done.err
    assert left(tmp_path / "out") == []
    with pytest.raises(InputError, match=message.split(":")[0]):
        opened(cohort, pred=pred)


@pytest.mark.parametrize(
    ("trait", "options", "message"),
    [
        ("CC", {"model": "trend"}, "`pred` is for `model` linear, logistic"),
        ("QT", {"statistic": "plink2"}, "needs the `statistic` regenie"),
        ("QT", {"missing": "complete"}, "`missing` complete has another null model"),
        ("QT", {"statistic": "saige"}, "statistic"),
    ],
)
def test_what_does_not_go_together(cohort, trait, options, message):
    more = {} if options == {"statistic": "saige"} else of_trait(trait)
    with pytest.raises(UsageError, match=message):
        opened(cohort, trait, **more, **options)


def test_a_study_of_counts_alone_has_no_place_for_them(cohort):
    with pytest.raises(UsageError, match="statistic"):
        opened(cohort, statistic="regenie", missing="complete")


def test_the_columns_of_one_chromosome_are_in_memory_at_a_time(cohort, tmp_path, monkeypatch):
    study = opened(cohort, **of_trait("QT"))
    first, second = (s.design.columns for s in study.strata[:2])
    before = first.values
    held, kept = weakref.ref(before), before.copy()
    assert first.values is before and (first.people(0) == (kept[:, 0] != 0)).all()
    del before
    assert not np.array_equal(second.values, kept) and held() is None
    assert np.array_equal(first.values, kept) and first.values.dtype == kept.dtype
    remade_table = table(study, tmp_path / "remade")
    monkeypatch.setattr(strata, "remade", lambda design, make, bench: design)
    whole = opened(cohort, **of_trait("QT"))
    assert type(whole.strata[0].design.columns) is Columns and table(whole, tmp_path / "whole") == remade_table


@pytest.mark.parametrize("column", (0, 2))
def test_columns_that_are_made_again_and_differ_end_the_run(column):
    made = Design(Columns(("A", "B", "C"), np.arange(15, dtype=np.int64).reshape(5, 3), (False,) * 3), ())
    other = made.columns.values.copy()
    other[4, column] += 1
    bench = Workbench()
    design = remade(made, lambda: Design(Columns(("A", "B", "C"), other, (False,) * 3), ()), bench)
    assert design.columns.values is made.columns.values
    bench.clear()
    with pytest.raises(SecuregenError, match="made again is another one"):
        _ = design.columns.values
