"""Large simulated cohorts, written as they are drawn: PLINK1 files of people who never were, at random allele frequencies.

A genotype takes one random byte: its variant has a table of 256 entries, which deals them to 0, 1 and 2 copies as
Hardy-Weinberg does (and to missing calls, where some are wanted). About a nanosecond a genotype.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numba
import numpy as np

MAGIC = bytes([0x6C, 0x1B, 0x01])
HOMOZYGOUS, MISSING, HETEROZYGOUS, OTHER = 0, 1, 2, 3  # of PLINK1's two bits: of A1, none, both, of A2
AT_A_TIME = 1 << 26  # bytes of genotypes in memory
COVARIATES = 12


@numba.njit(nogil=True)
def _fill(packed: np.ndarray, tables: np.ndarray, samples: int, seed: int) -> None:
    """Fill (V, ceil(samples / 4)) bytes; splitmix64 gives eight genotypes a step."""
    for v in range(packed.shape[0]):
        state = np.uint64(seed) + np.uint64(v + 1) * np.uint64(0xD1342543DE82EF95)
        for at in range(0, packed.shape[1], 2):
            state += np.uint64(0x9E3779B97F4A7C15)
            z = state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            for half in range(min(2, packed.shape[1] - at)):
                byte = 0
                for k in range(4):
                    if 4 * (at + half) + k < samples:
                        place = (z >> np.uint64(32 * half + 8 * k)) & np.uint64(255)
                        byte |= np.int64(tables[v, np.int64(place)]) << (2 * k)
                packed[v, at + half] = byte


def tables_of(frequency: np.ndarray, missing: float = 0.0) -> np.ndarray:
    """(V, 256) codes, dealt as Hardy-Weinberg at these frequencies of A1."""
    called = 256 - round(256 * missing)
    two = np.rint(called * frequency**2).astype(int)
    one = two + np.rint(called * 2 * frequency * (1 - frequency)).astype(int)
    place = np.arange(256)[None, :]
    codes = np.where(place < two[:, None], HOMOZYGOUS, np.where(place < one[:, None], HETEROZYGOUS, OTHER))
    return np.where(place >= called, MISSING, codes).astype(np.uint8)


def write_cohort(
    prefix: Path, samples: int, variants: int, *, seed: int = 1, people_from: int = 0, missing: float = 0.0,
    covariates: int = COVARIATES, chromosome: int = 1,
) -> None:  # fmt: skip
    """PREFIX.bed, .bim, .fam, .pheno.tsv (QT, CC), .covar.tsv (C1, …). Sites of one study share variants and not people: give
    each its seed and `people_from`."""
    frequency = np.random.default_rng(0).uniform(0.05, 0.5, variants)
    width, at_a_time = -(-samples // 4), max(1, AT_A_TIME // max(1, samples // 4))
    with open(f"{prefix}.bed", "wb") as bed:
        bed.write(MAGIC)
        for start in range(0, variants, at_a_time):
            stop = min(start + at_a_time, variants)
            packed = np.empty((stop - start, width), np.uint8)
            _fill(packed, tables_of(frequency[start:stop], missing), samples, seed * (1 << 40) + start * (1 << 10))
            bed.write(packed)
    with open(f"{prefix}.bim", "w") as bim:
        bim.writelines(f"{chromosome}\tv{chromosome}_{j}\t0\t{j + 1}\tA\tG\n" for j in range(variants))
    names = [f"P{people_from + i}" for i in range(samples)]
    with open(f"{prefix}.fam", "w") as fam:
        fam.writelines(f"{n} {n} 0 0 {1 + i % 2} -9\n" for i, n in enumerate(names))
    rng = np.random.default_rng(seed)
    trait = rng.normal(size=samples)
    with open(f"{prefix}.pheno.tsv", "w") as pheno:
        pheno.write("#FID\tIID\tQT\tCC\n")
        pheno.writelines(f"{n}\t{n}\t{y:.6f}\t{1 + (y > 0.7)}\n" for n, y in zip(names, trait, strict=True))
    values = rng.normal(size=(samples, covariates))
    with open(f"{prefix}.covar.tsv", "w") as covar:
        covar.write("\t".join(["#FID", "IID", *(f"C{k + 1}" for k in range(covariates))]) + "\n")
        for n, row in zip(names, values, strict=True):
            covar.write("\t".join([n, n, *(f"{x:.6f}" for x in row)]) + "\n")


def write_weights(path: Path, variants: int, *, chromosome: int = 1, every: int = 1) -> None:
    """A scoring file with a weight for every `every`-th variant."""
    weights = np.random.default_rng(7).normal(size=variants)
    with open(path, "w") as out:
        out.write("ID\teffect_allele\tother_allele\teffect_weight\n")
        out.writelines(f"v{chromosome}_{j}\tA\tG\t{weights[j]:.5f}\n" for j in range(0, variants, every))


NUMBERS = {"samples": 0, "variants": 0, "seed": 1, "people_from": 0, "chromosome": 1, "covariates": COVARIATES}


def main() -> None:
    """PREFIX and NAME=NUMBER of `NUMBERS`: a process of its own, whose memory is not that of who measures."""
    prefix, *given = sys.argv[1:]
    n = NUMBERS | {name: int(number) for name, _, number in (word.partition("=") for word in given)}
    samples, variants = n.pop("samples"), n.pop("variants")
    write_cohort(Path(prefix), samples, variants, **n)
    write_weights(Path(f"{prefix}.weights.tsv"), variants, chromosome=n["chromosome"])


if __name__ == "__main__":
    main()
