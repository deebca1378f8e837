"""The rules of what several parties may open of one party's people: pure functions on its own arrays, no files.

A sum hides sites, not people: an exact sum in which one person stands alone, or two sums that differ by one person, is
that person. So each site checks its own columns, sets and rows before it posts, and what was opened against what it
posted itself. A function returns what is wrong, for this site's log alone, or None. Each rule is
explained in docs/explanation/openings.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from securegen.model import IntArray

STRICT, CONSORTIUM, ALL = LEVELS = ("strict", "consortium", "all")
WITHHOLD, ROUND = FEW_MISSING = ("withhold", "round")  # a variant whose call few people of a site lack
FEWEST = 10  # people: k of the rules
LEVERAGE, CONSENTED = 0.25, 0.5  # the largest that a person may have in the span of what was opened; with consent
WINDOW = 500  # variants before a row in which it is compared
LARGEST_SUM = 1 << 22  # people of all sites together
SITE_SHARE, POOLED_SHARE = 0.16, 0.10  # columns that a person's genotypes may be summed with, over people
STRUCTURE_SHARE = 0.05  # of the pooled people: columns of components, or of a whole-genome model
OF_SETS = "rows of sets, "  # begins in the ledger what rows that several variants make are for
OF_FEWEST = "fewest people, "  # the same, of how many people are few in a study
RANK = 1e-11  # smallest part of a column outside the span of others that is not float64's rounding


def what_can_be_read(level: str, few_missing: str = WITHHOLD) -> list[str]:
    """What whoever sees the opened sums can read of single people, in words, for terms and receipts."""
    read = []
    if few_missing == ROUND and level != ALL:
        read.append(
            "NOT HELD APART: the few people who lack a call; covariates of few values, such as sex, and whole years of age "
            "can be read from the sums in which theirs is filled"
        )
    if level == CONSORTIUM:
        read.append(
            "NOT HELD APART: variants that few people tell apart; their difference is those people's covariates and "
            "phenotype, at every such pair (many in sequence data, few on an array); and carriers of a variant among the people "
            "by whom two sets of samples differ"
        )
    if level == ALL:
        return [
            "NO RULE HOLDS: single people's genotypes, covariates and phenotypes can be read from these sums; for rehearsals "
            "on one owner's data"
        ]
    return read


def column_fault(x: np.ndarray, fewest: int = FEWEST) -> str | None:
    """Of one column over the site's analysed people, (n,) integers or float64: a group of two that is too small, or a
    person whose square is more than 1/fewest of the sum of squares."""
    if not len(x):
        return None
    other = x != x[0]
    count = int(other.sum())
    if count and (x[other] == x[other][0]).all():
        smaller = min(count, len(x) - count)
        if smaller < fewest:
            return f"{smaller} of {len(x)} people form one of its two groups; at least {fewest} are needed"
    squares = x.astype(object) ** 2 if x.dtype.kind in "iuO" else x.astype(np.float64) ** 2
    total, most = squares.sum(), squares.max()
    if most * fewest > total:
        return f"one person holds {float(Fraction(most) / Fraction(total)):.0%} of its squares; at most 1/{fewest} is allowed"
    return None


def weight_fault(w: np.ndarray, fewest: int) -> str | None:
    """Of weights, (n,) float64 ≥ 0: an effective number of people (Σw)²/Σw² below 2·fewest."""
    total, squares = float(w.sum()), float((w * w).sum())
    if len(w) and total * total < 2 * fewest * squares or not np.isfinite(total):
        return (
            f"they rest on {total * total / squares if squares else 0.0:.1f} people; at least {2 * fewest} are needed"
        )
    return None


def leverages(columns: np.ndarray, *, intercept: bool = True) -> np.ndarray:
    """(n,) leverage of each person in the span of (n, p) columns and the intercept: the largest share of a person's own
    genotypes in any combination of the columns. Differences down to one unit in 10^11 count."""
    out: np.ndarray = (span(columns, intercept=intercept) ** 2).sum(axis=1)
    return out


def span(columns: np.ndarray, *, intercept: bool = True) -> np.ndarray:
    """(n, r) an orthonormal basis of (n, p) columns and the intercept."""
    from scipy.linalg import qr  # slow to import

    x = np.column_stack([np.ones((len(columns), int(intercept))), columns.astype(np.float64)])
    if not x.size:
        return np.zeros((len(x), 0))
    norm = np.sqrt((x * x).sum(axis=0))
    q, r, _ = qr(x[:, norm > 0] / norm[norm > 0], mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > RANK).sum())
    out: np.ndarray = q[:, :rank]
    return out


def leverages_beside(basis: np.ndarray, columns: np.ndarray, noise: float) -> np.ndarray:
    """(n,) leverage in the span of an orthonormal basis, (n, r), and (n, p) columns whose sums carry noise of this standard
    deviation each, which counts as one more person's genotype."""
    norm = np.sqrt((columns * columns).sum(axis=0))
    x = columns[:, norm != 0] / norm[norm != 0]
    for _ in range(2):  # once more takes what rounding left
        x = x - basis @ (basis.T @ x)
    rounding = np.diag(np.maximum(noise / norm[norm != 0], RANK))
    q = np.linalg.qr(np.concatenate([x, rounding]))[0][: len(x)]
    out: np.ndarray = (basis**2).sum(axis=1) + (q**2).sum(axis=1)
    return out


