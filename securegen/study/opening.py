"""A study opened: its inputs, a genotype reader and the integer design of every phenotype."""

from __future__ import annotations

from dataclasses import dataclass

from securegen.design.linear import Design
from securegen.model import GenotypeReader, SelectableReader
from securegen.study.build import Inputs, Log, build_design, build_qc, open_genotypes, read_traits, silent


@dataclass(frozen=True, repr=False)
class Study:
    """Genotypes (read later, block by block) and the integer design of every phenotype."""

    inputs: Inputs
    reader: GenotypeReader
    design: Design

    def __repr__(self) -> str:
        tests = ", ".join(f"{a.phenotype}: {a.test}" for a in self.design.analyses)
        return f"Study({len(self.reader.samples)} samples, {len(self.reader.variants)} variants, {tests})"


def study_of(inputs: Inputs, log: Log = silent, genotypes: SelectableReader | None = None) -> Study:
    """The study that inputs name, on a reader in place of their files where one is given. Raises as `open_study`."""
    reader = open_genotypes(inputs, log, genotypes)
    return Study(inputs, reader, build_design(inputs, reader, log))


def qc_of(inputs: Inputs, log: Log = silent, genotypes: SelectableReader | None = None) -> Study:
    """As `study_of`, for quality control alone."""
    reader = open_genotypes(inputs, log, genotypes)
    if reader.dosage_grid > 1:
        log("WARNING: fractional dosages have no genotype counts: no Hardy–Weinberg test, no .hardy file")
    phenotypes = read_traits(inputs, reader).phenotypes if inputs.pheno else ()
    return Study(inputs, reader, build_qc(inputs, reader, phenotypes=phenotypes))
