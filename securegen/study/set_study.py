"""A study of sets: the variants of masks, the designs of the phenotypes with the variance of their null model, and the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from securegen.design.column_bits import MAXIMUM_BITS
from securegen.design.columns import Analysis
from securegen.design.strata import Stratum, analyses_of
from securegen.model import GenotypeReader, IntArray, Variants
from securegen.study.inputs import REGENIE, Inputs, silent
from securegen.study.mask_options import name_of_bin
from securegen.study.masks import MaskReader
from securegen.study.strata import build_strata


@dataclass(frozen=True, repr=False)
class SetStudy:
    """reader: variants of the sets, one set after the other; strata: their designs; masks: which variants every mask has; chosen:
    the masks that are tested, of its table; tests: their names."""

    reader: GenotypeReader
    strata: tuple[Stratum, ...]
    masks: MaskReader
    chosen: IntArray
    tests: frozenset[str]

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """One per table."""
        return analyses_of(self.strata)

    @property
    def table(self) -> Variants:
        """Of all masks."""
        return self.masks.table

    @cached_property
    def _set_of(self) -> IntArray:
        found: IntArray = np.searchsorted(self.masks.rows, self.chosen, side="right") - 1
        return found

    @property
    def sets(self) -> IntArray:
        """Sets with a mask that is tested."""
        return np.unique(self._set_of)

    def masks_of(self, number: int) -> tuple[IntArray, np.ndarray]:
        """Rows of the table, and (r, k) bool, the variants of each, of one set."""
        first, last = np.searchsorted(self._set_of, [number, number + 1])
        rows = self.chosen[first:last]
        return rows, self.masks.members[number][rows - self.masks.rows[number]]


def set_study_of(inputs: Inputs, masks: MaskReader) -> SetStudy:
    """The study of the sets whose masks are `masks`, which have the widest bin. Raises as `study.strata.build_strata`.

    Columns have 24 bits where none are named: nothing is encrypted. X is as in the tables of masks.
    """
    x_model = inputs.xchr_model if inputs.as_regenie or inputs.xchr_model is not None else inputs.x_model
    asked = replace(
        inputs,
        statistic=REGENIE,
        xchr_model=x_model,
        bits=inputs.bits or MAXIMUM_BITS,
        qc=False,
        vc_tests=None,
        vc_max_aaf=None,
    )
    reader, strata = build_strata(asked, masks.source, silent)
    return SetStudy(reader, strata, masks, masks_of_bin(masks, inputs.widest), frozenset(inputs.vc_tests or ()))


def masks_of_bin(masks: MaskReader, share: float) -> IntArray:
    """Those of the table that have the variants up to a frequency."""
    end = f".{name_of_bin(share)}"
    return np.flatnonzero([str(name).endswith(end) for name in masks.table.effect_allele])