def leverage_fault(columns: np.ndarray, limit: float) -> str | None:
    """Of (n, p) columns opened for the same people: somebody's leverage above the limit."""
    most = float(leverages(columns).max(initial=0.0))
    if most > limit:
        return (
            f"one person has leverage {most:.3f} in the span of {columns.shape[1]} columns; at most {limit} is allowed"
        )
    return None


def set_fault(a: np.ndarray, b: np.ndarray, fewest: int = FEWEST) -> str | None:
    """Of two sets of the same people, (n,) bool each: neither equal nor apart by `fewest` each way; complements too."""
    if (a == b).all():
        return None
    for count, what in ((a & ~b, "only in the first"), (b & ~a, "only in the second"), (a & b, "in both")):
        if 0 < int(count.sum()) < fewest:
            return f"fewer than {fewest} people are {what} of two sets of samples; there must be none, or at least {fewest}"
    return None


def sets_fault(sets: np.ndarray, fewest: int) -> str | None:
    """Of (n, s) bool sets of the same people, the last of which is new: a combination of them singles out few people.

    Inclusion and exclusion of three sets and more; the largest share of one person in any combination is a leverage.
    """
    rows, counts = _distinct(sets)  # people who are in the same sets have the same leverage
    weighted = np.sqrt(counts)[:, None] * rows
    new, old = leverages(weighted, intercept=False) / counts, leverages(weighted[:, :-1], intercept=False) / counts
    most = float(new[new > old + RANK].max(initial=0.0))
    if most * fewest > 1 + 1e-6:
        return f"a combination of {sets.shape[1]} sets of samples is fewer than {fewest} people; at least {fewest} are needed"
    return None


