"""Emitting vector instructions from Numba: the small part of LLVM that the kernels need.

Numba has no vector types, and its automatic vectoriser gives up on loops that decide the speed of this library. An
`intrinsic` may emit LLVM vectors instead, which LLVM lowers to AVX-512, AVX2, SSE or NEON as the machine has it.

Numba's cache on disk watches the file of the compiled function, not this one: touch the callers after a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

WORD = ir.IntType(64)
_I32 = ir.IntType(32)
_BYTE = ir.IntType(8).as_pointer()


def vector_words() -> int:
    """64-bit words in a vector register of the machine that is compiled for: 8 with AVX-512, else 4."""
    named = config.CPU_FEATURES  # Numba sets its options at run time
    features = named if named is not None else llvm.get_host_cpu_features().flatten()
    return 8 if "+avx512f" in features else 4


@intrinsic
def words(typing_context):
    """`vector_words()` as a constant in compiled code."""

    def generate(context, builder, signature, arguments):
        return WORD(vector_words())

    return types.int64(), generate


class Emitter:
    """Vectors of `width` 64-bit words at integer addresses; all arithmetic is modulo 2^64."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.b, self.width = builder, width
        self.vector = ir.VectorType(WORD, width)
        self.low_half = self.constant(0xFFFFFFFF)
        self.half = self.constant(32)

    def constant(self, value: int) -> ir.Constant:
        return ir.Constant(self.vector, [value] * self.width)

    def splat(self, word: ir.Value) -> ir.Value:
        one = self.b.insert_element(ir.Constant(self.vector, ir.Undefined), word, _I32(0))
        return self.shuffle(one, one, [0] * self.width)

    def shuffle(self, x: ir.Value, y: ir.Value, lanes: Sequence[int]) -> ir.Value:
        mask = ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes))
        return self.b.shuffle_vector(x, y, mask)

    def load(self, address: ir.Value, width: int | None = None) -> ir.Value:
        kind = ir.VectorType(WORD, width or self.width)
        value = self.b.load(self.b.inttoptr(address, kind.as_pointer()))
        value.align = 4
        return value

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = 4

    def prefetch(self, address: ir.Value) -> None:
        """Ask for the line of an address, mapped or not, in the second cache."""
        signature = ir.FunctionType(ir.VoidType(), [_BYTE, _I32, _I32, _I32])
        function = self.b.module.declare_intrinsic("llvm.prefetch", [_BYTE], signature)
        self.b.call(function, [self.b.inttoptr(address, _BYTE), _I32(0), _I32(2), _I32(1)])

    def halves(self, x: ir.Value) -> ir.Value:
        """A vector as 32-bit words."""
        return self.b.bitcast(x, ir.VectorType(_I32, 2 * self.width))

    def low(self, x: ir.Value) -> ir.Value:
        return self.b.and_(x, self.low_half)

    def high(self, x: ir.Value) -> ir.Value:
        return self.b.lshr(x, self.half)

    def multiply(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Lower 32 bits of each word × lower 32 bits -> 64 bits: one instruction."""
        return self.b.mul(self.low(x), self.low(y))

    def subtract_once(self, x: ir.Value, q: ir.Value) -> ir.Value:
        """x − q where x >= q, else x; for x below 2q. The wrapped difference is the larger one, so: a minimum."""
        d = self.b.sub(x, q)
        return self.b.select(self.b.icmp_unsigned("<", d, x), d, x)

    def total(self, x: ir.Value) -> ir.Value:
        """The sum of the words of a vector."""
        name = f"llvm.vector.reduce.add.v{x.type.count}i64"
        function = self.b.module.globals.get(name)
        if function is None:
            function = ir.Function(self.b.module, ir.FunctionType(WORD, [x.type]), name)
        return self.b.call(function, [x])

    def count_ones(self, x: ir.Value) -> ir.Value:
        """Bits that are set in every 32-bit word of a vector."""
        name = f"llvm.ctpop.v{x.type.count}i32"
        function = self.b.module.globals.get(name)
        if function is None:
            function = ir.Function(self.b.module, ir.FunctionType(x.type, [x.type]), name)
        return self.b.call(function, [x])

    def loop(
        self, count: ir.Value, state: Sequence[ir.Value], step: int, body: Callable[..., list[ir.Value]]
    ) -> list[ir.Value]:
        """do { state = body(state, left); left −= step } while (left > 0), as signed integers."""
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
        return list(new)
