"""A folder in which commands run and are killed, brought back to what it was before each of them, and what may lie in it."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HOOK = Path(__file__).with_name("kill_hook.py")
ROOT = Path(__file__).resolve().parents[2]
TEMPORARY = re.compile(r"(^|/)\.[^/]+\.[0-9a-f]{8}$")  # of a writer that was killed
WORKING = re.compile(r"\.(parties|sites)\.[a-z0-9_]{8}(/|$)")  # of run-local
LOCK = re.compile(r"\.(lock|new)$")
STATE = ".state"  # XDG_STATE_HOME: what is remembered for a user
# times, or counts of sessions, are in them
LOGS = (".log", ".run.json", ".receipt.json", "/seen.json", ".state.json", ".state.json.ledger")


@dataclass(frozen=True)
class Ended:
    """Exit code, below 0 of a signal; what was said; seconds; changes of files that the process had begun."""

    code: int
    said: str
    seconds: float
    changes: int = 0


class World:
    """`folder`, whose contents are set back in place: a file keeps its number, by which a ledger knows its lock.

    forks: what starts roles, a Nursery; else they are processes as users start them.
    """

    def __init__(self, base: Path, forks=None) -> None:
        self.folder, self._kept, self._counts = base / "world", base / "kept", base / "counts"
        self.folder.mkdir(parents=True)
        self._counts.mkdir()
        self._forks, self._numbers = forks, itertools.count()

    def keep(self) -> None:
        """What `restore` comes back to."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.folder, self._kept, symlinks=True)

    def restore(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if not os.path.lexists(self._kept / path.relative_to(self.folder)):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for source in sorted(self._kept.rglob("*")):
            target = self.folder / source.relative_to(self._kept)
            if source.is_dir():
                target.mkdir(exist_ok=True)
                target.chmod(source.stat().st_mode & 0o7777)
            elif not target.exists() or _stamp(source) != _stamp(target):
                with open(source, "rb") as reading, open(target, "r+b" if target.exists() else "wb") as writing:
                    shutil.copyfileobj(reading, writing)
                    writing.truncate()
                shutil.copystat(source, target)

    def files(self) -> dict[str, bytes]:
        return {
            str(p.relative_to(self.folder)): p.read_bytes()
            for p in sorted(self.folder.rglob("*"))
            if p.is_file() and not p.is_symlink()
        }

    def start(self, line: str, *, kill_before: int = 0, forked: bool = True):
        """`securegen LINE` as a process in the folder."""
        words = [sys.executable, "-P", "-m", "securegen", *shlex.split(line)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECUREGEN_")}
        environment |= {"XDG_STATE_HOME": str(self.folder / STATE), "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
        if self._forks is None or not forked:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            return subprocess.Popen(words, cwd=self.folder, env=environment, text=True, errors="replace", **pipes)
        counter = self._counts / str(next(self._numbers))
        counter.write_bytes(bytes(8))
        environment |= {"_ROLE_HOOK": str(HOOK), "COUNTER": str(counter), "KILL_BEFORE": str(kill_before)}
        process = self._forks.Popen(words, cwd=str(self.folder), env=environment)
        process.counter = counter
        return process

    def run(self, line: str, **how) -> Ended:
        return self.run_together({"": line}, **how)[""]

    def run_together(
        self, lines: dict[str, str], *, victim: str | None = None, after: float = 0.0, kill_before: int = 0,
        forked: bool = True, limit: float = 300.0,
    ) -> dict[str, Ended]:  # fmt: skip
        """Run roles side by side; kill the victim after so many seconds, or before its n-th change of a file."""
        begun = time.monotonic()
        running = {
            name: self.start(line, forked=forked, kill_before=kill_before if name == victim else 0)
            for name, line in sorted(lines.items(), key=lambda item: item[0] == victim)
        }
        if victim is not None and not kill_before:
            try:
                running[victim].wait(after)
            except subprocess.TimeoutExpired:
                running[victim].kill()
        out = {}
        for name, process in running.items():
            said = process.stderr.read()
            code = process.wait(limit)
            counter = getattr(process, "counter", None)
            changes = 0
            if counter is not None:
                changes = int.from_bytes(counter.read_bytes(), "little")
                counter.unlink()
            out[name] = Ended(code, said.strip(), time.monotonic() - begun, changes)
            process.stderr.close()
        return out

    def living(self) -> list[int]:
        """Processes that work in the folder."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if Path(os.readlink(place)).is_relative_to(self.folder):
                    found.append(int(place.parts[2]))
            except OSError:
                continue
        return found


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_mode


def is_left(name: str) -> bool:
    """A name that only a killed process leaves, and that its next run takes away."""
    return bool(TEMPORARY.search(name) or WORKING.search(name) or LOCK.search(name))


def halves(now: dict[str, bytes], before: dict[str, bytes], whole: dict[str, bytes], same: set[str]) -> list[str]:
    """What is wrong with files under their final names. same: those that each undisturbed run writes alike."""
    wrong = []
    for name, data in now.items():
        if is_left(name) or data == before.get(name) or name.endswith(".log"):
            continue
        if name in same:
            if data != whole[name]:
                wrong.append(f"{name} is neither the old nor the new one")
        elif not _whole(name, data):
            wrong.append(f"{name} is cut")
    return wrong


def _whole(name: str, data: bytes) -> bool:
    if name.endswith(".json"):
        try:
            json.loads(data)
        except ValueError:
            return False
    elif name.endswith(".npy"):
        try:
            np.lib.format.read_magic(stream := _Reader(data))
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        except ValueError:
            return False
        return len(data) == stream.at + kind.itemsize * int(np.prod(shape))
    return bool(data)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]
