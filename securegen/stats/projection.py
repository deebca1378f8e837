"""Association from two numbers per variant: the covariates are projected out by whoever holds them.

With G the dosages, missing ones at the mean of the called ones, q_k an orthonormal basis of the covariates and r the unit
residual of the phenotype,
- linear: u = Gᵀr, v = ‖G − mean‖² − Σ_k (q_kᵀG)², every column with sum 0; T² = df·u²/(v − u²); with the variance σ₀² of a
  null model χ² = (‖y‖²/σ₀²)·u²/v, y being what the covariates leave of the phenotype;
- logistic score test: weights w = μ(1−μ) over their largest, ω; q_k an orthonormal basis of √w C times √w;
  u = Gᵀr, v = Σ w G² − Σ_k (q_kᵀG)²; χ² = (‖y − μ‖²/ω)·u²/v.

`Projection` has these columns as reals, `integers` in units of 2^-b. Dosages are integers, and the mean ĝ is one in units of
2^-F, so u in units of 2^-(b+F) and v in units of 2^-2(b+F) are exact integers: `sums` is the oracle of an engine that sums
them (`--engine plain --reveal uv`). Columns come from the integer columns of the design, so the statistics differ from those
of the full table by rounding to 2^-b and 2^-F alone; `projected_statistics` bounds it for all data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from securegen.design.columns import Analysis, Design
from securegen.design.fixedpoint import PRECISE_BITS
from securegen.design.linear import LinearModel
from securegen.errors import PlanError, UsageError
from securegen.kernels.integer_sums import integer_sums, squared_sums
from securegen.model import Columns, GenotypeBlock
from securegen.stats import algebra
from securegen.stats.linear import centre_exactly
from securegen.stats.pvalue import chisq_1_limit, t_squared

SPARE = 36  # bits of a column beyond log2 √N: every column is right to 2^-36 in norm
MEAN_BITS = 44
ROOM = 94  # of log2 |u|: its square must fit 192 bits with a sign


@dataclass(frozen=True)
class Scales:
    """basis_bits: b; mean_bits: F; lead_bits: responses are multiplied by a lead over 2^lead_bits, for a threshold."""

    basis_bits: int
    mean_bits: int
    lead_bits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Projection:
    """Analyses that share their samples and covariates.

    analysed: (N,) bool; basis: (N, k) and responses: (N, P) float64, unit columns; weight: (N,) float64 from 0 to 1, None
    for linear regression; norms: ‖y‖ of each residual in phenotype units; largest_weight: ω; leads: of each response; null:
    of linear regression, σ₀ of each response in phenotype units where its variance is that of a null model, else none. All
    are 0 where not analysed.
    """

    test: str
    analyses: tuple[Analysis, ...]
    analysed: np.ndarray
    basis: np.ndarray
    responses: np.ndarray
    norms: tuple[float, ...]
    weight: np.ndarray | None = None
    largest_weight: float = 1.0
    leads: tuple[float, ...] = ()
    null: tuple[float, ...] = ()

    @property
    def student(self) -> bool:
        """Whether its statistic is Student's t, of each variant's own variance."""
        return self.test == "linear" and not self.null

    @property
    def samples(self) -> int:
        return int(self.analysed.sum())

    @property
    def coding(self) -> str:
        """The genetic model of the dosages."""
        return self.analyses[0].coding

    @property
    def df(self) -> int:
        return self.samples - len(self.analyses[0].model.covariates) - 2

    def integers(self, scales: Scales) -> np.ndarray:
        """(N, k + P [+ 1]) int64: basis, responses and the weight in units of 2^-b; |x| <= 2^b."""
        leads = [lead / 2.0**bits for lead, bits in zip(self.leads, scales.lead_bits, strict=True)] or 1.0
        columns = [self.basis, self.responses * leads]
        if self.weight is not None:
            columns.append(self.weight[:, None])
        here = np.column_stack(columns)[self.analysed] * 2.0**scales.basis_bits
        whole = np.rint(here).astype(np.int64)
        if self.test == "linear":
            for column, exact in zip(whole.T, here.T, strict=True):
                _sum_to_zero(column, exact)
        out = np.zeros((len(self.analysed), here.shape[1]), np.int64)
        out[self.analysed] = whole
        return out

    def with_threshold(self, threshold: float) -> tuple[Projection, tuple[int, ...]]:
        """Leads by which `a variant's p <= threshold` is (lead·u)² >= v, and their bits, which N and the p-value decide."""
        if self.student:
            leads = [math.sqrt(1 + self.df / t_squared(threshold, self.df))] * len(self.analyses)
            bound = leads[0]
        else:
            limit = chisq_1_limit(threshold)
            units = self.null or [math.sqrt(self.largest_weight)] * len(self.norms)
            leads = [norm / (unit * math.sqrt(limit)) for norm, unit in zip(self.norms, units, strict=True)]
            bound = math.sqrt(2 * self.samples / limit)
        bits = max(0, math.ceil(math.log2(bound)))
        if max(leads) > 2**bits:
            raise PlanError(f"the residual of {self.analyses[0].phenotype} is too large for its weights: hits need uv")
        return replace(self, leads=tuple(leads)), (bits,) * len(leads)


def choose_scales(samples: int, grid: int = 1) -> Scales:
    """Scales for `samples` people and dosages on `grid`: columns of log2 √N + 36 bits, the mean with what is left.

    Raises PlanError when that is less than 24 bits.

    >>> choose_scales(500_000)
    Scales(basis_bits=46, mean_bits=37, lead_bits=())
    """
    basis = math.ceil(math.log2(max(samples, 2)) / 2 + SPARE)
    largest = math.ceil(math.log2(2 * grid * math.sqrt(samples) + 1))  # |q_kᵀG| <= ‖G‖
    mean = min(MEAN_BITS, ROOM - basis - largest)
    if mean < 24 + math.log2(grid):
        raise PlanError(f"{samples} samples on a dosage grid of {grid} leave {mean} bits for a mean; 24 are needed")
    return Scales(basis, mean)


def project(design: Design) -> list[Projection]:
    """The projections of a design. Raises UsageError, naming the phenotype, for tests that are not regressions."""
    groups: dict[tuple[str, tuple[int, ...]], list[Analysis]] = {}
    for a in design.analyses:
        if a.test not in ("linear", "logistic"):
            raise UsageError(
                f"`reveal` hits, chi2 and uv are for regressions; phenotype {a.phenotype} has the test {a.test}, whose "
                "counts are sums over cases: use `model` logistic without covariates, which tests the same trend, or "
                "`reveal` aggregates `consent_aggregates`"
            )
        own = a.columns[:-1] if a.test == "linear" else a.columns
        groups.setdefault((a.test, own), []).append(a)
    make = {"linear": _linear, "logistic": _logistic}
    return [make[test](design.columns, members) for (test, _), members in groups.items()]


def _linear(columns: Columns, analyses: Sequence[Analysis]) -> Projection:
    first = list(analyses[0].columns[:-1])
    analysed = columns.values[:, first[0]] == 1
    x = columns.values[analysed][:, first[1:]].astype(np.float64)
    x -= x.mean(axis=0)
    q, _ = np.linalg.qr(x / np.linalg.norm(x, axis=0))
    left, norms = zip(*(_left(columns.values[analysed, a.columns[-1]], x, a.model) for a in analyses), strict=True)
    units = [a.model.unit for a in analyses]
    null = [math.sqrt(a.model.null_variance) * a.model.unit for a in analyses if a.model.null_variance is not None]
    return Projection(
        "linear", tuple(analyses), analysed, _scatter(q, analysed), _scatter(np.stack(left, 1) / norms, analysed),
        tuple(norm * unit for norm, unit in zip(norms, units, strict=True)), null=tuple(null),
    )  # fmt: skip


def _left(column: np.ndarray, x: np.ndarray, model: LinearModel) -> tuple[np.ndarray, float]:
    """Of a phenotype's integers and the centred covariates (n, K−1): y less what its rounding moved it along them, as
    `stats.linear` takes it, and the norm of what is left of y."""
    k, c0, n = len(model.gram), model.gram[0], model.samples
    a = [[centre_exactly(model.gram[i][j], c0[i], c0[j], n) for j in range(1, k)] for i in range(1, k)]
    along = [centre_exactly(model.moved[i], c0[i], model.moved[0], n) / (1 << PRECISE_BITS) for i in range(1, k)]
    lower, scale, _ = algebra.cholesky(a)
    z = algebra.forward(lower, scale, along)
    y = column.astype(np.float64)
    y -= y.mean()
    if k > 1:
        y = y - x @ np.array(algebra.backward(lower, scale, z))
    total = centre_exactly(model.yty, model.cty[0], model.cty[0], n)
    return y, math.sqrt(total - algebra.dot(z, z))


def _logistic(columns: Columns, analyses: Sequence[Analysis]) -> Projection:
    (a,) = analyses
    model = a.model
    values = columns.values[:, list(a.columns)]
    analysed = values[:, 0] == 1
    r = values[analysed, 2] * model.residual_unit
    weighted = [values[analysed, 3 + k] * unit for k, unit in enumerate(model.weight_units)]
    lower, scale, _ = algebra.cholesky(model.weight_gram)
    basis = algebra.forward(lower, scale, weighted)  # (CᵀWC)⁻¹ = LᵀL of these
    cross = algebra.forward(lower, scale, list(model.residual_cross))
    r = r - sum(b * c for b, c in zip(basis, cross, strict=True))
    norm, largest = float(np.linalg.norm(r)), float(weighted[0].max())
    return Projection(
        "logistic", (a,), analysed, _scatter(np.stack(basis, 1) / math.sqrt(largest), analysed),
        _scatter((r / norm)[:, None], analysed), (norm,), _scatter(weighted[0] / largest, analysed), largest,
    )  # fmt: skip


def _scatter(values: np.ndarray, analysed: np.ndarray) -> np.ndarray:
    out = np.zeros((len(analysed), *values.shape[1:]))
    out[analysed] = values
    return out


def _sum_to_zero(whole: np.ndarray, exact: np.ndarray) -> None:
    """Move single entries of `whole` by one until they sum to 0, those first that rounding moved most the other way."""
    excess = int(whole.sum())
    if excess:
        sign = 1 if excess > 0 else -1
        if abs(excess) > len(whole):
            raise ValueError(f"rounding left {excess} units for {len(whole)} entries")
        whole[np.argsort(sign * (exact - whole), kind="stable")[: abs(excess)]] -= sign


@dataclass(frozen=True)
class VariantCounts:
    """Of one sample set, (V,) int64 each: called samples, Σ g and Σ g² over them, in dosage units."""

    called: np.ndarray
    g: np.ndarray
    gg: np.ndarray

    def mean(self, bits: int) -> np.ndarray:
        """(V,) Python integers: the mean dosage in units of 2^-bits, rounded; 0 where nobody is called."""
        n = np.maximum(self.called, 1).astype(object)
        out: np.ndarray = (((self.g.astype(object) << (bits + 1)) + n) // (2 * n)).astype(object)
        return out

    def constant(self) -> np.ndarray:
        """(V,) bool: every called sample has the same dosage, or nobody is called."""
        out: np.ndarray = self.called * self.gg <= self.g**2
        return out

    def variation(self, bits: int) -> np.ndarray:
        """(V,) Python integers: Σ (g − mean)² over called samples in units of 2^-bits, rounded down."""
        n = np.maximum(self.called, 1).astype(object)
        out: np.ndarray = ((n * self.gg.astype(object) - self.g.astype(object) ** 2) << bits) // n
        return out


def variant_counts(block: GenotypeBlock, analysed: np.ndarray) -> VariantCounts:
    """Counts of one block over the samples in `analysed`, (N,) bool."""
    who = analysed.astype(np.int64)[:, None]
    missing = 0 if block.missing is None else integer_sums(block.missing, who)[:, 0]
    called = np.full(len(block), int(analysed.sum()), np.int64) - missing
    return VariantCounts(called, integer_sums(block.dosage, who)[:, 0], squared_sums(block.dosage, who)[:, 0])


def centred(block: GenotypeBlock, grid: int, among: np.ndarray | None = None) -> GenotypeBlock:
    """Dosages minus the whole number of copies nearest to their mean over everybody called, 0 where missing.

    Of a weighted regression neither u nor v changes, and sums are smaller: ‖d‖² <= 2 ‖d − mean‖² for whole dosages. among:
    (N,) bool, whose mean it is, where others have no copies.
    """
    people = slice(None) if among is None else among
    known = None if block.missing is None else ~block.missing[:, people]
    dosage = block.dosage[:, people]
    called = np.full(len(block), dosage.shape[1]) if known is None else known.sum(axis=1)
    total = dosage.sum(axis=1, dtype=np.int64)
    nearest = (2 * total + grid * called) // (2 * grid * np.maximum(called, 1)) * grid
    moved = block.dosage - nearest[:, None].astype(block.dosage.dtype)
    if block.missing is not None:
        moved[block.missing] = 0
    return replace(block, dosage=moved, alleles=None)


def sums(
    blocks: Iterable[GenotypeBlock], p: Projection, scales: Scales, grid: int, among: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The oracle: (start, u, v) of each block; u: (V, P) and v: (V,) Python integers. grid: units of a copy; among: as of
    `centred`."""
    x, k, f = p.integers(scales), p.basis.shape[1], scales.mean_bits
    last = k + len(p.analyses)
    for block in blocks:
        if p.weight is not None:
            block = centred(block, grid, among)
        counts = variant_counts(block, p.analysed)
        mean = counts.mean(f)[:, None]
        g, m = block.dosage.astype(np.int64), _flags(block)
        t = (_dot(g, x[:, :last]) << f) + mean * _dot(m, x[:, :last])
        if p.weight is None:
            v = counts.variation(2 * (f + scales.basis_bits))
        else:
            w = x[:, last:]
            v = ((_dot(g * g, w) << (2 * f)) + mean * mean * _dot(m, w))[:, 0] << scales.basis_bits
        yield block.start, t[:, k:], v - (t[:, :k] ** 2).sum(axis=1)


def _flags(block: GenotypeBlock) -> np.ndarray:
    return np.zeros(block.dosage.shape, np.int64) if block.missing is None else block.missing.astype(np.int64)


def _dot(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """g xᵀ as Python integers, x in halves so that nothing wraps."""
    high, low = x >> 26, x & ((1 << 26) - 1)
    out: np.ndarray = (g @ high).astype(object) * (1 << 26) + (g @ low).astype(object)
    return out
