"""The rules of the totals of a whole-genome model: pure functions on one site's own arrays, as those of `openings`.

Products of hundreds of columns are opened at once. What others added must be what people can give, whoever posts the inverse
of a total must not make one person's prediction as large as they want, and predictors and linear predictors are columns as any.
"""

from __future__ import annotations

import numpy as np

from securegen.governance.openings import FEWEST, column_fault
from securegen.model import FloatArray, IntArray

LARGEST_ENTRY = 1 << 61  # of a total that is looked at
OWN_LEVERAGE = 0.5  # the largest of a person in a block with its penalty
BLOCK_SHARE = (
    0.25  # variants of a block, over a site's people: beyond it the Gram matrix tells the people, whoever consents
)
LARGEST_ETA = 10.0  # of a linear predictor of a logistic model
_FLAT = 2.0**-46  # a column, of an eigenvalue that is 0 but for rounding


def positive_semidefinite_to_rounding(scaled: FloatArray) -> bool:
    """Whether a symmetric matrix with |entries| ≤ 1 and a diagonal of 1 or 0, rounded from exact numbers, has no negative
    eigenvalue: False only where it certainly has one, True only where none is below −5(n + 8)²·2⁻⁵³.

    Cholesky's method with any order of sums ends where the least eigenvalue is above (n + 1)(n + 2)·2⁻⁵³ (Demmel 1989, Rump
    2006); rounding the entries, each in six operations at most, moves it by 6n·2⁻⁵³.
    """
    n = len(scaled)
    raised = scaled + np.eye(n) * (2 * (n + 8) ** 2 * 2.0**-53)
    try:
        np.linalg.cholesky(raised)
    except np.linalg.LinAlgError:
        return False
    return True


def others_fault(own: IntArray, opened: IntArray, people: int, largest: int | IntArray) -> str | None:
    """Of an opened Gram matrix: the others' part is not of as many people.

    own, opened: (n, n) int64, this site's and the total; people: the others'; largest: of a person's |number|, of all
    columns or (n,) of each. The part must be positive semidefinite to float64's rounding of its own diagonal.
    """
    part = _others(own, opened)
    if part is None:
        return "the others' part of a Gram matrix is not of people's numbers"
    most = [people * int(v) ** 2 for v in np.broadcast_to(largest, (len(part),))]
    if any(not 0 <= d <= m for d, m in zip(part.diagonal().tolist(), most, strict=True)):
        return "the others' part of a Gram matrix has squares that are not of their people"
    if not _positive(part.astype(np.float64), part.diagonal().astype(np.float64)):
        return "the others' part of a Gram matrix is not positive semidefinite"
    return None


def others_weighted_fault(
    own: IntArray, opened: IntArray, own_gram: IntArray, opened_gram: IntArray, unit: int
) -> str | None:
    """Of an opened Gram matrix Σ w x x' with weights w from 0 to unit/4: the others' part is not between 0 and unit/4 of
    their Gram matrix. All (n, n) int64; own_gram, opened_gram: Σ x x', which passed `others_fault`."""
    part, gram = _others(own, opened), _others(own_gram, opened_gram)
    if part is None or gram is None or part.shape != gram.shape:
        return "the others' part of a weighted Gram matrix is not of people's numbers"
    squares = gram.diagonal().tolist()
    if any(not 0 <= 4 * h <= unit * g for h, g in zip(part.diagonal().tolist(), squares, strict=True)):
        return "the others' part of a weighted Gram matrix has squares that are not of their people"
    low, size = part.astype(np.float64) * (4.0 / unit), gram.diagonal().astype(np.float64)
    if not _positive(low, low.diagonal()) or not _positive(gram.astype(np.float64) - low, size):
        return "the others' part of a weighted Gram matrix is not between 0 and a quarter of their Gram matrix"
    return None


def _others(own: IntArray, opened: IntArray) -> IntArray | None:
    """opened − own of symmetric int64 matrices; None for another dtype or shape, or values that are too large."""
    if own.ndim != 2 or own.shape != opened.shape or own.shape[0] != own.shape[1]:
        return None
    if own.dtype != np.int64 or opened.dtype != np.int64:
        return None
    for values in (own, opened):
        if values.size and not (-LARGEST_ENTRY < values.min() and values.max() < LARGEST_ENTRY):
            return None
    part: IntArray = opened - own
    return part if (part == part.T).all() else None


def _positive(matrix: FloatArray, size: FloatArray) -> bool:
    """Whether a symmetric matrix is positive semidefinite, entries rounded to float64 of size √(size_i size_j)."""
    some = size > 0
    if matrix[~some].any():
        return False
    scale = 1 / np.sqrt(size[some])
    scaled = matrix[np.ix_(some, some)] * scale[:, None] * scale
    if not (np.abs(scaled) <= 1 + 2.0**-49).all():  # Cauchy and Schwarz
        return False
    return positive_semidefinite_to_rounding(scaled)


def ridge_leverage_fault(leverage: FloatArray) -> str | None:
    """Of own people's leverages in a ridge regression, (n,) or (n, L) for L penalties: one is not from 0 to ½."""
    if leverage.size and not (leverage.min() >= 0 and leverage.max() <= OWN_LEVERAGE):  # not of NaN either
        return f"one person has leverage {leverage.max():.3f} in a ridge regression; 0 to {OWN_LEVERAGE} are allowed"
    return None


