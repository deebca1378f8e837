"""From one owner's cohort, and a table of its results, to clumps, matrices of correlations and credible sets.

Who learns what: whoever runs this has the genotypes, and learns everything. What is written are sums of people: an r of variants
that few people carry says who they are, so under a policy such variants are left out (`ld_withheld`), and the matrix of M
variants counts as M columns of everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import UsageError
from securegen.governance import releases
from securegen.governance.door import LD, OutputFacts
from securegen.governance.gate import Gate
from securegen.governance.signing import digest_of, sha256
from securegen.io.text import count
from securegen.model import GenotypeReader, Progress, SelectableReader, Variants, no_progress
from securegen.stats.credible import BINARY_SD, QUANTITATIVE_SD, credible_set
from securegen.structure.clump import Clump, Rules, clumps
from securegen.structure.ld import correlations, moments, refuse_inexact
from securegen.structure.ld_files import NOBODY, write_clumps, write_credible, write_matrix, write_variants
from securegen.structure.ld_withheld import lacking_apart, withheld
from securegen.structure.run import Made, ask_door, chosen_autosomes, facts_of, people_of_ld
from securegen.study.held import held
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import canonical_chromosome

DIGITS = 6  # of text of matrices, as plink prints them
COVERAGE = 0.95
LARGEST = 20_000  # variants of a matrix: 3 GB of text


@dataclass(frozen=True, eq=False, repr=False)
class OnCohort:
    """What a table says of each variant of a cohort, of its counted allele; NaN where nothing.

    log10p, beta, se: (M,) float64; trait_variance: of a quantitative trait, None for a binary one; lines: for the log.
    """

    log10p: np.ndarray
    beta: np.ndarray
    se: np.ndarray
    trait_variance: float | None
    lines: tuple[str, ...] = ()

    @property
    def effects(self) -> np.ndarray:
        """(M,) bool: with an effect and its error."""
        return np.asarray(np.isfinite(self.beta) & np.isfinite(self.se) & (self.se > 0))

    @property
    def prior_variance(self) -> float:
        """The prior variance of an effect where none is given: 0.2² of log odds, 0.15² of a trait's variance."""
        return BINARY_SD**2 if self.trait_variance is None else QUANTITATIVE_SD**2 * self.trait_variance


@dataclass(frozen=True, eq=False, repr=False)
class _Region:
    """name: of its files; rows: (M,) int64, variants in it; index: index variants in it."""

    name: str
    rows: np.ndarray
    index: tuple[int, ...] = ()


def write_ld(
    inputs: Inputs, out: str, log: Log = silent, *, table: Callable[[Variants], OnCohort] | None = None,
    rules: Rules | None = None, window: float | None = None, coverage: float = COVERAGE, prior_variance: float | None = None,
    digits: int = DIGITS, squares: bool = False, progress: Progress = no_progress,
) -> Made:  # fmt: skip
    """OUT.ld, .z, .npz and .gz of all variants of the inputs; with a table OUT.clumps, and with a window (kb) such files of
    the windows around index variants, OUT.1.ld and so on, and OUT.credible.

    table: of the variants of a cohort; rules: of clumps; window: windows that overlap are one region; coverage: of credible
    sets; prior_variance: of effects, None as `OnCohort.prior_variance`; digits: of text; squares: also OUT.r2. Raises
    UsageError for a region of too many variants, or of none; DesignError for dosages too fine; PolicyError.
    """
    with held(inputs, log) as waiting:
        reader, everybody = chosen_autosomes(inputs, waiting)
    refuse_inexact(reader)
    gate = ask_door(inputs, reader, log, LD, everybody=everybody)  # before anything of a genotype is said
    gate, log = replace(gate, allowed=waiting.tell), waiting
    if gate.policy is not None:
        told = {
            "rules": vars(rules or Rules()),
            "window": window,
            "coverage": coverage,
            "prior": prior_variance,
            "digits": digits,
        }
        gate = replace(gate, inputs=inputs.asked_for() | {"options.ld": digest_of(told)})
    left_out = withheld(reader, gate)
    on = None if table is None else table(reader.variants)
    if on is not None and gate.policy is not None:
        on = _without(on, left_out, log)
        asked = {"table": sha256(b"ld table", on.log10p.tobytes(), on.beta.tobytes(), on.se.tobytes())}
        gate = replace(gate, inputs={**gate.inputs, **asked})
    for line in () if on is None else on.lines:
        log(line)
    if on is not None and window is not None:
        prior_variance = on.prior_variance if prior_variance is None else prior_variance
        if not (np.isfinite(prior_variance) and prior_variance > 0):
            raise UsageError("the table does not say the trait's variance (A1_FREQ, OBS_CT): give `prior_variance`")
    found = None if on is None else clumps(reader, on.log10p, rules or Rules(), progress=progress)
    parts = _Parts(reader, on, left_out, gate.minor_alleles, out, log)
    regions = parts.whole() if found is None else () if window is None else parts.around(found, window)
    gate = _pass(gate, reader, everybody, regions, found, out)
    facts: dict[str, Any] = {}
    paths: list[str] = []
    if on is not None and found is not None:
        paths.append(f"{out}.clumps")
        _clump_table(paths[0], reader.variants, on, found, rules or Rules(), gate)
        log(f"{count(len(found), 'clump')} of {sum(len(c.others) + 1 for c in found)} variants")
        facts["clumps"] = len(found)
    made = [parts.write(region, digits, gate, squares=squares) for region in regions]
    paths += [path for part in made for path in part[0]]
    if made:
        facts["regions"] = [fact for _, fact in made]
    if on is not None and regions and prior_variance is not None:
        paths.append(f"{out}.credible")
        sizes = _credible_table(paths[-1], reader.variants, on, regions, prior_variance, coverage, gate)
        log(
            f"credible sets of {coverage:g}: {', '.join(map(str, sizes))} variants; prior variance {prior_variance:.6g}"
        )
        facts |= {"credible": sizes, "prior_variance": prior_variance, "coverage": coverage}
    return Made(tuple(paths), facts_of(inputs, reader, gate) | facts)


