"""Short vectors among the integer combinations of columns, from the columns' Gram matrix alone.

Columns are taken one after another into a basis that stays LLL-reduced (Lenstra, Lenstra, Lovász 1982; dependent columns as
Pohst 1987). The basis is kept twice: as exact integer coefficients of the columns, and as float64 coordinates that are turned
by rotations, so that rounding does not grow. After each column an enumeration (Fincke, Pohst 1985) looks at every vector that
could be short. Norms on which something is decided are exact, and at the end the coordinates are held against the exact
products of the basis. One thread, one order: the same input gives the same answer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TAKEN, SHORT, UNDECIDED = 0, 1, 2  # what became of a column
LOVASZ = 0.99
LARGEST = 1 << 31  # of a coefficient
SLACK = 1e-6  # of a squared float64 length, relative
DRIFT = 1e-9  # of a product of two vectors of the basis, relative to their norms


def take_columns(gram: np.ndarray, least: int, *, swaps: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that are taken, in order, each as long as no combination with those before has a squared norm from 1 to
    least − 1.

    gram: (B, B) int64, products of the columns; swaps, nodes: the most that a column's reduction and enumeration may take;
    after that the column is UNDECIDED and not taken. Returns (B,) int8 of TAKEN, SHORT and UNDECIDED, and (B, B) int64 of
    the combinations found, a row for each column that is SHORT.

    >>> x = np.array([[1, 0, 1], [1, 1, 1], [1, 2, 2], [1, 1, 1], [1, 0, 0]])
    >>> state, found = take_columns(x.T @ x, 3, swaps=100, nodes=100)
    >>> state.tolist(), found[2].tolist()
    ([0, 0, 1], [0, -1, 1])
    """
    size = len(gram)
    state, found = np.full(size, UNDECIDED, np.int8), np.zeros((size, size), np.int64)
    _take(np.ascontiguousarray(gram), least, swaps, nodes, state, found)
    return state, found


@njit(cache=True, nogil=True)
def _norm(gram, c, size):
    """Exact squared norm of a combination. Sums wrap modulo 2^64, the norm itself is smaller."""
    total = np.int64(0)
    for i in range(size):
        if c[i] != 0:
            part = np.int64(0)
            for j in range(size):
                part += gram[i, j] * c[j]
            total += c[i] * part
    return total


@njit(cache=True, nogil=True)
def _reduce_row(l, u, k, start, stop, size):
    """Take multiples of rows start, start − 1, …, stop from row k. False where a coefficient passes LARGEST."""
    for j in range(start, stop - 1, -1):
        q = np.rint(l[k, j] / l[j, j])
        if q != 0.0:
            if not abs(q) < LARGEST:
                return False
            for i in range(j + 1):
                l[k, i] -= q * l[j, i]
            whole = np.int64(q)
            for i in range(size):
                c = u[k, i] - whole * u[j, i]
                u[k, i] = c
                if abs(c) > LARGEST:
                    return False
    return True


@njit(cache=True, nogil=True)
def _turn(l, row, col, rows):
    """Rotate columns col and col + 1 so that row `row` has 0 in the second."""
    a, b = l[row, col], l[row, col + 1]
    h = np.hypot(a, b)
    if h == 0.0:
        return
    c, s = a / h, b / h
    for i in range(row, rows):
        x, y = l[i, col], l[i, col + 1]
        l[i, col] = c * x + s * y
        l[i, col + 1] = c * y - s * x
    l[row, col] = h
    l[row, col + 1] = 0.0


@njit(cache=True, nogil=True)
def _remove(l, u, k, rows, size):
    """Take out row k, a zero vector."""
    for i in range(k, rows - 1):
        for j in range(i + 2):
            l[i, j] = l[i + 1, j]
        for j in range(size):
            u[i, j] = u[i + 1, j]
    for i in range(k, rows - 1):
        _turn(l, i, i, rows - 1)


@njit(cache=True, nogil=True)
def _swap(l, u, k, rows, size):
    for j in range(k + 1):
        l[k, j], l[k - 1, j] = l[k - 1, j], l[k, j]
    for j in range(size):
        u[k, j], u[k - 1, j] = u[k - 1, j], u[k, j]
    _turn(l, k - 1, k - 1, rows)


