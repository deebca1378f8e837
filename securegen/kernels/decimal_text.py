"""Numbers as text, exactly as `%.17g` writes them: what a table of a million rows spends its time on.

A float64 is m·2^e. Its first `digits` digits are m·2^e·10^k, rounded, for one k; with 10^k to 128 bits the product is known
to one part in 2^63 of its last digit. A number that lies so close to a half is left to the caller. (Compare Steele and
White 1990; Ryu printf, Adams 2019.)
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit, uint64

WIDTH = 25  # bytes of a number: -1.2345678901234567e-308
MOST_DIGITS = 17
_LEAST, _MOST = -345, 345  # exponents k that occur


def _powers() -> tuple[np.ndarray, np.ndarray]:
    """10^k = (P + less than one)·2^q: P in two words, (K, 2) uint64 with its highest bit set, and q, (K,) int64."""
    words, exponents = np.empty((_MOST - _LEAST + 1, 2), np.uint64), np.empty(_MOST - _LEAST + 1, np.int64)
    for i, k in enumerate(range(_LEAST, _MOST + 1)):
        if k >= 0:
            q = (10**k).bit_length() - 128
            p = 10**k >> q if q > 0 else 10**k << -q
        else:
            q = -127 - (10**-k).bit_length()
            p = (1 << -q) // 10**-k
            if p >> 128:
                p, q = p >> 1, q + 1
        words[i], exponents[i] = (p >> 64, p & ((1 << 64) - 1)), q
    return words, exponents


_WORDS, _EXPONENTS = _powers()
_TENS = np.array([10**i for i in range(MOST_DIGITS + 2)], np.uint64)


def float_text(values: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """(V,) float64 -> (V, WIDTH) uint8 text of `%.<digits>g`, NA for NaN, and (V,) int64 lengths. 1 <= digits <= 17."""
    if not 1 <= digits <= MOST_DIGITS or values.dtype != np.float64:
        raise ValueError(f"{values.dtype} with {digits} digits: float64 with 1 to {MOST_DIGITS} are written")
    text, length = np.zeros((len(values), WIDTH), np.uint8), np.zeros(len(values), np.int64)
    bits = np.ascontiguousarray(values).view(np.uint64)
    _floats(bits, digits, _WORDS, _EXPONENTS, _TENS, text, length)
    for i in np.flatnonzero(length == 0).tolist():  # next to a half
        put_text(text, length, i, f"%.{digits}g" % values[i])
    return text, length


def integer_text(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V,) int64 -> (V, WIDTH) uint8 text and (V,) int64 lengths."""
    text, length = np.zeros((len(values), WIDTH), np.uint8), np.zeros(len(values), np.int64)
    _integers(np.ascontiguousarray(values, np.int64), text, length)
    return text, length


def put_text(text: np.ndarray, length: np.ndarray, row: int, written: str) -> None:
    """Replace the text of one row."""
    raw = written.encode()
    text[row, : len(raw)] = np.frombuffer(raw, np.uint8)
    length[row] = len(raw)


