"""Association of a vertical split that opens less than all sums: `uv`, `chi2` or `hits`, to the phenotype party.

The phenotype party projects the covariates out (stats.projection). Its columns, in digits (`radix`), meet the genotypes,
their missing calls and for weighted regression their squares by `vertical`. These streams are masked and sent once,
whatever the phenotypes. Then `open_group` runs at the two parties and the dealer for each batch of variants (`program`).
Sums of digits are lifted and put together: t = φ (g part) + ψ (missing part), with numbers φ, ψ of the genotype party,
who is told who is analysed; v = variation − Σ t_k², and

- `uv`: φ = 2^F and ψ the mean dosage in these units, so u and v are exact integers, and are opened.
- `hits`, `chi2`: φ = 1/‖g̃‖ and ψ = mean/‖g̃‖, so that sums are at most 1 (`opened_statistics` has these).

Besides sizes the genotype party learns who is analysed, the test, and the number of covariates and phenotypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from securegen.engines.mpc import opened_statistics
from securegen.engines.mpc.shares import multiword
from securegen.engines.mpc.shares.program import Program
from securegen.engines.mpc.shares.radix import Form, assemble, choose_form
from securegen.errors import ProtocolError
from securegen.stats.projected_statistics import SHARE_BITS
from securegen.stats.projection import Scales, VariantCounts

UV, HITS, CHI2 = "uv", "hits", "chi2"
NORM_BITS = 60  # of 1/‖g̃‖


@dataclass(frozen=True)
class PhenotypeGroup:
    """What is public of phenotypes that share samples and covariates. basis: k; samples: analysed; lead_bits: of each."""

    test: str
    phenotypes: tuple[str, ...]
    basis: int
    samples: int
    lead_bits: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.basis + len(self.phenotypes) + self.weighted

    @property
    def weighted(self) -> int:
        return int(self.test != "linear")


@dataclass(frozen=True)
class ProjectedPlan:
    """What is public of a run. first: words in which digits are put together."""

    reveal: str
    groups: tuple[PhenotypeGroup, ...]
    scales: Scales
    samples: int
    grid: int
    form: Form
    first: int

    @property
    def squares(self) -> bool:
        return any(g.weighted for g in self.groups)

    @property
    def columns(self) -> int:
        return sum(g.columns for g in self.groups)

    @property
    def words(self) -> int:
        """Of sums, before they are multiplied: all of u and v, or their normalised part."""
        return 3 if self.reveal == UV else 2

    def part(self, number: int, streams: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The columns of one group, of streams (V, chunks, columns, digits)."""
        start = sum(g.columns for g in self.groups[:number])
        stop = start + self.groups[number].columns
        return {name: x[:, :, start:stop] for name, x in streams.items()}


def make_plan(
    reveal: str, groups: tuple[PhenotypeGroup, ...], scales: Scales, samples: int, grid: int
) -> ProjectedPlan:
    """Choose rings and digits for `samples` stored people."""
    weighted = any(g.weighted for g in groups)
    largest = {"g": 2 * grid, **({"q": 4 * grid * grid} if weighted else {}), "m": 1}
    b = scales.basis_bits
    form = choose_form(samples, largest, b, few=not weighted)
    norm = (
        4 * grid * grid * samples if weighted else 2 * grid * (isqrt(samples) + 1)
    )  # columns are units but for a weight
    small = form.bits == 32 and norm.bit_length() + b + 1 <= 62
    return ProjectedPlan(reveal, groups, scales, samples, grid, form, 1 if small else 3 if reveal == UV else 2)


