"""One process a prefix; a finished study is kept; what was planned is not forgotten; decrypted files are private."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest
from support import securegen

from securegen.errors import StorageError
from securegen.io import locks
from securegen.io.locks import only_one


def test_a_second_process_with_the_same_prefix_is_refused(small, tmp_path):
    """A stopped process holds its prefix; when it is killed nothing is held any more."""
    code = (
        "import sys, signal, os; from securegen.io.locks import only_one\n"
        "with only_one(sys.argv[1], 'x'): print('held', flush=True); signal.pause()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    held = subprocess.Popen([sys.executable, "-c", code, tmp_path / "t.lock"], stdout=subprocess.PIPE, env=environment)
    try:
        assert held.stdout is not None and held.stdout.readline() == b"held\n"
        call = ["plan", *small.options(), "--out", tmp_path / "t", "--quiet"]
        refused = securegen(*call)
        assert refused.code == 9 and f"another securegen is writing {tmp_path / 't'}.*" in refused.err
        assert os.listdir(tmp_path) == ["t.lock"]
        assert securegen(*call[:-2], tmp_path / "other").code == 0 and securegen(*call, "--dry-run").code == 0
    finally:
        held.send_signal(signal.SIGKILL)
        held.wait()
    assert (tmp_path / "t.lock").exists()
    assert securegen(*call).code == 0 and not (tmp_path / "t.lock").exists()
    assert securegen(*call).code == 0


def test_a_lock_waits_for_no_folder_and_makes_none(tmp_path):
    path = tmp_path / "new" / "folder" / "t.lock"
    with only_one(path, "t"):
        assert not (tmp_path / "new").exists()
        with pytest.raises(StorageError, match="another securegen is writing t"), only_one(path, "t"):
            pass
    assert not os.listdir(tmp_path)
    (tmp_path / "t.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="cannot write"), only_one(tmp_path / "t.lock", "t"):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_lock_that_was_removed_between_opening_and_locking_is_taken_again(tmp_path, monkeypatch):
    path, flock = tmp_path / "t.lock", locks.fcntl.flock
    removed = []

    def late(descriptor, how):
        if not removed:
            removed.append(path.unlink())
        flock(descriptor, how)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with only_one(path, "t"):
        assert path.exists()


def test_encrypting_a_finished_study_again_is_refused(steps, small, tmp_path):
    call = ["encrypt", *steps.key, *small.options("QT,QT2"), "--out", tmp_path / "s", "--quiet"]
    assert securegen(*call).code == 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npy")}
    refused = securegen(*call)
    assert refused.code == 9 and "has a complete study, which is not overwritten" in refused.err
    assert "--overwrite" in refused.err and before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npy")}
    later = [
        "encrypt",
        *steps.key,
        "--owner",
        tmp_path / "s.owner",
        *small.options(),
        "--out",
        tmp_path / "l",
        "--quiet",
    ]
    assert securegen(*later).code == 0
    assert "has a design of" in (refused := securegen(*later)).err and refused.code == 9
    for again in (later, call):
        done = securegen(*again, "--overwrite")
        assert done.code == 0, done.err


def test_covariates_that_were_planned_are_not_forgotten(steps, small, tmp_path):
    """Without --covar the tables would be those of an uncorrected study, without a word."""
    study = small.options("QT,QT2")
    call = ["encrypt", *steps.key, *study[:-2], "--out", tmp_path / "s"]
    refused = securegen(*call)
    assert refused.code == 4 and "planned with 3 covariates; this design lacks AGE, SEX, PC1" in refused.err
    assert "--other-covariates" in refused.err and [p.name for p in tmp_path.glob("s.*")] == ["s.log"]
    one = securegen(*call, "--covar", study[-1], "--covar-name", "AGE,SEX")
    assert one.code == 4 and "lacks PC1:" in one.err
    meant = securegen(*call, "--other-covariates")
    assert meant.code == 0, meant.err
    assert "WARNING: covariates none; the key was planned for AGE, SEX, PC1" in meant.err
    fewer = securegen("encrypt", *steps.key, *small.options("QT"), "--out", tmp_path / "one")
    assert fewer.code == 0 and "WARNING: phenotypes QT; the key was planned for QT, QT2" in fewer.err


def test_names_that_were_planned_are_in_no_file_that_travels(steps):
    assert "QT2" in (steps.owner / "study.plan.json").read_text()
    for path in (steps.owner / "key.public", *steps.server.rglob("manifest.json")):
        assert "QT" not in path.read_text() and "AGE" not in path.read_text()
    header, _, body = (steps.owner / "key.secret").read_bytes().partition(b"\n")
    assert b"QT" not in header and b'"phenotypes"' not in body  # of 225,000 random bytes some may well be QT2


def test_another_phenotype_than_planned_is_named(steps, small, tmp_path):
    """A score test stores squares, which a key for a linear study has no room for."""
    options = small.options("QT,CC")
    done = securegen("encrypt", *steps.key, *options, "--out", tmp_path / "s", "--quiet")
    assert done.code == 4 and "(QT, QT2: linear)" in done.err and "a score test (logistic)" in done.err, done.err
    assert "plan again" in done.err


@pytest.mark.parametrize("form", ["plink2", "regenie", "gwas-ssf"])
def test_what_is_decrypted_is_the_owners_alone(form, steps, tmp_path):
    before = os.umask(0o022)
    try:
        done = securegen(
            "decrypt", *steps.key, "--owner", steps.owner / "study.owner", "--results", steps.server / "study.results",
            "--format", form, "--out", tmp_path / "t", *(["--genome-build", "GRCh38"] if form == "gwas-ssf" else []),
        )  # fmt: skip
    finally:
        os.umask(before)
    assert done.code == 0, done.err
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir() if not p.name.endswith("-meta.yaml")}
    assert len(modes) == 4 and set(modes.values()) == {0o600}, modes
