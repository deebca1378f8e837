"""The commands of the parties: files they leave, what travels, tables equal to the plain engine's, records and logs."""

from __future__ import annotations

import hashlib
import json
import math
import stat

import numpy as np
import pandas as pd
import pytest
from support import securegen

from securegen.io.output import FOLDER_FOR_OTHERS, FOR_OTHERS
from securegen.version import VERSION
from securegen.vocabulary import LINEAR_COLUMNS


@pytest.fixture(scope="module")
def plain(small, tmp_path_factory):
    """The same analysis in the clear."""
    out = tmp_path_factory.mktemp("plain") / "t"
    done = securegen("gwas", *small.options("QT,QT2"), "--out", out)
    assert done.code == 0, done.err
    return out


@pytest.mark.parametrize("trait", ["QT", "QT2"])
def test_the_tables_equal_those_of_the_plain_engine(steps, plain, trait):
    ours = steps.owner / f"final.{trait}.glm.linear"
    assert ours.read_bytes() == plain.with_name(f"t.{trait}.glm.linear").read_bytes()


def test_every_command_leaves_a_log_and_a_record(steps):
    for folder, name, command in (
        (steps.owner, "key", "keygen"), (steps.owner, "study", "encrypt"), (steps.server, "study", "gwas"),
        (steps.owner, "final", "decrypt"),
    ):  # fmt: skip
        record = json.loads((folder / f"{name}.run.json").read_text())
        assert record["command"] == command and record["version"] == VERSION
        assert record["seconds"]["total"] >= record["seconds"][command] >= 0 and record["peak_rss_bytes"] > 1 << 20
        *earlier, log = (folder / f"{name}.log").read_text().split("\n\n")
        assert log.startswith(f"securegen {VERSION} {command}, ")
        assert set(steps.done[command].err.splitlines()) <= set(log.splitlines())
        if command == "encrypt":  # they share a prefix
            (plan,) = earlier
            assert set(steps.done["plan"].err.splitlines()) <= set(plan.splitlines())
        else:
            assert not earlier
        assert [r["command"] for r in record.get("earlier", [])] == (["plan"] if command == "encrypt" else [])


def test_only_named_files_are_left(steps):
    assert sorted(p.name for p in steps.owner.iterdir()) == [
        "final.QT.glm.linear", "final.QT2.glm.linear", "final.log", "final.run.json", "key.log", "key.public",
        "key.run.json", "key.secret", "passphrase", "study.log", "study.owner", "study.plan.json", "study.run.json",
    ]  # fmt: skip
    assert sorted(p.name for p in steps.server.iterdir()) == [
        "study.cohort", "study.design", "study.log", "study.results", "study.run.json",
    ]  # fmt: skip
    assert not [p for folder in (steps.owner, steps.server) for p in folder.rglob(".*")]


