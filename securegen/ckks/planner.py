"""Choosing CKKS parameters: the smallest ring and the pack that hold the sums exactly at the least cost.

Everything the plan reads and writes is public: counts, precision, grid. It is made before anything is encrypted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from securegen.ckks.parameters import ERROR_SD, SIGMAS, Parameters, Ring
from securegen.errors import ArtefactError, PlanError

RINGS = ((4096, (3,)), (8192, (3, 4, 5, 6)))
PACKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Weights of the choice between plans, seconds on one core: encrypting one residue polynomial, multiplying one pair of
# coefficients in one prime, decrypting one result.
ENCRYPT_SECONDS = {"seal": 0.7e-3, "own": 0.06e-3}
MULTIPLY_SECONDS = 1.1e-9
DECRYPT_SECONDS = 0.25e-3


@dataclass(frozen=True)
class Workload:
    """What is to be summed. columns: encrypted design columns; bits: of a column; streams: stored streams a genotype
    (1, +1 where calls are missing, +1 with squares); grid: dosage units a copy; squares: a g² stream is stored."""

    samples: int
    variants: int
    columns: int
    bits: int
    streams: int = 2
    grid: int = 1
    squares: bool = False

    @property
    def dosage_max(self) -> int:
        return (2 * self.grid) ** 2 if self.squares else 2 * self.grid

    @property
    def norm(self) -> float:
        """2-norm bound of a design column: N samples within scale ≥ SD, centre within scale/32, rounding 1/2.

        At least 2D·√N, so that indicator columns fit and 2D·√N·norm also bounds the owner's Σ g².
        """
        scaled = 2.0**self.bits / 5 * math.hypot(1, 1 / 32) + 0.5
        return math.sqrt(self.samples) * max(scaled, 2 * self.grid)


@dataclass(frozen=True)
class Plan:
    """Parameters with their public workload and the estimates shown to the user."""

    parameters: Parameters
    workload: Workload

    @property
    def blocks(self) -> int:
        return -(-self.workload.variants // self.parameters.block_variants)

    def bytes(self) -> dict[str, int]:
        """Bytes of the encrypted cohort, design and results, streams all stored."""
        p, w = self.parameters, self.workload
        polynomial = len(p.ring.primes) * p.ring.n * 4
        return {
            "cohort": self.blocks * p.groups * w.streams * polynomial,
            "design": p.groups * w.columns * polynomial,
            "results": self.blocks * w.columns * w.streams * 3 * polynomial,
        }

    def cost(self) -> float:
        """Processor seconds that depend on ring and pack, to choose between plans."""
        p, w, size = self.parameters, self.workload, self.bytes()
        polynomial = p.ring.n * 4
        products = self.blocks * p.groups * w.streams * w.columns * len(p.ring.primes) * p.ring.n
        encrypt = (size["cohort"] + size["design"]) / polynomial * ENCRYPT_SECONDS["own"] * p.ring.n / 4096
        decrypt = size["results"] / polynomial / len(p.ring.primes) / 3 * DECRYPT_SECONDS
        return (encrypt + products * MULTIPLY_SECONDS) / 2 + decrypt

    def seconds(self, cores: int = 2, encryptor: str = "own") -> dict[str, float]:
        """Estimated wall seconds of encryption, the server's pass and decryption, files included.

        Fitted to runs of 500 × 5,000 to 10,000 × 50,000 on two cores; every block is counted with its missing stream.
        """
        p, w, size = self.parameters, self.workload, self.bytes()
        size_factor = p.ring.n / 4096
        polynomials = (size["cohort"] + size["design"]) / (p.ring.n * 4)
        stored = size["cohort"] / (p.ring.n * 4)
        products = self.blocks * p.groups * w.streams * w.columns * len(p.ring.primes) * p.ring.n
        outputs = self.blocks * w.columns * w.streams
        each = {"own": 0.14e-3, "seal": ENCRYPT_SECONDS["seal"]}[encryptor]
        return {
            "encrypt": 0.2 + polynomials * each * size_factor / cores,
            "gwas": 0.3 + (products * 0.72e-9 + stored * 24e-6 * size_factor) / cores,
            "decrypt": 0.1 + outputs * 0.5e-3 * size_factor + w.variants * 10e-6,
        }

    def to_json(self) -> dict[str, Any]:
        return {"parameters": self.parameters.to_json(), "workload": asdict(self.workload)}

    @staticmethod
    def from_json(value: Any) -> Plan:
        try:
            return Plan(Parameters.from_json(value["parameters"]), Workload(**value["workload"]))
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"not a plan: {error}") from None


def _fit(ring: Ring, pack: int, w: Workload) -> Parameters | None:
    """Scales for this ring and pack, the slack shared between both; None when they do not hold the sums."""
    groups = -(-w.samples // pack)
    spread = math.sqrt(ring.n * groups)
    design = math.log2(2 * SIGMAS * ERROR_SD * w.dosage_max * spread * math.sqrt(2))
    genotype = math.log2(2 * SIGMAS * ERROR_SD * w.norm * math.sqrt(2)) + 0.1
    room = math.log2(ring.modulus) - 1 - math.log2(w.dosage_max * math.sqrt(w.samples) * w.norm + 1)
    design_scale, genotype_scale = math.ceil(design), math.ceil(genotype)
    slack = math.floor(room - 1e-6) - design_scale - genotype_scale
    if slack < 0:
        return None
    try:
        return Parameters(
            ring, pack, genotype_scale + slack // 2, design_scale + slack - slack // 2, w.dosage_max, w.norm, w.samples
        )
    except PlanError:
        return None


def choose(workload: Workload) -> Plan:
    """The cheapest plan by estimated time. Raises PlanError when no ring holds the sums at 128-bit security."""
    best: tuple[float, Plan] | None = None
    for n, counts in RINGS:
        for count in counts:
            ring = Ring.standard(n, count)
            for pack in PACKS:
                parameters = _fit(ring, pack, workload)
                if parameters is None:
                    continue
                plan = Plan(parameters, workload)
                cost = plan.cost()
                if best is None or cost < best[0]:
                    best = cost, plan
            if best is not None:
                return best[1]
    raise PlanError(
        f"no parameters hold sums over {workload.samples} samples at {workload.bits} bits a column and dosage grid "
        f"{workload.grid}: use fewer bits (--bits) or a coarser grid"
    )
