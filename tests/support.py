"""Cohorts made for tests, readers in memory, commands run in this process, and sums over sites in threads."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
from bed_reader import to_bed
from scipy.special import gammainccinv, gammaincinv

import securegen as sg
from securegen.cli.main import entry
from securegen.design.exact import fraction_free
from securegen.model import GenotypeBlock, Samples, Variants


@dataclass(frozen=True)
class Cohort:
    """Paths of one cohort. gold: folder of reference results, where there are any."""

    bfile: str
    pheno: str
    covar: str
    gold: Path | None = None

    def options(self, pheno_name: str = "QT") -> list[str]:
        """The flags of the command line that name this cohort."""
        return ["--bfile", self.bfile, "--pheno", self.pheno, "--pheno-name", pheno_name, "--covar", self.covar]


def text_array(values: Sequence[object]) -> np.ndarray:
    return np.array([str(v) for v in values], dtype=object)


@dataclass(frozen=True)
class MemoryReader:
    """Genotypes in memory: dosage (M, N) in grid units, negative where missing."""

    dosage: np.ndarray
    dosage_grid: int = 1

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

    @property
    def samples(self) -> Samples:
        names = text_array([f"P{i}" for i in range(self.dosage.shape[1])])
        return Samples(names, names, np.ones(len(names), bool))

    @property
    def variants(self) -> Variants:
        m = len(self.dosage)
        return Variants(
            text_array(["1"] * m), np.arange(1, m + 1), text_array([f"v{j}" for j in range(m)]),
            text_array(["A"] * m), text_array(["G"] * m),
        )  # fmt: skip

    def read(self, start: int, stop: int) -> GenotypeBlock:
        part = self.dosage[start:stop]
        missing = part < 0
        return GenotypeBlock(start, np.where(missing, 0, part).astype(part.dtype), missing if missing.any() else None)


def genotypes(rng: np.random.Generator, variants: int, samples: int, missing: float = 0.02) -> np.ndarray:
    """(M, N) int8 hard calls with frequencies from rare to common; the first third of the variants is complete."""
    frequency = rng.uniform(0.03, 0.97, size=(variants, 1))
    dosage = rng.binomial(2, frequency, size=(variants, samples)).astype(np.int8)
    holes = rng.random(dosage.shape) < missing
    holes[: variants // 3] = False
    dosage[holes] = -127
    return dosage


def write_plink(prefix: Path, dosage: np.ndarray) -> None:
    """PLINK1 files of (M, N) int8 dosages of A1, −127 where missing."""
    m, n = dosage.shape
    properties = {
        "fid": [f"F{i}" for i in range(n)], "iid": [f"I{i}" for i in range(n)], "sid": [f"rs{j}" for j in range(m)],
        "chromosome": [1 + 2 * j // m for j in range(m)], "bp_position": [1000 + 10 * j for j in range(m)],
        "allele_1": ["A"] * m, "allele_2": ["G"] * m,
    }  # fmt: skip
    to_bed(prefix.with_suffix(".bed"), dosage.T, properties=properties)


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.write_text("\n".join("\t".join(str(v) for v in row) for row in (header, *rows)) + "\n")
    return path


def register_of(folder: Path, codes: dict[int, str]) -> Path:
    """A register of consent of the cohort that `simulate` makes: person i allows what codes[i] says."""
    rows = [(f"F{i}", f"I{i}", code, "2025-01-01") for i, code in codes.items()]
    sg.consent.import_table(
        folder / "register.tsv", write_tsv(folder / "consents.tsv", ("FID", "IID", "DUO", "DATE"), rows)
    )
    return folder / "register.tsv"


def withdraw(register: Path, *people: int) -> None:
    """These people of that cohort withdraw."""
    rows = [(f"F{i}", f"I{i}") for i in people]
    sg.consent.withdraw(register, write_tsv(register.parent / "leaving.txt", ("FID", "IID"), rows))


def simulate(folder: Path, samples: int = 90, variants: int = 1300, seed: int = 11) -> Cohort:
    """A cohort with what real ones have: missing calls, phenotypes and covariates, strangers in the tables, a
    monomorphic variant (rs1), one that nobody was called for (rs2), and a trait (QT2) that fewer people have."""
    rng = np.random.default_rng(seed)
    dosage = genotypes(rng, variants, samples)
    dosage[1], dosage[2] = 0, -127
    folder.mkdir(parents=True, exist_ok=True)
    write_plink(folder / "cohort", dosage)
    age, pc, sex = (
        rng.normal(50, 9, samples).round(1),
        rng.normal(0, 0.02, samples).round(6),
        rng.integers(1, 3, samples),
    )
    effect = np.where(dosage[variants // 2] < 0, 1, dosage[variants // 2])
    qt = (170 + 0.3 * age + 9 * effect + 6 * rng.normal(size=samples)).round(3)
    case = 1 + (rng.normal(size=samples) + 0.5 * effect > 0.5)
    people = [(f"F{i}", f"I{i}") for i in range(samples)]
    hide = lambda values, every: ["NA" if i % every == 3 else v for i, v in enumerate(values)]  # noqa: E731
    pheno = [(*p, *v) for p, *v in zip(people, hide(qt, 29), case, hide((qt / 7).round(4), 5), strict=True)]
    covar = [(*p, *v) for p, *v in zip(people, hide(age, 31), sex, pc, strict=True)]
    stranger = ("F9999", "I9999")
    order = rng.permutation(samples)  # tables are matched on ids, not on line numbers
    return Cohort(
        str(folder / "cohort"),
        str(write_tsv(folder / "pheno.tsv", ("#FID", "IID", "QT", "CC", "QT2"),
                      [*(pheno[i] for i in order), (*stranger, 1, 1, 1)])),
        str(write_tsv(folder / "covar.tsv", ("#FID", "IID", "AGE", "SEX", "PC1"), [*covar[::-1], (*stranger, 1, 1, 1)])),
    )  # fmt: skip


def program(name: str) -> str | None:
    """Where a program of others is: what SECUREGEN_NAME says, beside this Python, or on the path."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ.get(f"SECUREGEN_{name.upper()}") or shutil.which(name, path=beside)


