"""Per-variant sums of the pooled cohort, segment by segment: each site sums its own people, the totals are opened.

| step | numbers of a variant | opened for |
|---|---|---|
| flags | sites that withhold it; of each set of samples, sites where few people lack a call | every variant |
| counts | of each set of samples: calls that are missing, S = Σg, Σg² | variants that nobody withholds |
| columns | n·Σgx + S·Σmx of each column x; Σ w (g − S/n)² and not Σ w g; minor alleles in called cases | the same |
| pairs | Σ m x x, for complete cases | the same, where no few people lack a call |

Missing calls are never summed apart. With n called and S known, n·Σgx + S·Σmx still tells Σmx modulo n. So where 1 to k
− 1 people of a site lack a call the row is not summed; or, with `few_missing = round`, every site fills each of its
missing calls with S·x/n rounded to a whole number, and T is off by some 10⁻⁵. The score test's Σ w (g − S/n)² is
rounded a person. Every other number is exact, that of the plain engine on the pooled cohort, whatever the order of the
people; with `openings = all` every one is.

An interaction with e also reads n²·Σg²x + S²·Σmx of e and e·e, so sums over the people of each genotype are known: where
these are 1 to k − 1 people of a site the row is withheld (`governance.rows`).

Segments do not depend on each other: the same step of several is posted together. The bytes depend on variants and
columns, and on how many people there are only by its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np

from securegen.catalogue import reads_of
from securegen.design.columns import Analysis
from securegen.design.exact import exact_gram
from securegen.design.strata import Stratum
from securegen.engines.federated.fields import NARROW, field_bits
from securegen.engines.federated.needed import Sets, crossed, weights
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum, Step, SumCheck, not_below_own
from securegen.engines.federated.segments import OwnRows, Segment, batches
from securegen.engines.federated.variant_sums import OpenedCounts, SiteSums
from securegen.engines.federated.withheld import Withheld
from securegen.engines.plain.sums import block_sums
from securegen.governance import openings
from securegen.governance.rows import RowRule
from securegen.model import GenotypeReader, ImputedSums, IntArray, OpenedSums, Sums
from securegen.stats.imputed import exactly, squared
from securegen.study.ploidy import as_genotypes


def federated_sums(
    secure: SecureSum, reader: GenotypeReader, strata: Sequence[Stratum], *, name: str, level: str = openings.STRICT,
    fewest: int = openings.FEWEST, few_missing: str = openings.WITHHOLD, complete: bool = False,
    withheld: Withheld | None = None, vetoed: np.ndarray | None = None, window: int = openings.WINDOW,
    between: Sequence[np.ndarray] = (),
) -> Iterator[OpenedSums]:  # fmt: skip
    """Yield the pooled sums of every segment, in the order of the study's variants. strata: with this site's rows.

    name: of the steps, different for every design of a study; level, fewest, few_missing: of the rules (governance.openings);
    complete: linear regression over called samples, where no few people lack a call; vetoed: as of `OwnRows`; window: rows
    between two that are compared; between: as of `RowRule`.
    """
    rules = level != openings.ALL
    sets = [Sets.of(s.design.analyses, complete, rules=rules) for s in strata]
    diagonals = [_diagonal(s) for s in strata]
    norms = secure.total([v for own in diagonals for v in own])
    if any(t < o for t, o in zip(norms, [v for own in diagonals for v in own], strict=True)):
        secure.refuse(OUT_OF_BOUNDS)
    left = iter(norms)
    tally = withheld if withheld is not None else Withheld()
    sites: list[SiteSums] = []
    for stratum, mine, needed in zip(strata, diagonals, sets, strict=True):
        pooled = [next(left) for _ in mine]
        people = (*needed.indicators, *needed.single)
        sites.append(
            SiteSums(
                secure, reader, stratum, needed, rules, fewest, {i: pooled[i] for i in people}, {i: mine[i] for i in people},
                pooled, few_missing == openings.ROUND, tally,
            )
        )  # fmt: skip
    if max((n for site in sites for n in site.people.values()), default=0) > openings.LARGEST_SUM:
        secure.refuse(OUT_OF_BOUNDS)
    rows = None
    if rules:
        masks = [mask for site in sites for mask in site.masks]
        rule = RowRule(
            masks, reader.dosage_grid, strict=level == openings.STRICT, fewest=fewest,
            quadratic=any(needed.quadratic for needed in sets), window=window,
            summed=reader.dosage_max > 2 * reader.dosage_grid, between=between,
        )  # fmt: skip
        rows = OwnRows(rule, as_genotypes(reader), vetoed)
    for together in batches(strata, sites, name):
        parts = list(_open(secure, together, rows))
        yield from parts
        if rows is not None:
            rows.take(together, parts)


def _diagonal(stratum: Stratum) -> list[int]:
    x = stratum.design.columns.values
    return [exact_gram(x[:, [j]], x[:, [j]])[0][0] for j in range(x.shape[1])]


def _open(secure: SecureSum, segments: Sequence[Segment], rule: OwnRows | None) -> Iterator[OpenedSums]:
    busy = [s for s in segments if not s.empty]
    local = {s.name: cache(partial(_local, s.study, s.start, s.stop)) for s in busy}
    flags = _flags(secure, segments, rule)
    rows = {s.name: np.flatnonzero(flags[s.name][:, 0] == 0) for s in busy}

    def counts(s: Segment) -> np.ndarray:
        return s.study.own_counts(local[s.name](), s.study.hidden(flags[s.name]))[rows[s.name]]

    def columns(s: Segment) -> np.ndarray:
        return s.study.own_columns(local[s.name](), opened[s.name], s.start, s.stop)

    first = [
        _step(f"{s.name}-counts", len(rows[s.name]), s.study.set_bounds(), partial(counts, s), s.study.check_counts)
        for s in busy
    ]
    opened = {
        s.name: _read_counts(s.study, rows[s.name], flags[s.name][rows[s.name]], total)
        for s, total in zip(busy, secure.together(first), strict=True)
    }
    bounds = {s.name: s.study.column_bounds() for s in busy}
    second = [
        _step(f"{s.name}-columns", len(rows[s.name]) * bool(bounds[s.name]), bounds[s.name] or [1], partial(columns, s))
        for s in busy
    ]
    # complete cases: where calls are missing, of nobody or of enough people at every site
    whole = {
        (s.name, k): np.flatnonzero(opened[s.name].exact(p.columns[0]) & _some_missing(s.study, opened[s.name], p))
        for s in busy for k, p in enumerate(s.study.sets.pairs)
    }  # fmt: skip
    second += [
        _step(f"{s.name}-pairs-{k}", len(whole[s.name, k]), _pair_bounds(s.study, p),
              partial(s.study.own_pairs, opened[s.name], whole[s.name, k], s.start, s.stop, p))
        for s in busy for k, p in enumerate(s.study.sets.pairs)
    ]  # fmt: skip
    totals = dict(zip([s.name for s in second], secure.together(second), strict=True))
    for s in segments:
        if s.empty:
            yield OpenedSums(s.start, s.stop - s.start, np.ones(s.stop - s.start, bool), {})
            continue
        pairs = {p: (whole[s.name, k], totals[f"{s.name}-pairs-{k}"]) for k, p in enumerate(s.study.sets.pairs)}
        yield _assemble(s.study, s.start, s.stop, opened[s.name], totals[f"{s.name}-columns"], pairs)


def _some_missing(study: SiteSums, opened: OpenedCounts, a: Analysis) -> np.ndarray:
    return opened.called[a.columns[0]] < study.people[a.columns[0]]


def _local(study: SiteSums, start: int, stop: int) -> Sums:
    """This site's sums of one segment."""
    parts = [block_sums(b, study.design.columns) for b in study.blocks(start, stop)]
    g, m, q = (np.concatenate([getattr(p, name) for p in parts]) for name in ("g", "m", "q"))
    return Sums(start, g, m, q)


