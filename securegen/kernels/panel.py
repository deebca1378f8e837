"""The innermost loop of the residue products, in vectors: some columns × one vector of lanes × all groups.

A row of 32-bit residues is read as 64-bit words: the even lane is the low half, the odd lane the high half. So one load
and one shift feed two 32 × 32 -> 64 bit multiplications and nothing is widened.

Exactness: residues are below 2^30, a product is below 2^60, and at most 16 of them (8 groups of the middle term, which
has two) are added to a remainder below 2^32: 16·(2^30 − 1)^2 + 2^32 < 2^64. Then the upper half of the accumulator
moves to a second one. Nothing is reduced in the loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.emit import WORD, Emitter, vector_words

Terms = tuple[tuple[tuple[int, int], ...], ...]
GROUPS = 8  # between two moves of the upper halves

# terms[i] lists the products of accumulator i: (half of the genotype, half of the column)
CIPHERTEXT = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))
PLAINTEXT = (((0, 0),), ((1, 0),))


def panel(terms: Terms, columns: int) -> Any:
    """A Numba intrinsic that adds Σ_groups g × c to `columns` accumulators for one vector of lanes.

    Arguments, all uint64, addresses and strides in bytes: g0, g1 (first group), c0, c1 (first group and column; c1 is
    not read for PLAINTEXT), low and high (accumulator [column, term, parity]), groups (at least 1), strides of a group
    of g, of a group of c, of a column of c, and of an accumulator, and how far ahead g and c are prefetched. The sum is
    high·2^32 + low, low below 2^32.
    """

    @intrinsic
    def run(
        typing_context, g0, g1, c0, c1, low, high, groups, g_group, c_group, c_column, accumulator, g_ahead, c_ahead
    ):
        def generate(context, builder, signature, arguments):
            _emit(Emitter(builder, vector_words()), terms, columns, arguments)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 13), generate

    return run


def _emit(e: Emitter, terms: Terms, columns: int, arguments: list[ir.Value]) -> None:
    g0, g1, c0, c1, low, high, groups, g_group, c_group, c_column, accumulator, g_ahead, c_ahead = arguments
    b = e.b
    factors = [c0, c1] if terms is CIPHERTEXT else [c0]
    count = columns * len(terms) * 2
    offsets = [b.mul(accumulator, WORD(i)) for i in range(count)]

    def one_group(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        sums, x, y = state[:count], state[count : count + 2], state[count + 2 :]
        for address in x:
            e.prefetch(b.add(address, g_ahead))
        genotype = [_lanes(e, address) for address in x]
        out, at = [], list(y)
        for j in range(columns):
            if j:
                at = [b.add(address, c_column) for address in at]
            for address in at:
                e.prefetch(b.add(address, c_ahead))
            column = [_lanes(e, address) for address in at]
            for i, products in enumerate(terms):
                for parity in (0, 1):
                    total = sums[(j * len(terms) + i) * 2 + parity]
                    for left, right in products:
                        total = b.add(total, b.mul(genotype[left][parity], column[right][parity]))
                    out.append(total)
        return out + [b.add(a, g_group) for a in x] + [b.add(a, c_group) for a in y]

    def one_run(state: list[ir.Value], left: ir.Value) -> list[ir.Value]:
        run = b.select(b.icmp_signed("<", left, WORD(GROUPS)), left, WORD(GROUPS))
        state = e.loop(run, state, 1, one_group)
        for i, offset in enumerate(offsets):
            upper = b.add(high, offset)
            e.store(b.add(e.load(upper), e.high(state[i])), upper)
            state[i] = e.low(state[i])
        return state

    start = [e.load(b.add(low, offset)) for offset in offsets]
    state = e.loop(groups, [*start, g0, g1, *factors], GROUPS, one_run)
    for value, offset in zip(state[:count], offsets, strict=True):
        e.store(value, b.add(low, offset))


def _lanes(e: Emitter, address: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Even and odd lanes of one row as 64-bit words."""
    word = e.load(address)
    return e.low(word), e.high(word)
