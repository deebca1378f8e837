"""Association of a vertical split that opens less than all sums: `uv`, `chi2` or `hits`, to the phenotype party.

The phenotype party projects the covariates out (stats.projection). Its columns, in digits so small that every sum fits the
32-bit ring (64 bits where it does not), meet the genotypes, their missing calls and for weighted regression their squares
by `vertical`: these streams are masked and sent once, whatever the phenotypes. Then, for a batch of variants, `program`
runs at the two parties and the dealer (`machine`): digits are lifted and put together, t = φ (g part) + ψ (missing part)
with numbers φ, ψ of the genotype party, who is told who is analysed; v = variation − Σ t_k², and

- `uv`: φ = 2^F and ψ the mean dosage in these units, so u and v are exact integers, and are opened.
- `hits`, `chi2`: φ = 1/‖g̃‖ and ψ = mean/‖g̃‖, so that sums are at most 1 (`ratio` has these).

Besides sizes the genotype party learns who is analysed, the test, and the number of covariates and phenotypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from securegen.errors import ProtocolError
from securegen.mpc import ratio, wide
from securegen.mpc.machine import Machine
from securegen.stats.projected_statistics import SHARE_BITS
from securegen.stats.projection import Scales, VariantCounts

UV, HITS, CHI2 = "uv", "hits", "chi2"
NORM_BITS = 60  # of 1/‖g̃‖
LEAST_DIGIT = 8


@dataclass(frozen=True)
class Group:
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
class Plan:
    """What is public of a run. bits: of the ring; digit: bits of a digit; digits: of a column."""

    reveal: str
    groups: tuple[Group, ...]
    scales: Scales
    grid: int
    bits: int
    digit: int
    digits: int

    @property
    def squares(self) -> bool:
        return any(g.weighted for g in self.groups)

    @property
    def columns(self) -> int:
        return sum(g.columns for g in self.groups)


def make_plan(reveal: str, groups: tuple[Group, ...], scales: Scales, samples: int, grid: int) -> Plan:
    """Choose ring and digits for `samples` stored people, so that no sum of digits leaves the ring's middle half."""
    largest = 4 * grid * grid if any(g.weighted for g in groups) else 2 * grid
    taken = (largest * samples).bit_length() + 1
    bits = 32 if 32 - taken >= LEAST_DIGIT else 64
    digit = min(bits - taken, 30)
    return Plan(reveal, groups, scales, grid, bits, digit, -(-(scales.basis_bits + 2) // digit))


def to_digits(x: np.ndarray, plan: Plan) -> np.ndarray:
    """(N, J) int64 -> (N, J·digits): balanced digits of base 2^digit, |digit| <= 2^(digit−1), lowest first."""
    half, rest, out = 1 << (plan.digit - 1), x, []
    for _ in range(plan.digits):
        low = ((rest + half) & (2 * half - 1)) - half
        out.append(low)
        rest = (rest - low) >> plan.digit
    assert not rest.any()
    return np.stack(out, axis=2).reshape(len(x), -1)


@dataclass(frozen=True)
class Batch:
    """One party's shares of the sums of V variants. streams: g, q and m where present, (V, columns, digits) in the ring."""

    streams: dict[str, np.ndarray]

    def of(self, plan: Plan, number: int) -> dict[str, np.ndarray]:
        start = sum(g.columns for g in plan.groups[:number])
        stop = start + plan.groups[number].columns
        return {name: x[:, start:stop] for name, x in self.streams.items()}


def program(
    machine: Machine, plan: Plan, number: int, streams: dict[str, np.ndarray], counts: VariantCounts | None
) -> dict[str, np.ndarray] | None:  # fmt: skip
    """The program of one batch and group. streams: `Batch.of`; counts: at the genotype party.

    Returns at the right party the opened numbers: u (V, P) and v (V,), Python integers, for `uv`; see `ratio` for others.
    """
    group, f, b = plan.groups[number], plan.scales.mean_bits, plan.scales.basis_bits
    exact = plan.reveal == UV
    words = 3 if exact else 2
    last = group.basis + len(group.phenotypes)
    sums = {name: _assemble(machine, plan, name, x, group, words) for name, x in sorted(streams.items())}
    left = _Left.of(counts, plan) if counts is not None else None
    t = _combine(machine, sums["g"][:, :last], sums["m"][:, :last] if "m" in sums else None, left, words, 1, plan)
    diagonal = None
    if group.weighted:
        weights = _combine(machine, sums["q"], sums["m"][:, last:] if "m" in sums else None, left, words, 2, plan)
        diagonal = weights[:, 0]
    if not exact:
        shares = wide.word_at(t, NORM_BITS + b - SHARE_BITS)
        return ratio.program(machine, plan.reveal, group, shares, diagonal, counts, plan.grid)
    squares = machine.square(np.ascontiguousarray(t[:, : group.basis, :2]))
    v = wide.negate(wide.total(squares))
    if diagonal is not None:
        v = wide.add(v, wide.shift_left(diagonal, b))
    elif counts is not None:
        v = wide.add(v, wide.pack(counts.variation(2 * (f + b)), 3))
    opened = machine.give(np.ascontiguousarray(t[:, group.basis :, :2])), machine.give(v)
    if opened[0] is None or opened[1] is None:
        return None
    return {"u": wide.integers(opened[0]), "v": wide.integers(opened[1])}


def _assemble(machine: Machine, plan: Plan, name: str, x: np.ndarray, group: Group, words: int) -> np.ndarray:
    """(V, columns, digits) of a stream -> wide shares (V, columns, W), the digits put together."""
    if name == "q":
        x = x[:, -1:]
    elif name == "g" and group.weighted:
        x = x[:, :-1]
    lifted = machine.lift(np.ascontiguousarray(x), words)
    out = lifted[:, :, 0]
    for i in range(1, plan.digits):
        out = wide.add(out, wide.shift_left(lifted[:, :, i], i * plan.digit))
    return out


@dataclass(frozen=True)
class _Left:
    """The genotype party's own factors of each variant: φ, ψ of sums and φ², ψ² of weighted squares, Python integers."""

    factors: dict[int, tuple[np.ndarray, np.ndarray]]

    @staticmethod
    def of(counts: VariantCounts, plan: Plan) -> _Left:
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
    machine: Machine, g: np.ndarray, m: np.ndarray | None, left: _Left | None, words: int, power: int, plan: Plan
) -> np.ndarray:  # fmt: skip
    """φ g + ψ m, (V, n, W); φ is public for `uv`."""
    public = plan.reveal == UV
    parts = ([] if public else [(0, g)]) + ([(1, m)] if m is not None else [])
    total = wide.shift_left(g, power * plan.scales.mean_bits) if public else np.zeros_like(g)
    if not parts:
        return total
    columns = g.shape[1]
    which = [i for i, _ in enumerate(parts) for _ in range(columns)]
    own = None
    if left is not None:
        own = np.stack([wide.pack(left.factors[power][kind], words) for kind, _ in parts], axis=1)
    scaled = machine.multiples(np.concatenate([x for _, x in parts], axis=1), own, which)
    for i in range(len(parts)):
        total = wide.add(total, scaled[:, i * columns : (i + 1) * columns])
    return total


def check_reveal(reveal: object) -> str:
    """One of the three, or ProtocolError."""
    if reveal not in (UV, HITS, CHI2):
        raise ProtocolError(f"{str(reveal)[:50]!r} is no reveal of a projection")
    return str(reveal)
