"""Butterflies of the number-theoretic transform, in vectors. Values are lazy: below 2q between stages, q below 2^31.

A root w comes with its quotient floor(w·2^32/q): x·w − floor(x·quotient/2^32)·q lies in [0, 2q) for every x below 2^32
(Shoup; Harvey 2014). Tables hold w in the low and the quotient in the high half of a word. The stages whose butterflies
are shorter than a vector run together on two vectors, with shuffles between them.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from securegen.kernels.emit import WORD, Emitter, vector_words


class _Butterfly(Emitter):
    def __init__(self, builder: ir.IRBuilder, q: ir.Value) -> None:
        super().__init__(builder, vector_words())
        self.q = self.splat(q)
        self.two_q = self.b.add(self.q, self.q)

    def times_root(self, x: ir.Value, root: ir.Value) -> ir.Value:
        """x·w mod q, below 2q, for x below 2^32."""
        quotient = self.high(self.multiply(x, self.high(root)))
        return self.b.sub(self.multiply(x, root), self.multiply(quotient, self.q))

    def forward(self, u: ir.Value, v: ir.Value, root: ir.Value) -> tuple[ir.Value, ir.Value]:
        """(u + vw, u − vw): Cooley–Tukey."""
        v = self.times_root(v, root)
        difference = self.b.sub(self.b.add(u, self.two_q), v)
        return self.subtract_once(self.b.add(u, v), self.two_q), self.subtract_once(difference, self.two_q)

    def inverse(self, u: ir.Value, v: ir.Value, root: ir.Value) -> tuple[ir.Value, ir.Value]:
        """(u + v, (u − v)w): Gentleman–Sande."""
        difference = self.subtract_once(self.b.sub(self.b.add(u, self.two_q), v), self.two_q)
        return self.subtract_once(self.b.add(u, v), self.two_q), self.times_root(difference, root)

    def regroup(self, pair: list[ir.Value], labels: list[int], wanted: list[int]) -> list[ir.Value]:
        """Two vectors whose lanes hold the elements `labels` -> the same elements in the order `wanted`."""
        lanes = [labels.index(label) for label in wanted]
        x, y = pair
        return [self.shuffle(x, y, lanes[: self.width]), self.shuffle(x, y, lanes[self.width :])]


def _halves(width: int, t: int) -> list[int]:
    """Elements of 2·width in the order: upper arms of the butterflies at distance t, then lower arms."""
    upper = [i for i in range(2 * width) if not i & t]
    return upper + [i + t for i in upper]


def _stage(inverse: bool):
    @intrinsic
    def run(typing_context, x, words, root, q):
        def generate(context, builder, signature, arguments):
            x, words, root, q = arguments
            e = _Butterfly(builder, q)
            w, arm, step = e.splat(root), e.b.mul(words, WORD(8)), WORD(8 * e.width)

            def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
                (upper,) = state
                lower = e.b.add(upper, arm)
                u, v = (e.inverse if inverse else e.forward)(e.load(upper), e.load(lower), w)
                e.store(u, upper)
                e.store(v, lower)
                return [e.b.add(upper, step)]

            e.loop(words, [x], e.width, body)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run


def _short_stages(inverse: bool):
    @intrinsic
    def run(typing_context, x, n, roots, q):
        def generate(context, builder, signature, arguments):
            x, n, roots, q = arguments
            e = _Butterfly(builder, q)
            b, width = e.b, e.width
            natural = list(range(2 * width))
            distances = [1 << i for i in range(width.bit_length() - 1)]

            def body(state: list[ir.Value], left: ir.Value) -> list[ir.Value]:
                (address,) = state
                second = b.add(address, WORD(8 * width))
                pair, labels = [e.load(address), e.load(second)], natural
                done = b.sub(n, left)
                for t in distances if inverse else reversed(distances):
                    wanted = _halves(width, t)
                    pair = e.regroup(pair, labels, wanted)
                    # the butterflies at distance t start at n/2t in the table; 2t elements share a root
                    per_pair = width // t
                    first = b.add(b.udiv(n, WORD(2 * t)), b.udiv(done, WORD(2 * t)))
                    some = e.load(b.add(roots, b.mul(first, WORD(8))), per_pair)
                    w = e.shuffle(some, some, [i // t for i in range(width)])
                    u, v = pair
                    pair = list((e.inverse if inverse else e.forward)(u, v, w))
                    labels = wanted
                pair = e.regroup(pair, labels, natural)
                if not inverse:
                    pair = [e.subtract_once(v, e.q) for v in pair]
                e.store(pair[0], address)
                e.store(pair[1], second)
                return [b.add(second, WORD(8 * width))]

            e.loop(n, [x], 2 * width, body)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run


def _scaling():
    @intrinsic
    def run(typing_context, x, n, factor, q):
        def generate(context, builder, signature, arguments):
            x, n, factor, q = arguments
            e = _Butterfly(builder, q)
            w = e.splat(factor)

            def body(state: list[ir.Value], _: ir.Value) -> list[ir.Value]:
                (address,) = state
                e.store(e.subtract_once(e.times_root(e.load(address), w), e.q), address)
                return [e.b.add(address, WORD(8 * e.width))]

            e.loop(n, [x], e.width, body)
            return context.get_dummy_value()

        return types.void(*[types.uint64] * 4), generate

    return run


# (address of the upper arms, words of an arm, root, q), all uint64: one block of one stage
forward_stage, inverse_stage = _stage(False), _stage(True)
# (address, n, address of the table, q): all stages shorter than a vector; the forward ones leave canonical residues
forward_short_stages, inverse_short_stages = _short_stages(False), _short_stages(True)
# (address, n, factor with its quotient, q): multiply and make canonical
scale = _scaling()
