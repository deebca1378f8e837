"""The innermost loop of `residue_matmul`, in vectors: a rectangle of products, summed over groups.

A vector of 32-bit residues is read as 64-bit words, first for the lanes in the lower halves, then for those in the
upper: multiplying two lower halves is one instruction, so nothing is widened. The sums of a rectangle and what they are
made from fit the registers: 3 × 3 and the 16 of AVX2, 9 × 3 and the 32 of AVX-512. What GROUPS of its factors take fits
the first cache.

Exactness: residues are balanced, |x| ≤ (q − 1)/2, so GROUPS = 32 products stay within 8·(q − 1)² < 2^63 for q below 2^30:
nothing is reduced in the loop, and one word holds a sum. Columns bring a factor of 2^32, which the one reduction at the
end takes away (Montgomery 1985).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.butterfly import Butterfly
from securegen.kernels.emit import WORD, vector_words

GROUPS = 32  # of a rectangle at most
ARGUMENTS = 16


def rectangle() -> tuple[int, int]:
    """Rows and columns of a rectangle on the machine that is compiled for; nine rows are a block's strands and their half."""
    return (9, 3) if vector_words() == 8 else (3, 3)


def product_tile(rows: int, columns: int, lanes: int) -> Any:
    """A Numba intrinsic: out_ij = before_ij + 2^-32 · Σ_groups x_i · y_j modulo q, for i < rows, j < columns, on `lanes` lanes.

    Arguments, all uint64: addresses of x and y, which lie as [group][row or column][lanes] of int32, balanced; of out_00,
    canonical uint32, and its strides of a row and a column, in bytes; how many rows and columns of out there are; how many
    groups, 1 to GROUPS; q and its inverse modulo 2^32; 2^32 − 1 where before is what out holds, 0 where it is zero; where the
    y of the next call lies, and what is asked for from memory meanwhile: twice an address and a stride, a line a group.
    """

    @intrinsic
    def run(
        typing_context,
        x,
        y,
        out,
        row,
        column,
        inside,
        beside,
        groups,
        q,
        inverse,
        keep,
        following,
        one,
        step,
        other,
        stride,
    ):
        def generate(context, builder, signature, arguments):
            function = _function(builder.module, rows, columns, lanes)
            for offset in range(0, 4 * lanes, 8 * vector_words()):
                at = WORD(offset)
                x, y, out, *rest = arguments
                builder.call(function, [builder.add(x, at), builder.add(y, at), builder.add(out, at), *rest])
            return context.get_dummy_value()

        return types.void(*[types.uint64] * ARGUMENTS), generate

    return run


def _function(module: ir.Module, rows: int, columns: int, lanes: int) -> ir.Function:
    """The rectangle on one vector as a function of its own: inlined, it would have to share the registers with its caller."""
    name = f"securegen_products_{rows}_{columns}_{lanes}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD] * ARGUMENTS), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    _emit(builder, rows, columns, 4 * lanes, list(function.args))
    builder.ret_void()
    return function


def _emit(builder: ir.IRBuilder, rows: int, columns: int, size: int, arguments: list[ir.Value]) -> None:
    x, y, out, row, column, inside, beside, groups, q, inverse, keep, following, *lines = arguments
    e = Butterfly(builder, q, vector_words())
    b, count = e.b, rows * columns
    place = [b.add(out, b.add(b.mul(row, WORD(i // columns)), b.mul(column, WORD(i % columns)))) for i in range(count)]
    for address in place:
        e.prefetch(address)
    strip = [v for j in range(columns) for v in (b.add(following, WORD(j * size)), WORD(columns * size))]
    even, odd = (
        _sums(e, (rows, columns), size, parity, x, y, groups, soon) for parity, soon in enumerate((lines, strip))
    )
    long_q, inverse, keep = e.splat(q), e.splat(inverse), e.splat_halves(keep)
    for i, address in enumerate(place):
        there = b.and_(
            b.icmp_unsigned("<", WORD(i // columns), inside), b.icmp_unsigned("<", WORD(i % columns), beside)
        )
        with b.if_then(there):
            before = b.and_(e.residues(address), keep)
            e.store(_reduce(e, even[i], odd[i], long_q, inverse, before), address)


def _sums(
    e: Butterfly, shape: tuple[int, int], size: int, parity: int, x: ir.Value, y: ir.Value, groups: ir.Value,
    soon: list[ir.Value],
) -> list[ir.Value]:  # fmt: skip
    """The signed sums of a rectangle over the lanes of one parity. soon: addresses, each with its stride, of lines that are
    read into a cache meanwhile."""
    b, (rows, columns) = e.b, shape
    count = rows * columns

    def lanes(address: ir.Value) -> ir.Value:
        words = e.load(address)
        return b.ashr(words if parity else b.shl(words, e.half), e.half)

    def one_group(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        sums, left, above, *places = state[:count], *state[count:]
        for place in places:
            e.prefetch(place)
        places = [b.add(place, stride) for place, stride in zip(places, soon[1::2], strict=True)]
        line = [lanes(b.add(above, WORD(j * size))) for j in range(columns)]
        for i in range(rows):
            one = lanes(b.add(left, WORD(i * size)))
            for j in range(columns):
                sums[i * columns + j] = b.add(sums[i * columns + j], b.mul(line[j], one))
        return [*sums, b.add(left, WORD(rows * size)), b.add(above, WORD(columns * size)), *places]

    return e.loop(groups, [*[e.constant(0)] * count, x, y, *soon[::2]], 1, one_group)[:count]


def _reduce(e: Butterfly, even: ir.Value, odd: ir.Value, q: ir.Value, inverse: ir.Value, before: ir.Value) -> ir.Value:
    """before + 2^-32·(even, odd) modulo q, canonical, in lanes of 32 bits; for signed sums within 2^33·q.

    With m = s/q modulo 2^32, s − m·q is a multiple of 2^32: its upper half is that of s less that of m·q, without a borrow.
    """
    b = e.b
    upper = e.upper_halves(even, odd)  # in [−2q, 2q); as unsigned numbers negative ones are the larger
    lifted = b.add(upper, e.two_q)
    upper = b.select(b.icmp_unsigned("<", lifted, upper), lifted, upper)
    taken = e.upper_halves(*(e.multiply(e.multiply(s, inverse), q) for s in (even, odd)))  # below q
    return e.canonical(b.sub(b.add(b.add(upper, e.q), before), taken))  # of less than 4q


def balanced_line(lanes: int, *, scaled: bool) -> Any:
    """A Numba intrinsic that copies `lanes` canonical residues, balanced, between two addresses, destination first; scaled:
    times 2^32. Further arguments: q, and 2^32 modulo q with its quotient, as `butterfly` has roots."""

    @intrinsic
    def run(typing_context, destination, source, q, factor):
        def generate(context, builder, signature, arguments):
            destination, source, q, factor = arguments
            e = Butterfly(builder, q, vector_words())
            b, root = e.b, e.root(factor)
            half = e.splat_halves(b.lshr(q, WORD(1)))
            for offset in range(0, 4 * lanes, 8 * e.width):
                x = e.residues(b.add(source, WORD(offset)))
                if scaled:
                    x = e.subtract_once(e.times_root(x, root), e.q)
                x = b.select(b.icmp_signed(">", x, half), b.sub(x, e.q), x)
                e.store(x, b.add(destination, WORD(offset)))
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run
