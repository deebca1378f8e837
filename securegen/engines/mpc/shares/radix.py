"""Columns in digits, so that every sum over samples fits a ring of few bits, and whole sums from shares of the digits'.

A stream of numbers up to G in size and digits up to 2^(d−1) have sums below G n 2^(d−1) over n samples: a ring of
w = bits(G n) + d + 1 bits holds them in its middle half, as `lifting.lift` needs. A masked genotype then takes w bits a
stream on its way. Fewer bits are more digits, or chunks of samples summed apart: `choose_form` weighs bytes against work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from securegen.engines.mpc.shares import multiword
from securegen.engines.mpc.shares.program import Program
from securegen.errors import PlanError
from securegen.kernels import fields

PRODUCTS = 96  # of a genotype and a digit that take the time of a byte on a line of 1 Gbit/s
LIFTED = 8.25  # bytes that the dealer and the parties send for each sum of digits
FEW = 32  # sums of digits per column, where a further phenotype is to cost little
MOST = 8.1  # bytes a variant and sample, at most where that can be: masked genotypes with all of their streams, and
FIXED = 1300  # what a variant costs whatever the samples
COLUMNS = 10  # of a design, as a rule: masked genotypes must serve every design
LEAST_CHUNK = 64  # samples


@dataclass(frozen=True)
class Form:
    """bits: of the words computed with, 32 or 64; digit: bits of a digit; digits: of a column; chunk: samples summed
    together; widths: bits of each stream's ring."""

    bits: int
    digit: int
    digits: int
    chunk: int
    widths: dict[str, int]

    def chunks(self, samples: int) -> int:
        return -(-samples // self.chunk)


def choose_form(samples: int, largest: Mapping[str, int], value_bits: int, *, few: bool) -> Form:
    """The form of columns of integers up to 2^value_bits in size, over `samples` people, whatever the number of columns.

    largest: of each stream, the size of its numbers; few: spare lifts, because phenotypes are many.

    >>> choose_form(10_000, {"g": 2, "m": 1}, 43, few=True).widths
    {'g': 24, 'm': 23}
    """
    found = []
    for chunks in takewhile(lambda c: c == 1 or samples // c >= LEAST_CHUNK, (1 << i for i in range(40))):
        rows = -(-samples // chunks)
        for digit in range(2, 31):
            widths = {name: (size * rows).bit_length() + digit + 1 for name, size in largest.items()}
            if max(widths.values()) <= 32:
                digits = _digits(value_bits, digit)
                sums = chunks * digits * len(widths)
                work = len(widths) * COLUMNS * digits / PRODUCTS
                taken = wire_bytes(list(widths), widths)
                price = samples * (taken + work) + COLUMNS * sums * LIFTED
                over = max(0, (taken - MOST) * samples + FIXED)
                found.append((few and sums > FEW, over, price, Form(32, digit, digits, rows, widths)))
    if found:
        return min(found, key=lambda f: f[:3])[3]
    most = {name: (size * samples).bit_length() + 1 for name, size in largest.items()}
    digit = min(30, 64 - max(most.values()))
    if digit < 2:
        raise PlanError(f"sums over {samples} samples of numbers up to {max(largest.values())} do not fit 64 bits")
    return Form(64, digit, _digits(value_bits, digit), samples, {name: bits + digit for name, bits in most.items()})


def _digits(value_bits: int, digit: int) -> int:
    return -(-(value_bits + 2) // digit)


def to_digits(x: np.ndarray, form: Form) -> np.ndarray:
    """(N, J) int64 -> (N, J·digits): balanced digits of base 2^digit, |digit| <= 2^(digit−1), lowest first."""
    half, rest, out = 1 << (form.digit - 1), x, []
    for _ in range(form.digits):
        low = ((rest + half) & (2 * half - 1)) - half
        out.append(low)
        rest = (rest - low) >> form.digit
    if rest.any():
        raise PlanError("a column has values beyond the digits that were planned for it")
    return np.stack(out, axis=2).reshape(len(x), -1)


def assemble(program: Program, form: Form, stream: str, x: np.ndarray, *, first: int, words: int) -> np.ndarray:
    """Shares of the digits' sums, (V, chunks, n, digits) mod 2^width, -> multiword shares (V, n, words) of whole sums.

    first: words in which digits are put together, 1 where whole sums stay below 2^62 in size, else `words`.
    """
    lifted = program.lift(np.ascontiguousarray(x), bits=form.widths[stream], to=first)
    sums = multiword.total(np.moveaxis(lifted, 1, 3))  # over chunks: (V, n, digits, first)
    out = sums[:, :, 0]
    for i in range(1, form.digits):
        out = multiword.add(out, multiword.shift_left(sums[:, :, i], i * form.digit))
    if first == words:
        return out
    return program.lift(np.ascontiguousarray(out[..., 0]), bits=64, to=words)


def messages(names: Sequence[str], widths: Mapping[str, int] | None) -> list[list[str]]:
    """Streams in one message: with widths as many as fit a record, else each alone."""
    out: list[list[str]] = []
    for name in names:
        if widths is not None and out and sum(widths[n] for n in [*out[-1], name]) <= fields.MOST:
            out[-1].append(name)
        else:
            out.append([name])
    return out


def wire_bytes(names: Sequence[str], widths: Mapping[str, int]) -> int:
    """Bytes of a masked genotype of all streams `names`.

    >>> wire_bytes(["g", "m"], {"g": 24, "m": 23})
    6
    """
    return sum(fields.record_bytes([widths[n] for n in together]) for together in messages(names, widths))
