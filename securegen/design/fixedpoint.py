"""Reals to integers and back, exactly and the same way in every engine.

A column is read as decimals × 10^digits, the smaller its standard deviation, the more digits. Its scale is the power of
two ≥ its standard deviation and its centre is the mean rounded to scale/16, both from the exact sums Σx and Σx². A
design column is then an integer in units of 5·scale/2^bits. Everything that decides a digit is integer or rational
arithmetic on those sums. So sites with different people, and machines with different floating-point units, agree on
every integer.

`SumOverSites` is how the same function serves one owner (`pooled`, the identity) and many sites (an opened sum). One of
several sites gives its sum a `Guard` as attribute `guard`, which looks at its own people before every sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from securegen.design.exact import Matrix, exact_gram, round_half_up
from securegen.errors import DesignError, PlanError

SumOverSites = Callable[[Sequence[int]], list[int]]

DIGITS = 6
MORE_DIGITS = (9, 12)  # tried in turn where the standard deviation has fewer than five digits
SMALL_DIGITS = (15, 18, 21, 24, 27, 30)  # and then, where it has fewer than ENOUGH_UNITS
ENOUGH_UNITS, FEWEST_UNITS = 3000, 1000  # of a standard deviation: reading moves T by about 1e-4, by 3e-4
LARGEST_DECIMAL = 1 << 53
PRECISE_BITS = 30  # of the columns in which y is regressed on the covariates, and of rounding errors
COEFFICIENT_BITS = 24
RESIDUAL_BITS = 44  # of the coefficients that are subtracted from y
MAXIMUM_CONDITION = 1e8
VERIFIED_SUM = 1 << 60  # sums that are verified modulo 2^61 − 1 lie strictly between this and its negative


class OwnValueError(DesignError):
    """A value that one party alone has cannot be read. The others do not see it, so no step may follow from it."""


class Guard:
    """What a party checks around the sums of a design. This one checks nothing: its owner has all the people.

    Every `values` and `columns` has a row for each of the party's analysed people; own and opened are its part of a sum
    and the sum. A guard that refuses raises PolicyError.
    """

    def beside(self) -> Guard:
        """The guard of one of several designs that are made side by side."""
        return self

    def column(self, what: str, values: np.ndarray) -> None:
        """A column (n,) is about to be summed."""

    def step(self, what: str, weights: np.ndarray, columns: np.ndarray) -> None:
        """Weights (n,) and columns (n, p) of a null model that is not finished are about to be summed."""

    def opened(self, what: str, columns: np.ndarray, analysed: np.ndarray) -> None:
        """Integer columns (n, p) of the people `analysed`, (N,) bool, will be summed with genotypes."""

    def moments(self, own: Sequence[int], opened: Sequence[int]) -> None:
        """N, Σx and Σx² were opened."""

    def gram(self, own: Matrix, opened: Matrix) -> None:
        """A Gram matrix was opened."""

    def covariates(self, own: Matrix, opened: Matrix) -> None:
        """The Gram matrix, at 2^-60, of the covariates in which a null model will be fitted was opened."""

    def newton(self, own: tuple[list[int], Matrix], opened: tuple[list[int], Matrix]) -> None:
        """Gradient and Hessian of a Newton step, at 2^-30, were opened."""


UNGUARDED = Guard()


def guard_of(total: SumOverSites) -> Guard:
    """The guard that goes with a sum over sites."""
    return getattr(total, "guard", UNGUARDED)


def pooled(values: Sequence[int]) -> list[int]:
    """The sum over sites when there is one site: the identity."""
    return list(values)


@dataclass(frozen=True)
class Scaling:
    """Public affine map of one column: x = centre_16th·2^exponent/16 + 2^exponent·(unit value).

    exponent: log2 of the scale; centre_16th: centre in sixteenths of the scale; grid: what the input integers are
    multiples of is 1/grid (10^digits for columns read as decimals).
    """

    grid: int
    exponent: int
    centre_16th: int

    def integers(self, x: np.ndarray, numerator: int | np.ndarray, denominator: int = 1) -> np.ndarray:
        """(N,) int64: (x/grid − centre)/scale × numerator/denominator, rounded half up; numerator: one, or (N,) Python
        integers. Raises OwnValueError at 2^40."""
        out = self._quotients(x, numerator, denominator)
        if len(out) and max(out.max(), -out.min()) >= 1 << 40:
            raise OwnValueError("a value lies more than a thousand standard deviations from the mean: check the column")
        return np.asarray(out, dtype=np.int64)

    def errors(self, x: np.ndarray, integers: np.ndarray, numerator: int, denominator: int = 1) -> np.ndarray:
        """(N,) int64: how far `integers` are from what they were rounded from, in units of 2^-30 of one."""
        exact = self._quotients(x, numerator << PRECISE_BITS, denominator)
        return np.asarray(integers.astype(object) * (1 << PRECISE_BITS) - exact, dtype=np.int64)

    def _quotients(self, x: np.ndarray, numerator: int | np.ndarray, denominator: int) -> np.ndarray:
        up, down = max(self.exponent, 0), max(-self.exponent, 0)
        top = (x.astype(object) * (16 << down) - self.centre_16th * (self.grid << up)) * (2 * numerator)
        bottom = 16 * (self.grid << up) * denominator
        out: np.ndarray = (top + bottom) // (2 * bottom)
        return out

    @property
    def scale(self) -> float:
        return 2.0**self.exponent

    @property
    def centre(self) -> float:
        return self.centre_16th * self.scale / 16


def to_decimals(values: np.ndarray, digits: int, name: str) -> np.ndarray:
    """(N,) float64 -> (N,) int64 of x·10^digits, rounded half to even. Raises OwnValueError above 2^53."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * float(10**digits))
    if not (np.abs(scaled) < LARGEST_DECIMAL).all():
        raise OwnValueError(
            f"{name}: values up to {np.abs(values).max():g} are too large to be read with {digits} decimals; "
            "subtract a constant or divide the column by a power of ten"
        )
    return scaled.astype(np.int64)


