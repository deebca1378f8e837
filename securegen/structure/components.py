"""Principal components of genotypes by a block Krylov space, from totals over people.

A round projects everybody on orthonormal loadings V (variants × columns), rounds the projections and totals them back:
H = XᵀX V. All V of all rounds stay orthonormal, so that the best approximation in their span (Rayleigh–Ritz) follows from
the H that are known. X is standardised as plink2 has it: (g − 2p)/√(2p(1 − p)), missing calls 0; but XXᵀ is divided by one
number for all pairs, not by how many variants each pair has: entries differ from plink2's in the fourth digit.

Who learns what: whoever sees totals learns counts, projections' squares and H of every round; loadings and eigenvalues are
public then, and follow from totals to the last bit on every machine (`kernels.fixed_order`). Each person's components stay
where the person's genotypes are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from securegen.errors import DesignError
from securegen.kernels import fixed_order
from securegen.model import FloatArray, IntArray
from securegen.structure.totals import Counts, Totals

BITS = 12  # of a projection's root mean square, in units
LOADING_BITS = 30  # of a standardised loading of norm 1
EXTRA = 4  # columns beside the components that are wanted
ROUNDS = 12
TOLERANCE = 0.02
Said = Callable[[str], None]


@dataclass(frozen=True)
class Components:
    """loadings: (M, K) float64 on standardised genotypes, orthonormal, 0 for variants that were left out; of each the
    largest is positive; eigenvalues: (K,) of XXᵀ over `variants`, as counted in both people of a pair; residuals: (K,)
    ‖XᵀXl − θl‖/θ; rounds: that were made; counts: of every variant."""

    loadings: FloatArray
    eigenvalues: FloatArray
    residuals: FloatArray
    rounds: int
    variants: float
    counts: Counts

    def converged(self, tolerance: float = TOLERANCE) -> int:
        """How many of the first components are within the tolerance."""
        return int(np.argmin(np.append(self.residuals <= tolerance, False)))


@dataclass(frozen=True)
class Standardised:
    """centre: (M,) S/n; scale: (M,) 1/√(2p(1 − p)), 0 for variants that do not vary; grid: of a stored dosage."""

    counts: Counts
    scale: FloatArray
    grid: int

    def loadings(self, v: FloatArray) -> tuple[IntArray, IntArray]:
        """Integers a and b of (M, C) loadings, for `Totals.squares`: of a stored dosage, and of a mean."""
        weight = v * self.scale[:, None] * 2.0**LOADING_BITS
        mean = self.counts.dosage / np.maximum(self.counts.called, 1)
        return _nearest(weight / self.grid), _nearest(weight * (mean / self.grid)[:, None])


def _nearest(values: FloatArray) -> IntArray:
    return np.floor(values + 0.5).astype(np.int64)


def standardised(counts: Counts, grid: int = 1) -> Standardised:
    """How genotypes are standardised. Raises DesignError where no variant varies."""
    called = np.maximum(counts.called, 1).astype(np.float64)
    p = counts.dosage / (2 * grid * called)
    variance = 2 * p * (1 - p)
    varies = variance > 0
    if not varies.any():
        raise DesignError("no variant varies: there are no components")
    return Standardised(counts, np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0.0), grid)


def components(
    totals: Totals, wanted: int, seed: bytes, *, grid: int = 1, rounds: int = ROUNDS, tolerance: float = TOLERANCE,
    extra: int = EXTRA, say: Said = lambda _: None,
) -> Components:  # fmt: skip
    """The first `wanted` components of the people of whom the totals are.

    seed: of the first loadings, known to all; tolerance: of ‖XᵀXl − θl‖/θ of each, at which it ends before `rounds`.
    Raises DesignError where people or variants are too few.
    """
    counts = totals.counts()
    s = standardised(counts, grid)
    varies = int((s.scale > 0).sum())
    width = min(wanted + extra, counts.samples - 1, varies)
    if wanted > width:
        raise DesignError(
            f"{wanted} components of {counts.samples} people and {varies} variants that vary: there are {width} at most"
        )
    effective = float(((counts.called / counts.samples) ** 2)[s.scale > 0].sum())
    basis, images, square = np.zeros((len(s.scale), 0)), np.zeros((len(s.scale), 0)), np.zeros((0, 0))
    v = orthonormal(_signs(seed, len(s.scale), width) * (s.scale > 0)[:, None], basis)
    for done in range(1, rounds + 1):
        h = _image(totals, s, v)
        square = np.block(
            [[square, fixed_order.inner(basis, h)], [fixed_order.inner(v, images), fixed_order.inner(v, h)]]
        )
        basis, images = np.hstack([basis, v]), np.hstack([images, h])
        found = _ritz(basis, images, square, wanted)
        say(f"round {done}: residuals {', '.join(f'{r:.1e}' for r in found[2])}")
        if (found[2] <= tolerance).all():
            break
        v = orthonormal(h, basis)
        if not v.shape[1]:
            break
    loadings, theta, residuals = found
    return Components(loadings, theta / effective, residuals, done, effective, counts)


def _image(totals: Totals, s: Standardised, v: FloatArray) -> FloatArray:
    """XᵀX V, from projections that were rounded to 2^-BITS of their root mean square."""
    a, b = s.loadings(v)
    squares = totals.squares(a, b, LOADING_BITS - BITS)
    rms_bits = [(total // s.counts.samples).bit_length() // 2 for total in squares]
    shifts = [max(0, LOADING_BITS - BITS + bits - BITS) for bits in rms_bits]
    people, products = totals.products(shifts)
    called = np.maximum(s.counts.called, 1)
    # n Σ q g̃ − S Σ q, exact; a column of rounded projections need not have the mean 0
    centred = products - s.counts.dosage[:, None] * people
    unit = 2.0 ** (np.array(shifts) - LOADING_BITS)
    out: FloatArray = (centred / (called * s.grid)[:, None]) * s.scale[:, None] * unit
    return out


def _signs(seed: bytes, rows: int, columns: int) -> FloatArray:
    """(rows, columns) of ±1 that follow from the seed."""
    stream = hashlib.shake_256(b"securegen components" + seed).digest(-(-rows * columns // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), count=rows * columns)
    return 1.0 - 2.0 * bits.reshape(columns, rows).T


def _dot(a: FloatArray, b: FloatArray) -> float:
    """aᵀb. NumPy adds pairwise in one order, on every machine and with any number of threads, which BLAS does not."""
    return float((a * b).sum())


def orthonormal(columns: FloatArray, basis: FloatArray) -> FloatArray:
    """Orthonormal columns of the span of `columns` outside that of `basis`; fewer where they depend on one another."""
    known = [np.ascontiguousarray(c) for c in basis.T]
    new: list[FloatArray] = []
    for column in columns.T:
        x = np.array(column)
        before = np.sqrt(_dot(x, x))
        for _ in range(2):  # the second time takes away what rounding left
            for other in (*known, *new):
                x -= _dot(other, x) * other
        length = np.sqrt(_dot(x, x))
        if length > 1e-8 * before:
            new.append(x / length)
    return np.stack(new, axis=1) if new else np.zeros((len(columns), 0))


def _ritz(
    basis: FloatArray, images: FloatArray, square: FloatArray, wanted: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Loadings, their θ and relative residuals: the best in the span of the basis. square: (C, C) basisᵀ images."""
    theta, vectors = fixed_order.eigen((square + square.T) / 2)
    turn, theta = vectors[:, :wanted], theta[:wanted]
    loadings = fixed_order.product(basis, turn)
    left = fixed_order.product(images, turn) - loadings * theta
    residuals = np.sqrt([_dot(c, c) for c in left.T]) / np.maximum(theta, np.finfo(float).tiny)
    top = np.abs(loadings).argmax(axis=0)
    return loadings * np.where(loadings[top, np.arange(len(top))] < 0, -1.0, 1.0), theta, residuals


def scores(found: Components, projected: IntArray) -> FloatArray:
    """(N, K) components of people, of norm 1 over those whom the components are of. projected: (N, K) int64 of
    `OwnTotals.project` on the integers of the loadings."""
    theta = found.eigenvalues * found.variants
    if not (theta > 0).all():
        raise DesignError("an eigenvalue is not positive: genotypes have fewer components than that; ask for fewer")
    return projected * 2.0**-LOADING_BITS / np.sqrt(theta)
