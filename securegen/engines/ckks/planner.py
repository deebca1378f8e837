"""Choosing CKKS parameters: the smallest ring and the pack that hold the sums exactly at the least cost.

Everything the plan reads and writes is public: counts, precision, grid. It is made before anything is encrypted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from securegen.design import fixedpoint
from securegen.engines.ckks import parameters
from securegen.engines.ckks.blocks import MOST_BLOCKS, block_sizes, starts_of
from securegen.engines.ckks.column_digits import digits_needed
from securegen.engines.ckks.parameters import (
    MOST_COLUMN_DIGITS,
    MOST_DIGITS,
    MOST_GRID,
    MOST_SAMPLES,
    SIGMAS,
    Parameters,
)
from securegen.engines.ckks.planned_design import NAMES, PlannedDesign
from securegen.engines.ckks.workload import ColumnDigits, Workload
from securegen.errors import ArtefactError, PlanError
from securegen.io.schema import boolean, integer, list_of, number, record
from securegen.kernels.ntt import SMALLEST
from securegen.kernels.residue_matmul import LANES
from securegen.rlwe.ring import ERROR_SD, Ring

# whole primes of 30 bits, at most 180 bits at 8192 and 420 at 16384: room below the standard's 218 and 438
RINGS = ((4096, (2, 3)), (8192, (3, 4, 5, 6)), (16384, tuple(range(7, 15))))
PACKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LARGE_PACKS = (512, 1024)  # for large rings, of an association alone

BLOCK_GENOTYPES = 1 << 27  # of a block at most, in memory where it is encrypted
STRANDS = 8  # of a block: nine rows of products fill whole squares of the kernel

# Seconds on one core that the choice between plans and the estimates rest on, fitted to processor time of runs with
# n from 4096 to 16384 and 2 to 14 primes: encrypting one residue polynomial of 4096 coefficients, with its file;
# multiplying one pair of residues; of the server's pass, reading a polynomial and writing one of results; opening one
# polynomial of sums in one prime. A byte is sent at 1 Gbit/s, which is why plans are small rather than quick.
ENCRYPT_SECONDS = {"seal": 0.7e-3, "own": 0.04e-3}
MULTIPLY_SECONDS = 0.06e-9
READ_SECONDS = 8.5e-6
WRITE_SECONDS = 0.13e-3
DECRYPT_SECONDS = 0.06e-3
SEND_SECONDS = 8e-9
VARIANT_SECONDS = 10e-6  # of encryption and of decryption: the genotypes read, names digested, rows written


@dataclass(frozen=True)
class Plan:
    """Parameters with their public workload and the estimates shown to the user."""

    parameters: Parameters
    workload: Workload
    design: PlannedDesign | None = None  # its names, which stay with the owner

    @property
    def blocks(self) -> int:
        return self.workload.parts(self.parameters.block_variants)

    @property
    def strands(self) -> int:
        """Of all blocks."""
        return self.workload.parts(self.parameters.strand_variants)

    @cached_property
    def _shapes(self) -> list[tuple[int, int, int]]:
        """(encrypted columns, strands, blocks) of what is multiplied with so many."""
        strands, blocks = (
            self.workload.counts(size) for size in (self.parameters.strand_variants, self.parameters.block_variants)
        )
        return [(self._encrypted(columns), strands[columns], blocks[columns]) for columns in strands]

    @cached_property
    def _coarse(self) -> int:
        """Digits of a column with the workload's coarse bits."""
        p, size = self.parameters, self.workload.root_mean_square(self.workload.coarse_bits)
        return digits_needed(size * math.sqrt(p.samples), p)

    def _encrypted(self, columns: int, *, stored: bool = False) -> int:
        """Ciphertexts of so many columns, for a group of samples."""
        return self.workload.strands(columns, self.parameters.column_digits, self._coarse, stored=stored)

    @cached_property
    def polynomials(self) -> dict[str, int]:
        """Residue polynomials (n coefficients, one prime) of the encrypted cohort, design and results, all streams; without the
        owner's Σ g², of which nothing is computed."""
        p, w, k = self.parameters, self.workload, len(self.parameters.ring.primes)
        ones = 1  # the intercept, which is public
        results = sum(
            (strands * ((columns + ones) / p.pack + 1) + blocks * (columns + ones + 1)) * w.streams
            for columns, strands, blocks in self._shapes
        )
        return {
            "cohort": math.ceil(self.strands * p.groups * w.streams) * k,
            "design": p.groups * self._encrypted(w.stored or w.columns, stored=True) * k, "results": math.ceil(results) * k,
        }  # fmt: skip

    @property
    def _read(self) -> int:
        """Residue polynomials that the server reads: a column once for every set that has it."""
        p, w, size = self.parameters, self.workload, self.polynomials
        each = sum(map(self._encrypted, w.sets))
        design = p.groups * each * len(p.ring.primes) if w.sets else size["design"]
        return size["cohort"] + design

    @property
    def _opened(self) -> float:
        """Residue polynomials that the owner opens."""
        each = sum(columns * strands for columns, strands, _ in self._shapes)
        return each * self.workload.streams * len(self.parameters.ring.primes)

    def bytes(self) -> dict[str, int]:
        """Bytes of the encrypted cohort, design and results, streams all stored."""
        p, unit = self.parameters, self.parameters.ring.n * 4
        own = self.workload.squares_of_owner(p.block_variants, p.ring.n, p.column_digits)
        back = own + self.blocks * bool(own)  # with a public half each block
        more = {"cohort": 0, "design": own, "results": back}
        return {name: (count + more[name] * len(p.ring.primes)) * unit for name, count in self.polynomials.items()}

    @property
    def products(self) -> float:
        """Pairs of residues that the server multiplies: strands and their public half × columns and theirs."""
        p, w = self.parameters, self.workload
        pairs = sum((strands + blocks) * (columns + 2) for columns, strands, blocks in self._shapes)
        return pairs * p.groups * w.streams * len(p.ring.primes) * p.ring.n

    @property
    def _server(self) -> float:
        """Processor seconds of the server's pass."""
        unit, results = self.parameters.ring.n / 4096, self.polynomials["results"]
        return self.products * MULTIPLY_SECONDS + (self._read * READ_SECONDS + results * WRITE_SECONDS) * unit

    def cost(self) -> float:
        """Processor seconds that depend on ring and pack, to choose between plans."""
        size, unit = self.polynomials, self.parameters.ring.n / 4096
        encrypt = (size["cohort"] + size["design"]) * ENCRYPT_SECONDS["own"] * unit
        decrypt = self._opened * DECRYPT_SECONDS * unit
        return encrypt + self._server + decrypt + sum(size.values()) * self.parameters.ring.n * 4 * SEND_SECONDS

    def seconds(self, cores: int = 2, encryptor: str = "own", machine: float = 1.0) -> dict[str, float]:
        """Estimated wall seconds of encryption, the server's pass and decryption, files included.

        machine: how many times as long as the reference this machine takes (`speed.machine_factor`); held against what
        happens by benchmarks/test_plan.py.
        """
        w, size, unit = self.workload, self.polynomials, self.parameters.ring.n / 4096
        stored = size["cohort"] + size["design"]
        each = {"own": 1.5 * ENCRYPT_SECONDS["own"], "seal": ENCRYPT_SECONDS["seal"]}[encryptor]  # with the disk's
        estimates = {
            "encrypt": 0.1 + stored * each * unit / cores + w.variants * VARIANT_SECONDS,
            "gwas": 0.05 + self._server / cores,
            "decrypt": 0.1 + self._opened * DECRYPT_SECONDS * unit + w.variants * VARIANT_SECONDS,
        }
        return {step: machine * seconds for step, seconds in estimates.items()}

    def to_json(self) -> dict[str, Any]:
        names = {"design": self.design.to_json()} if self.design else {}
        ordinary = Workload(1, 1, 1, 1)
        workload = asdict(self.workload)
        given = {k: v for k, v in workload.items() if k not in BY_RUN or v != getattr(ordinary, k)}
        workload = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        return {"parameters": self.parameters.to_json(), "workload": workload, **names}

    @staticmethod
    def from_json(value: object) -> Plan:
        """Raises ArtefactError for anything that is not a plan."""
        try:
            fields = PLAN(value, "")
        except ValueError as error:
            raise ArtefactError(f"not a plan: {error}") from None
        design = PlannedDesign.from_json(fields["design"]) if fields.get("design") else None
        workload = fields["workload"]
        if ("grid" in workload) == ("dosage_max" in workload):
            raise ArtefactError("not a plan: its workload has a grid or a dosage_max, one of them")
        if "grid" in workload:  # as earlier versions wrote it
            workload["dosage_max"] = 2 * workload.pop("grid")
        workload |= {name: tuple(workload.get(name, ())) for name in ("runs", "sets", "set_of")}
        if workload["runs"] and sum(workload["runs"]) != workload["variants"]:
            raise ArtefactError("not a plan: its runs of variants are not as many as its variants")
        if workload["sets"] or workload["set_of"]:
            _check_sets(workload["columns"], workload["sets"], workload["set_of"], len(workload["runs"]))
        plan = Plan(Parameters.from_json(fields["parameters"]), Workload(**workload), design)
        if plan.workload.samples != plan.parameters.samples or plan.workload.stored_max != plan.parameters.dosage_max:
            raise ArtefactError("not a plan: its workload and its parameters belong to different cohorts")
        return plan


