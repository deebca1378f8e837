"""Lines of 32-bit residues from integers, and their difference from a product, in vectors.

A line is a polynomial modulo one prime q below 2^30, (n,) uint32. Nothing branches on a value or addresses memory by one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.butterfly import Butterfly
from securegen.kernels.emit import WORD, Emitter, vector_words

_I32 = ir.IntType(32)


def lift(bits: int) -> Any:
    """A Numba intrinsic: line = Σ_l digit_l·w_l + c + added, below 4q, for digits of `bits` (16, 32 or 64) signed bits.

    Arguments, all uint64: addresses of the digits, lines of n integers one after the other, of `added`, (n,) uint32 below
    q/4, and of the line; n, how many digits (at most 16); the address of w_l with its quotient floor(w·2^32/q), a word
    each, for digits of 64 bits two: of 2^32·w_l and of w_l; c, which takes account of the offset 2^(bits−1) of every digit;
    q, 2^32 mod q =: r, and the quotients floor(w·2^32/q) of w = r and w = 1.
    """

    @intrinsic
    def run(typing_context, digits, added, line, n, count, factors, constant, q, r, r_quotient, one_quotient):
        def generate(context, builder, signature, arguments):
            _lift(Emitter(builder, vector_words()), bits, arguments)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 11), generate

    return run


def _lift(e: Emitter, bits: int, arguments: list[ir.Value]) -> None:
    digits, added, line, n, count, factors, *constants = arguments
    b, size = e.b, bits // 8
    constant, q, r, r_quotient, one_quotient = (e.splat(c) for c in constants)
    two_q = b.add(q, q)
    step, row = WORD(size * e.width), b.mul(n, WORD(size))
    narrow, offset = ir.VectorType(ir.IntType(bits), e.width), e.constant(1 << (bits - 1))

    def integers(address: ir.Value) -> ir.Value:
        value = b.load(b.inttoptr(address, narrow.as_pointer()))
        value.align = 1
        return b.xor(value, offset) if bits == 64 else b.add(b.sext(value, e.vector), offset)

    def reduced(x: ir.Value, w: ir.Value | None, quotient: ir.Value) -> ir.Value:
        """x·w, or x, modulo q and below 2q, for x below 2^32."""
        product = x if w is None else e.multiply(x, w)
        return b.sub(product, e.multiply(e.high(e.multiply(x, quotient)), q))

    def less(x: ir.Value, bound: ir.Value) -> ir.Value:
        """Of numbers below 2^32, as minima of their halves."""
        return b.bitcast(e.subtract_once(e.halves(x), e.halves(bound)), e.vector)

    def one_digit(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        *sums, place, factor = state
        w = e.splat(b.load(b.inttoptr(factor, WORD.as_pointer())))
        x = [integers(b.add(place, WORD(i * size * e.width))) for i in (0, 1)]
        if bits < 32:  # sixteen products stay below 2^(16 + 30 + 4)
            new = [b.add(s, e.multiply(v, w)) for s, v in zip(sums, x, strict=True)]
        elif bits == 32:
            new = [b.add(s, reduced(v, w, e.high(w))) for s, v in zip(sums, x, strict=True)]
        else:
            factor = b.add(factor, WORD(8))
            v = e.splat(b.load(b.inttoptr(factor, WORD.as_pointer())))
            both = [b.add(reduced(e.high(y), w, e.high(w)), reduced(e.low(y), v, e.high(v))) for y in x]
            new = [b.add(s, y) for s, y in zip(sums, both, strict=True)]
        return [*new, b.add(place, row), b.add(factor, WORD(8))]

    def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        place, noise, target = state
        sums = e.loop(count, [e.constant(0), e.constant(0), place, factors], 1, one_digit)[:2]
        halves = []
        for i, total in enumerate(sums):
            total = b.add(reduced(e.high(total), r, r_quotient), reduced(e.low(total), None, one_quotient))  # below 4q
            some = b.load(b.inttoptr(b.add(noise, WORD(4 * i * e.width)), ir.VectorType(_I32, e.width).as_pointer()))
            some.align = 4
            total = b.add(less(total, two_q), b.add(constant, b.zext(some, e.vector)))
            halves.append(e.halves(total))
        e.store(e.shuffle(*halves, list(range(0, 4 * e.width, 2))), target)
        return [b.add(place, b.add(step, step)), b.add(noise, WORD(8 * e.width)), b.add(target, WORD(8 * e.width))]

    e.loop(n, [digits, added, line], 2 * e.width, body)


@intrinsic
def lift_bytes(typing_context, digits, added, line, n, count, factors, constant, q):
    """As `lift` for digits of 8 signed bits, and q above 2^29.

    factors: address of a word for two digits, the lowest first: with w = a + 2^15·b for each, 16 bits each of a_l, a_(l+1),
    b_l, b_(l+1), zeros where there is no second. c takes account of OFFSET·(1 + 2^15) that is added here.
    """

    def generate(context, builder, signature, arguments):
        _lift_bytes(Butterfly(builder, arguments[-1]), arguments)
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 8), generate


OFFSET = 1 << 26  # above the size of 16 products of 8 and 15 bits


def _lift_bytes(e: Butterfly, arguments: list[ir.Value]) -> None:
    digits, added, line, n, count, factors, constant, q = arguments
    b, lanes, half = e.b, e.lanes, ir.IntType(16)
    narrow = ir.VectorType(ir.IntType(8), lanes)
    offset = ir.Constant(ir.VectorType(_I32, lanes), [OFFSET] * lanes)
    constant = e.splat_halves(constant)
    shift = e.root(b.or_(WORD(1 << 15), b.shl(b.udiv(WORD(1 << 47), q), WORD(32))))
    even, odd = (list(range(i, 2 * lanes, 2)) for i in (0, 1))

    def bytes_at(address: ir.Value) -> ir.Value:
        value = b.load(b.inttoptr(address, narrow.as_pointer()))
        value.align = 1
        return value

    def dot(x: ir.Value, y: ir.Value) -> ir.Value:
        """Sums of two neighbouring products of 16 bits: one instruction where there is one."""
        products = []
        for part in (even, odd):
            left, right = (b.sext(e.shuffle(v, v, part), offset.type) for v in (x, y))
            products.append(b.mul(left, right))
        return b.add(*products)

    def two_digits(state: list[ir.Value], left: ir.Value) -> list[ir.Value]:
        low, high, place, factor = state
        second = b.select(b.icmp_signed(">", left, WORD(1)), b.add(place, n), place)
        lanes_of_both = [i // 2 + (lanes if i & 1 else 0) for i in range(2 * lanes)]
        both = e.shuffle(bytes_at(place), bytes_at(second), lanes_of_both)
        both = b.sext(both, ir.VectorType(half, 2 * lanes))
        word = b.load(b.inttoptr(factor, WORD.as_pointer()))
        a, c = (b.bitcast(e.splat_halves(w), both.type) for w in (word, b.lshr(word, WORD(32))))
        return [b.add(low, dot(both, a)), b.add(high, dot(both, c)), b.add(place, b.add(n, n)), b.add(factor, WORD(8))]

    def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
        place, noise, target = state
        low, high = e.loop(count, [offset, offset, place, factors], 2, two_digits)[:2]
        total = b.add(
            b.add(e.times_root(high, shift), low), b.add(constant, e.residues(noise))
        )  # below 2q + q/4 + q + q/4
        e.store(total, target)
        return [b.add(place, WORD(lanes)), b.add(noise, WORD(4 * lanes)), b.add(target, WORD(4 * lanes))]

    e.loop(n, [digits, added, line], lanes, body)


@intrinsic
def toss(typing_context, wide, narrow, sums, n):
    """Sums of 42 coins each: less 21, a sum of 21 minus a sum of 21. The ones of 32 bits and of the lower 10 of 16.

    Addresses of n random words of 32 and of 16 bits, and of n sums, uint32; n: a multiple of a vector. Bits are counted by an
    instruction or by sums and shuffles within registers.
    """

    def generate(context, builder, signature, arguments):
        e = Butterfly(builder)
        b, half = e.b, ir.VectorType(ir.IntType(16), e.lanes)
        few = ir.Constant(half, [0x3FF] * e.lanes)

        def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
            wide, narrow, sums = state
            some = b.load(b.inttoptr(narrow, half.as_pointer()))
            some.align = 2
            coins = e.residues(wide)
            e.store(b.add(e.count_ones(coins), e.count_ones(b.zext(b.and_(some, few), coins.type))), sums)
            return [b.add(wide, WORD(4 * e.lanes)), b.add(narrow, WORD(2 * e.lanes)), b.add(sums, WORD(4 * e.lanes))]

        e.loop(arguments[3], arguments[:3], e.lanes, body)
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 4), generate


@intrinsic
def subtract_product(typing_context, line, left, right, out, lanes, q, down, up, factor):
    """out = line − left·right modulo q, canonical, for `lanes` canonical residues each; a multiple of a vector.

    All uint64: addresses of uint32; with b = ⌈log2 q⌉, down = b − 1, up = b + 1 and factor = floor(2^2b/q).
    """

    def generate(context, builder, signature, arguments):
        e = Emitter(builder, vector_words())
        b = e.b
        *addresses, lanes, q, down, up, factor = arguments
        q, down, up, factor = (e.splat(x) for x in (q, down, up, factor))
        modulus = e.halves(b.or_(q, b.shl(q, e.half)))

        def product(x: ir.Value, y: ir.Value) -> ir.Value:
            """x·y − q·quotient; Barrett's quotient is at most 2 too small (Menezes et al. 1996, 14.42): below 3q."""
            z = e.multiply(x, y)
            return b.sub(z, e.multiply(b.lshr(e.multiply(b.lshr(z, down), factor), up), q))

        def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
            line, left, right, out = state
            x, y = e.load(left), e.load(right)
            both = e.halves(b.or_(product(x, y), b.shl(product(e.high(x), e.high(y)), e.half)))
            both = e.subtract_once(e.subtract_once(both, b.add(modulus, modulus)), modulus)
            new = b.sub(b.add(e.halves(e.load(line)), modulus), both)
            e.store(e.subtract_once(new, modulus), out)
            return [b.add(address, WORD(8 * e.width)) for address in state]

        e.loop(lanes, addresses, 2 * e.width, body)
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 9), generate
