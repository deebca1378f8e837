"""What every step of a study takes: memory, time and disk, before it runs, so that a scheduler can be asked for as much.

Each is a base, and so much a person, a variant and a genotype. The numbers were fitted to processor time and peak memory of
single commands (`benchmarks/scale`), from 100 to 400,000 people and from 100 to 200,000 variants, and are held against
what happens by tests/engines/test_costs.py and benchmarks/test_plan.py. Encryption, the server's pass and decryption
take their seconds and bytes from the plan of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from securegen.design.strata import Stratum
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.planner import Plan
from securegen.engines.ckks.server.pass_memory import TOGETHER, WORKING_BYTES
from securegen.model import GenotypeReader

MB: Final = 1_000_000
PART_SECONDS: Final = 1800.0  # of a part on its cores: a scheduler places it soon, and little is lost when it is killed
MEMORY_MARGIN, SPARE_MEMORY = 1.25, 128 * MB
TIME_MARGIN, SPARE_SECONDS = 3.0, 600.0


@dataclass(frozen=True)
class Shape:
    """samples, variants: of the genotypes; columns: of the design; tables: columns of the tables of people that are read;
    analyses: tables that are written."""

    samples: int
    variants: int
    columns: int
    tables: int
    analyses: int

    @property
    def genotypes(self) -> int:
        return self.samples * self.variants


@dataclass(frozen=True)
class StepCost:
    """memory_bytes: at the peak, of the whole run or of any part; seconds: of the whole on `cores`; disk_bytes: written;
    blocks: parts that are suggested (1 where a step has none); part_seconds: of one of them."""

    memory_bytes: int
    seconds: float
    disk_bytes: int
    blocks: int
    part_seconds: float
    cores: int

    @property
    def request(self) -> dict[str, int]:
        """What to ask a scheduler for, for one part: with room for a busier machine."""
        memory = self.memory_bytes * MEMORY_MARGIN + SPARE_MEMORY
        return {
            "memory_mb": math.ceil(memory / (256 * MB)) * 256,
            "minutes": math.ceil((TIME_MARGIN * self.part_seconds + SPARE_SECONDS) / 60),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "memory_bytes": self.memory_bytes, "seconds": round(self.seconds, 1), "disk_bytes": self.disk_bytes,
            "blocks": self.blocks, "part_seconds": round(self.part_seconds, 1), "cores": self.cores, "request": self.request,
        }  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """Of one command. base: bytes and seconds of a process and its kernels; person, column, variant: bytes and seconds of
    each, column of a person's tables; genotype: seconds of each; block: bytes per person of the genotypes in memory at a
    time; row: bytes of a variant's row on disk, all tables together."""

    base: tuple[float, float]
    person: tuple[float, float]
    column: tuple[float, float]
    variant: tuple[float, float]
    genotype: float
    block: float = 0.0
    row: float = 0.0


# Memory in bytes, then processor seconds. A genotype of an association also takes COLUMN_SECONDS a column.
COLUMN_SECONDS: Final = 0.25e-9
RATES: Final = {
    "gwas": Rates((215 * MB, 2.3), (400, 12e-6), (8, 4e-6), (500, 16e-6), 3e-9, block=1100, row=200),
    "qc": Rates((210 * MB, 2.3), (400, 12e-6), (0, 0), (500, 13e-6), 1.5e-9, block=1100, row=145),
    "prs": Rates((150 * MB, 1.7), (700, 20e-6), (0, 0), (1600, 55e-6), 10e-9, row=75),
    "site": Rates((230 * MB, 3.0), (400, 12e-6), (8, 4e-6), (1500, 40e-6), 4e-9, block=1100, row=400),
    "encrypt": Rates((400 * MB, 2.6), (1200, 12e-6), (60, 4e-6), (900, 15e-6), 0.0),
    "server": Rates((230 * MB, 1.8), (0, 0), (0, 0), (0, 0), 0.0),
    "decrypt": Rates((400 * MB, 2.6), (700, 5e-6), (0, 0), (1200, 10e-6), 0.0, row=200),
}
PRS_BYTES: Final = 14 << 23  # of a block of genotypes and its copies as integers


