"""Cohorts in memory and from the reference data, and an exact oracle for scores."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from securegen.model import GenotypeBlock, Samples, Variants
from securegen.scores.match import FLIPPED_SWAPPED, SWAPPED


@dataclass(frozen=True)
class ArrayReader:
    """A cohort in memory: dosage (M, N) in grid units, negative where missing."""

    variants: Variants
    samples: Samples
    dosage: np.ndarray
    dosage_grid: int = 1

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

    def read(self, start: int, stop: int) -> GenotypeBlock:
        part = self.dosage[start:stop]
        missing = part < 0
        return GenotypeBlock(start, np.where(missing, 0, part).astype(part.dtype), missing if missing.any() else None)


def text_array(values) -> np.ndarray:
    return np.array(list(values), dtype=object)


def make_reader(rows, dosage, grid: int = 1) -> ArrayReader:
    """rows: (chromosome, position, id, effect allele, other allele) for each variant."""
    columns = list(zip(*rows, strict=True))
    position = np.array(columns[1], np.int64)
    variants = Variants(text_array(columns[0]), position, *(text_array(c) for c in columns[2:]))
    dosage = np.asarray(dosage)
    names = text_array(f"P{i}" for i in range(dosage.shape[1]))
    return ArrayReader(variants, Samples(names, names, np.ones(len(names), bool)), dosage, grid)


def exact_scores(match, reader, column: int = 0, imputation: str = "cohort") -> list[Fraction]:
    """Scores as rational numbers, straight from the text of the weights: no scale, no streams, no constants."""
    file, grid = match.scoring, reader.dosage_grid
    total = [Fraction(0)] * len(reader.samples)
    for r, v in zip(match.row, match.variant, strict=True):
        if file.effect_type[r] == "dosage":
            weights = [Fraction(Decimal(t)) for t in file.dosage_weight[r]]
        else:
            w = Fraction(Decimal(file.weight[r, column]))
            weights = [c * w for c in {"additive": (0, 1, 2), "dominant": (0, 1, 1), "recessive": (0, 0, 1)}[
                file.effect_type[r]]]  # fmt: skip

        def value(h, weights=weights):
            low = min(int(h), 1)
            return weights[low] + (h - low) * (weights[low + 1] - weights[low])

        swapped = match.word[r] in (SWAPPED, FLIPPED_SWAPPED)
        copies = [
            None if g < 0 else (2 - Fraction(int(g), grid) if swapped else Fraction(int(g), grid))
            for g in reader.dosage[v]
        ]
        called = [value(h) for h in copies if h is not None]
        if not called:
            continue
        if imputation == "file":
            p = Fraction(Decimal(file.frequency[r]))
            fill = weights[0] * (1 - p) ** 2 + 2 * p * (1 - p) * weights[1] + p * p * weights[2]
        else:
            fill = sum(called) / len(called) if imputation == "cohort" else Fraction(0)
        for i, h in enumerate(copies):
            total[i] += fill if h is None else value(h)
    return total


@pytest.fixture(scope="session")
def array_reader():
    return make_reader


@pytest.fixture
def oracle():
    return exact_scores


@pytest.fixture
def score_file(tmp_path):
    """Write text to a scoring file; returns its path."""

    def write(text: str, name: str = "score.tsv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def cohort(reference):
    """Open a reference cohort by name, whole in memory."""
    from securegen.io.plink1 import read_plink

    opened: dict[str, ArrayReader] = {}

    def open_cohort(name: str) -> ArrayReader:
        if name not in opened:
            reader = read_plink(reference(name).bfile)
            block = reader.read(0, len(reader.variants))
            dosage = block.dosage if block.missing is None else np.where(block.missing, np.int8(-1), block.dosage)
            opened[name] = ArrayReader(reader.variants, reader.samples, dosage)
        return opened[name]

    return open_cohort