def _check_sets(columns: int, sets: tuple[int, ...], set_of: tuple[int, ...], runs: int) -> None:
    """Raise ArtefactError unless every run has a set of columns, and none has more than `columns`."""
    if len(set_of) != runs or max(set_of, default=0) >= len(sets) or max(sets, default=0) > columns:
        raise ArtefactError("not a plan: its sets of columns are not those of its runs of variants")


BY_RUN = {
    "runs": list_of(integer(1, 1 << 32), 0, MOST_BLOCKS), "sets": list_of(integer(0, 1 << 14), 0, 1 << 6),
    "set_of": list_of(integer(0, 1 << 6), 0, MOST_BLOCKS), "stored": integer(0, 1 << 14), "spread": integer(1, 2),
    "coarse_bits": integer(0, 62), "fine": integer(0, 1 << 14), "stored_fine": integer(0, 1 << 14),
    "owner_squares": integer(0, 1 << 14),
}  # fmt: skip
PLAN = record(
    may_have={"design": NAMES}, parameters=parameters.SCHEMA,
    workload=record(
        may_have={"dosage_max": integer(1, 2 * MOST_GRID), "grid": integer(1, MOST_GRID), **BY_RUN},
        samples=integer(1, MOST_SAMPLES), variants=integer(1, 1 << 32), columns=integer(0, 1 << 14), bits=integer(1, 62),
        streams=number(0, 3), squares=boolean,
    ),
)  # fmt: skip


