"""The leverage of people in all columns of their lifetime, of hundreds of thousands of people, in blocks of rows.

The span of the columns that were there is taken first, and what new columns add to it second, so that both leverages of a
person come from one factorisation. Householder QR of blocks of rows, and of the triangles of these (TSQR; Demmel, Grigori,
Hoemmen, Langou 2012, doi:10.1137/080731992), then triangular solves. Where columns are so nearly dependent that these lose
their orthogonality, which is measured, or that their rank is not clear, `openings.leverages` of the whole matrix decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from securegen.governance.openings import RANK, leverages
from securegen.model import FloatArray

Part = tuple[np.ndarray, np.ndarray]  # rows of people (n,), ascending, and integers (n, J)
_ENTRIES = 1 << 13  # of a block: few, since threads of the linear algebra cost more than they give on a thin matrix
_ORTHOGONAL = 1e-6
_NEAR = 1e3


def raised_leverage(before: Sequence[Part], fresh: Part, people: int) -> float:
    """The largest leverage, in the columns of all parts without an intercept, of a person whose leverage `fresh` raises; 0
    where there is none. people: how many rows there are."""
    from scipy.linalg import qr, solve_triangular  # slow to import

    parts, old = [*before, fresh], sum(values.shape[1] for _, values in before)
    width = old + fresh[1].shape[1]
    triangle: FloatArray = np.zeros((0, width))
    for block in _blocks(parts, width, people):
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, block]), mode="r"))
    norm = np.sqrt((triangle**2).sum(axis=0))
    triangle /= np.where(norm > 0, norm, 1)

    clear = True

    def basis(of: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(., r) an orthonormal basis of the span, and (columns, r) what makes it of the columns."""
        nonlocal clear
        q, r, order = qr(of, mode="economic", pivoting=True)
        pivots = np.abs(np.diag(r))
        rank, clear = (
            int((pivots > RANK).sum()),
            clear and not ((pivots > RANK / _NEAR) & (pivots < RANK * _NEAR)).any(),
        )
        made = np.zeros((of.shape[1], rank))
        made[order[:rank]] = solve_triangular(r[:rank, :rank], np.eye(rank))
        return q[:, :rank], made

    q, first = basis(triangle[:, :old])
    share = q.T @ triangle[:, old:]
    rest = triangle[:, old:] - q @ share
    again = q.T @ rest
    _, second = basis(rest - q @ again)
    known = first.shape[1]
    made = np.zeros((width, known + second.shape[1]))
    made[:old, :known], made[old:, known:] = first, second
    made[:old, known:] = -first @ ((share + again) @ second)
    made /= np.where(norm > 0, norm, 1)[:, None]
    most, gram = 0.0, np.zeros((made.shape[1],) * 2)
    for block in _blocks(parts, width, people):
        both = block @ made
        gram += both.T @ both
        new = np.einsum("ij,ij->i", both[:, known:], both[:, known:])
        raised = both[new > RANK]
        most = max(most, float(np.einsum("ij,ij->i", raised, raised).max(initial=0.0)))
    if clear and np.abs(gram - np.eye(len(gram))).max(initial=0.0) <= _ORTHOGONAL:
        return most
    whole = np.vstack(list(_blocks(parts, width, people)))
    now, then = leverages(whole, intercept=False), leverages(whole[:, :old], intercept=False)
    return float(now[now > then + RANK].max(initial=0.0))


def _blocks(parts: Sequence[Part], width: int, people: int) -> Iterator[FloatArray]:
    """Rows of the matrix of all parts."""
    step = max(_ENTRIES // max(width, 1), 4 * width)
    for start in range(0, people, step):
        end, at = min(start + step, people), 0
        out = np.zeros((end - start, width))
        for rows, values in parts:
            a, b = np.searchsorted(rows, (start, end))
            out[rows[a:b] - start, at : at + values.shape[1]] = values[a:b]
            at += values.shape[1]
        yield out


def part_of(rows: np.ndarray, values: np.ndarray) -> Part:
    """Columns in the order of places, once a place, in the narrowest integers that hold them."""
    places, at = np.unique(rows, return_inverse=True)
    if len(places) == len(rows):
        return places, narrow(values[np.argsort(rows)])
    out = np.zeros((len(places), values.shape[1]), np.int64)
    np.add.at(out, at, values)  # of a person who is there twice the sum: their genotypes are the same
    return places, narrow(out)


def narrow(values: np.ndarray) -> np.ndarray:
    """The same integers in the narrowest type of 1, 2, 4 or 8 bytes that holds them."""
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    width = next(w for w in (1, 2, 4, 8) if -(1 << 8 * w - 1) <= least and most < 1 << 8 * w - 1)
    return values.astype(f"<i{width}")