def step_costs(plan: Plan, shape: Shape, *, cores: int, machine: float = 1.0) -> dict[str, StepCost]:
    """The cost of every step by its name. machine: how many times as long as the reference this one takes.

    `gwas`, `qc` and `prs` are in the clear; `prs` scores every variant; `site` is one of a federated study, with as many
    people; `encrypt`, `server` and `decrypt` are those of the plan.
    """
    sizes, planned = plan.bytes(), plan.seconds(cores, machine=machine)
    out: dict[str, StepCost] = {}
    for name, r in RATES.items():
        memory, seconds, disk = _clear(name, r, shape, cores)
        seconds *= machine
        most = shape.variants
        if name == "encrypt":
            memory += _blocks_of_encryption(plan, cores)
            own = shape.samples * (80 + 24 * plan.blocks) + 60 * shape.variants  # names, and the check of every block
            seconds, disk, most = seconds + planned["encrypt"], sizes["cohort"] + sizes["design"] + own, plan.blocks
        elif name == "server":
            memory += _pass(plan, cores)
            seconds, disk, most = seconds + planned["gwas"], sizes["results"], plan.blocks
        elif name == "decrypt":
            memory += 4 * sizes["results"] // max(1, plan.blocks)
            seconds, most = seconds + planned["decrypt"], 1
        elif name == "site":
            memory, most = memory + 48 * shape.columns * shape.variants, 1
        out[name] = _in_parts(name, memory, seconds, disk, most, cores, machine)
    return out


def _clear(name: str, r: Rates, shape: Shape, cores: int) -> tuple[int, float, int]:
    """Bytes of memory, seconds on the reference machine, and bytes on disk, of what a step does in the clear."""
    memory, seconds = (
        r.base[k] + shape.samples * (r.person[k] + shape.tables * r.column[k]) + shape.variants * r.variant[k]
        for k in (0, 1)
    )
    columns = shape.columns * COLUMN_SECONDS if name in ("gwas", "site") else 0.0
    seconds += shape.genotypes * (r.genotype + columns) / cores
    memory += shape.samples * (r.block + 8 * 3 * shape.columns * (name in ("gwas", "site")))
    if name == "prs":
        memory += min(PRS_BYTES, 14 * 1024 * shape.samples)
    return (
        int(memory),
        seconds,
        int(shape.variants * r.row * max(1, shape.analyses if name in ("gwas", "decrypt") else 1)),
    )


def _blocks_of_encryption(plan: Plan, cores: int) -> int:
    """Bytes of a block's genotypes, and of every thread's messages and ciphertexts of a chunk."""
    p = plan.parameters
    ciphertexts: int = chunks(p)[0][1] * (p.strands + 1) * len(p.ring.primes) * p.ring.n * 4
    return int(p.samples * p.block_variants + 3 * ciphertexts * cores)


def _pass(plan: Plan, cores: int) -> int:
    """Bytes of the server's sums, at most those that it is given, and of the files that are mapped beside them, as
    `pass_memory` has them: those of the design's chunk, and of the blocks that threads sum together."""
    p, sizes = plan.parameters, plan.bytes()
    groups = chunks(p)[0][1]
    polynomial = len(p.ring.primes) * p.ring.n * 4
    design = sizes["design"] * groups // p.groups
    mapped = design + groups * polynomial * TOGETHER * (p.strands + 1) * cores
    return int(min(WORKING_BYTES, 2 * sizes["results"] + 2 * design) + mapped)


def _in_parts(name: str, memory: int, seconds: float, disk: int, most: int, cores: int, machine: float) -> StepCost:
    fixed = min(seconds, machine * RATES[name].base[1])
    blocks = max(1, min(most, math.ceil((seconds - fixed) / PART_SECONDS)))
    return StepCost(memory, seconds, disk, blocks, fixed + (seconds - fixed) / blocks, cores)


def shape_of(reader: GenotypeReader, strata: Sequence[Stratum]) -> Shape:
    """The shape of a study."""
    columns = max((s.design.columns.values.shape[1] for s in strata), default=0)
    analyses = [a for s in strata for a in s.design.analyses if a.association]
    covariates = max((len(a.model.covariates) for a in analyses), default=0)
    phenotypes = {a.phenotype for a in analyses}
    return Shape(len(reader.samples), len(reader.variants), columns, covariates + len(phenotypes), len(phenotypes))


def describe_costs(costs: Mapping[str, StepCost], log: Callable[[str], None]) -> None:
    """A line per step, for people."""
    for name, c in costs.items():
        parts = f", as {c.blocks} parts of {c.part_seconds:.0f} s" if c.blocks > 1 else ""
        log(
            f"step {name}: {c.memory_bytes / 1e9:.2f} GB of memory, {c.seconds:.0f} s on {c.cores} cores{parts}, "
            f"{c.disk_bytes / 1e6:.1f} MB on disk"
        )
