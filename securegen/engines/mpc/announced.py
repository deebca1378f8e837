"""The phenotype owner's study on genotypes that another party announced.

Who learns what: the phenotype owner who and what is genotyped, and, where there are variants on X or Y, the sexes that the
genotype owner's file has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from securegen.catalogue import has_copies
from securegen.design.strata import AUTOSOMES, Stratum, in_order
from securegen.engines.mpc.runs import VariantRun
from securegen.errors import UsageError
from securegen.model import AnnouncedCohort, GenotypeReader, Sums, Variants
from securegen.study.consented import consented
from securegen.study.genotypes import DIPLOID
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.study.ploidy import MALE, NAMES, X, Y, kinds_of
from securegen.study.predictions import having_rows
from securegen.study.selection import ONE_DESIGN, supported
from securegen.study.sexes import with_sexes
from securegen.study.strata import build_strata
from securegen.vocabulary import ADDITIVE

BLOCK = 4096  # variants in which nobody is analysed


@dataclass(frozen=True)
class StudyRun:
    """A run as the phenotype owner has it. first: place of its first variant in the tables; variants: its own."""

    run: VariantRun
    first: int
    stratum: Stratum
    variants: Variants


@dataclass(frozen=True, repr=False)
class AnnouncedStudy:
    """A study of the phenotype owner on announced genotypes. rows: (M,) places of its variants in the announced table."""

    study: Study
    cohort: AnnouncedCohort
    rows: np.ndarray

    def __repr__(self) -> str:
        return f"AnnouncedStudy({self.study!r})"

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """Those with columns to sum."""
        return tuple(s for s in self.study.strata if s.design.columns.names)

    def dosage_max(self, stratum: Stratum) -> int:
        return self.cohort.dosage_max * (1 + self._doubled(stratum))

    def parts(self) -> list[StudyRun]:
        """The runs in file order."""
        if [s.name for s in self.study.strata] == [AUTOSOMES] and len(self.rows) == len(self.cohort.variants):
            run = VariantRun(0, len(self.rows), whole=True)
            return [StudyRun(run, 0, self.study.strata[0], self.cohort.variants)]
        strata, variants, out = self.strata, self.study.reader.variants, []
        for first, last, stratum in in_order(strata):
            at = self.rows[first:last]
            edges = [0, *(np.flatnonzero(np.diff(at) > 1) + 1).tolist(), len(at)]
            for a, b in zip(edges, edges[1:], strict=False):
                number = next(i for i, s in enumerate(strata) if s is stratum)
                run = VariantRun(int(at[a]), int(at[b - 1]) + 1, number, self._doubled(stratum))
                out.append(StudyRun(run, first + a, stratum, variants.take(slice(first + a, first + b))))
        return out

    def sums(self, of: Callable[[StudyRun], Iterator[Sums]]) -> Iterator[Sums]:
        """The sums of every run in file order, and of no column where nobody is analysed."""
        parts = iter(self.parts())
        done = 0
        for first, last, stratum in in_order(self.study.strata):
            if not stratum.design.columns.names:
                for start in range(first, last, BLOCK):
                    nothing = np.zeros((min(BLOCK, last - start), 0), np.int64)
                    yield Sums(start, nothing, nothing, nothing)
                done = last
            while done < last:
                part = next(parts)
                yield from of(part)
                done = part.first + len(part.run)

    def _doubled(self, stratum: Stratum) -> bool:
        inputs = self.study.inputs
        return stratum.name == NAMES[X] and not inputs.x_as_stored and inputs.x_model == 1


def open_announced(inputs: Inputs, cohort: AnnouncedCohort, log: Log) -> AnnouncedStudy:
    """The phenotype owner's study. Raises as `study.open_study`, and UsageError where X or Y need sexes that nobody has."""
    variants = cohort.variants
    chosen = np.ones(len(variants), bool)
    if kinds_of(variants).any():
        copies, coded = has_copies(inputs.model), cohort.coding != ADDITIVE
        chosen = supported(
            variants, chosen, log, haploid=copies and not coded, xchr_model=inputs.x_model,
            why=DIPLOID if coded else ONE_DESIGN, x=copies and coded and inputs.x_as_stored,
        )  # fmt: skip
    if inputs.pred:
        chosen &= having_rows(variants, log)
    rows = np.flatnonzero(chosen)
    reader = replace(cohort, variants=variants.take(rows))
    refuse_sexless(inputs, with_sexes(inputs, reader, silent))
    recoded, strata = build_strata(inputs, reader, log, among=consented(inputs, reader.samples, log))
    out = AnnouncedStudy(Study(inputs, recoded, strata), cohort, rows)
    _refuse_other_copies(out)
    return out


def refuse_sexless(inputs: Inputs, reader: GenotypeReader) -> None:
    """Raise UsageError where variants on X or Y are analysed by sex and no sex is known."""
    kinds = kinds_of(reader.variants)
    wanted = [NAMES[k] for k in (X, Y) if (kinds == k).any() and not (k == X and inputs.x_as_stored)]
    if wanted and not reader.samples.sex.any():
        raise UsageError(
            f"{' and '.join(wanted)} are analysed by sex, and nobody's is known: neither the genotype owner's file nor "
            "`sex_name`, a column of the phenotype or covariate table, has it; give it there, or leave "
            f"{' and '.join(wanted)} out (the genotype owner's `chr` 1-22)"
        )


def _refuse_other_copies(announced: AnnouncedStudy) -> None:
    """Raise UsageError where males count one copy, and the genotype owner, who counts them, has other males."""
    ours, theirs = announced.study.reader.samples.sex == MALE, announced.cohort.samples.sex == MALE
    for stratum in announced.strata:
        if announced._doubled(stratum):
            analysed = (stratum.design.columns.values != 0).any(axis=1)
            other = int((ours != theirs)[analysed].sum())
            if other:
                raise UsageError(
                    f"`xchr_model` 1: {other} people on X are male by `sex_name` and not in the genotype owner's file, or "
                    "the other way, and that file's sex says who counts one copy: correct one of them, or take `xchr_model` 2"
                )
