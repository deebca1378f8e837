"""A cohort of 22 chromosomes as one file, and as a file of each chromosome, in every format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bed_reader import to_bed
from genotype_files import write_bgen, write_pfile, write_vcf
from support import text_array, write_tsv

from securegen.model import Samples, Variants

EACH = 5  # variants of a chromosome
CHROMOSOMES = tuple(str(c) for c in range(1, 23))
NAMES = {"bfile": "{}", "pfile": "{}", "vcf": "{}.vcf", "bgen": "{}.bgen"}


@dataclass(frozen=True)
class Parted:
    """Where the files are: `folder / "all"` and `folder / "chr1"` …, with endings by format; pheno: QT, CC and AGE."""

    folder: Path
    dosage: np.ndarray
    samples: Samples
    variants: Variants
    pheno: str

    def words(self, form: str, stem: str) -> list[str]:
        """The flags that name `stem`, as "all" or "chr@", in a format."""
        sample = ["--sample", str(self.folder / f"{stem}.sample")] if form == "bgen" else []
        return [f"--{form}", str(self.folder / NAMES[form].format(stem)), *sample]

    def traits(self, *names: str) -> list[str]:
        return [
            "--pheno",
            self.pheno,
            "--pheno-name",
            ",".join(names or ("QT",)),
            "--covar",
            self.pheno,
            "--covar-name",
            "AGE",
        ]


def write_bfile(prefix: Path, dosage: np.ndarray, samples: Samples, variants: Variants) -> None:
    properties = {
        "fid": samples.fid.tolist(), "iid": samples.iid.tolist(), "sid": variants.id.tolist(),
        "chromosome": variants.chromosome.tolist(), "bp_position": variants.position.tolist(),
        "allele_1": variants.effect_allele.tolist(), "allele_2": variants.other_allele.tolist(),
    }  # fmt: skip
    to_bed(f"{prefix}.bed", np.where(np.isnan(dosage), -127, dosage).T.astype(np.int8), properties=properties)


def write_all(folder: Path, stem: str, dosage: np.ndarray, samples: Samples, variants: Variants) -> None:
    """The cohort under one stem in every format."""
    write_bfile(folder / stem, dosage, samples, variants)
    write_pfile(folder / stem, dosage, samples, variants)
    write_vcf(folder / f"{stem}.vcf", dosage, samples, variants)
    write_bgen(folder / f"{stem}.bgen", dosage, samples, variants)


def parted(folder: Path, people: int = 48, seed: int = 5) -> Parted:
    rng = np.random.default_rng(seed)
    m = EACH * len(CHROMOSOMES)
    dosage = rng.binomial(2, rng.uniform(0.2, 0.8, (m, 1)), (m, people)).astype(float)
    dosage[m // 2 :][rng.random((m - m // 2, people)) < 0.03] = np.nan
    iid = text_array([f"P{i}" for i in range(people)])
    samples = Samples(iid, iid, np.ones(people, bool))
    variants = Variants(
        text_array(np.repeat(CHROMOSOMES, EACH)), np.tile(np.arange(1, EACH + 1) * 100, len(CHROMOSOMES)),
        text_array([f"rs{j}" for j in range(m)]), text_array(["A"] * m), text_array(["G"] * m),
    )  # fmt: skip
    write_all(folder, "all", dosage, samples, variants)
    for c in CHROMOSOMES:
        rows = np.flatnonzero(variants.chromosome == c)
        write_all(folder, f"chr{c}", dosage[rows], samples, variants.take(rows))
    y = np.nan_to_num(dosage[7]) + rng.normal(size=people)
    rows = [(i, i, f"{y[k]:.4f}", 1 + int(y[k] > 1), f"{rng.normal(50, 9):.1f}") for k, i in enumerate(iid)]
    pheno = write_tsv(folder / "pheno.tsv", ("#FID", "IID", "QT", "CC", "AGE"), rows)
    return Parted(folder, dosage, samples, variants, str(pheno))
