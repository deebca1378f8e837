"""The same cohort written as PLINK2, VCF, BCF and BGEN, by the writers that belong to those formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from securegen.io.plink1 import read_plink
from securegen.model import Samples, Variants

VCF_HEAD = (
    '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">\n'
)
CALLS = {0.0: "0/0", 1.0: "0/1", 2.0: "1/1"}


@dataclass(frozen=True)
class Copies:
    """A cohort and its files, `options` by format. dosage: (M, N) float64, NaN where missing."""

    dosage: np.ndarray
    samples: Samples
    variants: Variants
    options: dict[str, list[str]]


def write_pfile(prefix: Path, dosage: np.ndarray, samples: Samples, variants: Variants) -> None:
    """PREFIX.pgen, .pvar and .psam; with dosage records only where something is fractional."""
    pgenlib = pytest.importorskip("pgenlib", reason="needs securegen[pgen]")
    hard = bool((np.nan_to_num(dosage) % 1 == 0).all())
    with pgenlib.PgenWriter(
        str(prefix.with_suffix(".pgen")).encode(), dosage.shape[1], variant_ct=len(dosage), nonref_flags=False,
        dosage_present=not hard,
    ) as writer:  # fmt: skip
        for row in dosage:
            if hard:
                writer.append_biallelic(np.where(np.isnan(row), -9, row).astype(np.int8))
            else:
                writer.append_dosages(np.where(np.isnan(row), -9, row).astype(np.float32))
    people = "".join(f"{f}\t{i}\tNA\n" for f, i in zip(samples.fid, samples.iid, strict=True))
    prefix.with_suffix(".psam").write_text("#FID\tIID\tSEX\n" + people)
    prefix.with_suffix(".pvar").write_text("##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\n" + _sites(variants))


def _sites(v: Variants) -> str:
    rows = zip(v.chromosome, v.position, v.id, v.other_allele, v.effect_allele, strict=True)
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def write_vcf(path: Path, dosage: np.ndarray, samples: Samples, variants: Variants, *, fields: str = "GT") -> None:
    """A VCF as text, or packed by htslib where the name ends in .gz or .bcf. Ids are FID_IID, as plink2 writes them."""
    contigs = "".join(f"##contig=<ID={c}>\n" for c in dict.fromkeys(variants.chromosome))
    ids = "\t".join(f"{f}_{i}" for f, i in zip(samples.fid, samples.iid, strict=True))
    lines = [f"{VCF_HEAD}{contigs}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{ids}\n"]
    for site, row in zip(_sites(variants).splitlines(), dosage, strict=True):
        cells = {
            "GT": ["./." if np.isnan(d) else CALLS[float(np.rint(d))] for d in row],
            "DS": ["." if np.isnan(d) else f"{d:.6f}" for d in row],
        }
        values = "\t".join(map(":".join, zip(*(cells[f] for f in fields.split(":")), strict=True)))
        lines.append(f"{site}\t.\t.\t.\t{fields}\t{values}\n")
    if path.suffix == ".vcf":
        path.write_text("".join(lines))
        return
    cyvcf2 = pytest.importorskip("cyvcf2", reason="needs securegen[vcf]")
    plain = path.with_name(path.name + ".txt")
    plain.write_text("".join(lines))
    source = cyvcf2.VCF(str(plain))
    writer = cyvcf2.Writer(str(path), source, mode="wb" if path.suffix == ".bcf" else "wz")
    for record in source:
        writer.write_record(record)
    writer.close()
    source.close()


def write_bgen(
    path: Path, dosage: np.ndarray, samples: Samples, variants: Variants, *, bits: int = 8, compression: str | None = "zlib",
    ids: bool = False, ref_last: bool = False, phased: bool = False,
) -> None:  # fmt: skip
    """A BGEN with its .sample beside it. A dosage d is P(het) = d or P(hom alt) = d − 1, the surest genotypes."""
    bgen = pytest.importorskip("bgen", reason="needs securegen[bgen]")
    names = [f"{f}_{i}" for f, i in zip(samples.fid, samples.iid, strict=True)] if ids else []
    with bgen.BgenWriter(str(path), dosage.shape[1], samples=names, compression=compression) as writer:
        for j, row in enumerate(dosage):
            d = 2 - row if ref_last else row
            if phased:
                first, second = np.clip(d, 0, 1), np.clip(d - 1, 0, 1)
                probabilities = np.stack([1 - first, first, 1 - second, second], axis=1)
            else:
                probabilities = np.stack([np.clip(1 - d, 0, 1), 1 - np.abs(d - 1), np.clip(d - 1, 0, 1)], axis=1)
            alleles = [variants.other_allele[j], variants.effect_allele[j]]
            writer.add_variant(
                "", variants.id[j], variants.chromosome[j], int(variants.position[j]),
                alleles[::-1] if ref_last else alleles, probabilities, phased=phased, bit_depth=bits,
            )  # fmt: skip
    write_sample(path.with_suffix(".sample"), samples)


def write_sample(path: Path, samples: Samples) -> None:
    people = "".join(f"{f} {i} 0\n" for f, i in zip(samples.fid, samples.iid, strict=True))
    path.write_text("ID_1 ID_2 missing\n0 0 0\n" + people)


def hard_copies(bfile: str, folder: Path) -> Copies:
    """The PLINK1 cohort `bfile` in every other format."""
    reader = read_plink(bfile)
    block = reader.read(0, len(reader.variants))
    dosage = block.dosage.astype(np.float64)
    if block.missing is not None:
        dosage[block.missing] = np.nan
    parts = (dosage, reader.samples, reader.variants)
    write_pfile(folder / "c", *parts)
    write_vcf(folder / "c.vcf.gz", *parts)
    write_vcf(folder / "c.bcf", *parts)
    write_bgen(folder / "c.bgen", *parts)
    options = {
        "bfile": ["--bfile", bfile],
        "pfile": ["--pfile", str(folder / "c")],
        "vcf": ["--vcf", str(folder / "c.vcf.gz")],
        "bcf": ["--vcf", str(folder / "c.bcf")],
        "bgen": ["--bgen", str(folder / "c.bgen"), "--sample", str(folder / "c.sample")],
    }
    return Copies(*parts, options)


def imputed(rng: np.random.Generator, variants: int, samples: int) -> np.ndarray:
    """(M, N) dosages that are multiples of 1/256, a few missing; the first variant has hard calls."""
    dosage = rng.integers(0, 513, (variants, samples)) / 256
    dosage[0] = np.rint(dosage[0])
    dosage[rng.random(dosage.shape) < 0.03] = np.nan
    return dosage
