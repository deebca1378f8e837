"""CKKS parameters: ring, primes, scales, and how a cohort lies in ciphertexts.

Coefficient encoding. A ciphertext holds b samples × n/b places: g(X) = Σ g_ij X^(i+bj) over i < b, and a design column
c(X) = Σ c_i X^(b−1−i). Coefficient bj+b−1 of the product is Σ_i g_ij c_i; products add up over groups of b samples. A place
holds k variants: g_ij = Σ_l 2^(Bl) g_(i, variant l of place j), so that the coefficient is Σ_l 2^(Bl) S_l, k exact sums.
Columns may be encrypted in digits, each a column of its own: Σ g c = Σ_d 2^(hd) Σ g c_d.
Nothing rotates or relinearises, so no evaluation keys exist. A block of variants is a few such ciphertexts, its strands,
which share their public half and have a secret key each (see `strands`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from securegen.design.fixedpoint import check_sum_bound
from securegen.errors import ArtefactError, PlanError
from securegen.io.schema import integer, list_of, number, one_of, record
from securegen.kernels.residue_mac import LANES_MULTIPLE, PRIME_LIMIT
from securegen.rlwe.ring import ERROR_MAX, ERROR_SD, STANDARD_128, Ring

MOST_DIGITS = 16  # variants per coefficient
MOST_COLUMN_DIGITS = 4
SIGMAS = 15  # wrong rounding below 2^-128 in a whole run
MAX_STRANDS = 64
MOST_PRIMES = max(STANDARD_128.values()) // 30
MOST_SAMPLES = (1 << 22) - 1  # exact sums of the design are planned below this
MOST_GRID = 1 << 13  # dosage units a copy: a stored value has 16 bits

# What planners make; what a file or a peer says is held against it before anything is computed from it.
SCHEMA = record(
    ring=record(
        n=one_of(*STANDARD_128), primes=list_of(integer(3, PRIME_LIMIT - 1), 1, MOST_PRIMES), special=integer(3, (1 << 60) - 1),
        lanes=integer(LANES_MULTIPLE, max(STANDARD_128)),
    ),
    pack=integer(1, max(STANDARD_128)),
    genotype_scale=integer(0, max(STANDARD_128.values())),
    design_scale=integer(0, max(STANDARD_128.values())),
    dosage_max=integer(1, (2 * MOST_GRID) ** 2),
    norm=number(1, 2.0**60),
    samples=integer(1, MOST_SAMPLES),
    strands=integer(1, MAX_STRANDS),
    digits=integer(1, MOST_DIGITS),
    digit_bits=integer(0, 61),
    column_digits=integer(1, MOST_COLUMN_DIGITS),
    column_bits=integer(0, 60),
)  # fmt: skip


@dataclass(frozen=True)
class Parameters:
    """Public parameters of one encrypted study.

    ring; pack: b, samples per ciphertext; genotype_scale, design_scale: log2 of Δ_g and Δ_c; dosage_max: largest stored
    value of any stream; norm: bound of the 2-norm of a digit of a design column; samples: N stored; strands: ciphertexts of a
    block for one group of samples; digits, digit_bits: k variants per coefficient, 2^digit_bits apart (0 for one); column_digits,
    column_bits: digits of a column, 2^column_bits apart (0 for one).
    """

    ring: Ring
    pack: int
    genotype_scale: int
    design_scale: int
    dosage_max: int
    norm: float
    samples: int
    strands: int = 1
    digits: int = 1
    digit_bits: int = 0
    column_digits: int = 1
    column_bits: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.strands <= MAX_STRANDS:
            raise PlanError(f"{self.strands} strands a block, expected 1 to {MAX_STRANDS}")
        if self.pack < 1 or self.ring.n % self.pack:
            raise PlanError(f"{self.pack} samples per ciphertext do not divide ring dimension {self.ring.n}")
        if self.samples < 1 or self.dosage_max < 1 or not self.norm > 0:
            raise PlanError("a plan needs samples, a largest dosage and a norm of the columns that are not zero")
        for what, count, bits, most in (
            ("variants per coefficient", self.digits, self.digit_bits, MOST_DIGITS),
            ("digits per column", self.column_digits, self.column_bits, MOST_COLUMN_DIGITS),
        ):
            if not 1 <= count <= most or (count > 1) != (bits > 0):
                raise PlanError(
                    f"{count} {what} of {bits} bits, expected 1 to {most}, with bits where there are several"
                )
        self.check_exact()

    @property
    def packed(self) -> bool:
        """Whether a coefficient holds several variants. No scores are computed from such a store, and its owner keeps which
        calls are missing (`owner.absent`)."""
        return self.digits > 1

    @property
    def places(self) -> int:
        """Coefficients of a strand that hold sums."""
        return self.ring.n // self.pack

    @property
    def strand_variants(self) -> int:
        return self.places * self.digits

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of every digit of a coefficient, from the lowest; the top one takes what remains."""
        return (max(self.digit_bits, 1),) * self.digits

    @property
    def largest_message(self) -> float:
        """Largest coefficient of a genotype message: a geometric sum, more than the top digit alone."""
        return self.dosage_max * self._geometric

    @property
    def _geometric(self) -> float:
        return math.fsum(2.0 ** (self.digit_bits * l) for l in range(self.digits))

    @property
    def block_variants(self) -> int:
        return self.strand_variants * self.strands

    @property
    def groups(self) -> int:
        return -(-self.samples // self.pack)

    @property
    def result_scale(self) -> int:
        return self.genotype_scale + self.design_scale

    @property
    def noise_bound(self) -> float:
        """15 standard deviations of the noise of one decrypted sum, in units of the sum (docs/explanation/noise.md).

        With M the messages (≤ largest_message), N·n/b coefficients: A = σ·max M·√(nN/b)/Δ_c (design error × genotypes),
        B = σ‖c‖/Δ_g (genotype error × design), C = 21σ√(nN/b)/(Δ_gΔ_c) (error × error, one factor at its maximum).
        """
        spread = math.sqrt(self.ring.n * self.groups)
        delta_g, delta_c = 2.0**self.genotype_scale, 2.0**self.design_scale
        a = ERROR_SD * self.largest_message * spread / delta_c
        b = ERROR_SD * max(self.norm, math.sqrt(self.groups * self.pack)) / delta_g
        c = ERROR_SD * ERROR_MAX * spread / (delta_g * delta_c)
        return SIGMAS * math.hypot(a, b + c)

    @property
    def sum_bound(self) -> float:
        return self.dosage_max * math.sqrt(self.samples) * self.norm

    @property
    def margin_bits(self) -> float:
        """log2 of ½ over the 15-σ noise bound: how far rounding is from going wrong."""
        return math.log2(0.5 / self.noise_bound)

    def check_exact(self) -> None:
        """Raise PlanError unless every sum decrypts to the exact integer."""
        if self.noise_bound > 0.5:
            raise PlanError(f"noise of 15 standard deviations reaches {self.noise_bound:.2f}, it must stay below 0.5")
        if self.digits > 1 and math.ceil(self.sum_bound) >= 1 << (self.digit_bits - 1):
            raise PlanError(
                f"sums of up to 2^{math.log2(self.sum_bound):.1f} with their sign do not fit digits of {self.digit_bits} bits"
            )
        need = 1 + math.log2(self.sum_bound * self._geometric + 1) + self.result_scale
        if need >= math.log2(self.ring.modulus):
            raise PlanError(f"sums need {need:.1f} bits, the modulus has {math.log2(self.ring.modulus):.1f}")
        check_sum_bound(math.ceil(self.sum_bound), "the sums", verified=True)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ring": {**asdict(self.ring), "primes": list(self.ring.primes)}}

    @staticmethod
    def from_json(value: object) -> Parameters:
        """Rebuild and re-check. Raises ArtefactError for anything that is not a valid parameter set."""
        try:
            p = SCHEMA(value, "")
            ring = p.pop("ring")
            return Parameters(Ring(ring["n"], tuple(ring["primes"]), ring["special"], ring["lanes"]), **p)
        except (ValueError, ArithmeticError, PlanError) as error:
            raise ArtefactError(f"the parameters are not valid: {error}") from None