def join_rows(cells: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Lines of a table: cells (B,) uint8 holds the text of all columns, column c of row i from starts[c, i] on, lengths[c, i]
    bytes. Tabs between columns, a newline after each row. starts, lengths: (C, V) int64."""
    out = np.empty(int(lengths.sum()) + lengths.size, np.uint8)
    _join(cells, starts, lengths, out)
    return out


@njit(inline="always")
def _product(a, b):
    """a·b of two words as high and low word."""
    mask = uint64(0xFFFFFFFF)
    a1, a0, b1, b0 = a >> uint64(32), a & mask, b >> uint64(32), b & mask
    low = a0 * b0
    first = a1 * b0 + (low >> uint64(32))
    second = a0 * b1 + (first & mask)
    return a1 * b1 + (first >> uint64(32)) + (second >> uint64(32)), (second << uint64(32)) | (low & mask)


@njit(inline="always")
def _scaled(m, e, k, words, exponents):
    """Whole part and first 64 bits of the fraction of m·2^e·10^k, m with its highest bit set; (0, 0) below one."""
    high, low = words[k - _LEAST, 0], words[k - _LEAST, 1]
    top, middle = _product(m, high)
    carry, _ = _product(m, low)
    sum_ = middle + carry
    if sum_ < middle:
        top += uint64(1)
    shift = -(e + exponents[k - _LEAST]) - 128
    if shift >= 64:
        return uint64(0), uint64(0)
    s = uint64(shift)
    return top >> s, (top << (uint64(64) - s)) | (sum_ >> s)


@njit(cache=True, nogil=True)
def _floats(bits, digits, words, exponents, tens, text, length):
    for i in range(len(bits)):
        b = bits[i]
        at = 0
        exponent = int64((b >> uint64(52)) & uint64(0x7FF))
        m = b & uint64(0xFFFFFFFFFFFFF)
        if exponent == 0x7FF and m:
            text[i, 0], text[i, 1], length[i] = 78, 65, 2  # NA
            continue
        if b >> uint64(63):
            text[i, 0] = 45
            at = 1
        if exponent == 0x7FF:
            text[i, at], text[i, at + 1], text[i, at + 2], length[i] = 105, 110, 102, at + 3  # inf
            continue
        if exponent == 0 and m == 0:
            text[i, at], length[i] = 48, at + 1
            continue
        e = exponent - 1075
        if exponent:
            m |= uint64(1) << uint64(52)
        else:
            e += 1
        while not m >> uint64(63):
            m, e = m << uint64(1), e - 1
        ten = int64(np.floor((e + 63) * 0.30102999566398119521))
        whole, fraction = _scaled(m, e, digits - 1 - ten, words, exponents)
        if whole >= tens[digits]:
            ten += 1
            whole, fraction = _scaled(m, e, digits - 1 - ten, words, exponents)
        if fraction == uint64(0x8000000000000000) or fraction == uint64(0x7FFFFFFFFFFFFFFF):
            continue
        if fraction >> uint64(63):
            whole += uint64(1)
            if whole == tens[digits]:
                whole, ten = tens[digits - 1], ten + 1
        length[i] = _write(whole, ten, digits, tens, text[i], at)


@njit(inline="always")
def _write(whole, ten, digits, tens, out, at):
    """The text of `digits` digits times a power of ten, without zeros at its end; returns where it ends."""
    kept = digits
    while kept > 1 and whole % uint64(10) == 0:
        whole //= uint64(10)
        kept -= 1
    if ten < -4 or ten >= digits:
        point, first = 1, at
    elif ten >= 0:
        point, first = ten + 1, at
    else:
        out[at], out[at + 1] = 48, 46
        for z in range(-ten - 1):
            out[at + 2 + z] = 48
        point, first = -1, at + 1 - ten
    end = first + kept + (1 if 0 < point < kept else 0)
    place = end - 1
    for d in range(kept - 1, -1, -1):
        out[place] = 48 + whole % uint64(10)
        whole //= uint64(10)
        place -= 1
        if d == point and d > 0:
            out[place] = 46
            place -= 1
    for _ in range(kept, point):
        out[end] = 48
        end += 1
    if -4 <= ten < digits:
        return end
    out[end] = 101
    out[end + 1] = 45 if ten < 0 else 43
    size = abs(ten)
    end += 2
    if size >= 100:
        out[end] = 48 + size // 100
        end += 1
    out[end], out[end + 1] = 48 + size // 10 % 10, 48 + size % 10
    return end + 2


@njit(cache=True, nogil=True)
def _integers(values, text, length):
    for i in range(len(values)):
        v, at = values[i], 0
        rest = uint64(v)
        if v < 0:
            text[i, 0], at = 45, 1
            rest = uint64(0) - rest
        size, count = rest, 1
        while size >= uint64(10):
            size //= uint64(10)
            count += 1
        for place in range(at + count - 1, at - 1, -1):
            text[i, place] = 48 + rest % uint64(10)
            rest //= uint64(10)
        length[i] = at + count


@njit(cache=True, nogil=True)
def _join(cells, starts, lengths, out):
    columns, rows = starts.shape
    at = 0
    for i in range(rows):
        for c in range(columns):
            first = starts[c, i]
            for b in range(lengths[c, i]):
                out[at + b] = cells[first + b]
            at += lengths[c, i]
            out[at] = 9 if c < columns - 1 else 10
            at += 1
