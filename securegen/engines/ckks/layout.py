"""What the server returns of a block, and where it lies in the array of its file.

For every stream of the block, with S strands whose public halves are A_g polynomials (one if they share it, else S) and J
columns, A_c likewise, the products of all halves:
  sums (S, J, n/b): b_g·b_c, of which only the coefficients with sums are kept (`kernels.fold`);
  right (S, A_c, n): b_g·a_c;  left (A_g, J, n): a_g·b_c;  both (A_g, A_c, n): a_g·a_c.
The last of the J columns is the public column of ones, where there is one; it has no `a`. The owner's own Σ g² come back
as they were sent: values (C, n) and halves (A, n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.engines.ckks.parameters import Parameters


@dataclass(frozen=True)
class Output:
    """One column of sums of a block: `stream` g, m, q or o (the owner's Σ g²); column of the design; how it was made."""

    stream: str
    column: int
    kind: str  # product | addition | owner


def outputs(public_ones: Sequence[bool], squared: Sequence[bool], streams: Sequence[str]) -> list[Output]:
    """Sums of a block that has these streams. With squared columns and no q stream, Σ g² comes from the owner."""
    out = []
    for stream in ("g", "m", "q"):
        if stream in streams:
            wanted = [j for j, s in enumerate(squared) if s or stream != "q"]
            out += [Output(stream, j, "addition" if public_ones[j] else "product") for j in wanted]
    if "q" not in streams:
        out += [Output("o", j, "owner") for j, s in enumerate(squared) if s]
    return out


def products(wanted: Sequence[Output], stream: str) -> list[int]:
    """Columns that are multiplied with this stream, in order."""
    return [o.column for o in wanted if o.stream == stream and o.kind == "product"]


def has_ones(wanted: Sequence[Output], stream: str) -> bool:
    """Whether the columns of a stream (g, m) that are 1 for everybody are summed by additions."""
    return any(o.stream == stream and o.kind == "addition" for o in wanted)


@dataclass(frozen=True)
class BlockLayout:
    """Shapes of the parts of one block's results, by (stream, part), in the order of the file, without the primes."""

    primes: int
    shapes: dict[tuple[str, str], tuple[int, ...]]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the array in the file: (k, words)."""
        return self.primes, sum(math.prod(s) for s in self.shapes.values())

    def split(self, array: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """Views (k, …) of the parts of an array of that shape."""
        if array.shape != self.shape:
            raise ValueError(f"results of shape {array.shape}, {self.shape} expected")
        out, at = {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            out[name] = array[:, at : at + size].reshape(self.primes, *shape)
            at += size
        return out


def block_layout(
    p: Parameters, wanted: Sequence[Output], variants: int, *, shared_genotypes: bool, shared_columns: bool
) -> BlockLayout:
    """The layout for a block of so many variants; shared_…: whether strands, and columns, have one public half."""
    n, width = p.ring.n, p.places
    strands = -(-variants // p.strand_variants)
    halves = 1 if shared_genotypes else strands
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for stream in ("g", "m", "q"):
        if not any(o.stream == stream for o in wanted):
            continue
        hidden = len(products(wanted, stream))
        columns, column_halves = hidden + has_ones(wanted, stream), min(hidden, 1) if shared_columns else hidden
        shapes |= {
            (stream, "sums"): (strands, columns, width), (stream, "right"): (strands, column_halves, n),
            (stream, "left"): (halves, columns, n), (stream, "both"): (halves, column_halves, n),
        }  # fmt: skip
    owner = sum(o.kind == "owner" for o in wanted)
    if owner:
        count = -(-owner * variants // n)
        shapes |= {("o", "values"): (count, n), ("o", "halves"): (1 if shared_columns else count, n)}
    return BlockLayout(len(p.ring.primes), shapes)
