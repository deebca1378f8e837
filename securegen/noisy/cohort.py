"""A cohort for summaries with noise: what its files, filters of variants and declared dosages say, which is public."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from securegen.errors import UsageError
from securegen.io.arrays import DEFAULT_GRID
from securegen.io.genotypes import FIELDS, FORMATS, LISTS, OPTIONS
from securegen.model import GenotypeReader, Variants, boundaries_of
from securegen.noisy.people import counted_people, sexes
from securegen.noisy.summary import FREQUENCIES, HISTOGRAM, HITS
from securegen.study import selection
from securegen.study.inputs import ASKING, TABLES, Inputs, Log
from securegen.study.ploidy import AUTOSOMAL, MALE, MT, X, Y, kinds_of, present_on, split_par
from securegen.study.relabelled import Relabelled
from securegen.vocabulary import AUTOSOMES, canonical_chromosome

HARD = "bfile"  # no other format has hard calls alone
CELLS = 1 << 22  # dosages in memory
TAKEN = frozenset({
    *FIELDS, "pheno", "pheno_name", "keep", "remove", "extract", "exclude", "chr", "from_bp", "to_bp", "force_01", "split_par",
    "no_input_missing_phenotype", "sex_name", "purpose", "consent", "mondo", *ASKING,
})  # fmt: skip
IDLE = {  # taken by others
    FREQUENCIES: {"pheno_name", "force_01", "no_input_missing_phenotype"},
    HITS: {"sex_name"},
    HISTOGRAM: {"force_01", "sex_name"},
}


@dataclass(frozen=True)
class CountedCohort:
    """reader: of the chosen variants and every sample; chosen: (N,) bool, who is counted; sex: (N,) int8."""

    reader: GenotypeReader
    chosen: np.ndarray
    sex: np.ndarray

    @property
    def variants(self) -> Variants:
        return self.reader.variants

    @property
    def most(self) -> int:
        """Two copies, in units of a dosage."""
        return 2 * self.reader.dosage_grid

    def copies(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, (V, n) float64 dosages from 0 to `most`, and (V, n) bool calls, of those who are counted. A dosage
        outside counts as the nearer end, whatever a file holds; 0 where there is no call."""
        rows, bounds = np.flatnonzero(self.chosen), boundaries_of(self.reader)
        size = max(1, CELLS // max(1, len(self.chosen)))
        for first, last in zip(bounds[:-1], bounds[1:], strict=True):
            for start in range(first, last, size):
                block = self.reader.read(start, min(start + size, last))
                dosage = np.clip(block.dosage[:, rows], 0, self.most).astype(np.float64)
                called = np.ones(dosage.shape, bool) if block.missing is None else ~block.missing[:, rows]
                yield start, dosage * called, called

    def ploidy(self) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """(V,) kinds of chromosomes, and for each kind (n,) float64 of those who are counted: 2 with two copies there, 1 with
        one, 0 with none or where the sex is not known. Each by their own sex."""
        sex = self.sex[self.chosen]
        haploid = {X: sex == MALE, Y: np.ones(len(sex), bool), MT: np.ones(len(sex), bool)}
        out = {AUTOSOMAL: np.full(len(sex), 2.0)}
        for kind, one in haploid.items():
            out[kind] = np.where(present_on(kind, sex), np.where(one, 1.0, 2.0), 0.0)
        return kinds_of(self.variants), out


def refuse_untaken(inputs: Inputs, kind: str) -> None:
    """Raise UsageError for a field that a summary of this kind does not take: what it did might depend on one person."""
    if not isinstance(inputs, Inputs):
        raise UsageError(f"`inputs` is sg.Inputs(bfile=…, …), not {inputs!r}")
    for f in fields(inputs):
        if (f.name not in TAKEN or f.name in IDLE.get(kind, ())) and getattr(inputs, f.name) != f.default:
            raise UsageError(f"`{f.name}` is not for {kind} with noise of whole people: leave it out")
    if inputs.sex_name and not inputs.pheno:
        raise UsageError("`sex_name` is a column of `pheno` here")


def chosen_options(inputs: Inputs) -> dict[str, Any]:
    """What inputs choose beside files and who asks, defaults left out: the same in a version that has more fields."""
    files = {*FORMATS, *LISTS, *TABLES, *(o.name for o in OPTIONS.values() if o.metavar)}
    left_out = files | set(ASKING) - {"purpose"}
    return {
        f.name: getattr(inputs, f.name)
        for f in fields(inputs)
        if f.name in TAKEN - left_out and getattr(inputs, f.name) != f.default
    }


def open_cohort(inputs: Inputs, log: Log, *, autosomes: bool = False) -> CountedCohort:
    """Open what inputs name. The log is told of variants, never of people. autosomes: these alone. Raises UsageError,
    InputError."""
    reader = inputs.genotypes.open()  # what it says of several files is of people: their order, their sexes
    if inputs.split_par is not None:
        named = split_par(reader.variants, inputs.split_par)
        reader = Relabelled(reader, reader.samples, named)
    variants = reader.variants
    wanted = selection.chosen_variants(variants, inputs.extract, inputs.exclude, log)
    wanted &= selection.in_range(variants, inputs.chr, inputs.from_bp, inputs.to_bp, log)
    wanted &= selection.supported(variants, wanted, log, haploid=not autosomes)
    if autosomes:
        wanted &= np.array([canonical_chromosome(c) in AUTOSOMES for c in variants.chromosome], bool)
    if not wanted.any():
        raise UsageError("the filters leave no variant: `extract`, `exclude`, `chr`, `from_bp`, `to_bp`")
    reader = reader.select(None, np.flatnonzero(wanted)).on_grid(grid_of(inputs))
    sex = sexes(inputs, reader.samples)
    return CountedCohort(reader, counted_people(inputs, reader.samples), sex)


def grid_of(inputs: Inputs) -> int:
    """Steps of a dosage, by the format: whether all dosages happen to be whole depends on people. Raises UsageError."""
    hard = inputs.genotypes.form is FORMATS[HARD]
    grid = inputs.dosage_grid or (1 if hard else DEFAULT_GRID)
    if grid == 1 and not hard:
        raise UsageError("`dosage_grid` 1 is refused where one fractional dosage would stop the run: leave it out")
    return grid
