"""One cohort in four formats through the commands: the same text of every table, whatever the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from genotype_files import hard_copies, imputed, write_bgen, write_pfile, write_vcf
from support import left, securegen

from securegen.io.plink1 import read_plink
from securegen.results.layout import TableLayout
from securegen.results.regenie import write_regenie

pytestmark = pytest.mark.usefixtures("forked_roles")

FORMATS = ("pfile", "vcf", "bcf", "bgen")


@pytest.fixture(scope="module")
def copies(small, tmp_path_factory):
    return hard_copies(small.bfile, tmp_path_factory.mktemp("formats"))


def run(out: Path, words: list[str], *more: object) -> dict[str, bytes]:
    """Tables by name without the prefix."""
    done = securegen(*more, *words, "--out", out)
    assert done.code == 0, done.err
    names = (p for p in out.parent.iterdir() if p.name.startswith(f"{out.name}."))
    return {p.name[len(out.name) :]: p.read_bytes() for p in names if p.suffix not in (".json", ".log")}


def traits(small, names: str = "QT,CC") -> list[str]:
    return ["--pheno", small.pheno, "--pheno-name", names, "--covar", small.covar]


@pytest.fixture(scope="module")
def plain(small, tmp_path_factory):
    return run(tmp_path_factory.mktemp("oracle") / "r", ["--bfile", small.bfile], "gwas", *traits(small))


@pytest.mark.parametrize("name", FORMATS)
def test_association_in_the_clear(small, copies, plain, tmp_path, name):
    got = run(tmp_path / "r", copies.options[name], "gwas", *traits(small))
    assert set(got) == {".QT.glm.linear", ".CC.glm.logistic.score"} and got == plain
    record, log = json.loads((tmp_path / "r.run.json").read_text()), (tmp_path / "r.log").read_text()
    files = {"pfile": {"pgen", "pvar", "psam"}, "bgen": {"bgen", "sample"}}.get(name, {"vcf"})
    assert set(record["inputs"]) == files | {"pheno", "covar"}
    assert ("are matched by FID_IID" in log) == (name in ("vcf", "bcf"))


@pytest.mark.parametrize("name", FORMATS)
def test_quality_control(small, copies, tmp_path, name):
    expected = run(tmp_path / "a", ["--bfile", small.bfile], "qc")
    assert len(expected) == 3 and run(tmp_path / "b", copies.options[name], "qc") == expected


@pytest.mark.parametrize("name", ["pfile", "vcf"])
def test_scores(small, copies, tmp_path, name):
    """A VCF has no family ids, so they differ in the .sscore; every number is the same."""
    weights = "".join(f"rs{j}\tA\t{(j % 7 - 3) / 8}\n" for j in range(100, 400))
    (tmp_path / "w.tsv").write_text("ID\tA1\tWEIGHT\n" + weights)
    call = ("prs", "--score", tmp_path / "w.tsv")
    expected = run(tmp_path / "a", ["--bfile", small.bfile], *call)[".sscore"].decode()
    got = run(tmp_path / "b", copies.options[name], *call)[".sscore"].decode()
    if name == "vcf":
        expected = "\n".join(
            line if line.startswith("#") else line.replace("\t", "_", 1).join(("0\t", ""))
            for line in expected.split("\n")
        ).removesuffix("0\t")
    assert got == expected


def test_encrypted_association_of_a_vcf(small, copies, plain, tmp_path):
    got = run(
        tmp_path / "r", copies.options["vcf"], "run-local", "gwas", "--engine", "ckks", *traits(small), "--extract",
        extract(tmp_path),
    )  # fmt: skip
    rows = {k: [line for line in v.split(b"\n") if wanted(line)] for k, v in plain.items()}
    assert {k: v.split(b"\n")[:-1] for k, v in got.items()} == rows


def extract(folder: Path) -> Path:
    (folder / "few").write_text("".join(f"rs{j}\n" for j in range(60)))
    return folder / "few"


def wanted(line: bytes) -> bool:
    return line.startswith(b"#") or (b"\trs" in line and int(line.split(b"\t")[2][2:]) < 60)


@pytest.mark.parametrize("engine", [["federated"]])
def test_sites_that_hold_different_formats(small, copies, plain, tmp_path, engine):
    """Three sites with a part of the people each: PLINK2, VCF, BGEN; the pooled table is that of the whole cohort, in
    regenie's columns too."""
    words: list[object] = []
    reader = read_plink(small.bfile)
    for site, write in enumerate(("pfile", "vcf", "bgen")):
        rows = np.arange(site, 90, 3)
        parts = copies.dosage[:60, rows], reader.samples.take(rows), reader.variants.take(slice(0, 60))
        path = tmp_path / f"s{site}"
        if write == "pfile":
            write_pfile(path, *parts)
            words += ["--pfile", path]
        elif write == "vcf":
            write_vcf(path.with_suffix(".vcf.gz"), *parts)
            words += ["--vcf", f"{path}.vcf.gz"]
        else:
            write_bgen(path.with_suffix(".bgen"), *parts)
            words += ["--bgen", f"{path}.bgen", "--sample", f"{path}.sample"]
    call = ("run-local", "gwas", "--engine", *engine, *traits(small, "QT"), "--openings", "all", "--format", "regenie")
    call += ("--statistic", "plink2")
    run(tmp_path / "r", words, *call)
    rows = [line for line in plain[".QT.glm.linear"].split(b"\n") if wanted(line)]
    (tmp_path / "expected").write_bytes(b"\n".join(rows) + b"\n")
    write_regenie(str(tmp_path / "expected.regenie"), str(tmp_path / "expected"), TableLayout(17))
    assert (tmp_path / "r_QT.regenie").read_bytes() == (tmp_path / "expected.regenie").read_bytes()
    assert not list(tmp_path.glob("*.glm.linear"))


