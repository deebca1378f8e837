"""What is to be summed, in public numbers: what a plan is made for."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """What is to be summed. columns: encrypted design columns; bits: of a column; streams: stored streams per genotype, on
    average (1, +1 in blocks where calls are missing, +1 with squares); dosage_max: the largest dosage in units of its grid;
    squares: a g² stream is stored; runs: variants of each run that blocks do not cross (`blocks.runs_of`), none for one.

    Where chromosomes have designs of their own, columns are the most that one has; sets: encrypted columns of each; set_of:
    the set of every run; stored: different columns of all of them. spread: how many times its scale the standard deviation
    of a column may be: 2 where predictions, which are another program's, were taken from a phenotype.

    Where columns differ in precision, coarse_bits are those of all but `fine` columns of a set, stored_fine of all sets.
    owner_squares: Σ g² of each variant that the owner encrypts, the most of any set; 0 with a g² stream."""

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
    coarse_bits: int = 0
    fine: int = 0
    stored_fine: int = 0
    owner_squares: int = 0

    def strands(self, columns: int, fine: int, coarse: int, *, stored: bool = False) -> int:
        """Ciphertexts of so many columns, in `fine` digits each, and `coarse` where they have coarse_bits. stored: of all
        sets together."""
        own = min(columns, (self.stored_fine if stored else 0) or self.fine) if self.coarse_bits else columns
        return own * fine + (columns - own) * coarse

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

    def squares_of_owner(self, block: int, n: int, digits: int) -> int:
        """Polynomials of n coefficients that the owner's Σ g² fill, in blocks of at most `block` variants; digits: of a column
        that is encrypted, as all but the intercept are."""
        each = min(1, self.owner_squares) + max(0, self.owner_squares - 1) * digits
        full = -(-each * block // n)
        return sum(run // block * full - (-each * (run % block) // n) for run in self.runs or (self.variants,))

    @property
    def precision(self) -> str:
        """Bits of the columns in words."""
        if not self.coarse_bits:
            return f"of {self.bits} bits"
        return f"({self.fine} of {self.bits} bits, others of {self.coarse_bits})"

    @property
    def stored_max(self) -> int:
        return self.dosage_max**2 if self.squares else self.dosage_max

    @property
    def norm(self) -> float:
        """2-norm bound of a design column: N samples within spread·scale, scale ≥ SD, centre within scale/32, rounding 1/2.

        At least dosage_max·√N, so that indicator columns fit and dosage_max·√N·norm also bounds the owner's Σ g².
        """
        return math.sqrt(self.samples) * max(self.root_mean_square(self.bits), self.dosage_max)

    @property
    def largest_sum(self) -> int:
        """Bound of |Σ g c| by Cauchy and Schwarz."""
        return math.ceil(self.stored_max * math.sqrt(self.samples) * self.norm)

    def root_mean_square(self, bits: int) -> float:
        """Root mean square of a design column of so many bits at most."""
        return self.spread * (largest_size(bits) - 0.5) + 0.5

    def digits(self, most: int) -> list[ColumnDigits]:
        """How columns may be encrypted, from whole ones to `most` digits: of each number of ciphertexts the one with the
        smallest norm, where it is smaller than with fewer."""
        whole = math.sqrt(self.samples)
        out = [ColumnDigits(1, 1, 0, self.norm)]
        coarse_bits = self.coarse_bits or self.bits
        for fine in range(2, most + 1):
            for coarse in range(1, fine + 1):
                found = None
                for bits in range(2, max(3, self.bits)):
                    top = max(
                        of_top_digit(self.root_mean_square(b), count, bits)
                        for b, count in ((self.bits, fine), (coarse_bits, coarse))
                    )
                    norm = whole * max(top, 2.0 ** (bits - 1), self.dosage_max)
                    if found is None or norm < found.norm:
                        found = ColumnDigits(fine, coarse, bits, norm)
                if found is not None and all(found.norm < d.norm or coarse < d.coarse or fine < d.fine for d in out):
                    out.append(found)
        return out


@dataclass(frozen=True)
class ColumnDigits:
    """fine, coarse: digits of a column, and of one with fewer bits; bits: of a digit, 0 for one; norm: bound of theirs."""

    fine: int
    coarse: int
    bits: int
    norm: float


def largest_size(bits: int) -> float:
    """Root mean square of a column whose standard deviation is at most its scale and whose centre is within scale/32."""
    return 2.0**bits / 5 * math.hypot(1, 1 / 32) + 0.5


def of_top_digit(size: float, count: int, bits: int) -> float:
    """Bound of the root mean square of a column's top digit, size: that of the column. It is what remains of the column, and of
    the lower ones, which are within 2^(bits−1), at most 1/2 · 2^bits/(2^bits − 1)."""
    if count == 1:
        return size
    return size / 2.0 ** (bits * (count - 1)) + 0.5 * 2.0**bits / (2.0**bits - 1)
