"""A whole vertical run that opens every sum to the phenotype party (`--reveal aggregates`): the plain engine's tables.

Columns in digits (`radix`) meet the genotypes, their missing calls and, where a column of weights needs Σ w g², their squares by
`vertical`. Sums are put together on shares, so that the sums of digits stay hidden, and opened. Of columns that only say
who is analysed, the genotype party is told, and answers with Σ g² over these people: one of the sums that are opened.

The phenotype party can read genotypes by choosing phenotypes, and whoever holds the genotypes solves for phenotypes: both
owners must agree by name. The genotype party checks who is analysed against its ledger, and opens no variant in which few
people stand out (`governance`): it sends noise for its shares of those. Columns are the phenotype party's secret, so the
rules of columns are not checked; missing calls are summed apart, so their receiver, who holds the columns, may tell whose
call is missing. The genotype party learns who is analysed, how many columns there are and how many bits their
largest number has; the dealer sizes.

A study with several designs (X, Y, MT, predictions by chromosome) is done run by run; `runs` says what the parties learn more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.design.strata import alone
from securegen.engines.governed import check_tables, for_study, gate_of_inputs
from securegen.engines.mpc import vertical
from securegen.engines.mpc.aggregate_plan import AggregatePlan
from securegen.engines.mpc.announced import StudyRun, open_announced
from securegen.engines.mpc.association import agreed_cohort, announce_cohort, only_mean, people_columns
from securegen.engines.mpc.batches import Streams
from securegen.engines.mpc.gwas import ask_consent, genotype_streams
from securegen.engines.mpc.masked_store import ask_for_blocks, hear_of_blocks
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.owner_gate import of_session, pass_owner, rare_rows
from securegen.engines.mpc.people import admitted, charge, hear_who, tell_who
from securegen.engines.mpc.runs import RunReader, VariantRun, hear, hear_each, tell, tell_number
from securegen.engines.mpc.shares.lifting import Pair
from securegen.engines.mpc.shares.program import DealingProgram, Program
from securegen.engines.mpc.shares.radix import Form, assemble, to_digits
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.errors import ProtocolError
from securegen.governance import openings
from securegen.governance.gate import Gate
from securegen.governance.policy import FULL
from securegen.governance.rows import RowRule
from securegen.kernels.integer_sums import squared_sums
from securegen.model import Columns, GenotypeBlock, GenotypeReader, Sums, Variants, watched
from securegen.randomness import fresh_key, keystream
from securegen.results.write import Summary, write_tables
from securegen.study.consented import claim_release
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.vocabulary import ADDITIVE


def genotype_run(
    session: Session, roles: Roles, reader: GenotypeReader, *, cohort: str, state: StateFile,
    consent_aggregates: bool, column_limit: int | None = None, level: str = openings.STRICT, log: Log = silent,
    threads: int = 1, gate: Gate | None = None,
) -> bool:  # fmt: skip
    """The genotype party: announces its cohort, helps, learns who is analysed and how many columns there are.

    level: of the rules of what may be opened; gate: the owner's door. Returns whether there are several designs.

    Raises PolicyError without consent, above the column limit, and for a set of samples that differs by a few people from
    another of this run or of an earlier one, before any genotype is sent.
    """
    ask_consent(consent_aggregates)
    announce_cohort(session, roles.right, reader)
    samples = len(reader.samples)
    told, runs = hear(session, roles.right, "plan", reader.variants)
    plans = [AggregatePlan.read(value, roles.right) for value in told]
    for i, plan in enumerate(plans):
        mine = [run for run in runs if run.stratum == i]
        planned = plan.samples, plan.variants, plan.dosage_max
        if planned != (samples, sum(map(len, mine)), reader.dosage_max * (1 + mine[0].doubled)):
            raise ProtocolError(f"party {roles.right!r} planned for another cohort")
    copies = RunReader(reader)
    places = [copies.places(i, runs) for i in range(len(plans))]
    sets = [hear_who(session, roles.right, samples, len(plan.analysed)) for plan in plans]
    pass_owner(
        gate,
        reader,
        list(zip(places, sets, strict=True)),
        max(plan.columns for plan in plans),
        FULL,
        state=state,
        session=session,
    )
    rules = admitted(reader, list(zip(places, sets, strict=True)), state, level, log)
    forms = [plan.form() for plan in plans]
    costs = [(where, who, plan.columns) for where, who, plan in zip(places, sets, plans, strict=True)]
    charge(state, cohort, costs, people=reader, column_limit=column_limit)
    tell_number(session, roles.dealer, "dealer/plan", runs)
    kept: list[GenotypeBlock] = []
    for run in runs:
        i = run.stratum
        plan = replace(plans[i], variants=len(run))
        _answer(
            session, roles, copies, run, plan, forms[i], sets[i], rules[i], kept, cohort=cohort, state=state,
            threads=threads, gate=gate,
        )  # fmt: skip
    return not runs[0].whole


def _answer(
    session: Session, roles: Roles, copies: RunReader, run: VariantRun, plan: AggregatePlan, form: Form, analysed: np.ndarray,
    rule: RowRule | None, kept: list[GenotypeBlock], *, cohort: str, state: StateFile, threads: int, gate: Gate | None,
) -> None:  # fmt: skip
    """One run of the genotype party. kept: opened rows before it, changed into those before the next."""
    session.send_json(roles.dealer, "dealer/plan", plan.write())
    squares: list[np.ndarray] = []
    vetoes: list[np.ndarray] = []

    def blocks() -> Iterator[vertical.Block]:
        for block, calls in copies.blocks(run, vertical.block_size(plan.samples, form.bits)):
            squares.append(squared_sums(block.dosage, analysed.astype(np.int64), block.alleles))
            rare = rare_rows(calls, analysed, copies.grid, gate)
            vetoes.append(rare if rule is None else rule.scan(calls, kept) | rare)
            made = genotype_streams(block, squares=bool(plan.weights), coding=copies.coding)
            yield replace(made, place=run.place)

    resend = hear_of_blocks(session, roles.right)
    sides = vertical.genotype_side(
        session, roles, blocks(), resend=resend, samples=plan.samples, columns=plan.columns * form.digits, charged=True,
        cohort=cohort, state=state, threads=threads, **plan.rings(form),
    )  # fmt: skip
    program, batching = Program(session, Pair(roles.left, roles.right, roles.dealer)), plan.batching(form)
    for number, streams in enumerate(batching.of_shares(sides)):
        batching.announce(session, roles, streams)
        veto = np.concatenate(vetoes)
        session.send(roles.right, f"withheld/{number}", veto.astype(np.uint8))
        session.send(roles.right, f"squares/{number}", np.where(veto[:, None], 0, np.concatenate(squares)))
        squares.clear()
        vetoes.clear()
        _cover(streams, veto)
        _open(program, plan, form, streams)


def _of(coding: str) -> str:
    return "" if coding == ADDITIVE else f" {coding}"


def _cover(streams: Streams, rows: np.ndarray) -> None:
    """Uniform noise for the own shares of rows that are not opened."""
    count = int(rows.sum())
    for name, x in streams.items():
        noise = keystream(fresh_key(), 0, count * x[:1].nbytes).view(x.dtype)
        streams[name] = x.copy()
        streams[name][rows] = noise.reshape(count, *x.shape[1:])


def phenotype_run(
    session: Session, roles: Roles, inputs: Inputs, out: str, *, state: StateFile, consent_aggregates: bool,
    masked: Path | None = None, log: Log = silent, digits: int = 17, threads: int = 1,
    seen: Callable[[Sums], None] | None = None, opened: Callable[[Study], None] | None = None, gate: Gate | None = None,
) -> list[Summary]:  # fmt: skip
    """The phenotype party: writes the tables. masked: a folder to keep masked genotypes in for later runs;
    seen: is shown every block of sums; opened: the study; gate: the door, by default that of the inputs."""
    ask_consent(consent_aggregates)
    only_mean(inputs)
    announced = open_announced(inputs, agreed_cohort(session, roles.left, inputs, log), log)
    study = announced.study
    if opened is not None:
        opened(study)
    gate = for_study(gate or gate_of_inputs("mpc", inputs, log), study)
    check_tables(gate, study)
    claim_release([inputs], study.reader.samples, study.strata, out)
    parts, plans = announced.parts(), []
    for stratum in announced.strata:
        columns, people = stratum.design.columns, people_columns(stratum.design.analyses)
        top = announced.dosage_max(stratum)
        plans.append(AggregatePlan.of(columns, len(columns.values), stratum.variants, top, people))
    gate = of_session(gate, session, max(plan.columns for plan in plans))
    tell(session, roles.left, "plan", [plan.write() for plan in plans], [part.run for part in parts])
    for stratum, plan in zip(announced.strata, plans, strict=True):
        tell_who(session, roles.left, stratum.design.columns.values[:, plan.analysed], stratum.name)

    def of(part: StudyRun) -> Iterator[Sums]:
        plan = replace(plans[part.run.stratum], variants=len(part.run))
        columns, coding = part.stratum.design.columns, announced.cohort.coding
        return _sums(session, roles, columns, plan, part, coding, state=state, masked=masked, threads=threads)

    shown = watched(announced.sums(of), seen)
    return write_tables(
        out, study.reader.variants, shown, study.analyses, gate=gate, strata=study.strata, grid=study.reader.dosage_grid,
        digits=digits,
    )  # fmt: skip


def sums(
    session: Session, roles: Roles, columns: Columns, *, variants: Variants, dosage_max: int, state: StateFile,
    masked: Path | None = None, threads: int = 1, people: Sequence[int] | None = None, coding: str = ADDITIVE,
) -> Iterator[Sums]:  # fmt: skip
    """The phenotype party, for columns in the genotype party's sample order: yields the sums of batches of variants. people:
    as of `AggregatePlan.of`; coding: the genetic model that the genotypes come under."""
    part = StudyRun(VariantRun(0, len(variants), whole=True), 0, alone(None, len(variants))[0], variants)
    plan = AggregatePlan.of(columns, len(columns.values), len(variants), dosage_max, people)
    tell(session, roles.left, "plan", [plan.write()], [part.run])
    session.send(roles.left, "analysed", columns.values[:, plan.analysed].astype(np.uint8))
    yield from _sums(session, roles, columns, plan, part, coding, state=state, masked=masked, threads=threads)


def _sums(
    session: Session, roles: Roles, columns: Columns, plan: AggregatePlan, part: StudyRun, coding: str, *, state: StateFile,
    masked: Path | None, threads: int,
) -> Iterator[Sums]:  # fmt: skip
    """One run of the phenotype party."""
    form = plan.form()
    what = f"{plan.rings(form)} {part.variants.digest()}{_of(coding)}{part.run.place and ' '}{part.run.place}"
    store, resend = ask_for_blocks(session, roles.left, masked, what)
    sides = vertical.phenotype_side(
        session, roles, to_digits(columns.values, form), state=state, store=store, resend=resend, use=part.run.place,
        threads=threads, **plan.rings(form),
    )  # fmt: skip
    program, batching = Program(session, Pair(roles.left, roles.right, roles.dealer)), plan.batching(form)
    start, order = part.first, columns.squared_index
    for number, streams in enumerate(batching.of_shares(sides)):
        batching.confirm(session, roles, streams)
        width = len(streams["g"])
        veto = session.receive(roles.left, f"withheld/{number}", shape=(width,), dtype=np.uint8) != 0
        known = session.receive(roles.left, f"squares/{number}", shape=(width, len(plan.analysed)), dtype=np.int64)
        found = _open(program, plan, form, streams)
        if found is None:
            raise ValueError("the left party has no sums")
        q = np.zeros((width, len(order)), np.int64)
        for k, j in enumerate(plan.analysed):
            if j in order:
                q[:, order.index(j)] = known[:, k]
        q[:, [order.index(j) for j in plan.weights]] = found.get("q", np.zeros((width, 0), np.int64))
        parts = (found["g"], found.get("m", np.zeros_like(found["g"])), q)
        g, m, q = (np.where(veto[:, None], 0, each) for each in parts)
        yield Sums(start, g, m, q, withheld=veto if veto.any() else None)
        start += width
    if store is not None:
        store.finish(what)


def deal(session: Session, roles: Roles, *, threads: int = 1) -> float:
    """The dealer. Returns the seconds spent computing products."""
    busy = 0.0
    for value in hear_each(session, roles.left, "dealer/plan"):
        plan = AggregatePlan.read(value, roles.left)
        form, program = plan.form(), DealingProgram(session, Pair(roles.left, roles.right, roles.dealer))
        for streams, seconds in plan.batching(form).dealt(session, roles, threads=threads):
            _open(program, plan, form, streams)
            busy += seconds
    return busy


def _open(program: Program, plan: AggregatePlan, form: Form, streams: Streams) -> dict[str, np.ndarray] | None:
    """Every sum of a batch, int64, at the right party."""
    out = {}
    for name, x in sorted(streams.items()):
        if name == "q":
            x = x[:, :, list(plan.weights)]
        words = 1 if form.bits == 32 else 2
        whole = assemble(program, form, name, x, first=words, words=words)
        opened = program.give(np.ascontiguousarray(whole[..., :1]))
        if opened is not None:
            out[name] = opened[..., 0].view(np.int64)
    return out or None
