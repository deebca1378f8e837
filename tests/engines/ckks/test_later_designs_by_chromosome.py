"""The steps of an outsourced study with X, Y and MT: a cohort first and designs later, which count as it was encrypted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import securegen

import securegen as sg
from securegen.engines.ckks import steps
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.errors import DesignError, InputError
from securegen.study.cohort_rows import open_cohort
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs


def opened(cohort, trait="QT", **options) -> sg.Study:
    return sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=trait, covar=cohort.covar, **options)


class Owner:
    """A cohort of the sexes' data, encrypted alone with squares, and its key."""

    def __init__(self, cohort, folder: Path, **options) -> None:
        self.cohort, self.folder = cohort, folder
        self.key = sg.ckks.generate_key(sg.ckks.plan(opened(cohort, "CC", **options), squares=True))
        reader = open_cohort(Inputs(bfile=cohort.bfile, **options))
        self.made = sg.ckks.encrypt_cohort(reader, self.key, folder / "c", squares=True)

    def later(self, trait="QT", **options) -> sg.Study:
        covariates = {"pheno": self.cohort.pheno, "pheno_name": trait, "covar": self.cohort.covar}
        return sg.ckks.open_later_study(self.made.owner, self.key, **covariates | options)

    def frame(self, study: sg.Study, name: str):
        design = sg.ckks.encrypt_design(study, self.key, self.made.owner, self.folder / f"{name}.design")
        results = sg.ckks.associate(self.made.cohort, design, self.folder / f"{name}.results")
        return sg.ckks.decrypt(results, self.key, self.made.owner, design=design)


@pytest.fixture(scope="module")
def owner(reference, tmp_path_factory) -> Owner:
    return Owner(reference("sexes"), tmp_path_factory.mktemp("later"), xchr_model=1, split_par="b38")


@pytest.fixture(scope="module")
def plain_owner(reference, tmp_path_factory) -> Owner:
    return Owner(reference("sexes"), tmp_path_factory.mktemp("plain"))


def test_designs_that_come_later_give_the_plain_tables(owner):
    for name, (trait, more) in enumerate((("QT", {}), ("CC", {}), ("QT", {"statistic": "regenie"}))):
        told = {"xchr_model": 1, "split_par": "b38"} | more
        study = owner.later(trait, **told)
        assert [s.name for s in study.strata] == ["autosomes", "X", "Y", "MT"]
        assert owner.frame(study, str(name)).equals(sg.run(opened(owner.cohort, trait, **told)).frame)


def test_the_record_says_how_x_was_counted(owner, plain_owner):
    infos = [read_info(OwnerState(o.made.owner, o.key)) for o in (owner, plain_owner)]
    assert [i.xchr_model for i in infos] == [1, 2] and [i.dosage_max for i in infos] == [4, 2]
    sex = opened(owner.cohort).reader.samples.sex
    assert all((i.samples.sex == sex).all() for i in infos) and set(sex.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "`xchr_model` is not given, and X of this cohort was encrypted with `xchr_model` 1: give that"),
        ({"xchr_model": 2}, "`xchr_model` is 2, and X of this cohort was encrypted with `xchr_model` 1"),
        ({"xchr_model": 0}, "`xchr_model` is 0, and X"),
        ({"statistic": "regenie"}, "`xchr_model` is not given"),
    ],
)
def test_a_design_that_counts_otherwise_is_refused(options, told, owner, tmp_path):
    with pytest.raises(DesignError, match=told):
        owner.later(**options)
    if options.get("xchr_model"):
        study = opened(owner.cohort, split_par="b38", **options)  # with the genotypes beside
        with pytest.raises(DesignError, match="encrypt the cohort again"):
            sg.ckks.encrypt_design(study, owner.key, owner.made.owner, tmp_path / "d")


def test_ends_of_x_that_were_not_split_are_refused(plain_owner):
    with pytest.raises(
        DesignError, match="`split_par` b38: the cohort was encrypted with other ends of X, or with none"
    ):
        plain_owner.later(split_par="b38")


def test_other_sexes_are_refused_where_dosages_depend_on_them(owner, plain_owner, tmp_path):
    people = owner.later(xchr_model=1).reader.samples
    rows = [f"{f}\t{i}\t{2 if s == 1 else 1}" for f, i, s in zip(people.fid, people.iid, people.sex, strict=True)]
    (tmp_path / "s.tsv").write_text("\n".join(["#FID\tIID\tS", *rows]) + "\n")
    told = {"covar": tmp_path / "s.tsv", "sex_name": "S"}
    with pytest.raises(DesignError, match="the sexes differ from those with which X of this cohort was encrypted"):
        owner.later(xchr_model=1, **told)
    study = plain_owner.later(**told)  # males 0 and 2: a design may know better
    found = {s.name: s.design.analyses[0].model.samples for s in study.strata}
    assert found["Y"] == sg.open_study(
        owner.cohort.bfile, pheno=owner.cohort.pheno, pheno_name="QT", **told
    ).strata[2].design.analyses[0].model.samples  # fmt: skip


