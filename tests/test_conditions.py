"""Conditional analysis: dosages of named variants as covariates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from genotype_files import write_pfile
from support import securegen, text_array, write_tsv

import securegen as sg
from securegen.errors import DesignError, InputError, UsageError
from securegen.model import Samples, Variants
from securegen.results.read import read_sumstats
from securegen.study.conditions import read_conditions
from securegen.study.inputs import Inputs


@pytest.fixture(scope="module")
def by_hand(small, tmp_path_factory):
    """A covariate table that also holds the dosages of rs10 and rs900, missing calls at the mean of the analysed."""
    reader = sg.read_plink(small.bfile)
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", covar=small.covar)
    analysed = study.design.columns.values[:, 0] != 0
    lines = [line.split("\t") for line in Path(small.covar).read_text().splitlines()]
    where = {row[1]: row for row in lines[1:]}
    rows = []
    added = []
    for j in (10, 900):
        block = reader.read(j, j + 1)
        dosage = block.dosage[0].astype(float)
        if block.missing is not None:
            lacks = block.missing[0]
            dosage[lacks] = dosage[analysed & ~lacks].mean()
        added.append(dosage)
    for i, iid in enumerate(reader.samples.iid):
        if iid in where:
            rows.append([*where[iid], *(repr(float(d[i])) for d in added)])
    return str(write_tsv(tmp_path_factory.mktemp("c") / "c.tsv", [*lines[0], "rs10", "rs900"], rows))


def table(study, path) -> object:
    sg.run(study, out=str(path))
    return read_sumstats(f"{path}.QT.glm.linear")


def test_a_condition_is_a_covariate(small, by_hand, tmp_path):
    options = {"pheno": small.pheno, "pheno_name": "QT"}
    ours = table(sg.open_study(small.bfile, covar=small.covar, condition=["rs10", "rs900"], **options), tmp_path / "a")
    hand = table(sg.open_study(small.bfile, covar=by_hand, **options), tmp_path / "b")
    plain = table(sg.open_study(small.bfile, covar=small.covar, **options), tmp_path / "c")
    for name in ("BETA", "SE", "T_STAT"):
        np.testing.assert_allclose(ours[name], hand[name], rtol=1e-6, atol=1e-9)
    assert not np.allclose(ours["T_STAT"], plain["T_STAT"], rtol=1e-2, equal_nan=True)
    assert ours["ERRCODE"][10] == "CORR_TOO_HIGH"


def test_a_list_and_filters_of_variants(small, tmp_path):
    """A variant that conditions need not be among those that are tested."""
    listed = tmp_path / "list"
    listed.write_text("rs10\nrs900\n")
    options = {"pheno": small.pheno, "pheno_name": "QT", "covar": small.covar, "chr": "2"}
    study = sg.open_study(small.bfile, condition_list=listed, **options)
    again = sg.open_study(small.bfile, condition=["rs10", "rs900"], **options)
    assert np.array_equal(study.design.columns.values, again.design.columns.values)
    assert study.design.analyses[0].model.covariates[-2:] == ("rs10", "rs900")


def test_encrypted_as_plain(small, tmp_path):
    """The owner has genotypes beside phenotypes."""
    arguments = [
        *small.options(),
        "--condition",
        "rs10",
        "--extract",
        str(tmp_path / "some"),
        "--out",
        str(tmp_path / "o"),
    ]
    (tmp_path / "some").write_text("".join(f"rs{j}\n" for j in range(40)))
    done = securegen("run-local", "gwas", "--engine", "ckks", "--compare-plain", *arguments)
    assert done.code == 0 and "identical to the plain engine: yes" in done.err


@pytest.mark.parametrize("engine", [["federated"], ["mpc", "--split", "vertical"], ["mpc", "--split", "outsourced"]])
def test_where_genotypes_are_elsewhere_it_is_refused(small, tmp_path, engine):
    done = securegen(
        "run-local", "gwas", "--engine", *engine, *small.options(), "--condition", "rs10", "--out", str(tmp_path / "o")
    )
    assert done.code == UsageError.exit_code and "condition needs the genotypes" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [(["rs10", "nothing"], InputError, "no variant nothing"), ("rs2", DesignError, "rs2: none of the analysed people"),
     ("rs1", DesignError, "covariate rs1 is constant")],
)  # fmt: skip
def test_a_condition_that_cannot_be(small, ids, error, message):
    with pytest.raises(error, match=message):
        sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", condition=ids)


def test_an_id_of_several_variants_is_refused():
    text = {"chromosome": ["1"] * 2, "id": ["a"] * 2, "effect_allele": ["A"] * 2, "other_allele": ["G"] * 2}
    cohort = sg.from_arrays(np.ones((2, 4), np.int8), list("wxyz"), variants={"position": [1, 2], **text})
    with pytest.raises(InputError, match="a stands for several variants"):
        read_conditions(Inputs(condition="a"), cohort)


def test_a_test_without_covariates_takes_no_condition(small):
    with pytest.raises(UsageError, match="model trend uses no covariates"):
        sg.open_study(small.bfile, pheno=small.pheno, pheno_name="CC", model="trend", condition="rs10")


def test_a_condition_on_a_dosage_among_hard_calls(tmp_path):
    """Only the condition is imputed: what is tested stays hard calls, and the covariate has its own grid."""
    rng = np.random.default_rng(6)
    dosage = rng.binomial(2, 0.4, (3, 60)).astype(float)
    dosage[1] = np.round(rng.uniform(0, 2, 60) * 256) / 256
    names = text_array([f"p{i}" for i in range(60)])
    v = Variants(text_array("111"), np.array([1, 2, 3]), text_array("abc"), text_array("AAA"), text_array("GGG"))
    write_pfile(tmp_path / "c", dosage, Samples(names, names, np.ones(60, bool)), v)
    pheno = write_tsv(
        tmp_path / "p",
        ("#IID", "QT", "B"),
        [(n, f"{rng.normal():.4f}", dosage[1, i]) for i, n in enumerate(names)],
    )
    (tmp_path / "ids").write_text("a\nc\n")
    told = {"pfile": tmp_path / "c", "extract": tmp_path / "ids", "pheno": pheno, "pheno_name": "QT"}
    ours = sg.open_study(**told, condition="b")
    hand = sg.open_study(**told, covar=pheno, covar_name="B")
    assert ours.reader.dosage_grid == 1
    np.testing.assert_allclose(sg.run(ours).frame["T_STAT"], sg.run(hand).frame["T_STAT"], atol=1e-9)