def killed_at(folder: Path, name: str) -> dict[str, str]:
    """Variables of a Python process that is killed, by SIGKILL, where it first opens a file whose path has `name`. folder: a new
    one, of what makes it so."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def hook(event, args):\n"
        f"    if event == 'open' and isinstance(args[0], (str, bytes, os.PathLike)) and {name!r} in os.fsdecode(args[0]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), *(p or os.getcwd() for p in sys.path)])}


def left(folder: Path) -> list[str]:
    """What commands left in a folder, without their logs: a run that fails leaves its log alone."""
    return sorted(p.name for p in folder.glob("*") if p.suffix != ".log")


@dataclass(frozen=True)
class Finished:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def securegen(*arguments: object, environment: dict[str, str] | None = None) -> Finished:
    """Run the command line in this process, as `python -m securegen ARGUMENTS`; stdin is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    previous = os.umask(0o022)
    code = 0
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["securegen", *map(str, arguments)]),
            mock.patch.object(sys, "stdin", io.StringIO()),
            mock.patch.dict(os.environ, environment or {}),
        ):
            entry()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os.umask(previous)
    return Finished(code, out.getvalue(), err.getvalue())


class Sites:
    """Runs one function for every site in a thread of its own and gives each a `total` that sums over all of them."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count, timeout=300)
        self._values: list[list[int]] = [[] for _ in range(count)]
        self.opened: list[list[int]] = []  # what every site sees

    def _total(self, site: int) -> Callable[[Sequence[int]], list[int]]:
        def total(values: Sequence[int]) -> list[int]:
            self._values[site] = list(values)
            self._barrier.wait()
            out = [sum(column) for column in zip(*self._values, strict=True)]
            if self._barrier.wait() == 0:
                self.opened.append(out)
            return out

        return total

    def run(self, functions: Sequence[Callable]) -> list:
        """functions[i](total) for every site; the results in order. An exception of any site is raised."""
        results: list = [None] * len(functions)
        errors: list[BaseException] = []

        def work(site: int) -> None:
            try:
                results[site] = functions[site](self._total(site))
            except BaseException as error:
                self._barrier.abort()
                if not isinstance(error, threading.BrokenBarrierError):
                    errors.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(functions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results


def coefficients(residues: np.ndarray, ring) -> np.ndarray:
    """(k, n) uint64 residues in NTT form -> (n,) Python integers in (−q/2, q/2], by the textbook Chinese remainder."""
    from securegen.kernels.ntt import inverse
    from securegen.rlwe.residues import ring_tables

    plain = np.ascontiguousarray(residues[None].astype(np.uint64))
    inverse(plain, ring_tables(ring))
    q = ring.modulus
    value = sum(plain[0, i].astype(object) * (q // p * pow(q // p, -1, p)) for i, p in enumerate(map(int, ring.primes)))
    value = value % q
    return np.where(value > q // 2, value - q, value)


def decrypted(ciphertext: np.ndarray, key) -> np.ndarray:
    """(2 or 3, k, n) uint64 -> (n,) Python integers: the message with its noise, c0 + c1·s + c2·s²."""
    ring = key.public.parameters.ring
    modulus = np.array(ring.primes, np.uint64)[:, None]
    power, total = np.ones_like(key.residues), np.zeros_like(key.residues)
    for part in ciphertext:
        total = (total + part * power % modulus) % modulus
        power = power * key.residues % modulus
    return coefficients(total, ring)


def solve_exactly(a: Sequence[Sequence[int | Fraction]], b: Sequence[Sequence[int | Fraction]]) -> list[list[Fraction]]:
    """A⁻¹B over the rationals. Raises ZeroDivisionError when A is singular."""
    left, right = [], []
    for p, q in zip(a, b, strict=True):
        whole = math.lcm(*(v.denominator for v in (*p, *q)))
        left.append([int(v * whole) for v in p])
        right.append([int(v * whole) for v in q])
    numerators, denominator = fraction_free(left, right)
    return [[Fraction(v, denominator) for v in row] for row in numerators]


def spread_is(distances: np.ndarray, deviation: np.ndarray | float, *, laplace: bool) -> bool:
    """Whether draws of noise on whole numbers, (draws, numbers), lie as far from their centres as this deviation says.

    The mean of n distances, each in units of its expectation, has tails like those of n exponential ones, or lighter ones, and
    those have a gamma distribution: a bound on squares would need their own far heavier tails. Wrong once in 10^10.
    """
    expected = deviation / np.sqrt(2 + 1 / np.square(deviation)) if laplace else deviation * math.sqrt(2 / math.pi)
    n = distances.size
    low, high = gammaincinv(n, 1e-11) / n, gammainccinv(n, 1e-11) / n
    return bool(low < (distances / expected).mean() < high)