def fit(ring: Ring, pack: int, digits: ColumnDigits, w: Workload, most: int = MOST_DIGITS) -> Parameters | None:
    """As many variants per coefficient as fit this ring and pack, and scales that share the slack; None when none fits."""
    groups, norm = -(-w.samples // pack), digits.norm
    spread = math.sqrt(ring.n * groups)
    bound = w.stored_max * math.sqrt(w.samples) * norm
    digit_bits = 1 + math.ceil(math.log2(bound + 2))
    design = math.log2(2 * SIGMAS * ERROR_SD * w.stored_max * spread * math.sqrt(2))
    genotype_scale = math.ceil(math.log2(2 * SIGMAS * ERROR_SD * norm * math.sqrt(2)) + 0.1)
    room = math.floor(math.log2(ring.modulus) - 1 - math.log2(bound + 1) - 1e-6) - genotype_scale
    for count in range(min(most, 1 + max(0, room) // (2 * digit_bits)), 0, -1):
        # a geometric sum is the top digit and less than 2^-digit_bits · 2 of it: 0.01 bits cover both of its logarithms
        above = digit_bits * (count - 1) + (0.01 if count > 1 else 0)
        design_scale = math.ceil(design + above)
        slack = math.floor(room - above) - design_scale
        if slack < 0:
            continue
        try:
            return Parameters(
                ring, pack, genotype_scale + slack // 2, design_scale + slack - slack // 2, w.stored_max, norm, w.samples,
                _strands(w, ring.n // pack * count), count, digit_bits if count > 1 else 0, digits.fine, digits.bits,
            )  # fmt: skip
        except PlanError:
            continue
    return None


@lru_cache(maxsize=32)
def _ring(n: int, count: int) -> Ring:
    return replace(Ring.standard(n, count), lanes=LANES)


def _strands(w: Workload, width: int) -> int:
    """Strands of a block: STRANDS, or fewer, so that there are two blocks at least and the owner can hold a few."""
    wanted = -(-max(w.runs) // width) if len(w.runs) > 1 else -(-w.variants // width) // 2
    return max(1, min(STRANDS, wanted, BLOCK_GENOTYPES // (w.samples * width)))


def _with_missing(workload: Workload, missing: np.ndarray, p: Parameters) -> Workload:
    """The streams that the strands of these blocks have: the owner keeps the missing calls of packed ones."""
    if p.packed:
        return workload
    sizes = block_sizes(workload.runs or (len(missing),), p.block_variants)
    strands = -(-np.array(sizes) // p.strand_variants)
    some = np.logical_or.reduceat(missing, starts_of(sizes)[:-1])
    return replace(workload, streams=workload.streams + float(np.average(some, weights=strands)))


def choose(workload: Workload, missing: np.ndarray | None = None, *, whole: bool = False) -> Plan:
    """The cheapest plan by estimated time. Raises PlanError when no ring holds the sums at 128-bit security.

    missing: (M,) bool, variants with missing calls; their stream is then added to those of the workload; whole: a variant a
    coefficient, and columns undivided.
    """
    best: tuple[float, Plan] | None = None
    provable = workload.largest_sum < fixedpoint.VERIFIED_SUM  # that of whole columns, however they are divided
    ways = workload.digits(1 if whole else MOST_COLUMN_DIGITS)
    for n, counts in RINGS if provable else ():
        for count in counts:
            ring = _ring(n, count)
            for pack, digits in itertools.product(PACKS + LARGE_PACKS, ways):
                if n // pack < SMALLEST or pack // 2 >= workload.samples > 1:
                    continue
                parameters = fit(ring, pack, digits, workload, 1 if whole else MOST_DIGITS)
                if parameters is None:
                    continue
                plan = Plan(parameters, workload)
                cost = plan.cost()
                if best is not None and cost >= best[0]:
                    continue
                if missing is not None:  # these cost more, never less
                    plan = Plan(parameters, _with_missing(workload, missing, parameters))
                    cost = plan.cost()
                if best is None or cost < best[0]:
                    best = cost, plan
    if best is not None:
        return best[1]
    raise PlanError(
        f"no parameters hold sums over {workload.samples} samples at {workload.bits} bits per column and dosages of "
        f"up to {workload.dosage_max} units, each below 2^60 so that it can be verified: use fewer bits (`bits`) or "
        "a coarser grid"
    )
