"""A disk that fails, fills up or cannot be written: an error of one line with its exit code, nothing half there, and the same
command again on a sound disk ends with the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_world import COHORT, KEY
from kill_world import LOGS, is_left

ROOT = Path(__file__).resolve().parents[2]
LINES = {
    "plain": f"gwas {COHORT} --out new",
    "keygen": "keygen --plan study.plan.json --passphrase-file pass.txt --out new",
    "encrypt": f"encrypt {KEY} {COHORT} --out new",
    "server": "gwas --cohort study.cohort --design study.design --out new",
    "decrypt": f"decrypt {KEY} --owner study.owner --results served.results --out new",
    "site": "site keygen --state new --out new.public",
    "score": "qc --bfile cohort --out new",
}
# role, operation, errno, calls that go well first, text of the path that fails, exit code
FAULTS = [
    ("plain", "read", errno.EIO, 1, "cohort.bed", 3), ("plain", "write", errno.EIO, 0, "new.QT.glm.linear", 9),
    ("plain", "read", errno.EIO, 0, "pheno.tsv", 3), ("plain", "write", errno.ENOSPC, 0, "new.QT.glm.linear", 9),
    ("plain", "open", errno.EROFS, 0, ".new.", 9), ("keygen", "write", errno.ENOSPC, 0, "new.public", 9),
    ("keygen", "sync", errno.EIO, 0, "new.secret", 9), ("encrypt", "write", errno.ENOSPC, 3, "new.cohort", 9),
    ("encrypt", "write", errno.EIO, 0, "new.owner", 9), ("encrypt", "sync", errno.EIO, 1, "new.owner", 9),
    ("encrypt", "read", errno.EIO, 2, "cohort.bed", 3), ("server", "read", errno.EIO, 1, "study.cohort", 7),
    ("server", "write", errno.ENOSPC, 1, "new.results", 9), ("server", "open", errno.EMFILE, 3, "study.cohort", 7),
    ("decrypt", "read", errno.EIO, 0, "served.results/block", 7), ("decrypt", "write", errno.EIO, 0, "new.QT.glm", 9),
    ("decrypt", "read", errno.EIO, 0, "study.owner", 7), ("site", "sync", errno.EIO, 0, "site.secret", 9),
    ("score", "write", errno.ENOSPC, 0, "new.afreq", 9),
]  # fmt: skip


def passing(name: str) -> bool:
    return name.endswith(LOGS) or name.startswith(".state")


@pytest.mark.parametrize(("role", "operation", "error", "allowed", "path", "code"), FAULTS)
def test_a_disk_that_fails(role, operation, error, allowed, path, code, steady, monkeypatch):
    before = steady.files()
    monkeypatch.setenv("FAULT", f"{operation} {error} {allowed} {path}")
    done = steady.run(LINES[role])
    assert done.code == code, done
    (line,) = [text for text in done.said.splitlines() if text.startswith("Error: ")]
    assert os.strerror(error) in line and "Traceback" not in done.said, done.said
    now = steady.files()
    assert all(now[name] == data for name, data in before.items() if not passing(name))
    new = [name for name in now if name not in before and not passing(name)]
    # files of a folder that has no record yet; a key, with which the next run goes on
    whole = ("new.cohort/", "new.owner/", "new.results/", "new/", *(["new.secret"] if "public" in path else []))
    assert all(n.startswith(whole) and not is_left(n) and "manifest" not in n for n in new), new
    monkeypatch.delenv("FAULT")
    again = steady.run(LINES[role])
    assert again.code == 0, again
    if role in ("plain", "decrypt"):
        assert steady.files()["new.QT.glm.linear"] == before["told.QT.glm.linear"]
    if role == "encrypt":
        for line in ("gwas --cohort new.cohort --design new.design --out new",
                     f"decrypt {KEY} --owner new.owner --results new.results --out new"):  # fmt: skip
            assert steady.run(line).code == 0
        assert steady.files()["new.QT.glm.linear"] == before["told.QT.glm.linear"]


def test_the_faults_are_there(steady, monkeypatch):
    """Where the library were not loaded, nothing would fail above."""
    for fault, where in (("read 5 0 cohort.bim", "cohort.bim"), ("write 28 0 new.plan", "new.plan.json")):
        monkeypatch.setenv("FAULT", fault)
        done = steady.run(f"plan {COHORT} --out new")
        assert done.code and where in done.said


def mounted(steady, options: str, line: str) -> subprocess.CompletedProcess:
    """Run a command with a file system of its own at `small`, which is seen afterwards in the folder `seen`."""
    user = [] if os.geteuid() == 0 else ["-Ur"]
    script = (
        f"mount -t tmpfs -o {options} none small || exit 77; {sys.executable} -P -m securegen {line}; code=$?; "
        "cp -r small/. seen; exit $code"
    )
    for name in ("small", "seen"):
        (steady.folder / name).mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(steady.folder / ".state")}
    done = subprocess.run(
        ["unshare", "-m", *user, "sh", "-c", script], cwd=steady.folder, env=environment, capture_output=True, text=True
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("file systems cannot be mounted here")
    return done


@pytest.mark.skipif(shutil.which("unshare") is None, reason="file systems cannot be mounted here")
def test_a_full_disk_and_one_that_is_read_only(steady):
    """Real ones: 32 kB, less than the table; and none that may be written."""
    full = mounted(steady, "size=32k", f"gwas {COHORT} --quiet --out small/new")
    assert full.returncode == 9 and full.stderr.endswith("small/new.QT.glm.linear: No space left on device\n"), (
        full.stderr
    )
    assert {p.name for p in (steady.folder / "seen").iterdir()} <= {"new.log"}
    locked = mounted(steady, "ro", f"gwas {COHORT} --quiet --out small/new")
    assert locked.returncode == 9 and "Read-only file system" in locked.stderr and locked.stderr.count("\n") == 1
