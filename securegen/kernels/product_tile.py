"""The innermost loop of `residue_matmul`, in vectors: a square of products, summed over groups.

A vector of 32-bit residues is read as 64-bit words, first for the lanes in the lower halves, then for those in the
upper: multiplying two lower halves is one instruction, so nothing is widened. The sums of a square and what they are
made from fit the registers: 3 × 3 and the 16 of AVX2, 5 × 5 and the 32 of AVX-512.

Exactness: residues are below 2^30, so 16 products added to a remainder below 2^32 stay below 2^64: 16·(2^30 − 1)^2 +
2^32 < 2^64. Then the upper half of each sum moves to memory. Nothing is reduced in the loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.emit import WORD, Emitter, vector_words

GROUPS = 16  # between two moves of the upper halves


def square_side() -> int:
    """Rows and columns of a square on the machine that is compiled for."""
    return 5 if vector_words() == 8 else 3


def product_tile(side: int, lanes: int) -> Any:
    """A Numba intrinsic: out_ij += Σ_groups x_i · y_j modulo q, for i, j < side, on `lanes` lanes.

    Arguments, all uint64: addresses of x and y, which lie as [group][side][lanes] of uint32; of `scratch`, side² vectors;
    of out_00, and its strides of a row and a column, in bytes; how many rows and columns of out there are; how many groups,
    at least 1; q, 2^32 mod q =: r, and the quotients floor(w·2^32/q) of w = r and w = 1.
    """

    @intrinsic
    def run(typing_context, x, y, scratch, out, row, column, rows, columns, groups, q, r, r_quotient, one_quotient):
        def generate(context, builder, signature, arguments):
            function = _function(builder.module, side, lanes)
            for offset in range(0, 4 * lanes, 8 * vector_words()):
                at = WORD(offset)
                x, y, scratch, out, *rest = arguments
                builder.call(function, [builder.add(x, at), builder.add(y, at), scratch, builder.add(out, at), *rest])
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 13), generate

    return run


def _function(module: ir.Module, side: int, lanes: int) -> ir.Function:
    """The square on one vector as a function of its own: inlined, it would have to share the registers with its caller."""
    name = f"securegen_square_{side}_{lanes}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD] * 13), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    _emit(Emitter(builder, vector_words()), side, 4 * lanes, list(function.args))
    builder.ret_void()
    return function


def _emit(e: Emitter, side: int, size: int, arguments: list[ir.Value]) -> None:
    x, y, scratch, out, row, column, rows, columns, groups, *constants = arguments
    b, count = e.b, side * side
    place = [b.add(out, b.add(b.mul(row, WORD(i // side)), b.mul(column, WORD(i % side)))) for i in range(count)]
    for address in place:
        e.prefetch(address)
    sums = [_sums(e, side, size, parity, x, y, scratch, groups) for parity in (0, 1)]
    q, r, r_quotient, one_quotient = (e.splat(c) for c in constants)
    results = [
        [_reduce(e, h, l, q, r, r_quotient, one_quotient) for h, l in zip(high, low, strict=True)] for low, high in sums
    ]
    modulus = e.halves(b.or_(q, b.shl(q, e.half)))
    for i, address in enumerate(place):
        inside = b.and_(b.icmp_unsigned("<", WORD(i // side), rows), b.icmp_unsigned("<", WORD(i % side), columns))
        with b.if_then(inside):
            new = e.halves(b.or_(results[0][i], b.shl(results[1][i], e.half)))
            e.store(e.subtract_once(b.add(e.halves(e.load(address)), new), modulus), address)


def _sums(
    e: Emitter, side: int, size: int, parity: int, x: ir.Value, y: ir.Value, scratch: ir.Value, groups: ir.Value
) -> tuple[list[ir.Value], list[ir.Value]]:
    """Lower and upper halves of the side² sums over the lanes of one parity."""
    b, count = e.b, side * side
    zero, step = e.constant(0), WORD(side * size)
    places = [b.add(scratch, WORD(i * 8 * e.width)) for i in range(count)]
    lanes = lambda address: e.high(e.load(address)) if parity else e.low(e.load(address))  # noqa: E731

    def one_group(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        sums, left, above = state[:count], state[count], state[count + 1]
        line = [lanes(b.add(left, WORD(i * size))) for i in range(side)]
        for j in range(side):
            one = lanes(b.add(above, WORD(j * size)))
            for i in range(side):
                sums[i * side + j] = b.add(sums[i * side + j], b.mul(line[i], one))
        return [*sums, b.add(left, step), b.add(above, step)]

    def one_run(state: list[ir.Value], left: ir.Value) -> list[ir.Value]:
        run = b.select(b.icmp_signed("<", left, WORD(GROUPS)), left, WORD(GROUPS))
        state = e.loop(run, state, 1, one_group)
        for i, upper in enumerate(places):
            e.store(b.add(e.load(upper), e.high(state[i])), upper)
            state[i] = e.low(state[i])
        return state

    for place in places:
        e.store(zero, place)
    state = e.loop(groups, [*[zero] * count, x, y], GROUPS, one_run)
    return state[:count], [e.load(place) for place in places]


def _reduce(e: Emitter, high, low, q, r, r_quotient, one_quotient) -> ir.Value:
    """(high·2^32 + low) mod q, for low < 2^32.

    The estimated quotients are floors, so never too large: x·w − floor(x·floor(w·2^32/q)/2^32)·q lies in [0, 2q) for
    every x < 2^32 (Shoup), and nothing wraps below zero.
    """
    b = e.b

    def times_r(v: ir.Value) -> ir.Value:
        return b.sub(e.multiply(v, r), e.multiply(e.high(e.multiply(v, r_quotient)), q))

    def once(v: ir.Value) -> ir.Value:
        return b.sub(v, e.multiply(e.high(e.multiply(v, one_quotient)), q))

    upper = b.add(times_r(e.high(high)), once(e.low(high)))  # below 4q, so below 2^32
    total = b.add(times_r(upper), once(low))
    return e.subtract_once(e.subtract_once(total, b.add(q, q)), q)


def copy_line(lanes: int) -> Any:
    """A Numba intrinsic that copies `lanes` residues between two addresses, destination first."""

    @intrinsic
    def run(typing_context, destination, source):
        def generate(context, builder, signature, arguments):
            e = Emitter(builder, vector_words())
            for offset in range(0, 4 * lanes, 8 * e.width):
                e.store(e.load(builder.add(arguments[1], WORD(offset))), builder.add(arguments[0], WORD(offset)))
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), generate

    return run
