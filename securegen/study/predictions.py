"""Predictions of a whole-genome model for the phenotypes of a study: who has them, and on which chromosomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.loco import CHROMOSOMES, Offsets, read_offsets, read_prediction_list
from securegen.io.text import count
from securegen.model import Samples, SelectableReader, Variants
from securegen.study.inputs import Log
from securegen.study.selection import some
from securegen.study.traits import Traits
from securegen.vocabulary import PSEUDOAUTOSOMAL, canonical_chromosome

X_ROW = CHROMOSOMES[-1]
NO_ROW = ""


def read_predictions(path: str, samples: Samples, traits: Traits, log: Log) -> tuple[Traits, dict[str, Offsets]]:
    """Phenotype -> its predictions, of the list that `path` names; and the traits, in which people without a prediction have
    no phenotype.

    Raises InputError for a phenotype that the list lacks, or as `io.loco` does.
    """
    listed = read_prediction_list(path)
    absent = [p.name for p in traits.phenotypes if p.name not in listed]
    if absent:
        raise InputError(
            f"{path} names no file for phenotype {some(absent)} (it has {some(list(listed))}): each phenotype needs "
            "the predictions of its own model, or choose others by `pheno_name`"
        )
    found, phenotypes = {}, []
    for p in traits.phenotypes:
        offsets = read_offsets(listed[p.name], samples)
        without = np.isnan(offsets.values).any(axis=0)
        lost = int((without & ~np.isnan(p.values)).sum())
        if lost:
            log(f"phenotype {p.name}: {lost} people who have it have no prediction in {offsets.path}: not analysed")
        if offsets.unknown:
            log(f"{offsets.path}: {offsets.unknown} of its people are not in the genotype file")
        found[p.name] = offsets
        phenotypes.append(replace(p, values=np.where(without, np.nan, p.values)))
    return replace(traits, phenotypes=tuple(phenotypes)), found


def row_of(chromosome: str) -> str | None:
    """The line of a .loco file for variants of a chromosome; None where it has none: Y, MT, 0."""
    name = canonical_chromosome(chromosome)
    if name == "X" or name in PSEUDOAUTOSOMAL:
        return X_ROW
    return name if name in CHROMOSOMES else None


def rows_of(variants: Variants) -> np.ndarray:
    """(M,) text: `row_of` of each variant, NO_ROW where there is none."""
    rows = {c: row_of(c) or NO_ROW for c in dict.fromkeys(variants.chromosome)}
    return np.array([rows[c] for c in variants.chromosome], object)


def having_rows(variants: Variants, log: Log) -> np.ndarray:
    """(M,) bool: variants on chromosomes that predictions have a line for; the others are left out aloud. Raises UsageError
    where none is left."""
    lacking: np.ndarray = rows_of(variants) == NO_ROW
    if not lacking.any():
        return ~lacking
    names = some(list(dict.fromkeys(str(c) for c in variants.chromosome[lacking])))
    if lacking.all():
        raise UsageError(f"no variant is left: predictions have no line for chromosome {names}")
    log(
        f"WARNING: {count(int(lacking.sum()), 'variant')} on chromosome {names} left out: predictions have no line for it"
    )
    return ~lacking


def with_rows(reader: SelectableReader, log: Log) -> SelectableReader:
    """The same cohort without the variants that `having_rows` leaves out."""
    here = having_rows(reader.variants, log)
    return reader if here.all() else reader.select(variants=np.flatnonzero(here))


@dataclass(frozen=True)
class At(Mapping[str, np.ndarray]):
    """Phenotype -> (N,) float64 on the chromosome of a line; 0 where there is no prediction, of people not analysed."""

    found: Mapping[str, Offsets]
    row: str

    def __getitem__(self, phenotype: str) -> np.ndarray:
        out: np.ndarray = np.nan_to_num(self.found[phenotype].of(self.row))
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)