def span_leverages(gram: IntArray | FloatArray, columns: IntArray | FloatArray) -> FloatArray:
    """(n,) leverage of own people in the span of (n, A) columns, by their Gram matrix: the largest share of a person in any real
    combination of them. Of a direction in which the columns are 10⁻⁵ of their norms nothing is seen.

    Whole columns with float64 sums of exact products: `openings.leverages` sees finer, and takes ten times as long.
    """
    _, values, turned = _directions(gram, columns)
    out: FloatArray = (turned * turned / values).sum(axis=1)
    return out


def span_fault(leverage: FloatArray, limit: float) -> str | None:
    """Of own people's leverages in the span of columns, (n,): one is above the limit."""
    if leverage.size and not leverage.max() <= limit:  # not of NaN either
        return f"one person has leverage {leverage.max():.3f} in the span of these columns; at most {limit} is allowed"
    return None


def _directions(
    gram: IntArray | FloatArray, columns: IntArray | FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(A, D) to eigenvectors of the Gram matrix at one scale, (D,) eigenvalues that are not 0, and people turned (n, D)."""
    size = np.sqrt(gram.diagonal().astype(np.float64))
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1), 0.0)
    values, vectors = np.linalg.eigh(gram.astype(np.float64) * scale[:, None] * scale)
    some = values > _FLAT * max(len(values), 1)
    turn = scale[:, None] * vectors[:, some]
    return turn, values[some], columns.astype(np.float64) @ turn


def withheld_for_leverage(gram: IntArray, columns: IntArray, beside: int, limit: float) -> np.ndarray:
    """(B,) bool: variants to leave out, so that no person's leverage in the span of the others and the first `beside` columns
    is above the limit. A real combination that is 0 but for m people has one of leverage 1/m.

    columns: (n, beside + B) of own people, gram: of them. Nothing is left out for people whom the first columns alone single
    out: the rule of columns ends the study for those.
    """
    out = np.zeros(len(gram) - beside, bool)
    first = np.arange(beside)
    alone = span_leverages(gram[np.ix_(first, first)], columns[:, :beside]) > limit
    while not out.all():
        index = np.concatenate([first, beside + np.flatnonzero(~out)])
        turn, values, turned = _directions(gram[np.ix_(index, index)], columns[:, index])
        leverage = np.where(alone, 0.0, (turned * turned / values).sum(axis=1))
        if not leverage.max(initial=0.0) > limit:
            break
        # without column j of a Gram matrix with inverse P a person loses (P x)_j² / P_jj
        with_own = turn @ (turned[leverage.argmax()] / values)
        inverse = (turn * turn / values).sum(axis=1)
        loses = np.where(inverse > 0, with_own**2 / np.where(inverse > 0, inverse, 1), 0.0)[beside:]
        out[np.flatnonzero(~out)[loses.argmax()]] = True
    return out


def block_fault(block: int, people: int) -> str | None:
    """Of variants whose products are summed over `people` own people: so many that these products tell the people."""
    if block > BLOCK_SHARE * people:
        return (
            f"blocks of {block} variants are more than {BLOCK_SHARE:.0%} of {people} people, whom their products tell"
        )
    return None


def predictors_fault(w: IntArray, fewest: int = FEWEST) -> str | None:
    """Of predictors, (n, R) integers of own people: the first column that `column_fault` refuses, and why."""
    if not w.size:
        return None
    low, high = w.min(axis=0), w.max(axis=0)
    few_low, few_high = (w == low).sum(axis=0), (w == high).sum(axis=0)
    two = (low < high) & (few_low + few_high == len(w))
    suspect = two & (np.minimum(few_low, few_high) < fewest)
    # float64 with a margin: what is near the limit, or too large for it, is looked at exactly
    values = w.astype(np.float64)
    values *= values
    suspect |= values.max(axis=0) * (fewest * (1 + 1e-9)) > values.sum(axis=0)
    for j in np.flatnonzero(suspect).tolist():
        fault = column_fault(w[:, j].astype(object), fewest)
        if fault is not None:
            return f"predictor {j}: {fault}"
    return None


def losses_fault(values: IntArray, fewest: int) -> str | None:
    """Of own people's losses, (n, L) integers that are not negative: one person has more than 1/fewest of their sum, as no
    person may have of a column's squares."""
    most, total = values.max(axis=0, initial=0), values.sum(axis=0)
    for j in np.flatnonzero(most * float(fewest) > total).tolist():
        return f"loss {j}: one person holds {most[j] / total[j]:.0%} of it; at most 1/{fewest} is allowed"
    return None


def eta_fault(eta: FloatArray) -> str | None:
    """Of own people's linear predictors at a step of a logistic model, any shape: one is beyond ±10 or not a number."""
    if eta.size and not np.abs(eta).max() <= LARGEST_ETA:
        return (
            f"one person's linear predictor is {np.abs(eta).max():.1f}; at most {LARGEST_ETA:.0f} either way is allowed"
        )
    return None
