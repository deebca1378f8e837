"""Which genotype files a command names: opened by format, listed for digests, written as options for another process."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from securegen.errors import UsageError
from securegen.io.bgen import read_bgen
from securegen.io.pgen import read_pfile
from securegen.io.plink1 import read_plink
from securegen.io.text import beside
from securegen.io.vcf import read_vcf
from securegen.model import SelectableReader


@dataclass(frozen=True)
class GenotypeFiles:
    """One cohort on disk: a prefix (bfile: PLINK1, pfile: PLINK2) or a file (vcf, bgen), and how it is read.

    sample: .sample file of a BGEN; ref_last: the last allele of a BGEN is the reference; vcf_field: "DS", "GT" or None;
    dosage_grid: steps of 1/grid, None for 1 where every dosage is an integer and 256 elsewhere.
    """

    bfile: str = ""
    pfile: str = ""
    vcf: str = ""
    bgen: str = ""
    sample: str = ""
    ref_last: bool = False
    vcf_field: str | None = None
    dosage_grid: int | None = None

    @property
    def name(self) -> str:
        """The prefix or file. Raises UsageError unless exactly one is named, with options that go with it."""
        given = {f"--{n}": getattr(self, n) for n in ("bfile", "pfile", "vcf", "bgen") if getattr(self, n)}
        if len(given) != 1:
            raise UsageError(
                f"{' and '.join(given)}: give one of them"
                if given
                else "give genotypes: --bfile, --pfile, --vcf or --bgen"
            )
        for flag, value, owner in (
            ("--sample", self.sample, "bgen"), ("--ref-last", self.ref_last, "bgen"), ("--vcf-field", self.vcf_field, "vcf"),
        ):  # fmt: skip
            if value and not getattr(self, owner):
                raise UsageError(f"{flag} goes with --{owner}")
        (name,) = given.values()
        return name

    @property
    def given(self) -> bool:
        return bool(self.bfile or self.pfile or self.vcf or self.bgen)

    def open(self) -> SelectableReader:
        """Raises UsageError, InputError or MissingExtraError."""
        name = self.name
        if self.pfile:
            return read_pfile(name)
        if self.vcf:
            return read_vcf(name, field=self.vcf_field)
        if self.bgen:
            return read_bgen(name, sample=self.sample or None, ref_last=self.ref_last)
        return read_plink(name)

    def files(self) -> dict[str, Path]:
        """Every file by the name it has in run.json."""
        out: dict[str, Path] = {}
        for prefix, ends in ((self.bfile, ("bed", "bim", "fam")), (self.pfile, ("pgen", "pvar", "psam"))):
            if prefix:
                base = prefix.removesuffix(f".{ends[0]}")
                out |= {end: beside(f"{base}.{end}") for end in ends}
        return out | {n: Path(getattr(self, n)) for n in ("vcf", "bgen", "sample") if getattr(self, n)}

    def words(self) -> list[str]:
        """The options that give another process the same genotypes. Paths become absolute."""
        out: list[str] = []
        for f in fields(self):
            value = getattr(self, f.name)
            flag = f"--{f.name.replace('_', '-')}"
            if value is True:
                out.append(flag)
            elif value:
                path = f.name not in ("vcf_field", "dosage_grid")
                out += [flag, os.path.abspath(value) if path else str(value)]
        return out
