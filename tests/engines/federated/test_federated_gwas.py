"""Whole studies, each site a process: the tables of three sites are the plain engine's on the pooled cohort, as text."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from support import killed_at

from securegen.cli.main import main
from securegen.engines.federated import hub, own_inputs, rehearsal, rounds, site, study_toml, studyfile
from securegen.engines.federated.projection import parse_loadings, project
from securegen.engines.federated.site import run_site
from securegen.engines.federated.variants import write_variants
from securegen.engines.plain.engine import write_plain, write_plain_qc
from securegen.errors import ArtefactError, InputError, PeerError, PolicyError, ProtocolError, SecuregenError
from securegen.governance import signing
from securegen.governance.signing import read_identity
from securegen.io.genotypes import GenotypeFiles
from securegen.local import processes
from securegen.stats.qc import Filters
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import open_study

from .conftest import make_study, write_cohort

pytestmark = pytest.mark.usefixtures("forked_roles")

NAMES = ("site1", "site2", "site3")


def read_loadings(path):
    return parse_loadings(path.read_text(), path)


def plain_text(folder: Path, bfile: str, **options) -> dict[str, bytes]:
    """Tables of the plain engine by phenotype."""
    study = open_study(bfile, **options)
    return {t.analysis.phenotype: Path(t.path).read_bytes() for t in write_plain(study, str(folder / "plain"))}


def prepare(work: Path, cohort, **options):
    inputs = Inputs(cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, **options)
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 3)
    return inputs, sites, rehearsal.set_up(work, inputs, sites, print, openings="all")


def federated_text(work: Path, inputs: Inputs, sites) -> dict[str, bytes]:
    """Run every site; tables of the first by phenotype (the sites' tables are compared on the way)."""
    rehearsal.run_sites([rehearsal.site_role(work, inputs, s, Filters(), wait=600) for s in sites])
    records = rehearsal.results(work, sites)
    return {t["phenotype"]: Path(t["path"]).read_bytes() for t in records[0]["summaries"]}


def test_three_sites_write_the_tables_of_the_pooled_cohort(tmp_path, cohort):
    """Linear and logistic in one study, mean imputation, every site a process."""
    inputs, sites, _ = prepare(tmp_path, cohort)
    expected = plain_text(tmp_path, cohort.bfile, pheno=cohort.pheno, covar=cohort.covar)
    assert federated_text(tmp_path, inputs, sites) == expected and len(expected) == 2


def test_a_fileset_a_site_and_complete_cases_by_the_command_line(tmp_path, cohort):
    parts = split_cohort(tmp_path, cohort)
    filesets = [word for part in parts for word in ("--bfile", part)]
    run(
        "run-local", "gwas", "--engine", "federated", *filesets, "--pheno", cohort.pheno, "--pheno-name", "QT",
        "--covar", cohort.covar, "--missing", "complete", "--openings", "all", "--out", tmp_path / "out",
    )  # fmt: skip
    options = {"pheno": cohort.pheno, "covar": cohort.covar, "pheno_name": ("QT",), "missing": "complete"}
    assert (tmp_path / "out.QT.glm.linear").read_bytes() == plain_text(tmp_path, cohort.bfile, **options)["QT"]
    record = json.loads((tmp_path / "out.run.json").read_text())
    assert record["sites"] == 3 and record["samples_stored"] == 96 and set(record["bytes"]["sent"]) == set(NAMES)
    assert {"site1.bed", "site3.bim", "pheno"} <= set(record["inputs"])
    assert record["receipt"]["released"][-1] == str(tmp_path / "out.QT.glm.linear"), "the table that stays"
    assert not list(tmp_path.glob("out.sites*"))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--engine", "mpc", "--split", "horizontal", "--sites", "2"], "--two-sites-learn-each-other"),
        (["--engine", "threshold", "--sites", "97"], "96 samples cannot be dealt to 97 sites"),
        (["--engine", "threshold", "--apply-rint"], "ranks over all people are not a sum"),
        (["--engine", "threshold", "--missing", "complete"], "score test needs --missing mean"),
        (["--engine", "plain", "--sites", "3"], "sites is an option of engine federated, not of plain"),
        (
            ["--engine", "threshold", "--bfile", "other", "--compare-plain"],
            "on the pooled cohort, as one file",
        ),
        (["--engine", "threshold", "--bfile", "other", "--sites", "3"], "one cohort is one site"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, cohort, more, match):
    words = ["run-local", "gwas", "--bfile", cohort.bfile, "--pheno", cohort.pheno, "--covar", cohort.covar]
    with pytest.raises(SecuregenError, match=match):
        CliRunner().invoke(main, [*words, *more, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert not list(tmp_path.glob("*.glm*")) and not list(tmp_path.glob("*.sites*"))


@pytest.mark.parametrize("model", ["trend", "allelic"])
def test_counts_of_cases_and_controls_are_pooled(tmp_path, cohort, model):
    inputs, sites, _ = prepare(tmp_path, cohort, model=model, pheno_name=("CC",))
    take_turns(tmp_path, inputs, sites)
    expected = plain_text(tmp_path, cohort.bfile, pheno=cohort.pheno, pheno_name=("CC",), model=model)
    assert all((tmp_path / s.name / f"result.CC.{model}").read_bytes() == expected["CC"] for s in sites)


def test_a_killed_site_resumes(tmp_path, cohort, monkeypatch):
    monkeypatch.setattr(processes, "subprocess", subprocess)  # started as a deployment does
    inputs, sites, _ = prepare(tmp_path, cohort, pheno_name=("QT",))
    calls = [rehearsal.site_role(tmp_path, inputs, s, Filters(), wait=300).write() for s in sites]
    dies = killed_at(tmp_path / "dies", ".variants-")
    running = [processes.start(call, more=dies if i == 1 else None) for i, call in enumerate(calls)]
    try:
        running[1].communicate(timeout=300)
        assert running[1].returncode == -signal.SIGKILL
        assert (tmp_path / "shared" / "site2" / "design-0003.msg").is_file()
        assert not (tmp_path / "shared" / "site2" / "finished.msg").is_file()
        running[1] = processes.start(calls[1])
        assert [p.communicate(timeout=300)[1] for p in running] == ["", "", ""]
    finally:
        for process in running:
            process.kill()
    records = rehearsal.results(tmp_path, sites)
    expected = plain_text(tmp_path, cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, pheno_name=("QT",))
    assert {t["phenotype"]: Path(t["path"]).read_bytes() for t in records[0]["summaries"]} == expected


def split_cohort(folder: Path, cohort) -> list[str]:
    """Three filesets of different people: the second counts other alleles on half its variants and the third reads the
    other strand, in another order and with a variant more."""
    out = []
    for i in range(3):
        people, dosage, v = cohort.people[i::3], cohort.dosage[:, i::3].copy(), cohort.variants
        effect, other = v.effect_allele.copy(), v.other_allele.copy()
        order = np.arange(len(v))
        if i == 1:
            half = np.arange(0, len(v), 2)
            effect[half], other[half] = other[half], effect[half]
            dosage[half] = np.where(dosage[half] == 3, 3, 2 - dosage[half])
        if i == 2:
            effect[:], other[:] = "T", "C"
            order = order[::-1]
        v = type(v)(v.chromosome, v.position, v.id, effect, other).take(order)
        dosage = dosage[order]
        if i == 2:
            extra = type(v)(
                *(
                    np.array([x], dtype=a.dtype)
                    for x, a in zip(("1", 999, "x", "A", "C"), vars(v).values(), strict=True)
                )
            )
            v = type(v)(*(np.concatenate([a, b]) for a, b in zip(vars(v).values(), vars(extra).values(), strict=True)))
            dosage = np.concatenate([dosage, dosage[:1]])
        out.append(write_cohort(folder / f"part{i}", dosage, v, people))
    return out


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_sites_with_other_alleles_strands_and_orders_by_the_command_line(tmp_path, cohort):
    """init, join and run as their users type them, with the pooled tables of association and of quality control."""
    parts = split_cohort(tmp_path, cohort)
    shared = tmp_path / "shared"
    members, lists = [], []
    for name, part in zip(NAMES, parts, strict=True):
        run("site", "keygen", "--state", tmp_path / name / "private", "--out", tmp_path / f"{name}.public")
        run("site", "variants", "--bfile", part, "--out", tmp_path / f"{name}.tsv")
        members += ["--site", f"{name}={tmp_path / name}.public"]
        lists += ["--variants", tmp_path / f"{name}.tsv"]
    made = run(
        "study", "init", "--dir", shared, "--key", tmp_path / "coordinator.secret", *members, *lists,
        "--phenotype", "QT=quantitative", "--covariate", "AGE", "--covariate", "SEX", "--qc", "--openings", "all",
    )  # fmt: skip
    assert "3 sites, 80 variants" in made and "for every variant Σg, Σg²" in made
    marks = dict(re.findall(r"(?:site )?(\w+) ((?:[0-9a-f]{4}-){7}[0-9a-f]{4})", made))
    for name in NAMES:
        others = [word for other in NAMES if other != name for word in ("--site", f"{other}={marks[other]}")]
        said = run(
            "study", "join", "--dir", shared, "--state", tmp_path / name / "private", "--coordinator", marks["coordinator"],
            *others,
        )  # fmt: skip
        assert f"site {name} accepts" in said and "no site below 20 people" in said
    calls = []
    for name, part in zip(NAMES, parts, strict=True):
        role = rehearsal.site_role(
            tmp_path, Inputs(part, pheno=cohort.pheno, covar=cohort.covar), rehearsal.LocalSite(name, GenotypeFiles(part), None),
            Filters(maf=0.05, hwe=1e-5), wait=600,
        )  # fmt: skip
        calls.append(replace(role, options=dict(role.options) | {"keep": None}))
    rehearsal.run_sites(calls)
    study = open_study(cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, pheno_name=("QT",), qc=True)
    write_plain(study, str(tmp_path / "plain"), filters=Filters(maf=0.05, hwe=1e-5))
    write_plain_qc(study, str(tmp_path / "plain"))
    for suffix in ("QT.glm.linear", "afreq", "vmiss", "hardy"):
        expected = (tmp_path / f"plain.{suffix}").read_bytes()
        assert all((tmp_path / name / f"result.{suffix}").read_bytes() == expected for name in NAMES), suffix
    status = run("study", "status", "--dir", shared)
    assert status.count("finished") == 3
    record = json.loads((tmp_path / "site1" / "result.run.json").read_text())
    assert record["engine"] == "federated" and record["samples"] == study.design.analyses[0].model.samples
    assert record["opened"]["rounds"][-1]["numbers"] > 0 and len(record["receipt"]["parties"]) == 4


def take_turns(work: Path, inputs: Inputs, sites, turns: int = 100) -> dict[str, object]:
    """Every site in this process, one after the other, until all are done."""
    done: dict[str, object] = {}
    for _ in range(turns):
        for s in sites:
            if s.name not in done:
                try:
                    done[s.name] = one_site(work, inputs, s.name)
                except PeerError:
                    continue
        if len(done) == len(sites):
            return done
    raise AssertionError(f"only {list(done)} finished")


def one_site(work: Path, inputs: Inputs, name: str):
    private = work / name
    own = Inputs(**{**vars(inputs), "keep": str(private / "keep.txt")})
    key = read_identity(private / "private" / "site.secret")
    return run_site(work / "shared", private / "private", key, own, str(private / "result"))


def restart(work: Path, cohort, sites, loadings: str = "", **changes) -> studyfile.StudyFile:
    """Another study for the same sites."""
    shutil.rmtree(work / "shared")
    coordinator = signing.generate()
    keys = {s.name: read_identity(work / s.name / "private" / "site.secret") for s in sites}
    v = cohort.variants
    if loadings:
        changes |= {"loadings_digest": hashlib.sha256(loadings.encode()).hexdigest(), "loadings_pcs": 2}
    study = make_study(
        keys, coordinator, covariates=("AGE", "SEX"), variants=len(v), variants_digest=v.digest(), **changes
    )
    study = study_toml.write_study(work / "shared", study, coordinator)
    write_variants(work / "shared" / studyfile.VARIANTS, v)
    if loadings:
        (work / "shared" / studyfile.LOADINGS).write_text(loadings)
    for key in keys.values():
        hub.join(work / "shared", key)
    return study


def test_site_indicators_and_components_are_covariates(tmp_path, cohort):
    """The same table as plain with these columns in the covariate file."""
    inputs, sites, _ = prepare(tmp_path, cohort, pheno_name=("QT",))
    v = cohort.variants
    rng = np.random.default_rng(4)
    lines = [
        f"1\t{v.position[j]}\t{v.id[j]}\tG\tA\t{rng.uniform(0.2, 0.8):.3f}\t{rng.normal():.4f}\t{rng.normal():.4f}\n"
        for j in range(20, 40)
    ]
    loadings = "#CHROM\tPOS\tID\tEFFECT_ALLELE\tOTHER_ALLELE\tFREQ\tPC1\tPC2\n" + "".join(lines)
    restart(tmp_path, cohort, sites, loadings, site_indicators=True)
    take_turns(tmp_path, inputs, sites)

    components = project(open_genotypes(inputs), read_loadings(tmp_path / "shared" / studyfile.LOADINGS), "pooled")
    rows = [line.split("\t") for line in Path(cohort.covar).read_text().splitlines()]
    out = ["\t".join([*rows[0], "PC1", "PC2", "SITE=site2", "SITE=site3"])]
    for i, row in enumerate(rows[1:]):
        out.append("\t".join([*row, *(f"{c:.17g}" for c in components[i]), str(int(i % 3 == 1)), str(int(i % 3 == 2))]))
    (tmp_path / "covar.tsv").write_text("\n".join(out) + "\n")
    expected = plain_text(
        tmp_path, cohort.bfile, pheno=cohort.pheno, covar=str(tmp_path / "covar.tsv"), pheno_name=("QT",)
    )
    assert (tmp_path / "site1" / "result.QT.glm.linear").read_bytes() == expected["QT"]


def test_loadings_are_those_whose_digest_was_checked(tmp_path, cohort, monkeypatch):
    """Whoever keeps the folder changes the file between two looks: chosen loadings are a column that is chosen."""
    head = "#CHROM\tPOS\tID\tEFFECT_ALLELE\tOTHER_ALLELE\tFREQ\tPC1\n"
    agreed, chosen = (head + f"1\t{j + 1}\trs{j}\tG\tA\t0.25\t2\n" for j in (3, 5))
    path = tmp_path / studyfile.LOADINGS
    path.write_text(agreed)
    read = own_inputs.read_regular

    def look(*args, **more):
        raw = read(*args, **more)
        path.write_text(chosen)
        return raw

    monkeypatch.setattr(own_inputs, "read_regular", look)
    study = SimpleNamespace(loadings_pcs=1, loadings_digest=hashlib.sha256(agreed.encode()).hexdigest())
    memory = SimpleNamespace(once=lambda name, make: make())
    reader = open_genotypes(Inputs(cohort.bfile))
    got = own_inputs._components(tmp_path, study, reader, "s", memory)
    assert path.read_text() == chosen
    path.write_text(agreed)
    assert np.array_equal(got, project(reader, read_loadings(path), "s"))
    path.write_text(chosen)
    assert not np.array_equal(got, project(reader, read_loadings(path), "s"))
    with pytest.raises(ProtocolError, match="altered"):
        own_inputs._components(tmp_path, study, reader, "s", memory)


def test_two_sites_and_commitments_write_the_same_tables(tmp_path, cohort):
    inputs = Inputs(cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, pheno_name=("QT",))
    expected = plain_text(tmp_path, cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, pheno_name=("QT",))
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 2)
    rehearsal.set_up(tmp_path / "two", inputs, sites, print, two_sites_learn_each_other=True, openings="all")
    done = take_turns(tmp_path / "two", inputs, sites)
    assert (tmp_path / "two" / "site2" / "result.QT.glm.linear").read_bytes() == expected["QT"]
    assert any("two sites" in w for w in done["site1"].receipt.warnings)
    sites = prepare(tmp_path / "three", cohort, pheno_name=("QT",))[1]
    restart(tmp_path / "three", cohort, sites, commit=True)
    done = take_turns(tmp_path / "three", inputs, sites)
    assert (tmp_path / "three" / "site3" / "result.QT.glm.linear").read_bytes() == expected["QT"]
    posted = list((tmp_path / "three" / "shared" / "site1").glob("*.commit.msg"))
    assert len(posted) == len([r for r in done["site1"].opened["rounds"] if r["rows"]])


def test_projection_is_the_sum_of_the_definition(tmp_path, cohort):
    lines = [
        "#CHROM\tPOS\tID\tEFFECT_ALLELE\tOTHER_ALLELE\tFREQ\tPC1\n",
        "1\t1\trs0\tG\tA\t0.25\t2\n",
        "1\t4\trs3\tA\tG\t0.5\t-1\n",
    ]
    (tmp_path / "l.tsv").write_text("".join(lines))
    got = project(open_genotypes(Inputs(cohort.bfile)), read_loadings(tmp_path / "l.tsv"), "s")[:, 0]
    g0, g3 = cohort.dosage[0], cohort.dosage[3]
    first = np.where(g0 == 3, 0, (2 - g0 - 0.5) / np.sqrt(2 * 0.25 * 0.75) * 2)
    second = np.where(g3 == 3, 0, -(g3 - 1) / np.sqrt(0.5))
    # two additions of numbers below 8
    assert np.abs(got - first - second).max() <= 4 * 8 * np.finfo(float).eps
    (tmp_path / "l.tsv").write_text(lines[0] + lines[1].replace("rs0", "rs\u00a0\u20280"))  # which are no blanks
    assert read_loadings(tmp_path / "l.tsv").variants.id.tolist() == ["rs\u00a0\u20280"]
    (tmp_path / "l.tsv").write_text(lines[0] + "1\t1\trs0\tG\tA\t1\t2\n")
    with pytest.raises(InputError, match="between 0 and 1"):
        read_loadings(tmp_path / "l.tsv")


def test_a_site_below_the_minimum_refuses_before_it_sends_anything(tmp_path, cohort):
    inputs, sites, _ = prepare(tmp_path, cohort)
    study = restart(tmp_path, cohort, sites, smallest_cohort=31)
    assert one_site_stops(tmp_path, inputs, "site2") is PeerError  # 32 people with the trait
    with pytest.raises(PolicyError, match="site1 has 28 samples with phenotype QT.*fewer than 31"):
        one_site(tmp_path, inputs, "site1")
    assert {p.name for p in (tmp_path / "shared" / "site1").iterdir()} == {"accept.msg", "stopped.msg"}
    assert hub.progress(tmp_path / "shared", study)[0].stopped == "PolicyError"
    with pytest.raises(PeerError, match="site site1 stopped with PolicyError"):
        one_site(tmp_path, inputs, "site2")


@pytest.mark.parametrize("target", ["design-0005", "variants-00000", "variants-00000-missing"])
def test_totals_that_people_cannot_give_end_in_one_line_or_in_tables(tmp_path, cohort, monkeypatch, target):
    """site3 adds what it likes: the others stop with an error of their own, or write numbers; nobody ends in a traceback."""

    class Deviant(rounds.SecureSum):
        def _masked(self, step, layout, after):
            if self._session.site == "site3" and step.name == target:
                noise = np.random.default_rng(3).integers(-300, 300, step.make().shape)
                changed = step.make() + (
                    noise if target.startswith("variants") else [[-1000 * (i % 2)] for i in range(len(noise))]
                )
                step = replace(step, make=lambda: changed)
            return super()._masked(step, layout, after)

    inputs, sites, _ = prepare(tmp_path, cohort)
    monkeypatch.setattr(site, "SecureSum", Deviant)
    done: dict[str, str] = {}
    for name in NAMES * 40:
        try:
            if name not in done:
                one_site(tmp_path, inputs, name)
                done[name] = "tables"
        except PeerError as error:
            if "stopped" in str(error):
                done[name] = "stopped"
        except SecuregenError as error:
            done[name] = str(error)
    assert set(done) == set(NAMES) and all(len(text.splitlines()) == 1 for text in done.values())
    if target == "design-0005":
        assert any("a total is not what the people of these sites can give" in text for text in done.values())


def one_site_stops(work: Path, inputs: Inputs, name: str) -> type[SecuregenError]:
    with pytest.raises(SecuregenError) as error:
        one_site(work, inputs, name)
    return error.type


def test_inputs_that_change_during_a_study_are_refused(tmp_path, cohort):
    inputs, _, _ = prepare(tmp_path, cohort, pheno_name=("QT",))
    with pytest.raises(PeerError):
        one_site(tmp_path, inputs, "site1")
    keep = tmp_path / "site1" / "keep.txt"
    keep.write_text("".join(keep.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ArtefactError, match="changed since this site began"):
        one_site(tmp_path, inputs, "site1")


def test_altered_variant_list_and_loadings_are_caught(tmp_path, cohort):
    inputs, _, _ = prepare(tmp_path, cohort, pheno_name=("QT",))
    path = tmp_path / "shared" / studyfile.VARIANTS
    path.write_text(path.read_text().replace("rs5\tA\tG", "rs5\tG\tA"))
    with pytest.raises(ProtocolError, match="not the variant list that the study names"):
        one_site(tmp_path, inputs, "site1")


def test_against_float64_references(tmp_path, reference):
    """|ΔT| within the promise 1e-3 (1 + T²/df), χ² of the score test within 1e-3 of max(1, χ²): docs/explanation/precision.md."""
    pooled = reference("sim_500x5k")
    inputs = Inputs(pooled.bfile, pheno=pooled.pheno, covar=pooled.covar, pheno_name=("QT", "CC"))
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 3)
    rehearsal.set_up(tmp_path, inputs, sites, print, openings="all")
    text = federated_text(tmp_path, inputs, sites)
    (tmp_path / "qt.tsv").write_bytes(text["QT"])
    (tmp_path / "cc.tsv").write_bytes(text["CC"])
    got = pd.read_csv(tmp_path / "qt.tsv", sep="\t", na_values="NA").set_index("ID")
    truth = pd.read_csv(pooled.gold / "np_qt_linear_cov_meanimp.tsv.gz", sep="\t").set_index("ID")
    df = got.OBS_CT - 12 - 2
    assert got.index.tolist() == truth.index.tolist() and truth["T"].notna().sum() > 1380
    assert ((got.T_STAT - truth["T"]).abs() <= 1e-3 * (1 + truth["T"] ** 2 / df))[truth["T"].notna()].all()
    got = pd.read_csv(tmp_path / "cc.tsv", sep="\t", na_values="NA").set_index("ID")
    truth = pd.read_csv(pooled.gold / "np_cc_score_cov_meanimp.tsv.gz", sep="\t").set_index("ID")
    assert truth.CHISQ.notna().sum() > 1380
    assert ((got.CHISQ - truth.CHISQ).abs() <= 1e-3 * truth.CHISQ.clip(lower=1))[truth.CHISQ.notna()].all()
