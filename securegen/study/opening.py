"""A study opened: its inputs, a genotype reader and the integer design of every phenotype."""

from __future__ import annotations

from dataclasses import dataclass

from securegen.design.linear import Design
from securegen.model import GenotypeReader
from securegen.study.build import Inputs


@dataclass(frozen=True, repr=False)
class Study:
    """Genotypes (read later, block by block) and the integer design of every phenotype."""

    inputs: Inputs
    reader: GenotypeReader
    design: Design

    def __repr__(self) -> str:
        tests = ", ".join(f"{a.phenotype}: {a.test}" for a in self.design.analyses)
        return f"Study({len(self.reader.samples)} samples, {len(self.reader.variants)} variants, {tests})"
