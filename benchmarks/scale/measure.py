"""One command of securegen as a process of its own: its seconds, processor seconds and largest memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """seconds: by the clock; cpu_seconds: of user and system, all threads; peak_bytes: resident; disk_bytes: as named by
    whoever measures."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    disk_bytes: int = 0

    def to_json(self) -> dict[str, float]:
        return {k: round(v, 3) for k, v in asdict(self).items()}


def bytes_of(*paths: Path) -> int:
    """Bytes of files, and of all files below folders."""
    return sum(
        f.stat().st_size for p in paths for f in (p.rglob("*") if p.is_dir() else [p]) if f.exists() and f.is_file()
    )


def securegen(*arguments: object, folder: Path, threads: int) -> Measured:
    """Run a command in a folder. Raises RuntimeError with what it said where it failed."""
    return together([arguments], folder=folder, threads=threads)[0]


def together(calls: Sequence[Sequence[object]], *, folder: Path, threads: int) -> list[Measured]:
    """As `securegen`, of commands side by side."""
    begin, running, out = time.perf_counter(), [], []
    for number, arguments in enumerate(calls):
        with open(folder / f"said{number}", "w") as said:
            call = [sys.executable, "-m", "securegen", *map(str, arguments)]
            environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
            running.append(subprocess.Popen(call, cwd=folder, stderr=said, stdout=subprocess.DEVNULL, env=environment))
    for number, process in enumerate(running):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told = (folder / f"said{number}").read_text()[-2000:]
            raise RuntimeError(f"securegen {' '.join(map(str, calls[number][:2]))}: {process.returncode}\n{told}")
        out.append(Measured(time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024))
    return out


def study_options(prefix: str) -> Sequence[str]:
    """What names the cohort that `write_cohort` made."""
    return ("--bfile", prefix, "--pheno", f"{prefix}.pheno.tsv", "--pheno-name", "QT", "--covar", f"{prefix}.covar.tsv")


def commands(prefix: str, threads: int) -> dict[str, list[object]]:
    """Every step of a study of that cohort in one folder, in order, with OUT prefixes of its own."""
    study, more = study_options(prefix), ["--threads", threads, "--quiet"]
    key = ["--key", "key.secret", "--passphrase-file", "pass.txt"]
    stored = ["--cohort", "study.cohort", "--design", "study.design", "--public", "key.public"]
    returned = ["--owner", "study.owner", "--results", "sums.results"]
    return {
        "plan": ["plan", *study, "--threads", threads, "--out", "plan", "--quiet"],
        "keygen": ["keygen", "--plan", "plan.plan.json", *key[2:], "--out", "key", "--quiet"],
        "encrypt": ["encrypt", *key, *study, *more, "--out", "study"],
        "server": ["gwas", *stored, *more, "--out", "sums"],
        "decrypt": ["decrypt", *key, *returned, *more, "--out", "result"],
        "gwas": ["gwas", *study, *more, "--out", "plain"],
        "qc": ["qc", "--bfile", prefix, *more, "--out", "quality"],
        "prs": ["prs", "--bfile", prefix, "--score", f"{prefix}.weights.tsv", *more, "--out", "scores"],
    }


def make_cohort(prefix: Path, **numbers: int) -> None:
    """`cohort.main` as a process of its own: what is forked inherits the peak of who forks."""
    named = [f"{name}={number}" for name, number in numbers.items()]
    subprocess.run([sys.executable, Path(__file__).parent / "cohort.py", prefix, *named], check=True)


def pass_file(folder: Path) -> None:
    path = folder / "pass.txt"
    path.write_text("a passphrase for simulated people\n")
    path.chmod(0o600)
