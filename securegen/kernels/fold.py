"""Keeping only the coefficients that hold sums: polynomials of n values in NTT form -> n/b values.

Write P(X) = Σ_m X^m P_m(X^b). The sums are the coefficients of P_(b−1). The b values of P at the roots ζ with one value
of ζ^b stand side by side in SEAL's order, and P_(b−1)(ζ^b) = (1/b) Σ P(ζ) ζ^(1−b): a weighted sum of neighbours, linear,
so that ciphertexts fold as their messages do.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit, types, uint64
from numba.extending import intrinsic

from securegen.kernels.emit import WORD, Emitter, vector_words
from securegen.kernels.ntt import forward, inverse, ntt_tables
from securegen.kernels.residue_mac import reduce_wide, wide_constants
from securegen.kernels.threads import over_range

LINE = 16  # residues
LINES = 4  # products of residues below 2^30 that a word takes 16 of, four a line in vectors of four words


@intrinsic
def weighted_lines(typing_context, values, step, weights, count):
    """(low, high): Σ values·weights = high·2^32 + low over `count` ≤ LINES lines of LINE residues, low and high below 2^36.

    Addresses of uint32; step: bytes from one line of values to the next; those of weights lie one after the other."""

    def generate(context, builder, signature, arguments):
        e = Emitter(builder, vector_words())
        b = e.b
        values, step, weights, count = arguments

        def body(state, _):
            total, x, w = state
            for offset in range(0, 4 * LINE, 8 * e.width):
                left, right = e.load(b.add(x, WORD(offset))), e.load(b.add(w, WORD(offset)))
                total = b.add(total, e.multiply(left, right))
                total = b.add(total, e.multiply(e.high(left), e.high(right)))
            return [total, b.add(x, step), b.add(w, WORD(4 * LINE))]

        total, *_ = e.loop(count, [e.constant(0), values, weights], 1, body)
        return context.make_tuple(b, signature.return_type, (e.total(e.low(total)), e.total(e.high(total))))

    return types.UniTuple(types.uint64, 2)(*[types.uint64] * 4), generate


@lru_cache(maxsize=8)
def fold_factors(n: int, pack: int, primes: tuple[int, ...]) -> np.ndarray:
    """(k, n) uint32: ζ^(1−b)/b modulo each prime, in SEAL's order."""
    out: np.ndarray = np.zeros((1, len(primes), n), np.uint64)
    for i, q in enumerate(primes):
        inverse_pack = pow(pack, -1, q)
        if pack == 1:
            out[0, i, 0] = inverse_pack
        else:  # X^(1−b) = −X^(n+1−b)
            out[0, i, n + 1 - pack] = q - inverse_pack
    forward(out, tuple(ntt_tables(n, q) for q in primes))
    factors: np.ndarray = out[0].astype(np.uint32)
    return factors