def open_group(
    program: Program, plan: ProjectedPlan, number: int, streams: dict[str, np.ndarray], counts: VariantCounts | None
) -> dict[str, np.ndarray] | None:
    """The program of one batch and group. streams: its shares, `ProjectedPlan.part`; counts: at the genotype party.

    Returns at the right party the opened numbers: u (V, P) and v (V,), integers, for `uv`; others: `open_statistics`.
    """
    group, f, b = plan.groups[number], plan.scales.mean_bits, plan.scales.basis_bits
    exact, words = plan.reveal == UV, plan.words
    last = group.basis + len(group.phenotypes)
    sums = {name: _assemble(program, plan, name, x, group) for name, x in sorted(streams.items())}
    left = _Left.of(counts, plan) if counts is not None else None
    t = _combine(program, sums["g"][:, :last], sums["m"][:, :last] if "m" in sums else None, left, words, 1, plan)
    diagonal = None
    if group.weighted:
        weights = _combine(program, sums["q"], sums["m"][:, last:] if "m" in sums else None, left, words, 2, plan)
        diagonal = weights[:, 0]
    if not exact:
        shares = multiword.word_at(t, NORM_BITS + b - SHARE_BITS)
        return opened_statistics.open_statistics(program, plan.reveal, group, shares, diagonal, counts, plan.grid)
    squares = program.square(np.ascontiguousarray(t[:, : group.basis, :2]))
    v = multiword.negate(multiword.total(squares))
    if diagonal is not None:
        v = multiword.add(v, multiword.shift_left(diagonal, b))
    elif counts is not None:
        v = multiword.add(v, multiword.pack(counts.variation(2 * (f + b)), 3))
    opened = program.give(np.ascontiguousarray(t[:, group.basis :, :2])), program.give(v)
    if opened[0] is None or opened[1] is None:
        return None
    return {"u": multiword.integers(opened[0]), "v": multiword.integers(opened[1])}


def _assemble(program: Program, plan: ProjectedPlan, name: str, x: np.ndarray, group: PhenotypeGroup) -> np.ndarray:
    """Multiword shares (V, columns, W) of the sums that are needed of a stream."""
    if name == "q":
        x = x[:, :, -1:]
    elif name == "g" and group.weighted:
        x = x[:, :, :-1]
    return assemble(program, plan.form, name, x, first=plan.first, words=plan.words)


@dataclass(frozen=True)
class _Left:
    """The genotype party's own factors of each variant: φ, ψ of sums and φ², ψ² of weighted squares, Python integers."""

    factors: dict[int, tuple[np.ndarray, np.ndarray]]

    @staticmethod
    def of(counts: VariantCounts, plan: ProjectedPlan) -> _Left:
        f = plan.scales.mean_bits
        mean = counts.mean(f)
        if plan.reveal == UV:
            one = np.full(len(mean), 1 << f, object)
            return _Left({1: (one, mean), 2: (one * one, mean * mean)})
        wider = 2 * NORM_BITS
        variation = counts.variation(wider)  # in units of 2^-120, so its root in units of 2^-60
        root = np.array([isqrt(int(v)) for v in variation], object)
        some, n = variation > 0, np.maximum(counts.called, 1).astype(object)
        bottom, g = np.where(some, root, 1), counts.g.astype(object)
        inverse = np.where(some, (1 << wider) // bottom, 0)
        scaled = np.where(some, (g << wider) // (n * bottom), 0)
        bits = 2 * SHARE_BITS - plan.scales.basis_bits
        bottom = np.where(some, variation, 1)
        square = np.where(some, (1 << (wider + bits)) // bottom, 0)
        return _Left(
            {1: (inverse, scaled), 2: (square, np.where(some, (g * g << (wider + bits)) // (n * n * bottom), 0))}
        )


def _combine(
    program: Program, g: np.ndarray, m: np.ndarray | None, left: _Left | None, words: int, power: int, plan: ProjectedPlan
) -> np.ndarray:  # fmt: skip
    """φ g + ψ m, (V, n, W); φ is public for `uv`."""
    public = plan.reveal == UV
    parts = ([] if public else [(0, g)]) + ([(1, m)] if m is not None else [])
    total = multiword.shift_left(g, power * plan.scales.mean_bits) if public else np.zeros_like(g)
    if not parts:
        return total
    columns = g.shape[1]
    which = [i for i, _ in enumerate(parts) for _ in range(columns)]
    own = None
    if left is not None:
        own = np.stack([multiword.pack(left.factors[power][kind], words) for kind, _ in parts], axis=1)
    scaled = program.multiples(np.concatenate([x for _, x in parts], axis=1), own, which)
    for i in range(len(parts)):
        total = multiword.add(total, scaled[:, i * columns : (i + 1) * columns])
    return total


def check_reveal(reveal: object) -> str:
    """One of the three, or ProtocolError."""
    if reveal not in (UV, HITS, CHI2):
        raise ProtocolError("a party announced a reveal that is not known here")
    return str(reveal)