def _distinct(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (n, s) bool: a row of each kind there is, and how many people have it."""
    code = np.zeros(len(sets), np.int64)
    for column in sets.T:
        code = np.unique(2 * code + column, return_inverse=True)[1].ravel()
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    return sets[first], counts


def between_sets(new: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The people, (n,) bool, in one and not in both of two sets over which rows are summed, of a new one with each other new or
    known one. The difference of two totals of a row is a sum over these, so rows are looked at among them too."""
    out: dict[bytes, np.ndarray] = {}
    for i, a in enumerate(new):
        for b in (*new[:i], *known):
            apart = a != b
            if apart.any() and (a & b).any():
                out.setdefault(apart.tobytes(), apart)
    return list(out.values())


def close_sets(sets: Sequence[tuple[str, np.ndarray]]) -> list[tuple[str, str, int]]:
    """Pairs of named sets, (n,) bool each, that differ by 1 to FEWEST − 1 people one way or the other, and how many."""
    out = []
    for i, (first, a) in enumerate(sets):
        for second, b in sets[i + 1 :]:
            differ = [int((a & ~b).sum()), int((b & ~a).sum())]
            few = [d for d in differ if 0 < d < FEWEST]
            if few:
                out.append((first, second, sum(few)))
    return out


def too_few(count: IntArray, fewest: int) -> np.ndarray:
    """Where a count of people is from 1 to fewest − 1."""
    return (count > 0) & (count < fewest)


def rows_apart(counts: IntArray, fewest: int) -> np.ndarray:
    """(V,) bool: rows in which no few people stand alone. counts: (V, 4), people with 0, 1, 2 copies and without a call.

    The called people who differ from a row of all 0, all 1 or all 2 copies are none or `fewest`; where they are none,
    those without a call are too, since others' alleles fill their calls.
    """
    good = np.ones(len(counts), bool)
    for copies in range(3):
        differ = counts[:, :3].sum(axis=1) - counts[:, copies]
        good &= ~too_few(differ, fewest) & ~((differ == 0) & too_few(counts[:, 3], fewest))
    return good


def squares_apart(copies: np.ndarray, called: np.ndarray, fewest: int = FEWEST) -> np.ndarray:
    """(V,) bool: rows whose Σgx and Σg²x, of any column x, single no few people out. copies, called: (V, n).

    No called person has more than 1/fewest of the squares of a combination of 1, g and g²: of hard calls, no genotype is
    that of 1 to fewest − 1 people.
    """
    n = np.maximum(called.sum(axis=1), 1)[:, None]
    g = np.where(called, copies, 0.0)
    g = np.where(called, g - g.sum(axis=1, keepdims=True) / n, 0.0)
    gg = (g * g).sum(axis=1, keepdims=True)
    q = np.where(called, g * g - gg / n, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = q - np.where(gg > 0, (q * g).sum(axis=1, keepdims=True) / gg, 0.0) * g
        qq = (q * q).sum(axis=1, keepdims=True)
        share = (
            called / n + np.where(gg > 0, g * g / gg, 0.0) + np.where(qq > RANK * np.maximum(gg, 1), q * q / qq, 0.0)
        )
    out: np.ndarray = share.max(axis=1, initial=0) * fewest <= 1 + 1e-6
    return out


def positive_semidefinite(matrix: Sequence[Sequence[int | Fraction]]) -> bool:
    """Whether a symmetric matrix of exact numbers has no negative eigenvalue."""
    a = [[Fraction(v) for v in row] for row in matrix]
    while a:
        pivot = next((i for i, row in enumerate(a) if row[i] != 0), 0)
        top = a[pivot][pivot]
        if top < 0 or (top == 0 and any(v != 0 for row in a for v in row)):
            return False
        if top == 0:
            return True
        rest = [i for i in range(len(a)) if i != pivot]
        a = [[a[i][j] - a[i][pivot] * a[pivot][j] / top for j in rest] for i in rest]
    return True


def _minus(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def _raised(a: Sequence[Sequence[int | Fraction]], by: int) -> list[list[int | Fraction]]:
    return [[v + by * (i == j) for j, v in enumerate(row)] for i, row in enumerate(a)]


def moments_fault(own: Sequence[int], opened: Sequence[int]) -> str | None:
    """Of N, Σx and Σx² opened over the sites: what the others added is not what people can give."""
    n, s1, s2 = (t - o for t, o in zip(opened, own, strict=True))
    if not 0 <= opened[0] <= LARGEST_SUM or n < 0 or s2 < 0 or s1 * s1 > n * s2:
        return "the others' part of N, Σx, Σx² is not of people"
    return None


def gram_fault(own: Sequence[Sequence[int]], opened: Sequence[Sequence[int]]) -> str | None:
    """Of an opened Gram matrix: the others' part is not positive semidefinite."""
    if not positive_semidefinite(_minus(opened, own)):
        return "the others' part of a Gram matrix is not positive semidefinite"
    return None


def hessian_fault(
    own: Sequence[Sequence[int]], opened: Sequence[Sequence[int]], own_gram: Sequence[Sequence[int]],
    opened_gram: Sequence[Sequence[int]], slack: int, unit: int,
) -> str | None:  # fmt: skip
    """Of an opened Hessian Σ w c cᵀ with w ≤ ¼: the others' part is not between 0 and ¼ of their Gram matrix.

    unit: the Gram matrix's integers a Hessian's integer.
    """
    part, gram = _minus(opened, own), _minus(opened_gram, own_gram)
    above = [[Fraction(g, 4 * unit) - h for g, h in zip(p, q, strict=True)] for p, q in zip(gram, part, strict=True)]
    if not positive_semidefinite(_raised(part, slack)) or not positive_semidefinite(_raised(above, slack)):
        return "the others' part of a Hessian is not between 0 and a quarter of their Gram matrix"
    return None


def gradient_fault(
    own: Sequence[int], opened: Sequence[int], own_gram: Sequence[Sequence[int]],
    opened_gram: Sequence[Sequence[int]], slack: int, unit: int,
) -> str | None:  # fmt: skip
    """Of an opened gradient Σ (y − μ) c: the others' part is more than |c| of as many people can give."""
    people = opened_gram[0][0] - own_gram[0][0]  # Σ 1² in the Gram matrix's unit
    for k, (a, b) in enumerate(zip(own, opened, strict=True)):
        square = people * (opened_gram[k][k] - own_gram[k][k])
        if max(abs(b - a) - slack, 0) ** 2 * unit * unit > square:
            return "the others' part of a gradient is more than their people can give"
    return None