def _without(on: OnCohort, left_out: Sequence[tuple[str, np.ndarray]], log: Log) -> OnCohort:
    """A table without the variants that a policy leaves out: their clumps would say who these people are."""
    log10p = on.log10p
    for what, which in left_out:
        lost = which & np.isfinite(log10p)
        if lost.any():
            log(f"{count(int(lost.sum()), 'variant')} of the table {what}: in no clump")
        log10p = np.where(which, np.nan, log10p)
    return replace(on, log10p=log10p)


def _pass(
    gate: Gate, reader: SelectableReader, everybody: GenotypeReader | None, regions: Sequence[_Region],
    found: Sequence[Clump] | None, out: str,
) -> Gate:  # fmt: skip
    """The door, before the first byte. Index variants are columns: each was multiplied with the genotypes of variants near it.
    Raises PolicyError."""
    samples = len(reader.samples)
    index = np.array(sorted(c.index for c in found or ()), np.int64)
    if gate.policy is not None:
        rows = [*(r.rows for r in regions), *([index] if len(index) else [])]
        products = tuple((reader.variants.take(r).digest(), len(r)) for r in rows)
        gate = gate.of(people_of_ld(reader, everybody, products))
    outputs = [OutputFacts(LD, r.name or "all", samples, len(r.rows), columns=len(r.rows)) for r in regions]
    outputs += [OutputFacts(LD, "clumps", samples, len(index), columns=len(index))] if found is not None else []
    gate.release(outputs)
    gate.claim(reader.samples, [(releases.analysis_of(releases.LD), np.ones(samples, bool))], Path(out).name)
    return gate


