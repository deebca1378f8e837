"""One site's numbers of a variant in a federated study, and which numbers the analyses of a design read.

Who learns what: nobody, until they are summed over the sites (`association`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen.design import Analysis, Design
from securegen.engines.plain import block_sums
from securegen.errors import PolicyError
from securegen.federated.rounds import OUT_OF_BOUNDS, SecureSum
from securegen.governance.rows import RowRule
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, Sums
from securegen.stats.imputed import exactly, filled

READ = 512  # variants read at a time


@dataclass
class Withheld:
    """variants: all; few: those a site withholds; missing: those whose call few people of a site lack, withheld too;
    rounded: those of them that are filled with rounded numbers instead; imputed: those that complete cases would single
    people out of."""

    variants: int = 0
    few: int = 0
    missing: int = 0
    rounded: int = 0
    imputed: int = 0

    def lines(self) -> list[str]:
        """For the log; nothing when every variant is opened exactly."""
        out = []
        if self.few:
            out.append(
                f"{self.few} of {self.variants} variants are withheld (FEW_CARRIERS): few people stand out in them"
            )
        if self.missing:
            loud = "WARNING: " if 10 * self.missing > self.variants else ""
            out.append(
                f"{loud}{self.missing} of {self.variants} variants are withheld (FEW_CARRIERS): few people of a site lack the "
                "call. Impute the genotypes first, or study init --few-missing round: T is then off by some 1e-5 there"
            )
        if self.rounded:
            out.append(
                f"{self.rounded} variants lack calls of few people: those are filled with whole numbers, T off by some 1e-5"
            )
        if self.imputed:
            out.append(
                f"WARNING: {self.imputed} variants lack calls of few people: not complete cases but missing = mean"
            )
        return out


@dataclass(frozen=True)
class Sets:
    """Which numbers a design's analyses read.

    indicators: columns that say who is analysed; squared: those whose Σg² is needed; filled: (column, indicator) whose
    missing calls are filled; weighted: (column, indicator) whose Σ g² x is; minor, counted: (case column, indicator)
    whose minor alleles, or called people and alleles, are needed; pairs: linear analyses of complete cases.
    """

    indicators: tuple[int, ...]
    squared: tuple[int, ...]
    filled: tuple[tuple[int, int], ...]
    weighted: tuple[tuple[int, int], ...]
    minor: tuple[tuple[int, int], ...]
    counted: tuple[tuple[int, int], ...]
    pairs: tuple[Analysis, ...]

    @staticmethod
    def of(analyses: Sequence[Analysis], complete: bool) -> Sets:
        indicators, squared, fill, weighted, minor, counted = ([] for _ in range(6))  # type: ignore[var-annotated]
        for a in analyses:
            c, first = a.columns, a.columns[0]
            indicators += c if a.test == "qc" else [first]
            if a.test in ("linear", "trend"):
                squared.append(first)
            if a.test == "qc":
                squared.append(c[2])
            if a.test in ("linear", "logistic"):
                fill += [(j, first) for j in c[1 if a.test == "linear" else 2 :]]
            if a.test == "logistic":
                weighted.append((c[3], first))
                minor.append((c[1], first))
            if a.test in ("trend", "allelic"):
                counted.append((c[1], first))
        unique = lambda found: tuple(dict.fromkeys(found))  # noqa: E731
        pairs = tuple(a for a in analyses if complete and a.test == "linear")
        return Sets(
            unique(indicators), unique(squared), unique(fill), unique(weighted), unique(minor), unique(counted), pairs
        )


@dataclass(frozen=True)
class OpenedCounts:
    """Pooled counts of the rows of a segment that are opened, by indicator column: n called, S, Σg² and few, (V,)."""

    rows: IntArray
    called: dict[int, IntArray]
    dosage: dict[int, IntArray]
    square: dict[int, IntArray]
    few: dict[int, np.ndarray]

    def exact(self, indicator: int) -> np.ndarray:
        """Rows whose missing calls are filled without rounding."""
        return ~self.few[indicator]


@dataclass
class SiteSums:
    """One site's side of the sums over all variants of a study."""

    secure: SecureSum
    reader: GenotypeReader
    design: Design
    sets: Sets
    rule: RowRule | None
    fewest: int
    people: dict[int, int]  # pooled, by indicator
    own_people: dict[int, int]
    norms: list[int]  # pooled Σx² of each column
    rounds: bool  # rows with missing calls of few people are shown
    withheld: Withheld = field(default_factory=Withheld)

    @property
    def values(self) -> np.ndarray:
        return self.design.columns.values

    @property
    def top(self) -> int:
        return 2 * self.reader.dosage_grid

    def blocks(self, start: int, stop: int, size: int = READ) -> Iterator[GenotypeBlock]:
        for at in range(start, stop, size):
            yield self.reader.read(at, min(at + size, stop))

    def set_bounds(self) -> list[int]:
        """Largest totals of the counts of one variant, in the order of `own_counts`."""
        out = []
        for i in self.sets.indicators:
            out += [self.people[i], self.top * self.people[i]]
        return out + [self.top**2 * self.people[i] for i in self.sets.squared]

    def own_counts(self, sums: Sums) -> np.ndarray:
        """(V, …) missing calls and S of each set, then Σg²."""
        out = []
        for i in self.sets.indicators:
            out += [sums.m[:, i], sums.g[:, i]]
        where = self.design.columns.squared_index
        return np.stack([*out, *(sums.q[:, where.index(i)] for i in self.sets.squared)], axis=1)

    def check_counts(self, own: np.ndarray, total: np.ndarray) -> None:
        """Raise PolicyError where the counts of all sites, or of the others, are not of people."""
        sets = self.sets.indicators
        theirs = {i: self.people[i] - self.own_people[i] for i in sets}
        for part, most in ((total, self.people), (total - own, theirs)):
            bad = (part < 0).any()
            for j, i in enumerate(sets):
                n, s = most[i] - part[:, 2 * j], part[:, 2 * j + 1]
                bad |= bool((n < 0).any() or (s > self.top * n).any())
                if i in self.sets.squared:
                    q = part[:, 2 * len(sets) + self.sets.squared.index(i)]
                    bad |= bool((q > self.top * s).any() or (n * q < s * s).any())
            if bad:
                raise PolicyError(OUT_OF_BOUNDS)

    def column_bounds(self) -> list[int]:
        """Largest totals of the columns of one variant, in the order of `own_columns`: Cauchy and Schwarz's."""
        out = []
        for j, i in self.sets.filled:
            out.append(self.people[i] * (math.isqrt(self.top**2 * self.people[i] * self.norms[j]) + 1))
        for j, i in self.sets.weighted:
            out.append(self.people[i] ** 2 * (math.isqrt(self.top**4 * self.people[i] * self.norms[j]) + 1))
        for _, i in self.sets.minor:
            out.append(self.top * self.people[i])
        for _, i in self.sets.counted:
            out += [self.people[i], self.top * self.people[i]]
        return out

    def own_columns(self, sums: Sums, opened: OpenedCounts, start: int, stop: int) -> np.ndarray:
        """(V, …) numbers of the opened rows: exact where no few people lack a call, else filled with rounded ones."""
        g, m, q = (v[opened.rows] for v in (sums.g, sums.m, sums.q))
        where, out = self.design.columns.squared_index, []
        rounded = self._rounded(opened, start, stop)
        for k, (j, i) in enumerate(self.sets.filled):
            n, s = opened.called[i], opened.dosage[i]
            out.append(np.where(opened.exact(i), exactly(n, g[:, j], s, m[:, j]), g[:, j] + rounded[:, k]))
        for k, (j, i) in enumerate(self.sets.weighted):
            n, s, w = opened.called[i], opened.dosage[i], q[:, where.index(j)]
            fill = rounded[:, len(self.sets.filled) + k]
            out.append(np.where(opened.exact(i), exactly(n * n, w, s * s, m[:, j]), w + fill))
        for j, i in self.sets.minor:
            cases = int(self.values[:, j].sum())
            major = opened.dosage[i] > self.reader.dosage_grid * opened.called[i]
            out.append(np.where(major, self.top * (cases - m[:, j]) - g[:, j], g[:, j]))
        for j, i in self.sets.counted:  # of few people without a call it would say who is a case
            out += [np.where(opened.exact(i), v[:, j], 0) for v in (m, g)]
        return np.stack(out, axis=1) if out else np.zeros((len(g), 0), np.int64)

    def _rounded(self, opened: OpenedCounts, start: int, stop: int) -> np.ndarray:
        """(V, filled and weighted) sums over the own people without a call of S·x/n, and S²·w/n², each rounded."""
        pairs = [*self.sets.filled, *self.sets.weighted]
        out = np.zeros((len(opened.rows), len(pairs)), np.int64)
        some = np.zeros(len(opened.rows), bool)
        for _, i in pairs:
            some |= opened.few[i]
        if not some.any():
            return out
        at = np.full(stop - start, -1, np.int64)
        at[opened.rows] = np.arange(len(opened.rows))
        at[opened.rows[~some]] = -1
        for block in self.blocks(start, stop):
            here = at[block.start - start : block.start - start + len(block)]
            if block.missing is None or (here < 0).all():
                continue
            rows, analysed = here[here >= 0], {i: self.values[:, i] != 0 for _, i in pairs}
            calls = {i: np.nonzero(block.missing[here >= 0] & people) for i, people in analysed.items()}
            for k, (j, i) in enumerate(pairs):
                n, s, (row, person) = opened.called[i][rows], opened.dosage[i][rows], calls[i]
                power = 1 if k < len(self.sets.filled) else 2
                out[rows, k] = filled(row, n, s, self.values[person, j], power=power)
        return out

    def own_pairs(self, opened: OpenedCounts, rows: IntArray, start: int, stop: int, a: Analysis) -> np.ndarray:
        """(rows, pairs) Σ m x_k x_l over the own people, for complete cases."""
        columns = self.design.columns
        x = type(columns)(
            tuple(columns.names[j] for j in a.columns), np.ascontiguousarray(columns.values[:, list(a.columns)]),
            (False,) * len(a.columns),
        )  # fmt: skip
        parts = [block_sums(b, x, pairs=True).mm for b in self.blocks(start, stop)]
        return np.concatenate([p for p in parts if p is not None])[opened.rows[rows]]
