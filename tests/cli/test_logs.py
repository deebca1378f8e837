"""PREFIX.log: what was run, on what, how it ended; also of runs that fail."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support import left, securegen, write_tsv

from securegen.cli import config, runlog
from securegen.engines.plain.engine import Plain
from securegen.io.digests import sha256
from securegen.version import VERSION


def decrypt(steps, out, results=None, **change):
    options = {"--key": steps.owner / "key.secret", "--passphrase-file": steps.owner / "passphrase"} | change
    return securegen(
        "decrypt", *(w for pair in options.items() for w in pair), "--owner", steps.owner / "study.owner", "--results",
        results or steps.server / "study.results", "--out", out, "--quiet",
    )  # fmt: skip


def test_a_log_says_what_was_run_and_how_it_ended(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("o.toml").write_text("digits = 9\n")
    done = securegen("gwas", *small.options(), "--config", "o.toml", "--out", "r", "--quiet")
    assert done.code == 0, done.err
    first, command, defaults, folder, machine, *lines, end = Path("r.log").read_text().splitlines()
    assert re.fullmatch(rf"securegen {VERSION} gwas, \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d", first)
    assert command.startswith(f"command: securegen gwas --bfile={small.bfile} ") and "--digits=9" in command
    assert "--missing=mean" in defaults and "--digits" not in defaults and "--bfile" not in defaults
    assert folder == f"folder: {tmp_path}" and re.search(r"Linux .*Python 3\.\d+.*, \d+ threads?$", machine)
    assert "3 covariates: AGE, SEX, PC1" in lines and "next, to see it: securegen report r" in lines
    assert any(line.startswith("top hits of QT") for line in lines)
    assert re.fullmatch(r"ended \d{4}-\d\d-\d\d \d\d:\d\d:\d\d after \d+\.\d\d s", end)
    record = json.loads(Path("r.run.json").read_text())
    assert record["covariate_names"] == ["AGE", "SEX", "PC1"] and record["covariates"] == 3


FAILURES = {
    "wrong passphrase": (6, "KeyFileError", "passphrase"),
    "another's results": (7, "ArtefactError", "cohort"),
    "no such results": (7, "ArtefactError", "there is no results"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_run_is_logged_with_class_and_exit_code(steps, tmp_path, case):
    code, kind, word = FAILURES[case]
    out = tmp_path / "t"
    if case == "wrong passphrase":
        (tmp_path / "wrong").write_text("four\n")
        done = decrypt(steps, out, **{"--passphrase-file": tmp_path / "wrong"})
    else:
        done = decrypt(steps, out, steps.server / "study.cohort" if case[0] == "a" else tmp_path / "absent")
    assert done.code == code, done.err
    assert [n for n in left(tmp_path) if n != "wrong"] == []
    *_, ended, message = (tmp_path / "t.log").read_text().splitlines()
    assert re.fullmatch(rf"failed \S+ \S+ after \S+ s: {kind}, exit code {code}", ended)
    assert done.err == f"Error: {message}\n" and word in message


def test_a_failure_stays_in_the_log_and_a_finished_run_too(steps, tmp_path):
    """Each wrong passphrase is told of; neither the success after it nor another success takes that away."""
    (tmp_path / "wrong").write_text("four\n")
    wrong = {"--passphrase-file": tmp_path / "wrong"}
    codes = [decrypt(steps, tmp_path / "t", **more).code for more in (wrong, wrong, {}, {}, wrong)]
    assert codes == [6, 6, 0, 0, 6]
    parts = (tmp_path / "t.log").read_text().split("\n\n")
    ends = [re.search(r"(?m)^(ended|failed) ", part)[1] for part in parts]
    assert ends == ["failed", "failed", "ended", "failed"]
    assert json.loads((tmp_path / "t.run.json").read_text())["command"] == "decrypt"


def test_the_wait_for_a_peer_is_told_once(tmp_path):
    """A command that is run again until its peers are there does not fill the log."""
    from securegen.errors import PeerError, PolicyError
    from securegen.record.run_log import RunLog

    for error in (PeerError("no"), PeerError("no"), PolicyError("never"), PeerError("no")):
        RunLog(str(tmp_path / "x"), "site run", quiet=True).fail(type(error).__name__, error.exit_code, str(error))
    parts = (tmp_path / "x.log").read_text().split("\n\n")
    assert [re.search(r": (\w+), exit code", part)[1] for part in parts] == ["PolicyError", "PeerError"]


def test_failures_before_a_command_has_its_log(tmp_path):
    """The party's file is absent: the run is logged all the same; a contradiction of options ran nothing."""
    done = securegen("party", "--parties", tmp_path / "absent.toml", "--role", "genotypes", "--out", tmp_path / "p")
    assert done.code == 3
    assert "InputError, exit code 3" in (tmp_path / "p.log").read_text()
    done = securegen("gwas", "--out", tmp_path / "u")
    assert done.code == 2 and not (tmp_path / "u.log").exists()
    done = securegen("gwas", "--bfile", tmp_path / "no", "--pheno", "x", "--out", tmp_path / "d", "--dry-run")
    assert done.code == 3 and not (tmp_path / "d.log").exists()


