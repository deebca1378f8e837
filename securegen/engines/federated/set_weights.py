"""Products of two rows of a set weighed by a null model: what a site sends of them, and which rows it withholds for them.

Σ w g g′ is the weights of who carries both rows, and of rare rows that is one person: her w, thus her covariates. So the weights
of few of a site's people with the same copies of both are the average of everybody analysed, which tells how many they are.
What is left must not be of few people beside Σw, Σwg, Σwg², Σwg′ and Σwg′² either (of a row nearly inside the other, who is not),
nor integer combinations of all products of a set.

Who learns what: nobody, until products are summed over the sites (`set_totals`).
"""

from __future__ import annotations

import numpy as np

from securegen.governance import set_rules
from securegen.governance.openings import FEWEST, too_few
from securegen.kernels.carrier_sums import Carriers, carriers_of, set_products
from securegen.model import IntArray

COPIES = 3
_BESIDE = np.array([[1, a, a * a, b, b * b] for a in range(COPIES) for b in range(COPIES)], np.float64)
_BOTH = np.array([a * b for a in range(COPIES) for b in range(COPIES)], np.float64)
_ROUNDING = 1e-10


def weighed_products(
    g: Carriers, weight: IntArray, people: np.ndarray, average: int, grid: int, fewest: int = FEWEST
) -> IntArray:
    """(k, k) int64 Σ w g g′ over own people, those of two rows with few people's weights averaged.

    g: k rows in steps of 1/grid copies, fractions as the nearest of 1 and 2; weight: (N,) int64, 0 for who is not analysed;
    people: (N,) bool, who is; average: of everybody's weights.
    """
    size = len(g.ends) - 1
    row = np.repeat(np.arange(size), np.diff(g.ends))
    part = 2 * row + np.clip((g.values + grid // 2) // grid, 1, 2) - 1
    order = np.argsort(part, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=2 * size))]).astype(np.int64)
    split = Carriers(g.people[order], g.values[order], ends)
    none, nothing, each = carriers_of(None, 2 * size), np.zeros((len(weight), 0), np.int64), people.astype(np.int64)
    weighed, plain = (set_products(split, none, w, nothing).gg for w in (weight, each))
    count = set_products(split._replace(values=np.ones_like(split.values)), none, each, nothing).gg
    few = too_few(count, fewest)
    same = np.repeat(np.arange(size), 2)
    few &= same[:, None] != same  # a row's own genotypes are a rule of rows
    parts: IntArray = np.where(few, average * plain, weighed).reshape(size, 2, size, 2)
    out: IntArray = parts.sum(axis=(1, 3))
    return out


def singled_out(cells: IntArray, fewest: int = FEWEST) -> np.ndarray:
    """(P,) bool: pairs of rows of which the weighed product, beside what else is opened of both, is of few people. cells:
    (P, 3, 3) own people by copies of one and the other.

    Of the product, the part counts that is not a combination of the others, and of which one person has more than 1/fewest of
    the squares, as of any column.
    """
    people = cells.reshape(len(cells), COPIES**2).astype(np.float64)
    root = np.sqrt(people)
    product = root * np.where(people >= fewest, _BOTH, 0.0)
    u, s, _ = np.linalg.svd(root[:, :, None] * _BESIDE, full_matrices=False)
    u = u * (s > _ROUNDING * s[:, :1])[:, None, :]
    left = product - (u @ (u.transpose(0, 2, 1) @ product[:, :, None]))[:, :, 0]
    squares = left * left
    total = squares.sum(axis=1)
    most = (squares / np.maximum(people, 1)).max(axis=1)
    some = total > _ROUNDING * (1 + (product * product).sum(axis=1))
    out: np.ndarray = some & (most * fewest > total * (1 + _ROUNDING))
    return out


def withheld_products(codes: np.ndarray, fewest: int = FEWEST) -> np.ndarray:
    """(k,) bool: rows of a set to leave out, so that no product of two of the others singles few people out. codes: (k, n) copies
    of own people, to the nearest; rows are taken in their order."""
    size = len(codes)
    which = (codes[:, None, :] == np.arange(COPIES)[None, :, None]).astype(np.float64).reshape(COPIES * size, -1)
    cells = np.rint(which @ which.T).astype(np.int64).reshape(size, COPIES, size, COPIES).transpose(0, 2, 1, 3)
    bad = np.zeros((size, size), bool)
    first, second = np.triu_indices(size, 1)
    bad[second, first] = singled_out(cells[first, second], fewest)
    out = np.zeros(size, bool)
    for row in range(size):
        out[row] = bool((bad[row, :row] & ~out[:row]).any())
    return _alike(codes.astype(np.int64), cells, out, fewest)


def _alike(codes: IntArray, cells: IntArray, out: np.ndarray, fewest: int) -> np.ndarray:
    """Rows that are out, and those of which products, as they are opened, single few out beside products of other rows: of the
    carriers of one row few may tell two others apart."""
    taken = np.flatnonzero(~out)
    columns, later = [codes[taken]], taken.tolist()
    for j in taken.tolist():
        if codes[j].max(initial=0) > 1:
            columns.append(codes[j : j + 1] ** 2)
            later.append(j)
        for i in taken[taken < j].tolist():
            shown = cells[i, j] >= fewest
            if shown[1:, 1:].any():
                columns.append((codes[i] * codes[j] * shown[codes[i], codes[j]])[None])
                later.append(j)
    rows = np.concatenate(columns)
    withheld = set_rules.withheld_combinations(rows, fewest)
    out = out.copy()
    out[np.array(later, np.int64)[withheld]] = True
    return out
