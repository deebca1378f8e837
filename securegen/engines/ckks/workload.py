"""What is to be summed, in public numbers: what a plan is made for."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """What is to be summed. columns: encrypted design columns; bits: of a column; streams: stored streams a genotype, on
    average (1, +1 in blocks where calls are missing, +1 with squares); dosage_max: the largest dosage in units of its grid;
    squares: a g² stream is stored; runs: variants of each run that blocks do not cross (`blocks.runs_of`), none for one.

    Where chromosomes have designs of their own, columns are the most that one has; sets: encrypted columns of each; set_of:
    the set of every run; stored: different columns of all of them. spread: how many times its scale the standard deviation
    of a column may be: 2 where predictions, which are another program's, were taken from a phenotype."""

    samples: int
    variants: int
    columns: int
    bits: int
    streams: float = 2
    dosage_max: int = 2
    squares: bool = False
    runs: tuple[int, ...] = ()
    sets: tuple[int, ...] = ()
    set_of: tuple[int, ...] = ()
    stored: int = 0
    spread: int = 1

    def counts(self, size: int) -> dict[int, int]:
        """Encrypted columns -> how many pieces of at most `size` variants are multiplied with so many."""
        if not self.sets:
            return {self.columns: self.parts(size)}
        out: dict[int, int] = {}
        for run, own in zip(self.runs, self.set_of, strict=True):
            columns = self.sets[own]
            out[columns] = out.get(columns, 0) - (-run // size)
        return out

    def parts(self, size: int) -> int:
        """How many pieces of at most `size` variants all runs make."""
        return sum(-(-run // size) for run in self.runs or (self.variants,))

    @property
    def stored_max(self) -> int:
        return self.dosage_max**2 if self.squares else self.dosage_max

    @property
    def norm(self) -> float:
        """2-norm bound of a design column: N samples within spread·scale, scale ≥ SD, centre within scale/32, rounding 1/2.

        At least dosage_max·√N, so that indicator columns fit and dosage_max·√N·norm also bounds the owner's Σ g².
        """
        return math.sqrt(self.samples) * max(self._scaled, self.dosage_max)

    @property
    def largest_sum(self) -> int:
        """Bound of |Σ g c| by Cauchy and Schwarz."""
        return math.ceil(self.stored_max * math.sqrt(self.samples) * self.norm)

    @property
    def _scaled(self) -> float:
        """Root mean square of a design column at most."""
        return self.spread * 2.0**self.bits / 5 * math.hypot(1, 1 / 32) + 0.5

    def norm_of_digits(self, count: int, bits: int) -> float:
        """The same of every digit of a column in `count` digits of so many bits, for all data: the lower ones are within
        2^(bits−1), the top one is what remains of the column, and of the lower ones at most 1/2 · 2^bits/(2^bits − 1)."""
        if count == 1:
            return self.norm
        top = self._scaled / 2.0 ** (bits * (count - 1)) + 0.5 * 2.0**bits / (2.0**bits - 1)
        return math.sqrt(self.samples) * max(top, 2.0 ** (bits - 1), self.dosage_max)
