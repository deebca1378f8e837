"""Values that once gave a table of something else: refused or right, from Python and from the command line alike."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from support import genotypes, securegen, write_plink, write_tsv

import securegen as sg
from securegen.errors import UsageError
from securegen.results.read import read_frame
from securegen.study.inputs import Inputs
from securegen.study.opening import open_study
from securegen.study.opening_qc import open_qc

PEOPLE = 40
NAMES = ["null", "nan", "NA", "v4", "v5", "v6"]


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    """Prefix and phenotypes: variants on chromosomes 1, 2 and 12; columns Q, T and QT."""
    write_plink(tmp_path / "c", genotypes(np.random.default_rng(1), len(NAMES), PEOPLE, missing=1))
    chromosomes = ("1", "1", "2", "2", "12", "12")
    rows = [f"{c} {n} 0 {i + 1} T G\n" for i, (c, n) in enumerate(zip(chromosomes, NAMES, strict=True))]
    (tmp_path / "c.bim").write_text("".join(rows))
    rows = [(f"F{i}", f"I{i}", i % 5, i % 7, i * i % 17) for i in range(PEOPLE)]
    return str(tmp_path / "c"), str(write_tsv(tmp_path / "p", ("#FID", "IID", "Q", "T", "QT"), rows))


def command(files, tmp_path, *more):
    return securegen("gwas", "--bfile", files[0], "--pheno", files[1], "--out", tmp_path / "t", "--quiet", *more)


def test_one_chromosome_of_two_digits(files, tmp_path):
    study = open_study(files[0], pheno=files[1], pheno_name="QT", chr="12")
    assert study.reader.variants.id.tolist() == ["v5", "v6"]
    assert command(files, tmp_path, "--pheno-name", "QT", "--chr", "12").code == 0
    assert read_frame(f"{tmp_path}/t.QT.glm.linear")["ID"].tolist() == ["v5", "v6"]


def test_one_name_of_two_letters(files, tmp_path):
    study = open_study(files[0], pheno=files[1], pheno_name="QT")
    assert [a.phenotype for a in study.design.analyses] == ["QT"]
    assert command(files, tmp_path, "--pheno-name", "QT").code == 0
    assert [p.name for p in tmp_path.glob("t.*.glm.*")] == ["t.QT.glm.linear"]


def test_ids_that_pandas_takes_for_missing(files, tmp_path):
    study = open_study(files[0], pheno=files[1], pheno_name="QT")
    assert sg.run(study).frame["ID"].tolist() == NAMES
    assert command(files, tmp_path, "--pheno-name", "QT").code == 0
    text = (tmp_path / "t.QT.glm.linear").read_text().splitlines()
    assert [line.split("\t")[2] for line in text[1:]] == NAMES
    assert read_frame(f"{tmp_path}/t.QT.glm.linear")["ID"].tolist() == NAMES


@pytest.mark.parametrize(("name", "value"), [("missing", "Complete"), ("bits", 3), ("model", "logit")])
def test_a_value_that_is_not_known(files, tmp_path, name, value):
    with pytest.raises(UsageError, match=f"^`{name}` is"):
        open_study(files[0], pheno=files[1], pheno_name="QT", **{name: value})
    done = command(files, tmp_path, "--pheno-name", "QT", f"--{name}", value)
    assert done.code == 2 and f"--{name}" in done.err and not list(tmp_path.glob("t*"))


def test_the_value_that_was_meant_gives_another_table(files, tmp_path):
    """The refused words stand beside right ones that change the table, so they must not pass for the default."""
    for missing in ("mean", "complete"):
        assert command(files, tmp_path, "--pheno-name", "QT", "--missing", missing).code == 0
        (tmp_path / "t.QT.glm.linear").rename(tmp_path / missing)
    assert (tmp_path / "mean").read_bytes() != (tmp_path / "complete").read_bytes()


def test_every_field_is_a_keyword_with_the_same_default():
    fields = {f.name: f.default for f in dataclasses.fields(Inputs)}
    for opener, all_of_them in ((open_study, True), (open_qc, False)):
        keywords = {n: p for n, p in inspect.signature(opener).parameters.items() if n not in ("genotypes", "log")}
        assert not any(p.kind is p.VAR_KEYWORD for p in keywords.values())
        assert set(keywords) <= set(fields) and (not all_of_them or set(keywords) == set(fields))
        assert all((p.default or None) == (fields[n] or None) for n, p in keywords.items())


def test_genotypes_are_named_once(files):
    with pytest.raises(UsageError, match="named twice"):
        open_study(files[0], bfile=files[0], pheno=files[1])
    with pytest.raises(UsageError, match="prefix of files"):
        open_study(3, pheno=files[1])  # type: ignore[arg-type]
    assert len(open_study([files[0]], pheno=files[1], pheno_name="QT").reader.variants) == len(NAMES)
