"""A simulated cohort of a study's public shape, to rehearse a pipeline or train people without touching data.

Who learns what: everything comes from the shape, a seed and, where a table is named, released frequencies. No genotype of
anybody enters. The genealogy is msprime's (Baumdicker et al. 2022, doi:10.1093/genetics/iyab229): coalescent with
recombination, 10,000 people for ever, no structure. Traits, covariates and missing calls are drawn from AES-CTR under the
seed, so that the same seed gives the same bytes with the same msprime. Nothing drawn here protects anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from scipy.special import ndtri

from securegen.errors import MissingExtraError, UsageError
from securegen.model import FloatArray, IntArray, Samples, Variants
from securegen.randomness import keystream

POPULATION, RECOMBINATION, MUTATION = 10_000, 1e-8, 1.25e-8
RAREST = 0.01  # minor allele frequency of simulated variants, where no frequencies are named
SITES, NAMED_SITES = 2_000, 4_000  # base pairs simulated for a variant; where a frequency is wanted
EXPLAINED, CAUSAL = 0.3, 20  # share of the trait's variance, variants that cause it
BLOCK, TRIES = 256, 6
_ALLELES = ("AG", "CT", "GA", "TC", "AC", "GT")


@dataclass(frozen=True)
class TwinShape:
    """What is public of a study. samples, variants, chromosomes, covariates: numbers; binary: the trait has cases, a share
    `case_share` of the people; missing_rate: share of calls, and of traits, that are missing. Raises UsageError."""

    samples: int
    variants: int
    chromosomes: int = 22
    covariates: int = 0
    binary: bool = False
    case_share: float = 0.5
    missing_rate: float = 0.005

    def __post_init__(self) -> None:
        for name, least, most in (
            ("samples", 4, 10**7),
            ("variants", 1, 10**8),
            ("chromosomes", 1, 22),
            ("covariates", 0, 1000),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise UsageError(f"`{name}` is {value!r}: a whole number from {least} to {most} is expected")
        if not 0 < self.case_share < 1 or not 0 <= self.missing_rate < 1:
            raise UsageError("`case_share` lies between 0 and 1, `missing_rate` from 0 to below 1")
        if self.binary and not 1 <= round(self.case_share * self.samples) < self.samples:
            raise UsageError(f"{self.case_share:g} of {self.samples} samples leave no case or no control")

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class WantedFrequencies:
    """Variants of a released table, in its order, and (M,) frequencies of their effect alleles."""

    variants: Variants
    frequency: FloatArray


def load_msprime() -> ModuleType:
    """The simulator. Raises MissingExtraError: no other stands in for it."""
    try:
        import msprime
    except ImportError:
        raise MissingExtraError("msprime", "twin") from None
    module: ModuleType = msprime
    return module


def people(shape: TwinShape) -> Samples:
    """TWIN1, TWIN2, …; every second one is a woman."""
    names = np.array([f"TWIN{i + 1}" for i in range(shape.samples)], object)
    return Samples(names, names, np.ones(shape.samples, bool), (1 + np.arange(shape.samples) % 2).astype(np.int8))


class TwinSimulation:
    """One simulation. `blocks` gives genotypes chromosome by chromosome; `traits` may be called when they are all drawn.

    off: (M,) how far each variant's frequency is from the wanted one, filled as blocks are drawn.
    """

    def __init__(self, shape: TwinShape, seed: int, wanted: WantedFrequencies | None = None) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
            raise UsageError(f"`seed` is {seed!r}: a whole number from 0 to 2^63 − 1 is expected")
        self._msprime = load_msprime()
        self._shape, self._seed, self._wanted = shape, seed, wanted
        self._key = hashlib.sha256(f"securegen twin {seed}".encode()).digest()[:16]
        self._genetic = np.zeros(shape.samples)
        self._causal = set(np.linspace(0, shape.variants - 1, min(CAUSAL, shape.variants)).astype(int).tolist())
        self.off: list[float] = []

    def blocks(self) -> Iterator[tuple[Variants, IntArray]]:
        """Variants and (V, N) int8 dosages of the effect allele, −1 where missing."""
        first = 0
        for number, variants, frequency in self._chromosomes():
            trees, sites, flipped = self._sites(number, len(variants), frequency)
            rows: list[IntArray] = []
            for j, row in enumerate(self._rows(trees, sites, flipped, frequency)):
                rows.append(row)
                if len(rows) == BLOCK or j == len(variants) - 1:
                    start = j + 1 - len(rows)
                    yield variants.take(slice(start, j + 1)), self._finished(np.stack(rows), first + start)
                    rows = []
            first += len(variants)

    def traits(self) -> tuple[FloatArray, FloatArray]:
        """(N,) trait, NaN where missing, 1 or 2 if it has cases; (N, K) covariates."""
        n, k = self._shape.samples, self._shape.covariates
        covariates = self._normal("covariates", n * k).reshape(n, k).round(5)
        y = self._genetic / max(float(self._genetic.std()), 1e-9) * EXPLAINED**0.5
        y = y + self._normal("trait", n) * (1 - EXPLAINED) ** 0.5 + 0.2 * covariates.sum(axis=1)
        if self._shape.binary:
            cases = round(self._shape.case_share * n)
            y = np.where(np.argsort(np.argsort(y, kind="stable"), kind="stable") >= n - cases, 2.0, 1.0)
        out = y.round(5)
        out[self._uniform("missing trait", n) < self._shape.missing_rate] = np.nan
        return out, covariates

    def _chromosomes(self) -> Iterator[tuple[str, Variants, FloatArray | None]]:
        """Name, variants and wanted frequencies of each chromosome. Positions of simulated ones are evenly spaced."""
        if self._wanted is not None:
            names = self._wanted.variants.chromosome
            for name in dict.fromkeys(names.tolist()):
                which = np.flatnonzero(names == name)
                yield name, self._wanted.variants.take(which), self._wanted.frequency[which]
            return
        ends = np.linspace(0, self._shape.variants, self._shape.chromosomes + 1).astype(int)
        for c, (start, stop) in enumerate(zip(ends[:-1], ends[1:], strict=True), 1):
            if stop == start:
                continue
            number = np.arange(start, stop)
            alleles = [_ALLELES[j % len(_ALLELES)] for j in number.tolist()]
            position = 10_000 + SITES * (number - start)
            yield str(c), Variants(
                np.full(len(number), str(c), object), position, np.array([f"twin{j + 1}" for j in number.tolist()], object),
                np.array([a[0] for a in alleles], object), np.array([a[1] for a in alleles], object),
            ), None  # fmt: skip

    def _sites(self, name: str, count: int, wanted: FloatArray | None) -> tuple[Any, IntArray, np.ndarray]:
        """Trees of a chromosome, the site of each variant (−1: nobody has a copy of one allele), and which are turned round."""
        length = max(50_000, (SITES if wanted is None else NAMED_SITES) * count)
        for attempt in range(TRIES):
            trees = self._trees(name, length << attempt, attempt)
            copies = np.array([int((v.genotypes > 0).sum()) for v in trees.variants()], np.int64)
            frequency = copies / max(2 * self._shape.samples, 1)
            if wanted is None:
                common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= RAREST)
                if len(common) >= count:
                    places = np.linspace(0, len(common) - 1, count).astype(int)
                    return trees, common[places], np.zeros(count, bool)
            elif len(copies) >= 2 * count:
                return trees, *_nearest(frequency, wanted)
        raise UsageError(
            f"chromosome {name}: {count} variants did not arise among {self._shape.samples} samples: ask for fewer"
        )

    def _trees(self, name: str, length: int, attempt: int) -> Any:
        ancestry, mutation = (self._number(f"{what} {name} {attempt}") for what in ("ancestry", "mutation"))
        trees = self._msprime.sim_ancestry(
            self._shape.samples, population_size=POPULATION, sequence_length=length, recombination_rate=RECOMBINATION,
            random_seed=ancestry,
        )  # fmt: skip
        return self._msprime.sim_mutations(
            trees, rate=MUTATION, model=self._msprime.BinaryMutationModel(), random_seed=mutation
        )

    def _rows(self, trees: Any, sites: IntArray, flipped: np.ndarray, wanted: FloatArray | None) -> Iterator[IntArray]:
        """(N,) int8 copies of each variant's effect allele, in its order."""
        import tskit

        variant, n = tskit.Variant(trees), self._shape.samples
        for j, site in enumerate(sites.tolist()):
            if site < 0:
                row = np.full(n, 2 if wanted is not None and wanted[j] > 0.5 else 0, np.int8)
            else:
                variant.decode(site)
                row = (variant.genotypes > 0).reshape(n, 2).sum(axis=1).astype(np.int8)
                row = 2 - row if flipped[j] else row
            if wanted is not None:
                self.off.append(abs(float(row.mean()) / 2 - float(wanted[j])))
            yield row

    def _finished(self, rows: IntArray, first: int) -> IntArray:
        """Rows with holes; what they add to the trait is kept."""
        for j in range(len(rows)):
            spread = float(rows[j].std())
            if first + j in self._causal and spread:
                sign = 1 if self._uniform(f"effect {first + j}", 1)[0] < 0.5 else -1
                self._genetic += sign * (rows[j] - rows[j].mean()) / spread
        holes = self._uniform(f"missing {first}", rows.size).reshape(rows.shape) < self._shape.missing_rate
        out: IntArray = np.where(holes, np.int8(-1), rows)
        return out

    def _number(self, what: str) -> int:
        digest = hashlib.sha256(f"{self._seed} {what}".encode()).digest()
        return 1 + int.from_bytes(digest[:8], "big") % (2**31 - 2)

    def _uniform(self, what: str, size: int) -> FloatArray:
        nonce = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big")
        words = keystream(self._key, nonce, 4 * size).view("<u4")
        out: FloatArray = (words + 0.5) / 2**32
        return out

    def _normal(self, what: str, size: int) -> FloatArray:
        out: FloatArray = ndtri(self._uniform(what, size))
        return out


def _nearest(there: FloatArray, wanted: FloatArray) -> tuple[IntArray, np.ndarray]:
    """For each wanted frequency an unused site near its place in the order, of the nearest frequency either way round."""
    minor, goal = np.minimum(there, 1 - there), np.minimum(wanted, 1 - wanted)
    used = np.zeros(len(there), bool)
    sites, flipped = np.full(len(wanted), -1, np.int64), np.zeros(len(wanted), bool)
    reach = 40 * max(len(there) // len(wanted), 1)
    for j in np.argsort(-goal, kind="stable").tolist():  # common ones are scarce
        if goal[j] == 0:
            continue
        middle = j * len(there) // len(wanted)
        window = np.arange(max(middle - reach, 0), min(middle + reach, len(there)))
        free = window[~used[window]]
        if not len(free):
            free = np.flatnonzero(~used)
        best = int(free[np.argmin(np.abs(minor[free] - goal[j]))])
        used[best], sites[j] = True, best
        flipped[j] = (there[best] > 0.5) != (wanted[j] > 0.5)
    return sites, flipped
