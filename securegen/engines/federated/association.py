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

from securegen.catalogue import record_of
from securegen.design.columns import Analysis, Design
from securegen.design.exact import exact_gram
from securegen.engines.federated.fields import NARROW, field_bits
from securegen.engines.federated.needed import Sets, crossed, weights
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum, Step, SumCheck
from securegen.engines.federated.variant_sums import READ, OpenedCounts, SiteSums, Withheld
from securegen.engines.plain.sums import block_sums
from securegen.governance import openings
from securegen.governance.rows import CHUNK, RowRule
from securegen.model import GenotypeBlock, GenotypeReader, ImputedSums, IntArray, OpenedSums, Sums
from securegen.stats.imputed import exactly

MOST_VARIANTS = 65536  # of a segment
CELLS = 1 << 21  # integers of a segment in memory
TOGETHER = 4  # segments that are posted together


def federated_sums(
    secure: SecureSum, reader: GenotypeReader, design: Design, *, name: str, level: str = openings.STRICT,
    fewest: int = openings.FEWEST, few_missing: str = openings.WITHHOLD, complete: bool = False,
    withheld: Withheld | None = None,
) -> Iterator[OpenedSums]:  # fmt: skip
    """Yield the pooled sums of every segment, in the order of the study's variants. design: this site's rows.

    name: of the steps, different for every design of a study; level, fewest, few_missing: of the rules (governance.openings);
    complete: linear regression over called samples, where no few people lack a call.
    """
    columns = design.columns
    sets = Sets.of(design.analyses, complete, rules=level != openings.ALL)
    diagonal = [exact_gram(columns.values[:, [j]], columns.values[:, [j]])[0][0] for j in range(len(columns.names))]
    norms = secure.total(diagonal)
    if (
        any(t < o for t, o in zip(norms, diagonal, strict=True))
        or max(norms[i] for i in sets.indicators) > openings.LARGEST_SUM
    ):
        secure.refuse(OUT_OF_BOUNDS)
    rule = None
    if level != openings.ALL:
        masks = [columns.values[:, i] != 0 for i in sets.indicators]
        rule = RowRule(
            masks, reader.dosage_grid, strict=level == openings.STRICT, fewest=fewest, quadratic=bool(sets.quadratic)
        )
    study = SiteSums(
        secure, reader, design, sets, rule, fewest, {i: norms[i] for i in sets.indicators},
        {i: diagonal[i] for i in sets.indicators}, norms, few_missing == openings.ROUND,
        withheld if withheld is not None else Withheld(),
    )  # fmt: skip
    width = len(study.set_bounds()) + len(study.column_bounds())
    size = min(MOST_VARIANTS, max(READ, CELLS // width))
    starts = range(0, len(reader.variants), size)
    before: list[GenotypeBlock] = []
    for first in range(0, len(starts), TOGETHER):
        segments = [
            (f"{name}-{first + i:05d}", start, min(start + size, len(reader.variants)))
            for i, start in enumerate(starts[first : first + TOGETHER])
        ]
        parts = list(_open(study, segments, before))
        yield from parts
        if study.rule is not None:
            before = _opened_before(reader, parts[-1], before)


Segment = tuple[str, int, int]


def _opened_before(reader: GenotypeReader, last: OpenedSums, before: list[GenotypeBlock]) -> list[GenotypeBlock]:
    """The opened rows of the last 500 variants, which the next ones are compared with."""
    stop = last.start + len(last)
    rows = [last.start + int(v) for v in np.flatnonzero(~last.withheld) if stop - last.start - v <= openings.WINDOW]
    kept = [b for b in before if stop - b.start <= openings.WINDOW]
    return [*kept, *(reader.read(r, r + 1) for r in rows)]


def _open(study: SiteSums, segments: Sequence[Segment], before: list[GenotypeBlock]) -> Iterator[OpenedSums]:
    sets = study.sets
    local = {n: cache(partial(_local, study, a, b)) for n, a, b in segments}
    flags = dict(zip((n for n, _, _ in segments), _flags(study, segments, before), strict=True))
    rows = {n: np.flatnonzero(f[:, 0] == 0) for n, f in flags.items()}

    def counts(n: str) -> np.ndarray:
        return study.own_counts(local[n]())[rows[n]]

    def columns(n: str, a: int, b: int) -> np.ndarray:
        return study.own_columns(local[n](), opened[n], a, b)

    first = [
        _step(f"{n}-counts", len(rows[n]), study.set_bounds(), partial(counts, n), study.check_counts)
        for n, _, _ in segments
    ]  # fmt: skip
    opened = {
        n: _read_counts(study, rows[n], flags[n][rows[n], 1:], total)
        for (n, _, _), total in zip(segments, study.secure.together(first), strict=True)
    }
    bounds = study.column_bounds()
    second = [_step(f"{n}-columns", len(rows[n]) * bool(bounds), bounds or [1], partial(columns, n, a, b))
              for n, a, b in segments]  # fmt: skip
    # complete cases: where calls are missing, of nobody or of enough people at every site
    whole = {
        (n, k): np.flatnonzero(opened[n].exact(p.columns[0]) & _some_missing(study, opened[n], p))
        for n, _, _ in segments for k, p in enumerate(sets.pairs)
    }  # fmt: skip
    second += [
        _step(f"{n}-pairs-{k}", len(whole[n, k]), _pair_bounds(study, p),
              partial(study.own_pairs, opened[n], whole[n, k], a, b, p))
        for n, a, b in segments for k, p in enumerate(sets.pairs)
    ]  # fmt: skip
    totals = dict(zip([s.name for s in second], study.secure.together(second), strict=True))
    for n, a, b in segments:
        pairs = {p: (whole[n, k], totals[f"{n}-pairs-{k}"]) for k, p in enumerate(sets.pairs)}
        yield _assemble(study, a, b, opened[n], totals[f"{n}-columns"], pairs)


def _some_missing(study: SiteSums, opened: OpenedCounts, a: Analysis) -> np.ndarray:
    return opened.called[a.columns[0]] < study.people[a.columns[0]]


def _local(study: SiteSums, start: int, stop: int) -> Sums:
    """This site's sums of one segment."""
    parts = [block_sums(b, study.design.columns) for b in study.blocks(start, stop)]
    g, m, q = (np.concatenate([getattr(p, name) for p in parts]) for name in ("g", "m", "q"))
    return Sums(start, g, m, q)


def _flags(study: SiteSums, segments: Sequence[Segment], before: list[GenotypeBlock]) -> list[np.ndarray]:
    """(V, 1 + sets) of each segment: how many sites withhold a variant, and at how many few people lack a call."""
    sets = study.sets.indicators
    if study.rule is None:
        return [np.zeros((stop - start, 1 + len(sets)), np.int64) for _, start, stop in segments]
    first, last, rule = segments[0][1], segments[-1][2], study.rule

    @cache
    def own() -> np.ndarray:
        out = np.zeros((last - first, 1 + len(sets)), np.int64)

        def blocks() -> Iterator[GenotypeBlock]:
            for block in study.blocks(first, last, CHUNK):
                if block.missing is not None:
                    for k, i in enumerate(sets):
                        lack = block.missing[:, study.values[:, i] != 0].sum(axis=1, dtype=np.int64)
                        at = slice(block.start - first, block.start - first + len(block))
                        out[at, 1 + k] = openings.too_few(lack, study.fewest)
                yield block

        out[:, 0] = rule.vetoed(blocks(), before)
        return out

    sites = [64] * (1 + len(sets))
    steps = [
        _step(f"{n}-flags", stop - start, sites, partial(lambda a, b: own()[a - first : b - first], start, stop))
        for n, start, stop in segments
    ]
    return list(study.secure.together(steps))


def _read_counts(study: SiteSums, rows: IntArray, few: np.ndarray, found: np.ndarray) -> OpenedCounts:
    sets, squared = study.sets.indicators, study.sets.squared
    return OpenedCounts(
        rows,
        {i: study.people[i] - found[:, 2 * k] for k, i in enumerate(sets)},
        {i: found[:, 2 * k + 1] for k, i in enumerate(sets)},
        {i: found[:, 2 * len(sets) + k] for k, i in enumerate(squared)},
        {i: few[:, k] != 0 for k, i in enumerate(sets)},
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
        c, i, reads = a.columns, a.columns[0], record_of(a).reads
        few[a] = withheld
        if reads.counted or (reads.filled is not None and not study.rounds):
            few[a] = withheld | full(opened.few[i])
        if reads.filled is None:
            lack = _missing(study, opened)
            pairs_of = [counted[j, i] if p in reads.counted else (lack[j], opened.dosage[j]) for p, j in enumerate(c)]
            m, g = (np.stack([full(pair[k]) for pair in pairs_of], axis=1) for k in (0, 1))
            squares = [full(opened.square[c[p]]) for p in reads.squared]
            parts[a] = Sums(start, g, m, np.stack(squares, 1) if squares else np.zeros((size, 0), np.int64))
        else:
            weight = weights(a)
            square = opened.square[i] if weight is None else weighted[weight, i]
            if weight is not None and study.rule is not None:
                n, s, w = opened.called[i], opened.dosage[i], np.full(len(rows), a.model.weight_total)
                # as if Σ w g were S/n·Σw: V is too large by Σw times the square of the difference of the two means
                cross[weight, i], square = exactly(s, w, s * 0, w), exactly(n * n, square, s * s, w)
            filled = np.stack([full(cross[j, i]) for j in crossed(a)], axis=1)
            more = None
            if a in pairs:
                whole, values = pairs[a]
                more = _spread(values, rows[whole], size)
            parts[a] = ImputedSums(
                start, full(opened.called[i]), full(opened.dosage[i]), filled, full(square),
                None if reads.minor is None else full(minor[c[reads.minor], i]), more,
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
    if study.rule is not None:
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
    return Step(name, count, tuple(field_bits(b) for b in bounds), own, tuple(bounds), check)