def _flags(secure: SecureSum, segments: Sequence[Segment], rule: OwnRows | None) -> dict[str, np.ndarray]:
    """(V, 1 + sets) of each segment: how many sites withhold a variant, and at how many few people lack a call."""
    widths = {s.name: 1 + len(s.study.masks) for s in segments}
    if rule is None:
        return {s.name: np.zeros((s.stop - s.start, widths[s.name]), np.int64) for s in segments}
    own = cache(partial(rule.flags, segments))
    busy = [s for s in segments if not s.empty]
    steps = [
        _step(
            f"{s.name}-flags",
            s.stop - s.start,
            [64] * widths[s.name],
            partial(lambda n: own()[n], s.name),
            not_below_own,
        )
        for s in busy
    ]
    return {s.name: total for s, total in zip(busy, secure.together(steps), strict=True)}


def _read_counts(study: SiteSums, rows: IntArray, flags: np.ndarray, found: np.ndarray) -> OpenedCounts:
    sets, squared, single = study.sets.indicators, study.sets.squared, study.sets.single
    return OpenedCounts(
        rows,
        {i: study.people[i] - found[:, 2 * k] for k, i in enumerate(sets)},
        {i: found[:, 2 * k + 1] for k, i in enumerate(sets)},
        {i: found[:, 2 * len(sets) + k] for k, i in enumerate(squared)},
        {i: flags[:, 1 + k] != 0 for k, i in enumerate(sets)},
        {i: study.people[i] - found[:, 2 * len(sets) + len(squared) + k] for k, i in enumerate(single)},
        study.hidden(flags),
    )


def _pair_bounds(study: SiteSums, a: Analysis) -> list[int]:
    norms = [study.norms[j] for j in a.columns]
    return [math.isqrt(norms[k] * norms[m]) + 1 for k in range(len(norms)) for m in range(k, len(norms))]