def moments(decimals: np.ndarray, total: SumOverSites, what: str = "a column") -> tuple[int, int, int]:
    """N, Σx and Σx² over the sites, exactly, of the column that `what` names."""
    wide, guard = decimals.astype(object), guard_of(total)
    guard.column(what, wide)
    own = [len(wide), int(wide.sum()) if len(wide) else 0, int((wide * wide).sum()) if len(wide) else 0]
    n, s1, s2 = opened = total(own)
    guard.moments(own, opened)
    return n, s1, s2


def scale_of(n: int, s1: int, s2: int, grid: int) -> Scaling | None:
    """Scaling from N, Σx and Σx² (x in units of 1/grid); None when the column is constant."""
    variance = n * s2 - s1 * s1  # n²·grid² times the variance
    if variance <= 0:
        return None
    target = Fraction(variance, (n * grid) ** 2)
    exponent = (target.numerator.bit_length() - target.denominator.bit_length()) // 2 - 1
    while Fraction(4) ** exponent < target:
        exponent += 1
    centre = Fraction(s1, n * grid) * 16 / Fraction(2) ** exponent
    return Scaling(grid, exponent, round_half_up(centre.numerator, centre.denominator))


@dataclass(frozen=True)
class _Read:
    """A column as decimals × 10^digits, and N, Σx and Σx² over the sites."""

    decimals: np.ndarray
    digits: int
    n: int
    s1: int
    s2: int

    @property
    def spread(self) -> int:
        """N² times the variance."""
        return self.n * self.s2 - self.s1 * self.s1


def _read(values: np.ndarray, name: str, total: SumOverSites) -> _Read:
    """Six decimals, and more where the column varies by little. What decides is summed over the sites."""
    for digits in (DIGITS, *MORE_DIGITS, *SMALL_DIGITS):
        decimals = to_decimals(values, digits, name)
        found = _Read(decimals, digits, *moments(decimals, total, name))
        least = ENOUGH_UNITS**2 if digits >= MORE_DIGITS[-1] else 10**10
        if found.n and found.spread >= least * found.n * found.n:
            break
        if digits >= MORE_DIGITS[-1] and found.s2 * 10**6 >= LARGEST_DECIMAL**2:  # no site could read three digits more
            break
        if found.spread == 0 and abs(found.s1) * 1000 >= found.n * LARGEST_DECIMAL:  # nor of one number
            break
    return found


def varies(values: np.ndarray, name: str, total: SumOverSites = pooled) -> bool:
    """Whether a column of finite float64 values is not the same for everybody, at the digits in which it would be read."""
    return _read(values, name, total).spread > 0


