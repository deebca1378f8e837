"""Who has no key to have: the memory, environment and arguments of a server that computes hold nothing of the owner's secrets,
and no role writes a core dump. The same scan finds them in the owner's own process."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_world import CHAIN, KEY, small_world
from kill_world import World

from securegen.engines.ckks.owner.secret_key import read_secret
from securegen.io.envelope import is_protected

ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = "correct horse battery staple"
SERVER = "gwas --cohort study.cohort --design study.design --public key.public --out again"
OWNER = f"decrypt {KEY} --owner study.owner --results served.results --out again"
# At the first opening of a file of this name, stand still: the role has read all that it was given by then.
PAUSE = """
import os, sys, time
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)) and {name!r} in os.fsdecode(args[0]):
        open({told!r}, "w").close()
        time.sleep(600)
sys.addaudithook(hook)
"""
UNLOCKED = """
from securegen.cli import main
main.lock_down_process = lambda: None
"""


@pytest.fixture(scope="module")
def study(warm_nursery, tmp_path_factory) -> World:
    """A study that was encrypted, computed on and decrypted."""
    world = small_world(tmp_path_factory.mktemp("isolation"), warm_nursery)
    for line in CHAIN:
        done = world.run(line)
        assert done.code == 0, done.said
    return world


@pytest.fixture(scope="module")
def secrets(study) -> dict[str, bytes]:
    """What of the owner's may be in no other process."""
    path = study.folder / "key.secret"
    assert is_protected(path)
    key = read_secret(path, passphrase=PASSPHRASE.encode())
    residues = np.ascontiguousarray(key.residues[0])
    return {
        "master": key.master, "signing key": key.signing_key, "secret polynomial": residues[:64].tobytes(),
        "secret polynomial, 32 bits": residues[:64].astype("<u4").tobytes(), "key stream": key.seal_stream[64:192],
        "passphrase": PASSPHRASE.encode(),
    }  # fmt: skip


class Paused:
    """`securegen LINE` as users start it, standing still where it opens a file whose path has `name`."""

    def __init__(self, world: World, line: str, name: str, tmp_path: Path, *, more: str = "") -> None:
        told = tmp_path / "told"
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(more + PAUSE.format(name=name, told=str(told)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securegen", *shlex.split(line)], cwd=world.folder, env=environment,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        until = time.monotonic() + 300
        while not told.exists():
            assert self.process.poll() is None and time.monotonic() < until, self.process.communicate()[1]
            time.sleep(0.01)

    def __enter__(self) -> Path:
        return Path(f"/proc/{self.process.pid}")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def memory(place: Path) -> Iterator[bytes]:
    """All that a process has mapped and may read, region by region."""
    with open(place / "mem", "rb", buffering=0) as stream:
        for line in (place / "maps").read_text().splitlines():
            first, last, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if "r" not in mode or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            stream.seek(int(first, 16))
            try:
                yield stream.read(int(last, 16) - int(first, 16))
            except OSError:
                continue


def found(place: Path, secrets: dict[str, bytes]) -> set[str]:
    """Which secrets are in a process: memory, environment, arguments."""
    told = [(place / name).read_bytes() for name in ("environ", "cmdline")]
    parts = [*told, *memory(place)]
    assert sum(map(len, parts)) > 50 << 20, "the scan has read the process"
    return {name for name, secret in secrets.items() if any(secret in part for part in parts)}


def readable(more: str = "") -> str:
    """For users who may not read the memory of a locked process, not their own either: that is the protection."""
    return more if os.geteuid() == 0 else UNLOCKED + more


def test_a_server_has_no_key_anywhere(study, secrets, tmp_path):
    """It stands still where it writes its first results: cohort and design are in its memory."""
    with Paused(study, SERVER, "again.results/.block", tmp_path, more=readable()) as place:
        assert found(place, secrets) == set()
        opened = {os.readlink(link) for link in (place / "fd").iterdir()}
        assert not any(name.endswith((".secret", "pass.txt")) or ".owner" in name for name in opened)


def test_the_scan_finds_them_in_the_owner(study, secrets, tmp_path):
    """The attack: the same look into a process that has the key."""
    with Paused(study, OWNER, "served.results/block", tmp_path, more=readable()) as place:
        assert found(place, secrets) >= {"master", "signing key", "secret polynomial"}


LINES = {  # roles with secrets, and a file that they open late
    "keygen": ("keygen --plan study.plan.json --passphrase-file pass.txt --out k2", ".k2.secret"),
    "owner": (OWNER, "served.results/block"),
    "server": (SERVER, "again.results/.block"),
    "authority": ("certs init-ca --dir ca", ".ca.key"),
}


@pytest.mark.parametrize("role", LINES)
def test_no_role_writes_a_core_dump_and_nobody_attaches(role, study, tmp_path):
    """As the system has it, of a process that was allowed dumps by whoever started it."""
    line, name = LINES[role]
    with Paused(study, line, name, tmp_path) as place:
        (limit,) = [
            text for text in (place / "limits").read_text().splitlines() if text.startswith("Max core file size")
        ]
        assert limit.split()[4:6] == ["0", "0"]
        # whose memory may not be dumped belongs to root in /proc, whoever started it
        assert (place / "environ").stat().st_uid == 0
        if os.geteuid():
            with pytest.raises(PermissionError):
                (place / "mem").open("rb")