def test_nothing_secret_and_no_id_travels(steps, small):
    for path in steps.server.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            for word in (b"I17", b"F17", b"rs12", b"QT", b"AGE", b'"master"', b"scrypt"):
                assert word not in raw or path.suffix == ".npy", f"{word!r} is in {path.name}"
    assert stat.S_IMODE((steps.owner / "key.secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((steps.owner / "study.owner").stat().st_mode) == 0o700
    for box in (steps.owner / "study.owner").iterdir():
        assert stat.S_IMODE(box.stat().st_mode) == 0o600


def test_the_plan_is_public_and_says_what_it_will_cost(steps):
    plan = json.loads((steps.owner / "study.plan.json").read_text())
    assert plan["workload"]["samples"] == 90 and plan["workload"]["variants"] == 1300
    text = steps.done["plan"].err
    for words in (
        "128-bit security",
        "samples × ",
        "noise: 15 standard deviations stay",
        "certain",
        "cohort ",
        "encrypt ",
    ):
        assert words in text, words


def test_the_log_counts_who_was_dropped_and_why(steps):
    """Of 90 people three have no QT and two others no AGE; each table names one person without genotypes."""
    line = next(text for text in steps.done["encrypt"].err.splitlines() if text.startswith("phenotype QT "))
    assert line == (
        "phenotype QT (quantitative): 85 of 90 people are analysed; left out: 3 without QT, 2 with QT but without a "
        "covariate; ignored, of other people: 1 phenotype row and 1 covariate row"
    )


def test_encryption_records_its_inputs_by_digest(steps, small):
    inputs = json.loads((steps.owner / "study.run.json").read_text())["inputs"]
    assert set(inputs) == {"bed", "bim", "fam", "pheno", "covar"}
    with open(small.pheno, "rb") as stream:
        assert inputs["pheno"] == hashlib.file_digest(stream, "sha256").hexdigest()


def test_the_table_is_plink2s_with_every_variant_in_order(steps):
    path = steps.owner / "final.QT.glm.linear"
    lines = path.read_text().splitlines()
    assert lines[0].split("\t") == list(LINEAR_COLUMNS) and len(lines) == 1301
    table = pd.read_csv(path, sep="\t")
    assert table["ID"].tolist() == [f"rs{j}" for j in range(1300)]
    assert (table["TEST"] == "ADD").all() and (table["A1"] == table["ALT"]).all()
    assert table["ERRCODE"].iloc[:3].tolist() == [".", "CONST_OMITTED_ALLELE", "ALL_MISSING"]
    missing = lines[3].split("\t")  # rs2, called for nobody
    assert missing[6:] == ["NA", "ADD", "85", *["NA"] * 7, "ALL_MISSING"]
    good = table[table["ERRCODE"] == "."]
    np.testing.assert_allclose(good["T_STAT"], good["BETA"] / good["SE"], rtol=1e-14)
    np.testing.assert_allclose(good["LOG10_P"], -np.log10(good["P"]), rtol=1e-12)
    hit = table.loc[table["LOG10_P"].idxmax()]
    assert hit["ID"] == "rs650", "the planted variant is the best one"


def test_digits_shorten_numbers_only(steps, tmp_path):
    call = ["decrypt", *steps.key, "--owner", steps.owner / "study.owner", "--results", steps.server / "study.results"]
    done = securegen(*call, "--digits", 6, "--out", tmp_path / "t", "--quiet")
    assert done.code == 0 and done.err == "" and done.out == ""
    short, full = (
        pd.read_csv(p, sep="\t") for p in (tmp_path / "t.QT.glm.linear", steps.owner / "final.QT.glm.linear")
    )
    for name in LINEAR_COLUMNS:
        if full[name].dtype.kind == "f":
            np.testing.assert_allclose(short[name], full[name], rtol=5.1e-6)
        else:
            assert (short[name] == full[name]).all()
    width = [len(v) for v in (tmp_path / "t.QT.glm.linear").read_text().split("\n")[1].split("\t")]
    assert max(width) <= len("-1.23457e-05")


def test_the_record_of_decryption_holds_the_planned_margin_only(steps):
    record = json.loads((steps.owner / "final.run.json").read_text())
    plan = json.loads((steps.owner / "study.plan.json").read_text())
    from securegen.engines.ckks.planner import Plan

    assert record["planned_noise_margin_bits"] == Plan.from_json(plan).parameters.margin_bits > 0
    for promise in record["promise"].values():
        assert 0 < promise["dt_expected"] < promise["dt_certain"] < math.inf and promise["dt_promised"] == 1e-3


def test_a_design_may_come_later_and_without_the_genotypes(small, steps, plain, tmp_path):
    """A cohort encrypted alone with squares; designs are added with the owner's folder, the genotypes are not read."""
    key = ["--key", tmp_path / "k.secret"]
    run = lambda *a: securegen(*a, "--quiet")  # noqa: E731
    assert run("plan", *small.options("QT"), "--squares", "--out", tmp_path / "s").code == 0
    assert run("keygen", "--plan", tmp_path / "s.plan.json", "--plain-secret-key", "--out", tmp_path / "k").code == 0
    alone = run("encrypt", *key, "--bfile", small.bfile, "--squares", "--out", tmp_path / "c")
    assert alone.code == 0 and not (tmp_path / "c.design").exists()
    design = ["--pheno", small.pheno, "--pheno-name", "QT", "--covar", small.covar]
    later = run("encrypt", *key, "--owner", tmp_path / "c.owner", *design, "--out", tmp_path / "d")
    assert later.code == 0, later.err
    assert not (tmp_path / "d.cohort").exists()
    served = run("gwas", "--cohort", tmp_path / "c.cohort", "--design", tmp_path / "d.design", "--public", tmp_path / "k.public",
                 "--out", tmp_path / "r")  # fmt: skip
    assert served.code == 0, served.err
    done = run(
        "decrypt", *key, "--owner", tmp_path / "c.owner", "--results", tmp_path / "r.results", "--out", tmp_path / "t"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "t.QT.glm.linear").read_bytes() == plain.with_name("t.QT.glm.linear").read_bytes()


def test_the_passphrase_may_come_from_the_environment(steps, tmp_path):
    call = ["decrypt", "--key", steps.owner / "key.secret", "--owner", steps.owner / "study.owner", "--results",
            steps.server / "study.results", "--out", tmp_path / "t", "--quiet"]  # fmt: skip
    assert securegen(*call, environment={"SECUREGEN_PASSPHRASE": "one two three"}).code == 0
    wrong = securegen(*call, environment={"SECUREGEN_PASSPHRASE": "one two"})
    assert wrong.code == 6 and "wrong passphrase" in wrong.err


def test_threads_and_memory_change_no_digit(small, plain, tmp_path):
    done = securegen(
        "gwas", *small.options("QT,QT2"), "--threads", 1, "--memory", 64, "--out", tmp_path / "t", "--quiet"
    )
    assert done.code == 0
    assert (tmp_path / "t.QT2.glm.linear").read_bytes() == plain.with_name("t.QT2.glm.linear").read_bytes()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["gwas", "--help"], ["run-local", "gwas", "-h"]])
def test_help_and_version(arguments):
    done = securegen(*arguments)
    assert done.code == 0 and done.err == "" and ("Usage" in done.out or VERSION in done.out)


def test_what_is_decrypted_is_for_its_owner_alone_and_what_travels_is_not(steps):
    """The tests' umask is 022."""
    mode = lambda path: stat.S_IMODE(path.stat().st_mode)  # noqa: E731
    assert mode(steps.owner / "final.QT.glm.linear") == 0o600
    assert not mode(steps.owner / "key.public") & 0o133 and mode(steps.owner / "key.public") & 0o044
    assert mode(steps.server / "study.cohort" / "manifest.json") == FOR_OTHERS
    assert mode(steps.server / "study.cohort") == FOLDER_FOR_OTHERS
