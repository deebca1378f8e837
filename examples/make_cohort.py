#!/usr/bin/env python3
"""Simulate the example cohort: 500 people × 5,000 variants, two traits, six covariates.

Two populations split 1,500 generations ago and met again 12 generations ago; the cohort is drawn from the admixed
one and from both sources (Hudson coalescent with recombination: Baumdicker et al. 2022, Genetics 220:iyab229).
Everything here is simulated: no line describes a person.

Writes cohort.bed, .bim, .fam, cohort.pheno.tsv (QT; CC as 1 = control, 2 = case), cohort.covar.tsv (AGE, SEX,
PC1-PC4) and cohort.score.tsv (weights of a polygenic score) beside this file. The files in the repository were made by

    pip install msprime==1.4.4 numpy
    python examples/make_cohort.py --seed 20240229

Another version of msprime or NumPy may draw another cohort from the same seed.
"""

import argparse
from pathlib import Path

import msprime
import numpy as np

GROUPS = {"admixed": 260, "north": 140, "south": 100}
CHROMOSOMES, LENGTH, VARIANTS = 5, 6_000_000, 5_000
CAUSAL = 40
ALLELES = np.array([("A", "G"), ("C", "T"), ("G", "A"), ("T", "C"), ("A", "C"), ("G", "T")])


def demography() -> msprime.Demography:
    """Source populations of 12,000 and 20,000, the second after a bottleneck, and their admixture (60 : 40)."""
    d = msprime.Demography()
    d.add_population(name="north", initial_size=20_000)
    d.add_population(name="south", initial_size=12_000)
    d.add_population(name="admixed", initial_size=15_000)
    d.add_population(name="ancestral", initial_size=10_000)
    d.add_admixture(time=12, derived="admixed", ancestral=["north", "south"], proportions=[0.6, 0.4])
    d.add_population_parameters_change(time=900, population="north", initial_size=2_500)
    d.add_population_split(time=1_500, derived=["north", "south"], ancestral="ancestral")
    return d