def _assemble(
    study: SiteSums, start: int, stop: int, opened: OpenedCounts, found: np.ndarray,
    pairs: dict[Analysis, tuple[IntArray, np.ndarray]],
) -> OpenedSums:  # fmt: skip
    """What each analysis reads, of all rows of a segment: zeros where a row is withheld."""
    sets, size, rows = study.sets, stop - start, opened.rows
    numbers = iter([_narrow(found[:, k], b) for k, b in enumerate(study.column_bounds())])

    def full(values: np.ndarray) -> np.ndarray:
        return _spread(values, rows, size)

    def times(values: IntArray, i: int) -> IntArray:
        """Rounded rows times n, as the exact ones are."""
        n = opened.called[i]
        return np.where(opened.exact(i), values, exactly(n, values, n * 0, n * 0))

    cross = {pair: times(next(numbers), pair[1]) for pair in sets.filled}
    weighted = {pair: next(numbers) for pair in sets.weighted}
    quadratic = {pair: next(numbers) for pair in sets.quadratic}
    minor = {pair: next(numbers) for pair in sets.minor}
    counted = {pair: (next(numbers), next(numbers)) for pair in sets.counted}
    withheld = np.ones(size, bool)
    withheld[rows] = False
    parts: dict[Analysis, Sums | ImputedSums] = {}
    few: dict[Analysis, np.ndarray] = {}
    for a in study.design.analyses:
        c, i, reads = a.columns, a.columns[0], reads_of(a)
        few[a] = withheld
        if reads.counted or (reads.filled is not None and not study.rounds):
            few[a] = withheld | full(opened.few[i])
        if a.single or set(c) & set(study.sets.apart):
            few[a] = few[a] | full(opened.hidden)
        if reads.filled is None:
            lack = _missing(study, opened)
            pairs_of = [counted[j, i] if p in reads.counted else (lack[j], opened.dosage[j]) for p, j in enumerate(c)]
            m, g = (np.stack([full(pair[k]) for pair in pairs_of], axis=1) for k in (0, 1))
            squares = [full(opened.square[c[p]]) for p in reads.squared]
            parts[a] = Sums(start, g, m, np.stack(squares, 1) if squares else np.zeros((size, 0), np.int64))
        else:
            weight = weights(a)
            if weight is not None:
                square = weighted[weight, i]
            else:  # 0 and 1 are their own squares
                square = opened.dosage[i] if study.coded else opened.square[i]
            if weight is not None and study.rules:
                n, s, w = opened.called[i], opened.dosage[i], np.full(len(rows), a.model.weight_total)
                # as if Σ w g were S/n·Σw: V is too large by Σw times the square of the difference of the two means
                cross[weight, i], square = exactly(s, w, s * 0, w), exactly(n * n, square, squared(s), w)
            filled = np.stack([full(cross[j, i]) for j in crossed(a)], axis=1)
            more = None
            if a in pairs:
                whole, values = pairs[a]
                more = _spread(values, rows[whole], size)
            parts[a] = ImputedSums(
                start, full(opened.called[i]), full(opened.dosage[i]), filled, full(square),
                None if reads.minor is None else full(minor[c[reads.minor], i]), more,
                alleles=full(opened.square[i]) if study.coded else None,
                single=full(opened.single[a.single[0][0]]) if a.single else None,
                weighted=np.stack([full(quadratic[c[p], i]) for p in reads.quadratic], 1) if reads.quadratic else None,
            )  # fmt: skip
    _tally(study, size, opened, pairs)
    return OpenedSums(start, size, withheld, {(a.test, a.phenotype): (parts[a], few[a]) for a in parts})


def _missing(study: SiteSums, opened: OpenedCounts) -> dict[int, IntArray]:
    return {i: study.people[i] - n for i, n in opened.called.items()}


def _tally(
    study: SiteSums, size: int, opened: OpenedCounts, pairs: dict[Analysis, tuple[IntArray, np.ndarray]]
) -> None:
    w, some = study.withheld, np.zeros(len(opened.rows), bool)
    for _, i in (*study.sets.filled, *study.sets.counted):
        some |= opened.few[i]
    w.variants += size
    w.few += size - len(opened.rows)
    if study.rounds:
        w.rounded += int(some.sum())
    else:
        w.missing += int(some.sum())
    if study.rules:
        w.weighted += len(opened.rows) * len(study.sets.weighted)
    if pairs and study.rounds:
        w.imputed += max(int((_some_missing(study, opened, a) & ~opened.exact(a.columns[0])).sum()) for a in pairs)


def _narrow(values: IntArray, bound: int) -> IntArray:
    return values.astype(np.int64) if field_bits(bound) <= NARROW else values


def _spread(values: np.ndarray, rows: IntArray, size: int) -> np.ndarray:
    out = np.zeros((size, *values.shape[1:]), values.dtype)
    out[rows] = values
    return out


def _step(
    name: str, count: int, bounds: Sequence[int], own: Callable[[], np.ndarray], check: SumCheck | None = None
) -> Step:
    return Step(name, count, tuple(field_bits(max(b, 1)) for b in bounds), own, tuple(bounds), check)
