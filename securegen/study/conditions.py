"""Conditional analysis: the dosages of named variants become covariates, where genotypes are in the clear.

A missing call has the mean dosage of the analysed people who are called, as in regenie's `--condition-list`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.errors import DesignError, InputError, UsageError
from securegen.io.tables import read_names
from securegen.model import AnnouncedCohort, GenotypeReader, Samples, SelectableReader
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.masks import MaskReader
from securegen.study.selection import some


@dataclass(frozen=True)
class Conditions:
    """Dosages of C variants, (N, C) float64 in copies of A1, NaN where a call is missing; and the variants' ids."""

    dosages: np.ndarray
    names: tuple[str, ...]

    def of(self, analysed: np.ndarray) -> np.ndarray:
        """(n, C) float64 of the analysed people, (N,) bool, missing calls at the mean. Raises DesignError where nobody is
        called."""
        part = self.dosages[analysed]
        empty = np.isnan(part).all(axis=0)
        if empty.any():
            raise DesignError(f"`condition` {self.names[int(empty.argmax())]}: none of the analysed people has a call")
        out: np.ndarray = np.where(np.isnan(part), np.nanmean(part, axis=0), part)
        return out


def read_conditions(inputs: Inputs, reader: GenotypeReader, log: Log = silent) -> Conditions:
    """The variants that `condition` and `condition_list` name, in that order, for the samples of `reader`.

    They are looked for in all variants of the files, also those that extract, exclude or chr leave out. Raises InputError for
    an id that is absent or stands for several variants, UsageError where the genotypes are elsewhere.
    """
    listed = read_names(inputs.condition_list) if inputs.condition_list else []
    wanted = list(dict.fromkeys([*(inputs.condition or ()), *listed]))
    if not wanted:
        return Conditions(np.empty((len(reader.samples), 0)), ())
    if isinstance(reader, AnnouncedCohort) or not (inputs.genotypes.given or hasattr(reader, "select")):
        raise UsageError(
            "`condition` needs the genotypes beside the phenotypes; here they are encrypted, or with another party"
        )
    source = inputs.genotypes.open(silent) if inputs.genotypes.given else _in_memory(reader)
    where: dict[str, list[int]] = {}
    names = set(wanted)
    for j, name in enumerate(source.variants.id):
        if name in names:
            where.setdefault(name, []).append(j)
    absent = [name for name in wanted if name not in where]
    if absent:
        raise InputError(f"`condition`: the genotype file has no variant {some(absent)}")
    twice = [name for name in wanted if len(where[name]) > 1]
    if twice:
        raise InputError(f"`condition`: {some(twice)} stands for several variants of the genotype file: rename them")
    row = _rows(source.samples, reader.samples)
    chosen = source.select(variants=np.array([where[name][0] for name in wanted], np.int64))
    if inputs.genotypes.given:  # the analysed variants may all be hard calls, and these not
        chosen = chosen.on_grid(reader.dosage_grid if reader.dosage_grid > 1 else None)
    block = chosen.read(0, len(wanted))
    dosage = (block.dosage if block.alleles is None else block.alleles).astype(np.float64) / chosen.dosage_grid
    if block.missing is not None:
        dosage[block.missing] = np.nan
    log(
        f"`condition`: the dosages of {some(wanted)} are covariates; missing calls have the mean of the analysed people"
    )
    return Conditions(dosage[:, row].T, tuple(wanted))


def _in_memory(reader: GenotypeReader) -> SelectableReader:
    if isinstance(reader, MaskReader):
        raise UsageError("`condition` beside masks needs genotypes in files: name them by `bfile` and the like")
    return reader  # type: ignore[return-value]


def _rows(source: Samples, samples: Samples) -> np.ndarray:
    """(N,) row of each sample among those of the source."""
    place = {key: i for i, key in enumerate(zip(source.fid, source.iid, strict=True))}
    return np.array([place[key] for key in zip(samples.fid, samples.iid, strict=True)], np.int64)