def chromosome(number: int, keep: int, seed: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions and (keep, people) dosages of the derived allele; common variants are preferred, as on an array."""
    trees = msprime.sim_ancestry(
        GROUPS, demography=demography(), sequence_length=LENGTH, recombination_rate=1e-8, random_seed=seed + number
    )
    trees = msprime.sim_mutations(trees, rate=6e-9, model=msprime.BinaryMutationModel(), random_seed=seed + number)
    dosage = trees.genotype_matrix().reshape(trees.num_sites, -1, 2).sum(2)
    position = trees.sites_position.astype(int) + 1
    single = np.r_[True, np.diff(position) > 0]
    frequency = dosage.mean(1) / 2
    minor = np.minimum(frequency, 1 - frequency)
    chance = np.where(single & (minor >= 0.002), np.clip(minor, 0.005, 0.1), 0)
    chosen = np.sort(rng.choice(len(position), keep, replace=False, p=chance / chance.sum()))
    return position[chosen], dosage[chosen]


def standardise(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


def plink_bed(dosage: np.ndarray, missing: np.ndarray) -> bytes:
    """PLINK1 bytes, variant-major; two bits a call: 0 = two copies of A1, 2 = one, 3 = none, 1 = missing."""
    code = np.where(missing, 1, np.array([3, 2, 0])[dosage]).astype(np.uint8)
    code = np.pad(code, ((0, 0), (0, -code.shape[1] % 4)))
    packed = code[:, 0::4] | code[:, 1::4] << 2 | code[:, 2::4] << 4 | code[:, 3::4] << 6
    return b"\x6c\x1b\x01" + packed.tobytes()


def write_table(path: Path, header: str, rows) -> None:
    path.write_text("\n".join([header, *("\t".join(map(str, row)) for row in rows)]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the example cohort.")
    parser.add_argument("--seed", type=int, default=20240229)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("cohort"), help="prefix of the files")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)

    parts = [chromosome(c + 1, VARIANTS // CHROMOSOMES, options.seed, rng) for c in range(CHROMOSOMES)]
    position = np.concatenate([p for p, _ in parts])
    dosage = np.concatenate([d for _, d in parts])
    variants, people = dosage.shape
    order = rng.permutation(people)
    dosage = dosage[:, order]
    number = np.repeat(np.arange(1, CHROMOSOMES + 1), VARIANTS // CHROMOSOMES)
    alleles = ALLELES[rng.integers(len(ALLELES), size=variants)]
    names = [f"{c}:{p}:{a2}:{a1}" for c, p, (a1, a2) in zip(number, position, alleles, strict=True)]

    age, sex = rng.integers(30, 80, people), rng.integers(1, 3, people)
    standard = standardise(dosage.astype(float))
    pcs = np.linalg.svd(standard, full_matrices=False)[2][:4]
    frequency = dosage.mean(1) / 2
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) > 0.05)
    causal = np.sort(rng.choice(common, CAUSAL, replace=False))
    effect = rng.normal(size=CAUSAL) * np.r_[[3, 3, 2.5], np.ones(CAUSAL - 3)][rng.permutation(CAUSAL)]
    genetic = standardise(effect @ standard[causal])
    ancestry, noise = standardise(pcs[0]), rng.normal(size=(2, people))
    qt = 25 + 4 * (0.7 * genetic + 0.3 * ancestry + 0.02 * (age - 55) + 0.3 * (sex == 1) + 0.65 * noise[0])
    liability = 0.7 * genetic + 0.2 * ancestry + 0.02 * (age - 55) + 0.7 * noise[1]
    case = liability > np.quantile(liability, 0.65)

    missing = rng.random(dosage.shape) < rng.choice([0, 0.002, 0.02], size=(variants, 1), p=[0.3, 0.5, 0.2])
    ids = [(f"F{i:03d}", f"S{i:03d}") for i in range(1, people + 1)]
    no_qt, no_cc = rng.random((2, people)) < 0.012
    prefix = str(options.out)
    Path(f"{prefix}.bed").write_bytes(plink_bed(dosage, missing))
    bim = zip(number, names, np.zeros(variants, int), position, *alleles.T, strict=True)
    Path(f"{prefix}.bim").write_text("".join("\t".join(map(str, row)) + "\n" for row in bim))
    fam = ((*i, 0, 0, s, -9) for i, s in zip(ids, sex, strict=True))
    Path(f"{prefix}.fam").write_text("".join("\t".join(map(str, row)) + "\n" for row in fam))
    traits = zip(np.where(no_qt, "NA", np.char.mod("%.4f", qt)), np.where(no_cc, "NA", case + 1), strict=True)
    write_table(Path(f"{prefix}.pheno.tsv"), "#FID\tIID\tQT\tCC", ((*i, *t) for i, t in zip(ids, traits, strict=True)))
    covariates = zip(age, sex, *np.char.mod("%.6f", pcs), strict=True)
    header = "#FID\tIID\tAGE\tSEX\tPC1\tPC2\tPC3\tPC4"
    write_table(Path(f"{prefix}.covar.tsv"), header, ((*i, *c) for i, c in zip(ids, covariates, strict=True)))

    # weights: noisy effects at the causal variants and small ones elsewhere; some name the other allele
    scored = np.union1d(causal, rng.choice(common, 80, replace=False))
    weight = rng.normal(scale=0.02, size=len(scored))
    weight[np.searchsorted(scored, causal)] += 0.2 * effect / standard[causal].shape[0] ** 0.5
    flip = rng.random(len(scored)) < 0.3
    rows = [
        (names[j], *(alleles[j][::-1] if f else alleles[j]), f"{-w if f else w:.4f}")
        for j, w, f in zip(scored, weight, flip, strict=True)
    ]
    write_table(Path(f"{prefix}.score.tsv"), "ID\teffect_allele\tother_allele\teffect_weight", rows)
    print(f"{people} people, {variants} variants, {missing.mean():.2%} of the calls missing, {case.sum()} cases")


if __name__ == "__main__":
    main()
