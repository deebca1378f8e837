"""A store that grows: genotypes by chromosome, their key, and what every version of it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support import write_tsv

import securegen as sg
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.plain.engine import write_plain
from securegen.io.arrays import ArrayReader, from_arrays
from securegen.model import Variants

PEOPLE, EACH = 40, 30
NAMES = ("1", "2", "3")


@dataclass(frozen=True)
class Growing:
    """A cohort of three chromosomes of as many variants, a table of traits, and the key of a plan for all of it."""

    whole: ArrayReader
    pheno: str
    key: SecretKey

    def part(self, *names: str) -> ArrayReader:
        return self.whole.select(variants=np.flatnonzero(np.isin(self.whole.variants.chromosome.astype(str), names)))

    def study(self, *names: str) -> sg.Study:
        return sg.open_study(self.part(*names), pheno=self.pheno, pheno_name=("QT",))

    def design(self, prefix: Path, *names: str, overwrite: bool = False) -> sg.ckks.Encrypted:
        """The design of the cohort as it is now, of these chromosomes."""
        paths = sg.ckks.encrypted_paths(prefix)
        sg.ckks.encrypt_design(self.study(*names), self.key, paths.owner, paths.design, overwrite=overwrite)
        return paths

    def served(self, prefix: Path, out: Path) -> Path:
        paths = sg.ckks.encrypted_paths(prefix)
        return sg.ckks.associate(paths.cohort, paths.design, out)

    def table(self, results: Path, prefix: Path, **options) -> bytes:
        (made,) = sg.ckks.decrypt_tables(results, self.key, f"{prefix}.owner", f"{prefix}.t", **options)
        return Path(made.path).read_bytes()

    def plain(self, folder: Path, *names: str) -> bytes:
        return Path(write_plain(self.study(*names), str(folder / "plain"))[0].path).read_bytes()


def growing(folder: Path) -> Growing:
    rng = np.random.default_rng(8)
    m = EACH * len(NAMES)
    dosage = rng.binomial(2, rng.uniform(0.2, 0.8, (m, 1)), (m, PEOPLE)).astype(float)
    dosage[rng.random(dosage.shape) < 0.02] = np.nan
    variants = Variants(
        np.repeat(NAMES, EACH).astype(object), np.tile(np.arange(1, EACH + 1), len(NAMES)),
        np.array([f"v{j}" for j in range(m)], object), np.full(m, "A", object), np.full(m, "G", object),
    )  # fmt: skip
    ids = [f"P{i}" for i in range(PEOPLE)]
    whole = from_arrays(dosage, ids, variants=variants)
    rows = [(i, round(float(y), 4)) for i, y in zip(ids, rng.normal(size=PEOPLE), strict=True)]
    pheno = str(write_tsv(folder / "pheno.tsv", ("#IID", "QT"), rows))
    study = sg.open_study(whole, pheno=pheno, pheno_name=("QT",))
    return Growing(whole, pheno, sg.ckks.generate_key(sg.ckks.plan(study, squares=True)))


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of writing of every ciphertext file."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.glob("*.npy"))}