def test_interruptions_and_bugs_are_logged_too(small, tmp_path, monkeypatch):
    for error, words in ((KeyboardInterrupt, "Interrupted, exit code 130"), (MemoryError, "MemoryError, exit code 1")):

        def stop(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("securegen.engines.plain.engine.write_plain", stop)
            securegen("gwas", *small.options(), "--out", tmp_path / "t", "--quiet")
        assert words in (tmp_path / "t.log").read_text()


def test_a_log_that_cannot_be_written_hides_no_error(small, tmp_path, monkeypatch):
    from securegen.errors import StorageError

    def full(*_, **__):
        raise StorageError("no space")

    monkeypatch.setattr("securegen.record.run_log.write_text", full)
    done = securegen("gwas", "--bfile", tmp_path / "no", "--pheno", small.pheno, "--out", tmp_path / "t", "--quiet")
    assert done.code == 3 and "no.bim: no such file" in done.err and len(done.err.splitlines()) == 1


def test_a_folder_that_is_gone(monkeypatch):
    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(runlog.os, "getcwd", gone)
    assert runlog._folder() == "unknown"


def test_many_people_lost_to_covariates_are_a_warning(small, tmp_path):
    rows = [line.split("\t") for line in Path(small.covar).read_text().splitlines()]
    write_tsv(tmp_path / "short.tsv", rows[0], rows[1:70])
    done = securegen("gwas", "--bfile", small.bfile, "--pheno", small.pheno, "--pheno-name", "QT", "--covar",
                     tmp_path / "short.tsv", "--out", tmp_path / "r")  # fmt: skip
    assert done.code == 0, done.err
    (warning,) = [line for line in done.err.splitlines() if line.startswith("WARNING")]
    assert re.match(r"WARNING: \d+ of 87 people with QT \(2\d%\) are lost because a covariate is missing", warning)


def test_filters_are_counted_one_after_the_other(small, tmp_path):
    from securegen.results.read import read_results

    whole, out = tmp_path / "w", tmp_path / "r"
    assert securegen("gwas", *small.options(), "--out", whole, "--quiet").code == 0
    assert securegen("gwas", *small.options(), "--geno", "0.02", "--maf", "0.1", "--out", out, "--quiet").code == 0
    assert securegen("gwas", *small.options(), "--geno", "0.02", "--out", tmp_path / "g", "--quiet").code == 0
    rows = [len(read_results(f"{p}.QT.glm.linear")) for p in (whole, tmp_path / "g", out)]
    text = Path(f"{out}.log").read_text()
    assert (
        f"{rows[0] - rows[2]} left out by filters ({rows[0] - rows[1]} by --geno, {rows[1] - rows[2]} by --maf)" in text
    )
    assert "--geno 0.02 --maf 0.1: applied where the tables are written" in text


def test_a_file_that_changed_while_it_was_read_is_told_by_no_digest(small, tmp_path, monkeypatch):
    """Its digest at the end is that of other bytes, under which a run that read these would be found again."""
    covar, run = tmp_path / "covar.tsv", Plain.run

    def changed(*arguments, **options):
        found = run(*arguments, **options)
        covar.write_bytes(covar.read_bytes() + b"\n")
        return found

    monkeypatch.setattr(Plain, "run", changed)
    for protected in (True, False):
        covar.write_bytes(Path(small.covar).read_bytes())
        options = ["--bfile", small.bfile, "--pheno", small.pheno, "--pheno-name", "QT", "--covar", covar]
        if not protected:
            monkeypatch.setattr(runlog.CommandLog, "_leave_out_changed", lambda *_: set())
        done = securegen("gwas", *options, "--out", tmp_path / "r")
        assert done.code == 0, done.err
        record = json.loads((tmp_path / "r.run.json").read_bytes())
        call = record["call"]
        assert record["inputs"]["covar"] == sha256(small.covar)  # which was taken when it was read
        assert (f"WARNING: {covar} changed while this ran" in done.err) is protected
        assert (str(covar) in call["digests"]) is not protected and str(small.pheno) in call["digests"]
        assert call.get("untold", []) == [str(covar)] * protected


def test_a_register_in_which_the_command_enters_its_table_did_not_change_meanwhile(small, tmp_path, monkeypatch):
    register, table = tmp_path / "register.tsv", tmp_path / "consents.tsv"
    people = [line.split()[:2] for line in Path(f"{small.bfile}.fam").read_text().splitlines()]
    write_tsv(table, ["FID", "IID", "DUO", "DATE"], [[*ids, "GRU", "2025-01-01"] for ids in people])
    assert securegen("consent", "import", "--register", register, "--table", table).code == 0
    words = ["gwas", *small.options(), "--chr", "1", "--consent", register, "--purpose", "HMB"]
    for grows in (True, False):
        if not grows:
            monkeypatch.setattr(config, "GROWING", set())
        before = register.read_bytes()
        done = securegen(*words, "--out", tmp_path / f"r{grows}")
        assert done.code == 0 and register.read_bytes() != before, done.err
        call = json.loads((tmp_path / f"r{grows}.run.json").read_bytes())["call"]
        assert ("changed while this ran" not in done.err) is grows
        assert (call["digests"].get(str(register)) == sha256(register)) is grows


def test_a_name_that_is_no_utf_8_does_not_empty_a_log(small, tmp_path, monkeypatch):
    """What another command wrote under the prefix stays, byte for byte, whatever the locale."""
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"p\xff\xc3\xa9.tsv")
    shutil.copy(small.pheno, name)
    words = ["plan", "--bfile", small.bfile, "--pheno", name, "--pheno-name", "QT", "--out", "r"]
    assert securegen(*words).code == 0
    before = Path("r.log").read_bytes()
    assert b"--pheno=p\xff\xc3\xa9.tsv" in before or b"p\xff\xc3\xa9.tsv" in before
    assert securegen("gwas", *small.options(), "--chr", "1", "--out", "r", "--quiet").code == 0
    assert Path("r.log").read_bytes().startswith(before.rstrip())
