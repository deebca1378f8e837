"""Butterflies of the number-theoretic transform, in vectors of 32-bit residues. Values are lazy: below 4q, q below 2^30.

A root w comes with its quotient floor(w·2^32/q): x·w − floor(x·quotient/2^32)·q lies in [0, 2q) for every x below 2^32
(Shoup; Harvey 2014). Tables hold w in the low and the quotient in the high half of a word. The stages whose butterflies
are shorter than a vector run together on two vectors, with shuffles between them.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.emit import WORD, Emitter, vector_words


class Butterfly(Emitter):
    """`lanes` residues a vector."""

    def __init__(self, builder: ir.IRBuilder, q: ir.Value | None = None, width: int | None = None) -> None:
        super().__init__(builder, width or vector_words())
        self.lanes = 2 * self.width
        if q is not None:
            self.q = self.splat_halves(q)
            self.two_q = self.b.add(self.q, self.q)

    def splat_halves(self, word: ir.Value) -> ir.Value:
        """The lower half of a word in every lane."""
        return self.shuffle(self.halves(self.splat(word)), self.halves(self.splat(word)), [0] * self.lanes)

    def root(self, word: ir.Value) -> tuple[ir.Value, ir.Value]:
        """A root and its quotient in every lane."""
        return self.splat_halves(word), self.splat_halves(self.b.lshr(word, WORD(32)))

    def residues(self, address: ir.Value) -> ir.Value:
        return self.halves(self.load(address))

    def times_root(self, x: ir.Value, root: tuple[ir.Value, ir.Value]) -> ir.Value:
        """x·w mod q, below 2q, for any x."""
        w, quotient = root
        long, factor = self.words(x), self.words(quotient)
        even, odd = self.multiply(long, factor), self.multiply(self.high(long), self.high(factor))
        return self.b.sub(self.b.mul(x, w), self.b.mul(self.upper_halves(even, odd), self.q))

    def upper_halves(self, even: ir.Value, odd: ir.Value) -> ir.Value:
        """The upper halves of the words of two vectors: lanes of the first and of the second in turn."""
        lanes = [i if not i & 1 else self.lanes + i for i in range(self.lanes)]
        return self.shuffle(self.halves(self.high(even)), self.halves(odd), lanes)

    def words(self, x: ir.Value) -> ir.Value:
        return self.b.bitcast(x, self.vector)

    def forward(self, u: ir.Value, v: ir.Value, root: tuple[ir.Value, ir.Value]) -> tuple[ir.Value, ir.Value]:
        """(u + vw, u − vw) of values below 4q: Cooley–Tukey."""
        u, v = self.subtract_once(u, self.two_q), self.times_root(v, root)
        return self.b.add(u, v), self.b.sub(self.b.add(u, self.two_q), v)

    def inverse(self, u: ir.Value, v: ir.Value, root: tuple[ir.Value, ir.Value]) -> tuple[ir.Value, ir.Value]:
        """(u + v, (u − v)w) of values below 2q, and below 2q: Gentleman–Sande."""
        difference = self.b.sub(self.b.add(u, self.two_q), v)
        return self.subtract_once(self.b.add(u, v), self.two_q), self.times_root(difference, root)

    def canonical(self, x: ir.Value) -> ir.Value:
        """Of a value below 4q."""
        return self.subtract_once(self.subtract_once(x, self.two_q), self.q)

    def regroup(self, pair: list[ir.Value], labels: list[int], wanted: list[int]) -> list[ir.Value]:
        """Two vectors whose lanes hold the elements `labels` -> the same elements in the order `wanted`."""
        lanes = [labels.index(label) for label in wanted]
        x, y = pair
        return [self.shuffle(x, y, lanes[: self.lanes]), self.shuffle(x, y, lanes[self.lanes :])]


def _arms(lanes: int, t: int) -> list[int]:
    """Elements of two vectors in the order: upper arms of the butterflies at distance t, then lower arms."""
    upper = [i for i in range(2 * lanes) if not i & t]
    return upper + [i + t for i in upper]


def _stage(inverse: bool):
    @intrinsic
    def run(typing_context, x, arm, root, q):
        def generate(context, builder, signature, arguments):
            x, count, root, q = arguments
            e = Butterfly(builder, q)
            w, arm, step = e.root(root), e.b.mul(count, WORD(4)), WORD(4 * e.lanes)

            def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
                (upper,) = state
                lower = e.b.add(upper, arm)
                u, v = (e.inverse if inverse else e.forward)(e.residues(upper), e.residues(lower), w)
                e.store(u, upper)
                e.store(v, lower)
                return [e.b.add(upper, step)]

            e.loop(count, [x], e.lanes, body)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run


def _short_stages(inverse: bool, words: int | None = None):
    @intrinsic
    def run(typing_context, x, n, roots, q):
        def generate(context, builder, signature, arguments):
            x, n, roots, q = arguments
            e = Butterfly(builder, q, words)
            b, width = e.b, e.lanes
            natural = list(range(2 * width))
            # with fewer lanes than the machine has, the stage that is as long as a vector too
            distances = [1 << i for i in range(width.bit_length() - (words is None))]

            def body(state: list[ir.Value], left: ir.Value) -> list[ir.Value]:
                (address,) = state
                second = b.add(address, WORD(4 * width))
                pair, labels = [e.residues(address), e.residues(second)], natural
                done = b.sub(n, left)
                for t in distances if inverse else reversed(distances):
                    wanted = _arms(width, t)
                    pair = e.regroup(pair, labels, wanted)
                    # the butterflies at distance t start at n/2t in the table; 2t elements share a root
                    per_pair = width // t
                    first = b.add(b.udiv(n, WORD(2 * t)), b.udiv(done, WORD(2 * t)))
                    some = e.load(b.add(roots, b.mul(first, WORD(8))), per_pair)
                    some = b.bitcast(some, ir.VectorType(ir.IntType(32), 2 * per_pair))
                    w = tuple(e.shuffle(some, some, [2 * (i // t) + part for i in range(width)]) for part in (0, 1))
                    u, v = pair
                    pair = list((e.inverse if inverse else e.forward)(u, v, w))
                    labels = wanted
                pair = e.regroup(pair, labels, natural)
                if not inverse:
                    pair = [e.canonical(v) for v in pair]
                e.store(pair[0], address)
                e.store(pair[1], second)
                return [b.add(second, WORD(4 * width))]

            e.loop(n, [x], 2 * width, body)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run


def _scaling():
    @intrinsic
    def run(typing_context, x, n, factor, q):
        def generate(context, builder, signature, arguments):
            x, n, factor, q = arguments
            e = Butterfly(builder, q)
            w = e.root(factor)

            def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
                (address,) = state
                e.store(e.subtract_once(e.times_root(e.residues(address), w), e.q), address)
                return [e.b.add(address, WORD(4 * e.lanes))]

            e.loop(n, [x], e.lanes, body)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run


@intrinsic
def narrow(typing_context, x, n):
    """n words at an address become their n lower halves at the same address, in place."""

    def generate(context, builder, signature, arguments):
        e = Butterfly(builder)

        def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
            source, target = state
            second = e.b.add(source, WORD(8 * e.width))
            x, y = e.halves(e.load(source)), e.halves(e.load(second))
            e.store(e.shuffle(x, y, list(range(0, 2 * e.lanes, 2))), target)
            return [e.b.add(second, WORD(8 * e.width)), e.b.add(target, WORD(4 * e.lanes))]

        e.loop(arguments[1], [arguments[0]] * 2, e.lanes, body)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


@intrinsic
def widen(typing_context, x, n):
    """The inverse of `narrow`, from the end."""

    def generate(context, builder, signature, arguments):
        e = Butterfly(builder)
        x, n = arguments
        zero = ir.Constant(ir.VectorType(ir.IntType(32), e.lanes), None)

        def body(state: list[ir.Value], left: ir.Value) -> list[ir.Value]:
            first = e.b.sub(left, WORD(e.lanes))
            row = e.residues(e.b.add(x, e.b.mul(first, WORD(4))))
            for part in (1, 0):
                start = part * e.width
                lanes = [place for i in range(start, start + e.width) for place in (i, e.lanes)]
                e.store(e.shuffle(row, zero, lanes), e.b.add(x, e.b.mul(e.b.add(first, WORD(start)), WORD(8))))
            return []

        e.loop(n, [], e.lanes, body)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


# (address of the upper arms, residues of an arm, root, q), all uint64: one block of one stage
forward_stage, inverse_stage = _stage(False), _stage(True)
# (address, n, address of the table, q): all stages shorter than a vector; the forward ones leave canonical residues
forward_short_stages, inverse_short_stages = _short_stages(False), _short_stages(True)
# the same for n = 16, which are two vectors of 8 on any machine
forward_smallest, inverse_smallest = _short_stages(False, 4), _short_stages(True, 4)
# (address, n, factor with its quotient, q): multiply and make canonical
scale = _scaling()