def fit_scaling(values: np.ndarray, name: str, total: SumOverSites = pooled) -> tuple[Scaling, np.ndarray]:
    """Scaling of a column of finite float64 values, and the column as decimals (int64).

    Six decimals are read; nine or twelve where the standard deviation would otherwise have fewer than five digits; up to
    thirty for columns of very small numbers. What decides is summed over the sites.
    Raises DesignError naming the column when it is constant, or varies by too little for float64 of its size.
    """
    read = _read(values, name, total)
    n, digits = read.n, read.digits
    scaling = scale_of(n, read.s1, read.s2, 10**digits) if n else None
    if scaling is None:
        raise DesignError(f"{name} is constant over the analysed samples: leave it out")
    if read.spread < (FEWEST_UNITS * n) ** 2:
        raise DesignError(
            f"{name} varies by less than {FEWEST_UNITS} units of 1e-{digits}, too little to be read exactly: subtract a "
            "constant, or multiply the column by a power of ten"
        )
    return scaling, read.decimals


def column_integers(scaling: Scaling, decimals: np.ndarray, bits: int) -> np.ndarray:
    """The integers an engine sums: 2^bits/5 per scale."""
    return scaling.integers(decimals, 1 << bits, 5)


def errors_of(integers: np.ndarray, precise: np.ndarray, bits: int) -> np.ndarray:
    """(N,) int64: how far a column's integers are from the column at 2^-30 of its scale, in units of 2^-30 of an integer."""
    # products may wrap, their difference does not
    out: np.ndarray = (integers * (5 << PRECISE_BITS) - precise * (1 << bits) + 2) // 5
    return out


def sum_gram(x: np.ndarray, total: SumOverSites, check: Callable[[Matrix, Matrix], None]) -> list[list[int]]:
    """xᵀx of int64 columns (N, A), summed over the sites and shown to a check of the guard."""
    own = exact_gram(x, x)
    opened = sum_matrix(own, total)
    check(own, opened)
    return opened


def sum_matrix(matrix: list[list[int]], total: SumOverSites) -> list[list[int]]:
    """Sum a matrix of integers over the sites."""
    width = len(matrix[0]) if matrix else 0
    flat = total([v for row in matrix for v in row])
    return [flat[i * width : (i + 1) * width] for i in range(len(matrix))]


def refuse_collinear(gram: list[list[int]], names: Sequence[str]) -> float:
    """Smallest eigenvalue of the correlation matrix of the covariates; the first row and column are the intercept.

    Raises DesignError naming the columns when the scaled condition number exceeds 1e8.
    """
    k = len(gram)
    if k == 1:
        return 1.0
    n = gram[0][0]
    centred = [[n * gram[i][j] - gram[0][i] * gram[0][j] for j in range(1, k)] for i in range(1, k)]
    for i in range(k - 1):
        if centred[i][i] <= 0:
            raise DesignError(
                f"covariate {names[i + 1]} is constant over the analysed samples: leave it out (--covar-name)"
            )
    root = [math.sqrt(centred[i][i]) for i in range(k - 1)]
    scaled = np.array([[centred[i][j] / (root[i] * root[j]) for j in range(k - 1)] for i in range(k - 1)])
    values, vectors = np.linalg.eigh(scaled)
    if values[0] <= values[-1] / MAXIMUM_CONDITION:
        guilty = [names[i + 1] for i in range(k - 1) if abs(vectors[i, 0]) > 0.05]
        raise DesignError(
            f"covariates {', '.join(guilty)} are collinear (scaled condition number "
            f"{'infinite' if values[0] <= 0 else format(values[-1] / values[0], '.1e')}, the limit is 1e8): "
            "leave one of them out"
        )
    return float(values[0])


def check_sum_bound(bound: int, what: str, *, verified: bool = False) -> None:
    """Raise PlanError unless every |sum| ≤ bound fits a signed 64-bit integer; verified: unless it is below 2^60, where
    two different integers differ modulo 2^61 − 1 (docs/explanation/verification.md)."""
    if bound >= (VERIFIED_SUM if verified else 1 << 63):
        most = ", and only sums below 2^60 can be verified" if verified else ""
        raise PlanError(
            f"{what} could reach 2^{bound.bit_length()}{most}: use fewer bits (`bits`) or fewer samples per run"
        )
