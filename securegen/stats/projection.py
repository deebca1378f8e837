"""Linear regression from two numbers a variant: the covariates are projected out by whoever holds them.

With g̃ the dosage centred over analysed samples (missing ones at the mean), q_k an orthonormal basis of the centred
covariates and ỹ the residual of y, u = g̃ᵀỹ/‖ỹ‖ and v = ‖g̃‖² − Σ_k (q_kᵀg̃)², so that T² = df·u²/(v − u²). Here all are
integers: g̃ in units of 2^-F copies, basis and ỹ/‖ỹ‖ in units of 2^-b, so v is in units of 2^-2(b+F). An engine that sums
them exactly returns the same integers as `sums` here, which is the oracle (`--engine plain --reveal uv`).

The basis comes from the integer columns of the design, so T differs from the T of the full table by rounding to 2^-b and
2^-F alone; `chisq_error_bound` bounds it for all data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from securegen import vocabulary as voc
from securegen.design import Analysis, LinearModel
from securegen.errors import PlanError
from securegen.model import Columns, GenotypeBlock, GenotypeReader, iterate_blocks
from securegen.stats.pvalue import student_t

UV_COLUMNS = (
    *voc.VARIANT_COLUMNS, "TEST", "OBS_CT", "U", "V", "BETA", "SE", "L95", "U95", "T_STAT", "CHISQ", "P", "LOG10_P",
    "ERRCODE",
)  # fmt: skip
_LOW = np.uint64((1 << 32) - 1)
ROOM = 61.99  # log2 of the largest sum: lifting needs less than 2^62
TARGET = 1e-6  # of χ², relative to max(1, χ²)
RARE = 0.02  # variance of a dosage for which the error is planned: an allele frequency of 1 %


@dataclass(frozen=True)
class Scales:
    """basis_bits: b; dosage_bits: F; lead: ỹ/‖ỹ‖ is multiplied by `lead`/2^lead_bits, for the test of a threshold."""

    basis_bits: int
    dosage_bits: int
    lead: float = 1.0
    lead_bits: int = 0


def t_squared(threshold: float, df: int) -> float:
    """T² whose two-sided p-value is `threshold`.

    >>> round(t_squared(0.05, 10), 6)
    4.964603
    """
    return float(special.stdtrit(df, threshold / 2) ** 2)


def choose_scales(samples: int, df: int, *, threshold: float | None = None) -> Scales:
    """Scales at which no sum over `samples` people leaves (−2^62, 2^62) and no 128-bit number wraps.

    |q_kᵀg̃| <= ‖q_k‖‖g̃‖ <= (2^b + √N/2)(2^F + 1/2)√N, because dosages between 0 and 2 have variance at most 1. threshold:
    T² from which a variant is a hit; then T² >= threshold is u′² >= v with u′ = u√(1 + df/threshold), and u′ is
    2^lead_bits times a sum, so b + F loses lead_bits − 1 and u′² stays below 2^126. Raises PlanError when fewer than 12
    bits are left for a dosage.
    """
    half = math.log2(max(samples, 2)) / 2
    lead = math.sqrt(1 + df / threshold) if threshold else 1.0
    lead_bits = math.ceil(math.log2(lead))
    together = math.floor(ROOM - half) - max(lead_bits - 1, 0)
    dosage = math.floor((together - half) / 2) + 1
    basis = together - dosage
    if dosage < 12:
        raise PlanError(f"{samples} samples leave {dosage} bits for a dosage in 64-bit sums; at least 12 are needed")
    return Scales(basis, dosage, lead, lead_bits)


def basis(columns: Columns, analysis: Analysis, scales: Scales) -> np.ndarray:
    """(N, K) int64: K−1 columns of the basis of the covariates and the residual of the phenotype, 0 where not analysed."""
    values = columns.values[:, list(analysis.columns)]
    analysed = values[:, 0] == 1
    x = values[analysed, 1:].astype(np.float64)
    x -= x.mean(axis=0)
    x /= np.linalg.norm(x, axis=0)
    q, _ = np.linalg.qr(x[:, :-1])
    y = x[:, -1]
    for _ in range(2):  # once more: the first pass leaves the rounding of a large projection
        y = y - q @ (q.T @ y)
    y = y / np.linalg.norm(y) * (scales.lead / 2.0**scales.lead_bits)
    out = np.zeros((len(values), x.shape[1]), np.int64)
    out[analysed] = np.rint(np.column_stack([q, y]) * 2.0**scales.basis_bits).astype(np.int64)
    return out


def centred_dosages(block: GenotypeBlock, analysed: np.ndarray, grid: int, scales: Scales) -> np.ndarray:
    """(V, N) int64: (g − mean)·2^F in copies, rounded; 0 where missing (the mean) or not analysed. analysed: (N,) bool."""
    here = np.broadcast_to(analysed, block.dosage.shape)
    called = here if block.missing is None else here & ~block.missing
    count = called.sum(axis=1, dtype=np.int64)
    total = np.where(called, block.dosage, 0).sum(axis=1, dtype=np.int64)
    bottom = 2 * grid * np.maximum(count, 1)
    levels = np.arange(2 * grid + 1, dtype=np.int64)
    up = (levels[None, :] * count[:, None] - total[:, None]) << (scales.dosage_bits + 1)
    table = (up + bottom[:, None] // 2) // bottom[:, None]
    centred = np.take_along_axis(table, block.dosage.astype(np.intp), axis=1)
    return np.where(called, centred, 0)


def sums(
    reader: GenotypeReader, columns: Columns, analysis: Analysis, scales: Scales
) -> Iterator[tuple[int, list, list]]:
    """The oracle: (start, u, v) of each block, Python integers."""
    x = basis(columns, analysis, scales)
    analysed = columns.values[:, analysis.columns[0]] == 1
    for block in iterate_blocks(reader, 256):
        h = centred_dosages(block, analysed, reader.dosage_grid, scales)
        products = h @ x  # below 2^62
        square = (h * h).view(np.uint64)
        low, high = (square & _LOW).sum(axis=1), (square >> np.uint64(32)).sum(axis=1)
        norm = (high.astype(object) * (1 << 32) + low.astype(object)) * (1 << (2 * scales.basis_bits))
        v = norm - (products[:, :-1].astype(object) ** 2).sum(axis=1)
        yield block.start, products[:, -1].tolist(), list(v)


def statistics(
    u: np.ndarray, v: np.ndarray, model: LinearModel, scales: Scales
) -> dict[str, np.ndarray]:  # fmt: skip
    """Columns of UV_COLUMNS from (V,) float64 integers u and v. U and V are printed in copies and units of ỹ."""
    unit = 2.0 ** (scales.basis_bits + scales.dosage_bits)
    norm = math.sqrt(model.yty - _explained(model)) * model.unit
    u, v = u / unit * 2.0**scales.lead_bits / scales.lead, v / unit / unit
    df = model.samples - len(model.gram) - 1
    noise_u, noise_v = _noise(v, model, scales)
    code = np.full(len(v), voc.OK, object)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = v - u * u
        code[left <= 2 * np.abs(u) * noise_u + noise_v] = voc.PERFECT_FIT
        code[v <= 4 * noise_v] = voc.CORR_TOO_HIGH
        code[v <= 0] = voc.CONST_OMITTED_ALLELE
        ok = code == voc.OK
        beta, chisq = u * norm / v, df * u * u / left
        t = np.sign(u) * np.sqrt(chisq)
        se = np.sqrt(left / df) / v * norm
        p, log10p = student_t(np.where(ok, t, 0.0), np.full(len(v), df))
        high = (np.abs(u) + noise_u) ** 2 / np.where(v > noise_v, v - noise_v, np.nan)
        bound = np.where(high < 1, df * high / (1 - high), np.inf) - chisq
        few_u, few_v = _expected_noise(v, model, scales)
        expected = chisq * (1 + chisq / df) * (2 * few_u / np.abs(u) + few_v / v)  # to first order
    hide = lambda x: np.where(ok, x, np.nan)  # noqa: E731
    return {
        "TEST": np.full(len(v), "ADD", object), "OBS_CT": np.full(len(v), model.samples, np.int64),
        "U": hide(u * norm), "V": hide(v), "BETA": hide(beta), "SE": hide(se), "L95": hide(beta - voc.Z95 * se),
        "U95": hide(beta + voc.Z95 * se), "T_STAT": hide(t), "CHISQ": hide(chisq), "P": hide(p), "LOG10_P": hide(log10p),
        "ERRCODE": code, "DCHISQ_BOUND": hide(bound),
        "DCHISQ_EXPECTED": hide(expected),
    }  # fmt: skip


def _explained(model: LinearModel) -> float:
    """yᵀC(CᵀC)⁻¹Cᵀy of the integer columns, the mean included."""
    gram, cty = np.array(model.gram, np.float64), np.array(model.cty, np.float64)
    scale = 1 / np.sqrt(np.diag(gram))
    return float(cty * scale @ np.linalg.solve(gram * np.outer(scale, scale), cty * scale))


def _noise(v: np.ndarray, model: LinearModel, scales: Scales) -> tuple[np.ndarray, np.ndarray]:
    """Certain bounds of |Δu| and |Δv|, from ‖g̃‖ <= √N, rounding e₁ = ‖δg̃‖ <= √N 2^-(F+1) and e₂ = ‖δq‖ <= √N 2^-(b+1):
    |Δu| <= √N e₂′ + e₁(1 + e₂′), e₂′ = e₂ over the lead; |Δv| <= 2√v e₁ + e₁² + 2√K e₂ √N √(N − v) + K e₂² N."""
    n, k = model.samples, len(model.covariates)
    e1, e2 = math.sqrt(n) * 2.0 ** -(scales.dosage_bits + 1), math.sqrt(n) * 2.0 ** -(scales.basis_bits + 1)
    lead = e2 * 2.0**scales.lead_bits / scales.lead
    du = math.sqrt(n) * lead + e1 * (1 + lead)
    v = np.clip(v, 0, n)
    dv = 2 * np.sqrt(v) * e1 + e1**2 + 2 * math.sqrt(k * n) * e2 * np.sqrt(n - v) + k * e2**2 * n
    return np.full(len(v), du), dv


def planned_chisq_error(samples: int, scales: Scales) -> float:
    """Six standard deviations of Δχ² at χ² = 1 before any variant is seen, for a variance of RARE: first order in u and v.

    >>> [f"{planned_chisq_error(n, choose_scales(n, n - 10)):.0e}" for n in (500, 10_000, 500_000)]
    ['3e-07', '1e-06', '9e-06']
    """
    six = 6 / math.sqrt(12)
    e1, e2 = six * 2.0**-scales.dosage_bits, six * 2.0**-scales.basis_bits * 2.0**scales.lead_bits / scales.lead
    return 2 * math.hypot(e1, math.sqrt(10 * RARE * samples) * e2) / math.sqrt(RARE)


def _expected_noise(v: np.ndarray, model: LinearModel, scales: Scales) -> tuple[np.ndarray, np.ndarray]:
    """Six standard deviations of Δu and Δv for independent uniform rounding, where covariates explain <= 90 % of g̃."""
    n = np.minimum(10 * np.maximum(v, 0), model.samples)
    e1, e2 = (6 / math.sqrt(12) * 2.0**-bits for bits in (scales.dosage_bits, scales.basis_bits))
    du = np.hypot(e1, np.sqrt(n) * e2 * 2.0**scales.lead_bits / scales.lead)
    v = np.clip(v, 0, n)
    return du, np.hypot(2 * np.sqrt(v) * e1, 2 * np.sqrt(n * (n - v)) * e2)