@njit(cache=True, nogil=True)
def _enumerate(gram, l, u, rows, size, least, nodes, x, center, rho, out):
    """Whether a vector of the basis has a squared norm below `least`: a state; out: the first found."""
    limit = least * (1 + SLACK)
    count = 0
    for top in range(rows):
        if l[top, top] * l[top, top] >= limit:
            continue
        k = top
        x[top], center[top], rho[top] = 1, 0.0, 0.0
        while k <= top:
            count += 1
            if count > nodes:
                return UNDECIDED
            d = (x[k] + center[k]) * l[k, k]
            value = rho[k] + d * d
            if value < limit:
                if k > 0:
                    k -= 1
                    rho[k] = value
                    total = 0.0
                    for i in range(k + 1, top + 1):
                        if x[i] != 0:
                            total += x[i] * l[i, k]
                    center[k] = total / l[k, k]
                    x[k] = np.int64(np.rint(-center[k]))
                    continue
                for j in range(size):
                    out[j] = 0
                for i in range(top + 1):
                    if x[i] != 0:
                        for j in range(size):
                            out[j] += x[i] * u[i, j]
                norm = _norm(gram, out, size)
                if 0 < norm < least:
                    return SHORT
            else:
                k += 1
                if k > top:
                    break
            if k == top:
                x[k] += 1
            else:  # the next integer by distance from −center
                nearest = np.int64(np.rint(-center[k]))
                away = x[k] - nearest
                right = -center[k] >= nearest
                if away == 0:
                    x[k] = nearest + (1 if right else -1)
                elif (away > 0) == right:
                    x[k] = nearest - away
                else:
                    x[k] = nearest - away + (1 if right else -1)
    return TAKEN


@njit(cache=True, nogil=True)
def _insert(gram, l, u, rows, v, least, swaps, out):
    """(state, rows): reduce the basis with column v, which is its last row."""
    size = v + 1
    k, count = rows - 1, 0
    while k < rows:
        if k > 0:
            if not _reduce_row(l, u, k, k - 1, k - 1, size):
                return UNDECIDED, rows
            before = l[k - 1, k - 1] * l[k - 1, k - 1]
            if l[k, k] * l[k, k] + l[k, k - 1] * l[k, k - 1] < LOVASZ * before:
                count += 1
                if count > swaps:
                    return UNDECIDED, rows
                _swap(l, u, k, rows, size)
                k -= 1
                continue
            if not _reduce_row(l, u, k, k - 2, 0, size):
                return UNDECIDED, rows
        norm = 0.0
        for j in range(k + 1):
            norm += l[k, j] * l[k, j]
        if norm < least * (1 + SLACK) + 1:
            exact = _norm(gram, u[k], size)
            if 0 < exact < least:
                for j in range(size):
                    out[j] = u[k, j]
                return SHORT, rows
            if exact == 0:  # the vector of a dependent column, which has moved down here
                _remove(l, u, k, rows, size)
                rows -= 1
                continue
        k += 1
    return TAKEN, rows


@njit(cache=True, nogil=True)
def _take(gram, least, swaps, nodes, state, found):
    size = len(gram)
    l, u = np.zeros((size + 1, size + 2)), np.zeros((size + 1, size), np.int64)
    kept_l, kept_u = np.zeros((size + 1, size + 2)), np.zeros((size + 1, size), np.int64)
    x, center, rho = np.zeros(size + 1, np.int64), np.zeros(size + 1), np.zeros(size + 1)
    rows = 0
    for v in range(size):
        for i in range(rows):
            for j in range(i + 1):
                kept_l[i, j] = l[i, j]
            for j in range(v):
                kept_u[i, j] = u[i, j]
        before = rows
        for j in range(size):
            u[rows, j] = 0
        u[rows, v] = 1
        left = float(gram[v, v])
        for i in range(rows):
            exact = np.int64(0)
            for j in range(v):
                exact += u[i, j] * gram[j, v]
            part = float(exact)
            for j in range(i):
                part -= l[i, j] * l[rows, j]
            l[rows, i] = part / l[i, i]
            left -= l[rows, i] * l[rows, i]
            l[i, rows] = 0.0
            u[i, v] = 0
        l[rows, rows] = np.sqrt(max(left, 0.0))
        rows += 1
        out = found[v]
        what, rows = _insert(gram, l, u, rows, v, least, swaps, out)
        if what == TAKEN:
            what = _enumerate(gram, l, u, rows, v + 1, least, nodes, x, center, rho, out)
        state[v] = what
        if what != TAKEN:
            if what != SHORT:
                for j in range(size):
                    out[j] = 0
            rows = before
            for i in range(rows):
                for j in range(size + 2):
                    l[i, j] = kept_l[i, j] if j <= i else 0.0
                for j in range(size):
                    u[i, j] = kept_u[i, j] if j < v else 0
    if not _exact(gram, l, u, rows):
        for v in range(size):
            state[v] = UNDECIDED


@njit(cache=True, nogil=True)
def _exact(gram, l, u, rows):
    """Whether the coordinates have the products of the basis."""
    size = len(gram)
    part, norms = np.zeros(size, np.int64), np.zeros(rows)
    for i in range(rows):
        for j in range(size):
            part[j] = 0
        for j in range(size):
            if u[i, j] != 0:
                for t in range(size):
                    part[t] += u[i, j] * gram[j, t]
        norm = np.int64(0)
        for t in range(size):
            norm += u[i, t] * part[t]
        norms[i] = np.sqrt(float(norm))
        for k in range(i + 1):
            exact, product = np.int64(0), 0.0
            for t in range(size):
                exact += u[k, t] * part[t]
            for t in range(k + 1):
                product += l[i, t] * l[k, t]
            if not abs(product - exact) <= DRIFT * norms[i] * norms[k]:
                return False
    return True
