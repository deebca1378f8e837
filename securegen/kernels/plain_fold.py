"""The end of a sum of residue products: accumulators become canonical residues, added to 32-bit ones, in vectors."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.emit import WORD, Emitter, vector_words


@intrinsic
def fold(typing_context, low, high, odd, words, out, q, r, r_quotient, one_quotient):
    """out += high·2^32 + low modulo q, for a row of lanes as `panel` leaves it.

    All uint64. low, high: addresses of the even lanes' accumulators, the odd ones `odd` bytes further; words: lanes / 2;
    out: address of the row, canonical uint32; the constants are those of `residue_mac.wide_constants`.
    """

    def generate(context, builder, signature, arguments):
        _emit(Emitter(builder, vector_words()), arguments)
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 9), generate


def _emit(e: Emitter, arguments: list[ir.Value]) -> None:
    low, high, odd, words, out, *constants = arguments
    b = e.b
    q, r, r_quotient, one_quotient = (e.splat(x) for x in constants)
    two_q = b.add(q, q)

    def times(x: ir.Value, w: ir.Value | None, quotient: ir.Value) -> ir.Value:
        """x·w (or x, without w) less the estimated quotient times q: below 2q for x below 2^32, see `reduce_wide`."""
        product = x if w is None else e.multiply(x, w)
        return b.sub(product, e.multiply(e.high(e.multiply(x, quotient)), q))

    def reduce(h: ir.Value, l: ir.Value) -> ir.Value:
        x = b.add(times(e.high(h), r, r_quotient), times(e.low(h), None, one_quotient))  # below 4q
        y = b.add(times(x, r, r_quotient), times(l, None, one_quotient))
        return e.subtract_once(e.subtract_once(y, two_q), q)

    def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        lows, highs, row = state
        even, other = (reduce(e.load(b.add(highs, o)), e.load(b.add(lows, o))) for o in (WORD(0), odd))
        old = e.load(row)
        even = e.subtract_once(b.add(even, e.low(old)), q)
        other = e.subtract_once(b.add(other, e.high(old)), q)
        e.store(b.or_(even, b.shl(other, e.half)), row)
        return [b.add(x, WORD(8 * e.width)) for x in state]

    e.loop(words, [low, high, out], e.width, body)