def fold_tiles(
    tiles: np.ndarray, pack: int, primes: tuple[int, ...], *, first: int = 0, n: int | None = None
) -> np.ndarray:
    """(k, T, R, Q, L) uint32 canonical residues -> (k, R, Q, T·L/b) uint32.

    n: coefficients of the polynomials where these are T of their tiles, from `first` on; first·L and T·L are multiples of b.
    """
    k, count, rows, columns, lanes = tiles.shape
    start, stop = first * lanes, (first + count) * lanes
    n = stop if n is None else n
    if start % pack or stop % pack or stop > n:
        raise ValueError(f"coefficients {start} to {stop} of {n} are not whole sums of {pack}")
    out = np.empty((k, rows, columns, count * lanes // pack), np.uint32)
    moduli = np.array(primes, np.uint64)
    if out.size:
        _fold_tiles(tiles, fold_factors(n, pack, primes)[:, start:stop], moduli, wide_constants(moduli), out)
    return out


@njit(cache=True, nogil=True)
def _fold_row(x, factors, q, constants, out):
    """out (n/b,) = weighted sums of b neighbours of x (n,); x and factors canonical."""
    pack = len(x) // len(out)
    r, r_quotient, one_quotient = constants
    m, s = uint64(0xFFFFFFFF), uint64(32)
    for u in range(len(out)):
        low, high = uint64(0), uint64(0)
        values, weights = x[u * pack : (u + 1) * pack], factors[u * pack : (u + 1) * pack]
        for v in range(pack):
            product = uint64(values[v]) * uint64(weights[v])
            low += product & m
            high += product >> s
        out[u] = reduce_wide(high + (low >> s), low & m, q, r, r_quotient, one_quotient)


@njit(cache=True, nogil=True)
def _fold_tiles(tiles, factors, primes, constants, out):
    """In the order of memory: as many neighbouring tiles as hold a sum, for every row and column."""
    k, count, rows, columns, lanes = tiles.shape
    pack = count * lanes // out.shape[3]
    span, inside = max(1, pack // lanes), max(1, lanes // pack)
    width, step = min(pack, lanes), uint64(tiles.strides[1])
    m, s = uint64(0xFFFFFFFF), uint64(32)
    for p in range(k):
        q, (r, r_quotient, one_quotient) = primes[p], constants[p]
        for first in range(0, count, span):
            for i in range(rows):
                for j in range(columns):
                    if lanes == LINE and pack >= LINE and tiles.strides[4] == 4:
                        low, high = uint64(0), uint64(0)
                        for t in range(first, first + span, LINES):
                            x = uint64(tiles[p, t, i, j].ctypes.data)
                            w = uint64(factors[p, t * lanes :].ctypes.data)
                            a, b = weighted_lines(x, step, w, uint64(min(LINES, first + span - t)))
                            low, high = low + a, high + b
                        x = reduce_wide(high + (low >> s), low & m, q, r, r_quotient, one_quotient)
                        out[p, i, j, first // span] = x
                        continue
                    for part in range(inside):
                        low, high = uint64(0), uint64(0)
                        for t in range(first, first + span):
                            values = tiles[p, t, i, j, part * width : (part + 1) * width]
                            weights = factors[p, t * lanes + part * width : t * lanes + (part + 1) * width]
                            for l in range(width):
                                product = uint64(values[l]) * uint64(weights[l])
                                low += product & m
                                high += product >> s
                        x = reduce_wide(high + (low >> s), low & m, q, r, r_quotient, one_quotient)
                        out[p, i, j, first // span * inside + part] = x


@njit(cache=True, nogil=True)
def copy_in_order(tiles, out):
    """out (R, Q, T·L) = tiles (T, R, Q, L): lanes of neighbouring tiles one after the other."""
    count, rows, columns, lanes = tiles.shape
    for t in range(count):
        for i in range(rows):
            for j in range(columns):
                for l in range(lanes):
                    out[i, j, t * lanes + l] = tiles[t, i, j, l]


def open_products(
    sums: np.ndarray,
    right: np.ndarray,
    left: np.ndarray,
    both: np.ndarray,
    strand_keys: np.ndarray,
    column_keys: np.ndarray,
    pack: int,
    primes: tuple[int, ...],
) -> np.ndarray:
    """The key holder's half of a product of strands and columns: fold(b_g b_c + b_g a_c s' + a_g b_c s + a_g a_c s s').

    sums: (k, S, J, n/b) uint32, b_g b_c folded; right: (k, S, A_c, n), b_g a_c; left: (k, A_g, J, n), a_g b_c; both:
    (k, A_g, A_c, n), a_g a_c; where A_g is S, or 1 if the strands share a_g, and A_c likewise for the columns.
    strand_keys: (S, k, n) uint64; column_keys: (J', k, n): columns from J' on are public, without an `a`. Returns
    coefficients, (S, J, k, n/b) uint64.
    """
    k, strands, columns, width = sums.shape
    n = width * pack
    hidden = len(column_keys)
    if right.shape != (k, strands, right.shape[2], n) or left.shape != (k, left.shape[1], columns, n):
        raise ValueError(f"products of shape {left.shape} and {right.shape} do not fit sums of {sums.shape}")
    if both.shape != (k, left.shape[1], right.shape[2], n) or hidden > columns or len(strand_keys) != strands:
        raise ValueError(f"products of shape {both.shape} do not fit sums of {sums.shape}")
    if left.shape[1] not in (1, strands) or (hidden and right.shape[2] not in (1, hidden)):
        raise ValueError("public halves are one, or one for each")
    out = np.empty((strands * columns, k, width), np.uint64)
    moduli = np.array(primes, np.uint64)
    arguments = (
        sums, right, left, both, strand_keys, column_keys, fold_factors(n, pack, primes), moduli,
        wide_constants(moduli), out,
    )  # fmt: skip
    over_range(strands, lambda first, last: _open(*arguments, first, last))
    inverse(out, tuple(ntt_tables(width, q, pack) for q in primes))
    return out.reshape(strands, columns, k, width)


@njit(cache=True, nogil=True)
def _open(sums, right, left, both, strand_keys, column_keys, factors, primes, constants, out, first, last):
    k, _, columns, width = sums.shape
    n, hidden = right.shape[3], len(column_keys)
    s, m = uint64(32), uint64(0xFFFFFFFF)
    row, total = np.empty(n, np.uint32), np.empty(width, np.uint64)
    for strand in range(first, last):
        own = strand if left.shape[1] > 1 else 0
        for p in range(k):
            q, key = primes[p], strand_keys[strand, p]
            r, r_quotient, one_quotient = constants[p]
            for j in range(columns):
                line = left[p, own, j]
                for i in range(n):
                    x = uint64(line[i]) * key[i]
                    row[i] = reduce_wide(x >> s, x & m, q, r, r_quotient, one_quotient)
                if j < hidden:
                    a = j if right.shape[2] > 1 else 0
                    beside, corner, column_key = right[p, strand, a], both[p, own, a], column_keys[j, p]
                    for i in range(n):
                        x = uint64(corner[i]) * key[i] + uint64(beside[i])
                        y = reduce_wide(x >> s, x & m, q, r, r_quotient, one_quotient) * column_key[i] + uint64(row[i])
                        row[i] = reduce_wide(y >> s, y & m, q, r, r_quotient, one_quotient)
                _fold_row(row, factors[p], q, constants[p], total)
                for u in range(width):
                    x = total[u] + uint64(sums[p, strand, j, u])
                    out[strand * columns + j, p, u] = x - q if x >= q else x
