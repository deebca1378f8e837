"""A whole run that opens less than all sums (`--reveal hits`, `chi2` or `uv`), from files to tables, for each party.

Tables are PREFIX.<PHENO>.uv and .chi2, a row for every variant, and PREFIX.<PHENO>.hits, a row for every hit.
Batches of variants go through `projected.program` as their blocks come, run by run (`runs`), so that memory does not grow
with the cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.strata import AUTOSOMES, Stratum
from securegen.engines.governed import check_tables, for_study, gate_of_inputs
from securegen.engines.mpc import vertical
from securegen.engines.mpc.announced import StudyRun, open_announced
from securegen.engines.mpc.association import agreed_cohort, announce_cohort
from securegen.engines.mpc.batches import Batching
from securegen.engines.mpc.gwas import genotype_streams, refuse_few
from securegen.engines.mpc.masked_store import ask_for_blocks, hear_of_blocks
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.owner_gate import of_session, pass_owner
from securegen.engines.mpc.people import charge
from securegen.engines.mpc.projected import HITS, PhenotypeGroup, ProjectedPlan, check_reveal, make_plan, open_group
from securegen.engines.mpc.projected_groups import public_group, read_design, read_groups, write_groups
from securegen.engines.mpc.projected_results import Opened
from securegen.engines.mpc.runs import RunReader, VariantRun, hear, hear_each, tell, tell_number
from securegen.engines.mpc.shares.lifting import Pair
from securegen.engines.mpc.shares.program import DealingProgram, Program
from securegen.engines.mpc.shares.radix import to_digits
from securegen.engines.mpc.state_file import StateFile, digest_array
from securegen.engines.mpc.vertical import BlockShares, Roles
from securegen.errors import ProtocolError, UsageError
from securegen.governance.gate import Gate
from securegen.model import AnnouncedCohort, GenotypeReader
from securegen.results.projected import Piece, centre, places_in, write_pieces
from securegen.results.write import Summary
from securegen.stats.projection import Projection, VariantCounts, centred, choose_scales, project, variant_counts
from securegen.study.consented import claim_release
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.vocabulary import ADDITIVE

_CENTRED = "centred "
_ONE = "one threshold a cohort and phenotype, because several bisect the statistic of every variant"


def _refuse_more_than_copies(reader: GenotypeReader) -> None:
    """Raise UsageError for rows that are not copies of one allele: the scales are planned for those."""
    if reader.dosage_max != 2 * reader.dosage_grid:
        raise UsageError(
            f"dosages of up to {reader.dosage_max} units on a grid of {reader.dosage_grid} are not copies of one allele: only "
            "`reveal` aggregates sums them"
        )


def genotype_run(
    session: Session, roles: Roles, reader: GenotypeReader, *, reveal: str, cohort: str, state: StateFile,
    threshold: float | None = None, column_limit: int | None = None, threads: int = 1, gate: Gate | None = None,
) -> bool:  # fmt: skip
    """The genotype party: announces its cohort, helps, learns who is analysed and how many columns there are.

    threshold: p-value of a hit; gate: the owner's door. Returns whether there are several designs.

    Raises PolicyError for another threshold than before on a phenotype, and above the column limit, before any genotype is
    sent.
    """
    _refuse_more_than_copies(reader)
    announce_cohort(session, roles.right, reader)
    samples = len(reader.samples)
    told, runs = hear(session, roles.right, "groups", reader.variants)
    copies, designs = RunReader(reader), []
    for i, value in enumerate(told):
        groups, unit = read_design(value, [run for run in runs if run.stratum == i], roles.right)
        grid = reader.dosage_grid * unit
        plan = make_plan(check_reveal(reveal), groups, choose_scales(samples, grid), samples, grid)
        designs.append((plan, [_hear_group(session, roles.right, n, g, reveal, samples) for n, g in enumerate(groups)]))
    names = dict.fromkeys(name for plan, _ in designs for g in plan.groups for name in g.phenotypes)
    bound = [f"threshold of {cohort}/{name}" for name in names] if reveal == HITS else []
    for what in bound:
        state.bind(what, repr(threshold), _ONE, keep=False)  # a run that is refused is neither counted nor remembered
    costs = [(copies.places(i, runs), np.stack(sets, axis=1), plan.columns) for i, (plan, sets) in enumerate(designs)]
    pass_owner(gate, reader, [c[:2] for c in costs], max(c[2] for c in costs), reveal, state=state, session=session)
    charge(state, cohort, costs, people=reader, column_limit=column_limit)
    for what in bound:
        state.bind(what, repr(threshold), _ONE)
    tell_number(session, roles.dealer, "dealer/plan", runs)
    for run in runs:
        plan, sets = designs[run.stratum]
        _answer(session, roles, copies, run, plan, sets, cohort=cohort, state=state, threads=threads)
    return not runs[0].whole


def _hear_group(
    session: Session, source: str, number: int, group: PhenotypeGroup, reveal: str, samples: int
) -> np.ndarray:
    """(N,) bool, who is analysed."""
    analysed = session.receive(source, f"analysed/{number}", shape=(samples,), dtype=np.uint8).astype(bool)
    if int(analysed.sum()) != group.samples:
        raise ProtocolError(f"party {source!r} announced {group.samples} samples and names other ones")
    refuse_few(group.samples)
    if reveal == HITS and not all(0 <= bits <= 11 for bits in group.lead_bits):
        raise ProtocolError(f"party {source!r} announced a factor of hits outside 2^0 to 2^11")
    return analysed


def _answer(
    session: Session, roles: Roles, copies: RunReader, run: VariantRun, plan: ProjectedPlan, sets: list[np.ndarray], *,
    cohort: str, state: StateFile, threads: int,
) -> None:  # fmt: skip
    """One run of the genotype party."""
    nameless = tuple(replace(g, phenotypes=("",) * len(g.phenotypes)) for g in plan.groups)
    session.send_json(roles.dealer, "dealer/plan", {"groups": write_groups(nameless), "reveal": plan.reveal,
                                                    "sizes": [plan.samples, len(run), plan.grid]})  # fmt: skip
    counts: list[list[VariantCounts]] = []
    among, place = None, run.place
    if copies.single(run) and plan.squares:  # others than who is analysed may have no copy
        among = np.any(sets, axis=0)
        place = f"{place}/{digest_array(among)[:32]}"

    def blocks() -> Iterator[vertical.Block]:
        for block, _ in copies.blocks(run, vertical.block_size(plan.samples, plan.form.bits)):
            if plan.squares:
                block = centred(block, plan.grid, among)
            counts.append([variant_counts(block, s) for s in sets])
            made = genotype_streams(block, squares=plan.squares, coding=copies.coding)
            yield replace(made, streams={_name(n, plan): x for n, x in made.streams.items()}, place=place)

    resend = hear_of_blocks(session, roles.right)
    sides = vertical.genotype_side(
        session, roles, blocks(), resend=resend, samples=plan.samples, columns=plan.columns * plan.form.digits, charged=True,
        cohort=cohort, state=state, threads=threads, **_rings(plan),
    )  # fmt: skip
    program = Program(session, Pair(roles.left, roles.right, roles.dealer))
    batching = _batching(plan, len(run))
    for streams in batching.of_shares(_plainly_named(sides)):
        batching.announce(session, roles, streams)
        for i in range(len(plan.groups)):
            open_group(program, plan, i, plan.part(i, streams), _join([block[i] for block in counts]))
        counts.clear()


@dataclass(frozen=True)
class _Design:
    """A stratum at the phenotype party: its projections, their leads, and what is public."""

    stratum: Stratum
    projections: list[Projection]
    leads: list[tuple[int, ...]]
    plan: ProjectedPlan

    @staticmethod
    def of(stratum: Stratum, cohort: AnnouncedCohort, reveal: str, threshold: float | None) -> _Design:
        projections = project(stratum.design)
        leads: list[tuple[int, ...]] = [()] * len(projections)
        for i, p in enumerate(projections):
            if reveal == HITS:
                if threshold is None:
                    raise ValueError("hits have a threshold")
                projections[i], leads[i] = p.with_threshold(threshold)
            if stratum.name != AUTOSOMES:
                refuse_few(p.samples, stratum.name)
        groups = tuple(public_group(p, bits) for p, bits in zip(projections, leads, strict=True))
        samples, grid = len(cohort.samples), cohort.dosage_grid * stratum.unit
        return _Design(
            stratum, projections, leads, make_plan(reveal, groups, choose_scales(samples, grid), samples, grid)
        )

    @property
    def digits(self) -> np.ndarray:
        """(N, columns · digits)."""
        scaled = [replace(self.plan.scales, lead_bits=bits) for bits in self.leads]
        columns = [p.integers(scales) for p, scales in zip(self.projections, scaled, strict=True)]
        return to_digits(np.concatenate(columns, axis=1), self.plan.form)

    @property
    def opened(self) -> list[Opened]:
        return [Opened(self.plan, p, bits) for p, bits in zip(self.projections, self.leads, strict=True)]


def phenotype_run(
    session: Session, roles: Roles, inputs: Inputs, out: str, *, reveal: str, state: StateFile,
    threshold: float | None = None, masked: Path | None = None, log: Log = silent, digits: int = 17, threads: int = 1,
    opened: Callable[[Study], None] | None = None, gate: Gate | None = None,
) -> list[Summary]:  # fmt: skip
    """The phenotype party: writes the tables. masked: a folder to keep masked genotypes in for later runs; opened: is shown
    the study; gate: the door, by default that of the inputs.

    Raises UsageError for tests that are not regressions.
    """
    cohort = agreed_cohort(session, roles.left, inputs, log)
    _refuse_more_than_copies(cohort)
    announced = open_announced(inputs, cohort, log)
    study, parts = announced.study, announced.parts()
    if opened is not None:
        opened(study)
    gate = for_study(gate or gate_of_inputs("mpc", inputs, log), study)
    check_tables(gate, study, reveal=reveal)
    claim_release([inputs], study.reader.samples, study.strata, out)
    designs = [_Design.of(stratum, cohort, reveal, threshold) for stratum in announced.strata]
    gate, told = of_session(gate, session, max(d.plan.columns for d in designs)), list[object]()
    for d in designs:
        groups = write_groups(d.plan.groups)
        told.append(groups if parts[0].run.whole else {"groups": groups, "unit": d.stratum.unit})
    tell(session, roles.left, "groups", told, [part.run for part in parts])
    for d in designs:
        for i, p in enumerate(d.projections):
            session.send(roles.left, f"analysed/{i}", p.analysed.astype(np.uint8))
    found = [d.opened for d in designs]
    for part in parts:
        d, mine = designs[part.run.stratum], found[part.run.stratum]
        _receive(session, roles, d, part, mine, cohort.coding, state=state, masked=masked, threads=threads)
    pieces: dict[tuple[str, str], list[Piece]] = {}
    for d, mine in zip(designs, found, strict=True):
        for one in mine:
            for a, piece in one.pieces(places_in(d.stratum)):
                pieces.setdefault((a.test, a.phenotype), []).append(piece)
    return write_pieces(
        out, study.reader.variants, study.analyses, study.strata, pieces, gate=gate, reveal=reveal, digits=digits
    )


def _receive(
    session: Session, roles: Roles, design: _Design, part: StudyRun, opened: list[Opened], coding: str, *, state: StateFile,
    masked: Path | None, threads: int,
) -> None:  # fmt: skip
    """One run of the phenotype party."""
    plan, place = design.plan, part.run.place
    if (among := centre(part.stratum, design.projections)) is not None and plan.squares:
        place = f"{place}/{digest_array(among)[:32]}"
    recoded = "" if coding == ADDITIVE else f" {coding}"
    what = f"{_rings(plan)} {part.variants.digest()}{recoded}{place and ' '}{place}"
    store, resend = ask_for_blocks(session, roles.left, masked, what)
    sides = vertical.phenotype_side(
        session, roles, design.digits, state=state, store=store, resend=resend, use=part.run.place, threads=threads,
        **_rings(plan),
    )  # fmt: skip
    program = Program(session, Pair(roles.left, roles.right, roles.dealer))
    batching = _batching(plan, len(part.run))
    for streams in batching.of_shares(_plainly_named(sides)):
        batching.confirm(session, roles, streams)
        for i, one in enumerate(opened):
            found = open_group(program, plan, i, plan.part(i, streams), None)
            if found is None:
                raise ValueError("the left party has no sums")
            one.add(found)
    if store is not None:
        store.finish(what)


def deal(session: Session, roles: Roles, *, threads: int = 1) -> float:
    """The dealer. Returns the seconds spent computing products."""
    return sum(_deal(session, roles, value, threads) for value in hear_each(session, roles.left, "dealer/plan"))


def _deal(session: Session, roles: Roles, value: object, threads: int) -> float:
    if not isinstance(value, dict) or set(value) != {"groups", "reveal", "sizes"}:
        raise ProtocolError(f"party {roles.left!r} announced a malformed plan")
    sizes = value["sizes"]
    if not isinstance(sizes, list) or len(sizes) != 3 or not all(type(v) is int and 0 < v < 1 << 31 for v in sizes):
        raise ProtocolError(f"party {roles.left!r} announced malformed sizes")
    samples, variants, grid = sizes
    groups = read_groups(value["groups"], roles.left)
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
