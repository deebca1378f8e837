"""A whole run that opens less than all sums (`--reveal hits`, `chi2` or `uv`), from files to tables, for each party.

Tables are PREFIX.<PHENO>.uv and .chi2, a row for every variant, and PREFIX.<PHENO>.hits, a row for every hit.
Batches of variants go through `projected.program` as their blocks come, so that memory does not grow with the cohort.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.mpc import vertical
from securegen.engines.mpc.association import agreed_cohort, announce_cohort
from securegen.engines.mpc.batches import Batching
from securegen.engines.mpc.gwas import genotype_streams, refuse_few
from securegen.engines.mpc.masked_store import ask_for_blocks, hear_of_blocks
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.projected import HITS, PhenotypeGroup, ProjectedPlan, check_reveal, make_plan, open_group
from securegen.engines.mpc.projected_results import Opened
from securegen.engines.mpc.shares.lifting import Pair
from securegen.engines.mpc.shares.program import DealingProgram, Program
from securegen.engines.mpc.shares.radix import to_digits
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import BlockShares, Roles
from securegen.errors import ProtocolError, UsageError
from securegen.model import GenotypeReader, coding_of, regular_blocks
from securegen.results.write import Summary
from securegen.stats.projection import Projection, VariantCounts, centred, choose_scales, project, variant_counts
from securegen.study.build import build_design
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import ADDITIVE

LARGEST = 10_000  # columns of a run
_CENTRED = "centred "
_ONE = "one threshold a cohort and phenotype, because several bisect the statistic of every variant"
_PUBLIC = ("test", "phenotypes", "basis", "samples", "lead_bits")


def public_group(p: Projection, lead_bits: tuple[int, ...]) -> PhenotypeGroup:
    """What the genotype party is told of a projection."""
    return PhenotypeGroup(p.test, tuple(a.phenotype for a in p.analyses), p.basis.shape[1], p.samples, lead_bits)


def _refuse_more_than_copies(reader: GenotypeReader) -> None:
    """Raise UsageError for rows that are not copies of one allele: the scales are planned for those."""
    if reader.dosage_max != 2 * reader.dosage_grid:
        raise UsageError(
            f"dosages of up to {reader.dosage_max} units on a grid of {reader.dosage_grid} are not copies of one allele: only "
            "`reveal` aggregates sums them"
        )


def genotype_run(
    session: Session, roles: Roles, reader: GenotypeReader, *, reveal: str, cohort: str, state: StateFile,
    threshold: float | None = None, column_limit: int | None = None, threads: int = 1,
) -> None:  # fmt: skip
    """The genotype party: announces its cohort, helps, learns who is analysed and how many columns there are.

    threshold: p-value of a hit. Raises PolicyError for another threshold than before on a phenotype, and above the column
    limit, before any genotype is sent.
    """
    _refuse_more_than_copies(reader)
    announce_cohort(session, roles.right, reader)
    samples, variants = len(reader.samples), len(reader.variants)
    groups = _read_groups(session.receive_json(roles.right, "groups"), roles.right)
    plan = make_plan(
        check_reveal(reveal), groups, choose_scales(samples, reader.dosage_grid), samples, reader.dosage_grid
    )
    sets = []
    for i, group in enumerate(groups):
        analysed = session.receive(roles.right, f"analysed/{i}", shape=(samples,), dtype=np.uint8).astype(bool)
        if int(analysed.sum()) != group.samples:
            raise ProtocolError(f"party {roles.right!r} announced {group.samples} samples and names other ones")
        refuse_few(group.samples)
        sets.append(analysed)
        if reveal == HITS and not all(0 <= bits <= 11 for bits in group.lead_bits):
            raise ProtocolError(f"party {roles.right!r} announced a factor of hits outside 2^0 to 2^11")
    bound = [f"threshold of {cohort}/{name}" for g in groups for name in g.phenotypes] if reveal == HITS else []
    for what in bound:
        state.bind(what, repr(threshold), _ONE, keep=False)  # a run that is refused is neither counted nor remembered
    vertical.charge(state, cohort, plan.columns, samples=samples, column_limit=column_limit)
    for what in bound:
        state.bind(what, repr(threshold), _ONE)
    nameless = tuple(replace(g, phenotypes=("",) * len(g.phenotypes)) for g in groups)
    session.send_json(roles.dealer, "dealer/plan", {"groups": _write_groups(nameless), "reveal": reveal,
                                                    "sizes": [samples, variants, reader.dosage_grid]})  # fmt: skip
    counts: list[list[VariantCounts]] = []

    def blocks() -> Iterator[vertical.Block]:
        for block in regular_blocks(reader, vertical.block_size(samples, plan.form.bits)):
            if plan.squares:
                block = centred(block, reader.dosage_grid)
            counts.append([variant_counts(block, s) for s in sets])
            made = genotype_streams(block, squares=plan.squares, coding=coding_of(reader))
            yield replace(made, streams={_name(n, plan): x for n, x in made.streams.items()})

    resend = hear_of_blocks(session, roles.right)
    sides = vertical.genotype_side(
        session, roles, blocks(), resend=resend, samples=samples, columns=plan.columns * plan.form.digits, charged=True,
        cohort=cohort, state=state, threads=threads, **_rings(plan),
    )  # fmt: skip
    program = Program(session, Pair(roles.left, roles.right, roles.dealer))
    batching = _batching(plan, variants)
    for streams in batching.of_shares(_plainly_named(sides)):
        batching.announce(session, roles, streams)
        for i in range(len(plan.groups)):
            open_group(program, plan, i, plan.part(i, streams), _join([block[i] for block in counts]))
        counts.clear()


def phenotype_run(
    session: Session, roles: Roles, inputs: Inputs, out: str, *, reveal: str, state: StateFile,
    threshold: float | None = None, masked: Path | None = None, log: Log = silent, digits: int = 17, threads: int = 1,
) -> list[Summary]:  # fmt: skip
    """The phenotype party: writes the tables. masked: a folder to keep masked genotypes in for later runs.

    Raises UsageError for tests that are no regressions.
    """
    cohort = agreed_cohort(session, roles.left, inputs, log)
    _refuse_more_than_copies(cohort)
    design = build_design(inputs, cohort, log)
    projections = project(design)
    samples, variants = len(cohort.samples), len(cohort.variants)
    leads: list[tuple[int, ...]] = [()] * len(projections)
    if reveal == HITS:
        if threshold is None:
            raise ValueError("hits have a threshold")
        for i, p in enumerate(projections):
            projections[i], leads[i] = p.with_threshold(threshold)
    groups = tuple(public_group(p, bits) for p, bits in zip(projections, leads, strict=True))
    plan = make_plan(reveal, groups, choose_scales(samples, cohort.dosage_grid), samples, cohort.dosage_grid)
    session.send_json(roles.left, "groups", _write_groups(groups))
    for i, p in enumerate(projections):
        session.send(roles.left, f"analysed/{i}", p.analysed.astype(np.uint8))
    columns = [p.integers(replace(plan.scales, lead_bits=bits)) for p, bits in zip(projections, leads, strict=True)]
    x = to_digits(np.concatenate(columns, axis=1), plan.form)
    what = f"{_rings(plan)} {cohort.variants.digest()}" + ("" if cohort.coding == ADDITIVE else f" {cohort.coding}")
    store, resend = ask_for_blocks(session, roles.left, masked, what)
    sides = vertical.phenotype_side(
        session, roles, x, state=state, store=store, resend=resend, threads=threads, **_rings(plan)
    )  # fmt: skip
    program = Program(session, Pair(roles.left, roles.right, roles.dealer))
    opened = [Opened(plan, p, bits) for p, bits in zip(projections, leads, strict=True)]
    batching = _batching(plan, variants)
    for streams in batching.of_shares(_plainly_named(sides)):
        batching.confirm(session, roles, streams)
        for i, part in enumerate(opened):
            found = open_group(program, plan, i, plan.part(i, streams), None)
            if found is None:
                raise ValueError("the left party has no sums")
            part.add(found)
    if store is not None:
        store.finish(what)
    order = {a.phenotype: i for i, a in enumerate(design.analyses)}
    made = [s for part in opened for s in part.write(out, cohort.variants, threshold, digits)]
    return sorted(made, key=lambda s: order[s.analysis.phenotype])


def deal(session: Session, roles: Roles, *, threads: int = 1) -> float:
    """The dealer. Returns the seconds spent computing products."""
    value = session.receive_json(roles.left, "dealer/plan")
    if not isinstance(value, dict) or set(value) != {"groups", "reveal", "sizes"}:
        raise ProtocolError(f"party {roles.left!r} announced a malformed plan")
    sizes = value["sizes"]
    if not isinstance(sizes, list) or len(sizes) != 3 or not all(type(v) is int and 0 < v < 1 << 31 for v in sizes):
        raise ProtocolError(f"party {roles.left!r} announced sizes that are none")
    samples, variants, grid = sizes
    groups = _read_groups(value["groups"], roles.left)
    plan = make_plan(check_reveal(value["reveal"]), groups, choose_scales(samples, grid), samples, grid)
    program = DealingProgram(session, Pair(roles.left, roles.right, roles.dealer))
    busy = 0.0
    for streams, seconds in _batching(plan, variants).dealt(session, roles, threads=threads):
        for i in range(len(plan.groups)):
            open_group(program, plan, i, plan.part(i, streams), None)
        busy += seconds
    return busy


def _name(stream: str, plan: ProjectedPlan) -> str:
    """Centred dosages are other data, with other masks, than dosages as they are."""
    return _CENTRED + stream if plan.squares and stream != "m" else stream


def _plainly_named(sides: Iterable[BlockShares]) -> Iterator[BlockShares]:
    for side in sides:
        yield BlockShares(side.start, {n.removeprefix(_CENTRED): x for n, x in side.streams.items()})


def _rings(plan: ProjectedPlan) -> dict[str, Any]:
    """How `vertical` masks the streams, and sums over samples."""
    widths = {_name(n, plan): bits for n, bits in plan.form.widths.items()}
    return {"bits": plan.form.bits, "widths": widths, "chunk": plan.form.chunk}


def _batching(plan: ProjectedPlan, variants: int) -> Batching:
    streams = tuple(n for n in plan.form.widths if n != "m")
    return Batching(plan.form, plan.samples, variants, plan.columns, streams)


def _join(counts: list[VariantCounts]) -> VariantCounts:
    return VariantCounts(*(np.concatenate([getattr(c, n) for c in counts]) for n in ("called", "g", "gg")))


def _write_groups(groups: tuple[PhenotypeGroup, ...]) -> list[dict[str, Any]]:
    return [{n: list(v) if isinstance(v := getattr(g, n), tuple) else v for n in _PUBLIC} for g in groups]


def _read_groups(value: object, sender: str) -> tuple[PhenotypeGroup, ...]:
    """Groups that a party announced; ProtocolError when they are none."""
    out = []
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict) or set(item) != set(_PUBLIC) or item["test"] not in ("linear", "logistic"):
            break
        names, leads = item["phenotypes"], item["lead_bits"]
        numbers = all(type(item[n]) is int and 0 <= item[n] < 1 << 31 for n in ("basis", "samples"))
        texts = isinstance(names, list) and names and all(isinstance(n, str) and len(n) < 1000 for n in names)
        if not (
            numbers and texts and item["samples"] and isinstance(leads, list) and all(type(b) is int for b in leads)
        ):
            break
        if leads and len(leads) != len(names):
            break
        out.append(PhenotypeGroup(item["test"], tuple(names), item["basis"], item["samples"], tuple(leads)))
    if not out or len(out) != len(value) or sum(g.columns for g in out) > LARGEST:  # type: ignore[arg-type]
        raise ProtocolError(f"party {sender!r} announced phenotypes that are none")
    return tuple(out)