class _Parts:
    """The regions of one run."""

    def __init__(
        self, reader: SelectableReader, on: OnCohort | None, left_out: Sequence[tuple[str, np.ndarray]], floor: int, out: str,
        log: Log,
    ) -> None:  # fmt: skip
        self.reader, self.on, self.left_out, self.floor, self.out, self.log = reader, on, left_out, floor, out, log

    def whole(self) -> list[_Region]:
        """All variants."""
        return [self._region("", np.arange(len(self.reader.variants)))]

    def around(self, found: Sequence[Clump], window: float) -> list[_Region]:
        """Windows around index variants; those that overlap are one region. In file order, numbered from 1."""
        variants, spans = self.reader.variants, list[tuple[list[int], int, int]]()
        chromosome = np.array([canonical_chromosome(c) for c in variants.chromosome], dtype=object)
        reach, order = int(window * 1000), {c: n for n, c in enumerate(dict.fromkeys(chromosome.tolist()))}
        for i in sorted((c.index for c in found), key=lambda i: (order[chromosome[i]], variants.position[i])):
            low, high = int(variants.position[i]) - reach, int(variants.position[i]) + reach
            if spans and chromosome[spans[-1][0][0]] == chromosome[i] and low <= spans[-1][2]:
                spans[-1] = ([*spans[-1][0], i], spans[-1][1], high)
            else:
                spans.append(([i], low, high))
        out = []
        for number, (index, low, high) in enumerate(spans, 1):
            here = (chromosome == chromosome[index[0]]) & (variants.position >= low) & (variants.position <= high)
            out.append(self._region(f".{number}", np.flatnonzero(here), tuple(index)))
        return out

    def _region(self, name: str, rows: np.ndarray, index: tuple[int, ...] = ()) -> _Region:
        """Of these variants, those of which a correlation can be shown."""
        own = self.reader.select(None, rows)
        kept = moments(own).varies
        reasons = [("the same in everybody", ~kept)]
        for what, which in self.left_out:
            reasons.append((what, kept & which[rows]))
            kept = kept & ~which[rows]
        if self.on is not None:
            lost = ~self.on.effects[rows]
            reasons.append(("without an effect in the table", kept & lost))
            kept = kept & ~lost
        if self.floor:
            apart = lacking_apart(own, kept, self.floor)
            reasons.append(
                (f"whose call nearly the same people lack as another's (policy: {self.floor})", kept & ~apart)
            )
            kept = apart
        for what, which in reasons:
            if which.any():
                self.log(f"{self._named(name)}: {count(int(which.sum()), 'variant')} {what}: left out")
        if not kept.any():
            raise UsageError(f"{self._named(name)}: no variant is left of {len(rows)}")
        if int(kept.sum()) > LARGEST:
            raise UsageError(
                f"{self._named(name)} has {int(kept.sum())} variants, and a matrix may have {LARGEST}: name a region (`chr`, "
                "`from_bp`, `to_bp`, `extract`), or a smaller window"
            )
        return _Region(name, rows[kept], index)

    def _named(self, name: str) -> str:
        return f"region {name[1:]}" if name else "the region"

    def write(self, region: _Region, digits: int, gate: Gate, *, squares: bool) -> tuple[list[str], dict[str, Any]]:
        """Its files, and what run.json says of it."""
        prefix, reader = f"{self.out}{region.name}", self.reader.select(None, region.rows)
        variants, more = reader.variants, {}
        if self.on is not None:
            m = moments(reader)
            share = m.dosage / (reader.dosage_max * m.called)
            more = {
                "maf": np.minimum(share, 1 - share),
                "beta": self.on.beta[region.rows],
                "se": self.on.se[region.rows],
            }
        undefined = write_matrix(prefix, len(variants), correlations(reader), digits, squares=squares, gate=gate)
        written = write_variants(prefix, variants, more, digits, gate=gate)
        places = variants.position.tolist()
        self.log(
            f"{self._named(region.name)}: {count(len(places), 'variant')}, chromosome {variants.chromosome[0]} from "
            f"{min(places)} to {max(places)}"
        )
        if undefined:
            self.log(
                f"WARNING: {self._named(region.name)}: r of {count(undefined, 'pair')} is not defined, one of the two is the "
                "same in everybody who has both calls: written as 0"
            )
        if len(region.index) > 1:
            self.log(
                f"WARNING: {self._named(region.name)} has {len(region.index)} index variants: its credible set assumes that one "
                "variant alone has an effect"
            )
        fact = {
            "files": Path(prefix).name, "variants": len(places), "chromosome": str(variants.chromosome[0]), "from": min(places),
            "to": max(places), "undefined": undefined, "index": [str(self.reader.variants.id[i]) for i in region.index],
        }  # fmt: skip
        return [f"{prefix}.ld", *([f"{prefix}.r2"] if squares else []), f"{prefix}.npz", *written], fact


def _clump_table(path: str, variants: Variants, on: OnCohort, found: Sequence[Clump], rules: Rules, gate: Gate) -> None:
    index = np.array([c.index for c in found], np.int64)
    counts = np.array([c.counts(on.log10p) for c in found], np.int64).reshape(len(found), 5)
    named = [c.others[on.log10p[c.others] > -np.log10(rules.p2)] if rules.p2 > 0 else c.others[:0] for c in found]
    log10p = on.log10p[index]
    columns = {
        "P": 10.0**-log10p, "LOG10_P": log10p, "TOTAL": counts.sum(axis=1),
        "SP2": np.array([",".join(map(str, variants.id[rows])) or NOBODY for rows in named], dtype=object),
        **dict(zip(("NONSIG", "S0.05", "S0.01", "S0.001", "S0.0001"), counts.T, strict=True)),
    }  # fmt: skip
    write_clumps(path, variants.take(index), columns, gate=gate)


def _credible_table(
    path: str, variants: Variants, on: OnCohort, regions: Sequence[_Region], prior: float, coverage: float, gate: Gate
) -> list[int]:
    rows, parts, sizes = [], list[dict[str, np.ndarray]](), []
    for number, region in enumerate(regions, 1):
        s = credible_set(on.beta[region.rows], on.se[region.rows], prior, coverage)
        at = region.rows[s.index]
        rows.append(at)
        sizes.append(len(at))
        parts.append(
            {
                "REGION": np.full(len(at), number), "BETA": on.beta[at], "SE": on.se[at], "LOG10_P": on.log10p[at],
                "LN_BF": s.log_factor[s.index], "PIP": s.probability[s.index], "PIP_SUM": s.cumulative,
            }
        )  # fmt: skip
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    write_credible(path, variants.take(np.concatenate(rows)), columns, gate=gate)
    return sizes
