"""X, Y, MT and predictions by chromosome over three sites: the plain engine's tables of the pooled cohort, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.engines.federated import rehearsal, site
from securegen.engines.federated.engine import Federated
from securegen.engines.plain.engine import write_plain, write_plain_qc
from securegen.errors import InputError, UsageError
from securegen.governance import signing
from securegen.io.loco import read_offsets
from securegen.stats.qc import Filters
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import study_of
from securegen.study.predictions import with_rows
from securegen.study.traits import read_traits

from .strata_sites import StrataRun, strata_study

pytestmark = pytest.mark.usefixtures("forked_roles")

NAMES = ("site1", "site2", "site3")


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


def rows_of(path: str, chosen, folder: Path) -> str:
    """A table with the rows of some people alone."""
    lines = Path(path).read_text().splitlines()
    out = folder / Path(path).name
    out.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.split()[0] in chosen)]) + "\n")
    return str(out)


def columns_of(path: Path, chosen, folder: Path) -> str:
    """A .loco file with the columns of some people alone."""
    cells = [line.split() for line in path.read_text().splitlines()]
    kept = [0, *(j for j, name in enumerate(cells[0]) if name.split("_")[0] in chosen)]
    out = folder / path.name
    out.write_text("".join(" ".join(row[j] for j in kept) + "\n" for row in cells))
    return str(out)


def set_up_sites(work: Path, bfile: str, *words: str) -> list[str]:
    """Keys, the variant list, the study and three acceptances, as their users type them; what init and join say."""

    def run(*arguments: object) -> str:
        done = securegen(*arguments)
        assert done.code == 0, done.err
        return done.out + done.err

    sites = [word for name in NAMES for word in ("--site", f"{name}={work / name}.public")]
    for name in NAMES:
        run("site", "keygen", "--state", work / name / "private", "--out", work / f"{name}.public")
    run("site", "variants", "--bfile", bfile, "--out", work / "variants.tsv")
    said = [run("study", "init", "--dir", work / "shared", "--key", work / "coordinator.secret", *sites, "--variants",
                work / "variants.tsv", "--openings", "all", "--own-samples", *words)]  # fmt: skip
    for name in NAMES:
        said.append(
            run("study", "join", "--dir", work / "shared", "--state", work / name / "private", "--trust-study-file")
        )
    return said


def run_sites(work: Path, members: dict[str, Inputs]) -> None:
    """Each site a process, with its own files alone."""
    roles = []
    for name, inputs in members.items():
        local = rehearsal.LocalSite(name, inputs.genotypes, None)
        roles.append(rehearsal.site_role(work, inputs, local, Filters(), wait=600))
    rehearsal.run_sites(roles)


def cut(work: Path, cohort, loco: Path | None = None) -> dict[str, Inputs]:
    """Files of three sites, each with its own people: round robin."""
    fam = [line.split()[:2] for line in Path(f"{cohort.bfile}.fam").read_text().splitlines()]
    members = {}
    for i, name in enumerate(NAMES):
        (folder := work / name).mkdir(exist_ok=True)
        chosen = {fid for fid, _ in fam[i::3]}
        (folder / "keep.txt").write_text("".join(f"{fid}\t{iid}\n" for fid, iid in fam[i::3]))
        more = {}
        if loco is not None:
            (folder / "pred.list").write_text(f"QT {Path(columns_of(loco, chosen, folder)).name}\n")
            more["pred"] = str(folder / "pred.list")
        members[name] = Inputs(
            cohort.bfile, pheno=rows_of(cohort.pheno, chosen, folder), covar=rows_of(cohort.covar, chosen, folder), **more
        )  # fmt: skip
    return members


def test_sites_with_predictions_of_their_own_people(reference, tmp_path):
    """init, join and run in processes of their own; each site has the columns of its people of the .loco file."""
    cohort = reference("sim_500x5k")
    loco = cohort.gold.parent / "gold_regenie" / "qt1_1.loco"
    variants = [line.split() for line in Path(f"{cohort.bfile}.bim").read_text().splitlines()][::12]
    (tmp_path / "named").write_text("".join(f"{v[1]}\n" for v in variants))
    (tmp_path / "some.bim").write_text("".join("\t".join(v) + "\n" for v in variants))
    members = cut(tmp_path, cohort, loco)
    said = set_up_sites(
        tmp_path, cohort.bfile, "--variants", str(tmp_path / "some.bim"), "--phenotype", "QT=quantitative", "--covariate",
        "AGE", "--covariate", "SEX", "--predictions",
    )  # fmt: skip
    assert all("a design for each chromosome, by predictions that every site has" in text for text in said)
    run_sites(tmp_path, members)
    with pytest.raises(UsageError, match="`pred` names this site's"):
        open_site(tmp_path, replace(members["site1"], pred=None))
    (tmp_path / "pred.list").write_text(f"QT {loco}\n")
    inputs = of(
        cohort, pred=str(tmp_path / "pred.list"), extract=str(tmp_path / "named"), pheno_name=("QT",), covar_name=("AGE", "SEX")
    )  # fmt: skip
    expected = plain_tables(inputs, tmp_path)[".QT.glm.linear"]
    assert all((tmp_path / name / "result.QT.glm.linear").read_bytes() == expected for name in NAMES)
    record = json.loads((tmp_path / "site1" / "result.run.json").read_text())
    assert [s["name"] for s in record["strata"]] == [f"chr{c}" for c in range(1, 6)]
    assert "the same apart for each chromosome" in said_of(record)


def said_of(record: dict) -> str:
    """The receipt as text."""
    return json.dumps(record["receipt"])


def open_site(work: Path, inputs: Inputs) -> None:
    key = signing.read_identity(work / "site1" / "private" / "site.secret")
    site.run_site(work / "shared", work / "site1" / "private", key, inputs, str(work / "out"))


def test_x_y_and_mt_by_the_command_line_and_from_python(reference, tmp_path):
    """Sexes from a table, the ends of X by the study's build, males with one allele; run-local and `sg.run`."""
    cohort = reference("sexes")
    bfile = str(tmp_path / "nosex")
    fam = [line.split() for line in Path(f"{cohort.bfile}.fam").read_text().splitlines()]
    Path(f"{bfile}.fam").write_text("".join("\t".join([*f[:4], "0", f[5]]) + "\n" for f in fam))
    for end in (".bed", ".bim"):
        Path(bfile + end).write_bytes(Path(cohort.bfile + end).read_bytes())
    rows = Path(cohort.covar).read_text().splitlines()
    told = {f[1]: f[4] for f in fam}
    covar = tmp_path / "covar.tsv"
    covar.write_text("\n".join([f"{rows[0]}\tS", *(f"{r}\t{told[r.split()[1]]}" for r in rows[1:])]) + "\n")
    told = {"pheno_name": ("QT",), "sex_name": "S", "split_par": "b37", "xchr_model": 1}
    inputs = Inputs(bfile, pheno=cohort.pheno, covar=str(covar), **told)
    expected = plain_tables(inputs, tmp_path)[".QT.glm.linear"]
    words = ["--pheno", cohort.pheno, "--pheno-name", "QT", "--covar", str(covar), "--sex-name", "S", "--split-par", "b37",
             "--xchr-model", "1", "--openings", "all", "--out", str(tmp_path / "out")]  # fmt: skip
    securegen("run-local", "gwas", "--engine", "federated", "--bfile", bfile, *words)
    assert (tmp_path / "out.QT.glm.linear").read_bytes() == expected
    record = json.loads((tmp_path / "out.run.json").read_text())
    assert [s["name"] for s in record["strata"]] == ["autosomes", "X", "Y", "MT"]
    assert record["strata"][2]["analyses"]["QT"]["samples"] < record["samples"] == 400
    assert "the same apart for X, Y, MT" in said_of(record)
    study = sg.open_study(bfile, pheno=cohort.pheno, covar=covar, **told)
    results = sg.run(study, sg.Federated(openings="all"), tmp_path / "python")
    assert Path(next(iter(results.paths.values()))).read_bytes() == expected
    with pytest.raises(InputError, match="nobody's sex is known here"):
        Federated(openings="all")._set_up(study, tmp_path / "w")
        rehearsal.run_here(
            tmp_path / "w",
            replace(inputs, sex_name=None),
            [rehearsal.LocalSite("site1", inputs.genotypes, None)],
            print,
        )
