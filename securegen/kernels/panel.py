"""The innermost loop of the residue kernels, written for vector registers.

Numba's automatic vectoriser keeps the accumulators of a ciphertext product in memory and widens operands that are already
32 bits wide; this file emits the loop as LLVM vectors instead, which LLVM lowers to AVX-512, AVX2, SSE or NEON as the
machine has it. A row of 32-bit residues is read as 64-bit words: the even lane is the low half, the odd lane the high
half, so one load and one shift feed two 32 × 32 -> 64 bit multiplications and nothing is widened.

Exactness: residues are below 2^30, a product is below 2^60, and at most 16 of them (8 groups of the middle term, which
has two) are added to a remainder below 2^32: 16·(2^30 − 1)^2 + 2^32 < 2^64. Then the upper half of the accumulator moves
to a second one. There is no reduction in the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

GROUPS = 8  # between two moves of the upper halves
WORD = ir.IntType(64)

# terms[i] lists the products of accumulator i: (half of the genotype, half of the column)
CIPHERTEXT = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))
PLAINTEXT = (((0, 0),), ((1, 0),))


def vector_words() -> int:
    """64-bit words in a vector register of the machine that is compiled for."""
    named = numba.config.CPU_FEATURES
    features = named if named is not None else llvm.get_host_cpu_features().flatten()
    return 8 if "+avx512f" in features else 4


class _Emitter:
    """Emits one panel: one vector of lanes of every group, against `columns` columns."""

    def __init__(self, builder: ir.IRBuilder, terms: tuple, columns: int, width: int) -> None:
        self.b, self.terms, self.columns = builder, terms, columns
        self.vector = ir.VectorType(WORD, width)
        self.mask = ir.Constant(self.vector, [0xFFFFFFFF] * width)
        self.half = ir.Constant(self.vector, [32] * width)

    def at(self, address: ir.Value) -> ir.Value:
        return self.b.inttoptr(address, self.vector.as_pointer())

    def load(self, address: ir.Value) -> ir.Value:
        value = self.b.load(self.at(address))
        value.align = 4
        return value

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.b.store(value, self.at(address)).align = 4

    def prefetch(self, address: ir.Value) -> None:
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = self.b.module.declare_intrinsic("llvm.prefetch", [byte], signature)
        self.b.call(function, [self.b.inttoptr(address, byte), i32(0), i32(2), i32(1)])  # read, second cache, data

    def lanes(self, address: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Even and odd lanes of one row as 64-bit words."""
        word = self.load(address)
        return self.b.and_(word, self.mask), self.b.lshr(word, self.half)

    def loop(self, count: ir.Value, state: list[ir.Value], step: int, body: Callable) -> list[ir.Value]:
        """do { state = body(state, left); left -= step } while (left > 0), as signed integers."""
        b, before = self.b, self.b.block
        top = b.append_basic_block()
        b.branch(top)
        b.position_at_end(top)
        left = b.phi(WORD)
        left.add_incoming(count, before)
        phis = [b.phi(v.type) for v in state]
        for phi, value in zip(phis, state, strict=True):
            phi.add_incoming(value, before)
        new = body(phis, left)
        rest = b.sub(left, WORD(step))
        for phi, value in zip((left, *phis), (rest, *new), strict=True):
            phi.add_incoming(value, b.block)
        done = b.append_basic_block()
        b.cbranch(b.icmp_signed(">", rest, WORD(0)), top, done)
        b.position_at_end(done)
        return new

    def group(self, sums: list[ir.Value], g: list, c: list, column_stride: ir.Value, ahead: tuple) -> list:
        """Add the products of one group to the accumulators [column, term, parity]."""
        b, out = self.b, []
        for a in g:
            self.prefetch(b.add(a, ahead[0]))
        genotype = [self.lanes(a) for a in g]
        addresses = list(c)
        for j in range(self.columns):
            if j:
                addresses = [b.add(a, column_stride) for a in addresses]
            for a in addresses:
                self.prefetch(b.add(a, ahead[1]))
            column = [self.lanes(a) for a in addresses]
            for i, products in enumerate(self.terms):
                for parity in (0, 1):
                    total = sums[(j * len(self.terms) + i) * 2 + parity]
                    for left, right in products:
                        total = b.add(total, b.mul(genotype[left][parity], column[right][parity]))
                    out.append(total)
        return out

    def emit(self, g, c, low, high, groups, strides, ahead) -> None:
        b = self.b
        group_stride, column_group_stride, column_stride, sum_stride = strides
        count = self.columns * len(self.terms) * 2
        offsets = [b.mul(sum_stride, WORD(i)) for i in range(count)]
        start = [self.load(b.add(low, o)) for o in offsets]
        halves = len(g)
        steps = [group_stride] * halves + [column_group_stride] * len(c)

        def one_group(state: list, _: ir.Value) -> list:
            sums, rows = state[:count], state[count:]
            new = self.group(sums, rows[:halves], rows[halves:], column_stride, ahead)
            return new + [b.add(r, s) for r, s in zip(rows, steps, strict=True)]

        def one_run(state: list, left: ir.Value) -> list:
            run = b.select(b.icmp_signed("<", left, WORD(GROUPS)), left, WORD(GROUPS))
            state = self.loop(run, state, 1, one_group)
            for i, offset in enumerate(offsets):
                upper = b.add(high, offset)
                self.store(b.add(self.load(upper), b.lshr(state[i], self.half)), upper)
                state[i] = b.and_(state[i], self.mask)
            return state

        state = self.loop(groups, start + list(g) + list(c), GROUPS, one_run)
        for value, offset in zip(state, offsets, strict=False):
            self.store(value, b.add(low, offset))


def panel(terms: tuple, columns: int) -> Any:
    """A Numba intrinsic that adds Σ_groups g × c to `columns` accumulators for one vector of lanes.

    Arguments, all uint64, addresses and strides in bytes: g0, g1 (first group), c0, c1 (first group and column; c1 is
    not read for PLAINTEXT), low and high (accumulator [column, term, parity]), groups (at least 1), strides of a group
    of g, of a group of c, of a column of c, and of an accumulator. The sum is high·2^32 + low, low below 2^32.
    """

    @intrinsic
    def run(typing_context, g0, g1, c0, c1, low, high, groups, g_group, c_group, c_column, accumulator, g_ahead, c_ahead):
        def generate(context, builder, signature, arguments):
            g0, g1, c0, c1, low, high, groups, *strides, g_ahead, c_ahead = arguments
            columns_halves = [c0, c1] if terms is CIPHERTEXT else [c0]
            emitter = _Emitter(builder, terms, columns, vector_words())
            emitter.emit([g0, g1], columns_halves, low, high, groups, strides, (g_ahead, c_ahead))
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 13), generate

    return run


@intrinsic
def words(typing_context):
    """`vector_words()` as a constant in compiled code."""

    def generate(context, builder, signature, arguments):
        return WORD(vector_words())

    return types.int64(), generate