def test_predictions_of_a_cohort_with_chromosomes_that_have_none(plain_owner, tmp_path):
    """Y and MT are in the cohort, and have no row in the table: as a plain run, which leaves them out of the genotypes."""
    people = opened(plain_owner.cohort).reader.samples
    rng = np.random.default_rng(5)
    lines = ["FID_IID " + " ".join(f"{f}_{i}" for f, i in zip(people.fid, people.iid, strict=True))]
    lines += [f"{c} " + " ".join(f"{v:.6f}" for v in 0.3 * rng.standard_normal(len(people))) for c in range(1, 24)]
    (tmp_path / "a.loco").write_text("\n".join(lines) + "\n")
    (tmp_path / "pred.list").write_text("QT a.loco\n")
    study = plain_owner.later(pred=tmp_path / "pred.list")
    plain = sg.run(opened(plain_owner.cohort, pred=tmp_path / "pred.list"))
    found = plain_owner.frame(study, "pred")
    assert found.equals(plain.frame) and not set(found["#CHROM"].astype(str)) & {"Y", "MT", "24", "26"}


def test_a_chromosome_that_is_appended_counts_as_those_that_are_there(reference, tmp_path):
    """The autosomes first, then X, Y and MT: the table of the whole file."""
    cohort = reference("sexes")
    for model in (1, 2):
        study = opened(cohort, xchr_model=model)
        key = sg.ckks.generate_key(sg.ckks.plan(study, squares=True))
        prefix = tmp_path / f"m{model}"
        first = Inputs(bfile=cohort.bfile, chr=("1-22",))
        made = sg.ckks.encrypt_cohort(open_cohort(first), key, prefix, squares=True)
        assert read_info(OwnerState(made.owner, key)).xchr_model is None
        rest = open_genotypes(Inputs(bfile=cohort.bfile, chr=("X", "Y", "MT")), haploid=True)
        steps.append_cohort(rest, key, prefix, xchr_model=model)
        info = read_info(OwnerState(made.owner, key))
        assert info.xchr_model == model
        with pytest.raises(InputError, match=f"X of the encrypted cohort is counted by `xchr_model` {model}"):
            steps.append_cohort(rest, key, prefix, xchr_model=3 - model)
        steps.append_cohort(rest, key, prefix)  # is there, as it is counted there
        later = sg.ckks.open_later_study(
            made.owner, key, pheno=cohort.pheno, pheno_name="QT", covar=cohort.covar, xchr_model=model
        )
        design = sg.ckks.encrypt_design(later, key, made.owner, tmp_path / f"d{model}.design")
        results = sg.ckks.associate(made.cohort, design, tmp_path / f"d{model}.results")
        found = sg.ckks.decrypt(results, key, made.owner).set_index("ID")
        plain = sg.run(study).frame.set_index("ID").loc[found.index]
        assert found.equals(plain) and len(found) == len(study.reader.variants)


def test_the_commands_step_by_step(reference, tmp_path, monkeypatch):
    """plan, keygen, encrypt, gwas, decrypt with quality control and filters: the tables of the plain commands."""
    cohort = reference("sexes")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pass").write_text("a passphrase of some length\n")
    (tmp_path / "pass").chmod(0o600)
    study = (*cohort.options("CC"), "--split-par", "b38", "--xchr-model", 1, "--qc")
    unlock = ("--key", "key.secret", "--passphrase-file", "pass")

    def run(*arguments: object) -> str:
        done = securegen(*arguments, "--quiet") if arguments[0] != "keygen" else securegen(*arguments)
        assert done.code == 0, done.err
        return done.err

    run("plan", *study, "--out", "s")
    run("keygen", "--plan", "s.plan.json", "--out", "key", "--passphrase-file", "pass")
    run("encrypt", *unlock, *study, "--out", "s")
    run("gwas", "--cohort", "s.cohort", "--design", "s.design", "--public", "key.public", "--out", "s")
    filters = ("--maf", 0.05, "--geno", 0.1, "--hwe", 1e-6)
    run("decrypt", *unlock, "--owner", "s.owner", "--results", "s.results", *filters, "--qc-tables", "--out", "d")
    run("gwas", *study[:-1], *filters, "--out", "p")
    run("qc", "--bfile", cohort.bfile, "--split-par", "b38", "--out", "q")
    for name in ("CC.glm.logistic.score", "afreq", "vmiss", "hardy", "hardy.x"):
        plain = tmp_path / f"{'p' if name.startswith('CC') else 'q'}.{name}"
        assert (tmp_path / f"d.{name}").read_bytes() == plain.read_bytes(), name
    encrypted, plain = (json.loads((tmp_path / f"{name}.run.json").read_text()) for name in ("d", "p"))
    names = [s["name"] for s in encrypted["strata"]]
    assert names == ["autosomes", "X", "Y", "MT"] and encrypted["strata"] == plain["strata"]
    assert "which blocks have which of 4 designs" in json.dumps(encrypted["receipt"])
    wrong = securegen("encrypt", *unlock, *cohort.options("QT"), "--owner", "s.owner", "--out", "t")
    assert wrong.code == 4 and "was encrypted with --xchr-model 1: give that" in wrong.err
    assert not list(tmp_path.glob("t.design"))