@pytest.mark.parametrize("engine", [["ckks"], ["federated"]])
def test_imputed_dosages_in_every_engine(small, tmp_path, engine):
    """Steps of 1/256, agreed by all sites; --compare-plain holds the tables against the plain engine."""
    reader = read_plink(small.bfile)
    parts = imputed(np.random.default_rng(4), 50, 90), reader.samples, reader.variants.take(slice(0, 50))
    write_pfile(tmp_path / "d", *parts)
    write_bgen(tmp_path / "d.bgen", *parts, bits=16)
    call = ("run-local", "gwas", *traits(small, "QT"), "--compare-plain")
    got = run(tmp_path / "a", ["--pfile", str(tmp_path / "d")], *call, "--engine", *engine)
    assert "dosages are rounded to 1/256" in (tmp_path / "a.log").read_text()
    assert "identical to the plain engine: yes" in (tmp_path / "a.log").read_text()
    words = ["--bgen", str(tmp_path / "d.bgen"), "--sample", str(tmp_path / "d.sample")]
    assert run(tmp_path / "b", words, "gwas", *traits(small, "QT")) == got


def test_a_site_with_fractions_in_a_study_of_hard_calls_is_refused(small, tmp_path):
    reader = read_plink(small.bfile)
    parts = imputed(np.random.default_rng(4), 50, 90), reader.samples, reader.variants.take(slice(0, 50))
    write_pfile(tmp_path / "d", *parts)
    done = securegen("gwas", "--pfile", tmp_path / "d", *traits(small), "--dosage-grid", 1, "--out", tmp_path / "r")
    assert done.code == 3 and "such as --dosage-grid 256" in done.err
    assert [p.name for p in tmp_path.glob("r*")] == ["r.log"]


def test_options_that_do_not_go_together(small, copies, tmp_path):
    for words, message in (
        (["gwas", *copies.options["vcf"], "--bfile", small.bfile, *traits(small)], "--bfile and --vcf: give one"),
        (["qc"], "give genotypes: --bfile, --pfile, --vcf or --bgen"),
        (["qc", "--vcf", "x", "--ref-last"], "--ref-last goes with --bgen"),
        (["run-local", "gwas", "--engine", "federated", *copies.options["bgen"], "--bgen", "other", *traits(small)],
         "one --sample for every --bgen"),
        (["party", "--parties", "absent", "--role", "genotypes"], "absent"),
    ):  # fmt: skip
        done = securegen(*words, "--out", tmp_path / "x")
        assert done.code in (2, 3) and message in done.err, done.err
        assert left(tmp_path) == []
