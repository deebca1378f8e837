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
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.columns import INTERCEPT
from securegen.engines.mpc import vertical
from securegen.engines.mpc.association import agreed_cohort, announce_cohort, only_mean, people_columns
from securegen.engines.mpc.batches import Batching, Streams
from securegen.engines.mpc.gwas import ask_consent, genotype_streams
from securegen.engines.mpc.masked_store import ask_for_blocks, hear_of_blocks
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.people import admitted, hear_who
from securegen.engines.mpc.shares.lifting import Pair
from securegen.engines.mpc.shares.program import DealingProgram, Program
from securegen.engines.mpc.shares.radix import Form, assemble, choose_form, to_digits
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.errors import PlanError, ProtocolError
from securegen.governance import openings
from securegen.kernels.integer_sums import squared_sums
from securegen.model import (
    Columns,
    GenotypeBlock,
    GenotypeReader,
    Sums,
    Variants,
    coding_of,
    regular_blocks,
    watched,
)
from securegen.randomness import fresh_key, keystream
from securegen.results.write import Summary, write_tables
from securegen.study.build import build_design
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import ADDITIVE

LARGEST = 10_000  # columns of a run


@dataclass(frozen=True)
class AggregatePlan:
    """What is public of a run. value_bits: |x| <= 2^value_bits; analysed: columns that say who is, and others of 0 and 1
    that need Σ g² x; weights: other columns that do."""

    samples: int
    variants: int
    dosage_max: int
    columns: int
    value_bits: int
    analysed: tuple[int, ...]
    weights: tuple[int, ...]

    @staticmethod
    def of(
        columns: Columns, samples: int, variants: int, dosage_max: int, people: Sequence[int] | None = None
    ) -> AggregatePlan:
        """people: columns that say who is analysed, None for those of the names and squares that an additive model has. Of
        other columns the genotype party is told nothing, whatever they hold."""
        x, squared = columns.values, columns.squared_index
        who = [j for j, name in enumerate(columns.names) if name == INTERCEPT or j in squared]
        who = who if people is None else list(people)
        binary = [j for j in who if ((x[:, j] == 0) | (x[:, j] == 1)).all()]
        return AggregatePlan(
            samples, variants, dosage_max, x.shape[1], int(np.abs(x).max(initial=1)).bit_length(), tuple(binary),
            tuple(j for j in squared if j not in binary),
        )  # fmt: skip

    def form(self) -> Form:
        """Rings and digits. Raises PlanError where a sum might not fit."""
        most = self.dosage_max**2 if self.weights else self.dosage_max
        if (most * self.samples << self.value_bits) >= 1 << 62:
            raise PlanError(f"sums over {self.samples} samples of columns of {self.value_bits} bits may exceed 2^62: "
                            "use fewer bits (`bits`) or fewer samples a run")  # fmt: skip
        largest = {"g": self.dosage_max, **({"q": self.dosage_max**2} if self.weights else {}), "m": 1}
        return choose_form(self.samples, largest, self.value_bits, few=not self.weights)

    def rings(self, form: Form) -> dict[str, Any]:
        return {"bits": form.bits, "widths": form.widths, "chunk": form.chunk}

    def batching(self, form: Form) -> Batching:
        return Batching(
            form, self.samples, self.variants, self.columns, tuple(n for n in form.widths if n != "m")
        )  # fmt: skip

    def write(self) -> dict[str, list[int]]:
        sizes = [self.samples, self.variants, self.dosage_max, self.columns, self.value_bits]
        return {"sizes": sizes, "analysed": list(self.analysed), "weights": list(self.weights)}

    @staticmethod
    def read(value: object, sender: str) -> AggregatePlan:
        """A plan that a party announced; ProtocolError when it is none."""
        if isinstance(value, dict) and set(value) == {"sizes", "analysed", "weights"}:
            sizes, analysed, weights = (value[n] for n in ("sizes", "analysed", "weights"))
            if all(map(_whole, (sizes, analysed, weights))) and len(sizes) == 5 and all(sizes):
                plan, squared = AggregatePlan(*[*sizes, tuple(analysed), tuple(weights)]), [*analysed, *weights]
                sized = plan.dosage_max <= 1 << 15 and plan.columns <= LARGEST and plan.value_bits <= 62
                if sized and len(set(squared)) == len(squared) and all(j < plan.columns for j in squared):
                    return plan
        raise ProtocolError(f"party {sender!r} announced a malformed plan")


def _whole(value: object) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 31 for v in value)


def genotype_run(
    session: Session, roles: Roles, reader: GenotypeReader, *, cohort: str, state: StateFile,
    consent_aggregates: bool, column_limit: int | None = None, level: str = openings.STRICT, log: Log = silent,
    threads: int = 1,
) -> None:  # fmt: skip
    """The genotype party: announces its cohort, helps, learns who is analysed and how many columns there are.

    level: of the rules of what may be opened. Raises PolicyError without consent, above the column limit, and for a set of
    samples that differs by a few people from another of this run or of an earlier one, before any genotype is sent.
    """
    ask_consent(consent_aggregates)
    announce_cohort(session, roles.right, reader)
    samples, variants = len(reader.samples), len(reader.variants)
    plan = AggregatePlan.read(session.receive_json(roles.right, "plan"), roles.right)
    if (plan.samples, plan.variants, plan.dosage_max) != (samples, variants, reader.dosage_max):
        raise ProtocolError(f"party {roles.right!r} planned for another cohort")
    analysed = hear_who(session, roles.right, samples, len(plan.analysed))
    rule = admitted(reader, analysed, state, level, log)
    form = plan.form()
    vertical.charge(state, cohort, plan.columns, samples=samples, column_limit=column_limit)
    session.send_json(roles.dealer, "dealer/plan", plan.write())
    squares: list[np.ndarray] = []
    vetoes: list[np.ndarray] = []
    kept: list[GenotypeBlock] = []

    def blocks() -> Iterator[vertical.Block]:
        for block in regular_blocks(reader, vertical.block_size(samples, form.bits)):
            squares.append(squared_sums(block.dosage, analysed.astype(np.int64), block.alleles))
            vetoes.append(np.zeros(len(block), bool) if rule is None else rule.scan(block, kept))
            yield genotype_streams(block, squares=bool(plan.weights), coding=coding_of(reader))

    resend = hear_of_blocks(session, roles.right)
    sides = vertical.genotype_side(
        session, roles, blocks(), resend=resend, samples=samples, columns=plan.columns * form.digits, charged=True,
        cohort=cohort, state=state, threads=threads, **plan.rings(form),
    )  # fmt: skip
    program, batching = Program(session, Pair(roles.left, roles.right, roles.dealer)), plan.batching(form)
    withheld = 0
    for number, streams in enumerate(batching.of_shares(sides)):
        batching.announce(session, roles, streams)
        veto = np.concatenate(vetoes)
        session.send(roles.right, f"withheld/{number}", veto.astype(np.uint8))
        session.send(roles.right, f"squares/{number}", np.where(veto[:, None], 0, np.concatenate(squares)))
        squares.clear()
        vetoes.clear()
        withheld += int(veto.sum())
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
    seen: Callable[[Sums], None] | None = None,
) -> list[Summary]:  # fmt: skip
    """The phenotype party: writes the tables. masked: a folder to keep masked genotypes in for later runs;
    seen: is shown every block of sums."""
    ask_consent(consent_aggregates)
    only_mean(inputs)
    cohort = agreed_cohort(session, roles.left, inputs, log)
    design = build_design(inputs, cohort, log)
    blocks = sums(
        session, roles, design.columns, variants=cohort.variants, dosage_max=cohort.dosage_max, state=state, masked=masked,
        threads=threads, people=people_columns(design.analyses), coding=cohort.coding,
    )  # fmt: skip
    blocks = watched(blocks, seen)
    return write_tables(out, cohort.variants, blocks, design.analyses, grid=cohort.dosage_grid, digits=digits)


def sums(
    session: Session, roles: Roles, columns: Columns, *, variants: Variants, dosage_max: int, state: StateFile,
    masked: Path | None = None, threads: int = 1, people: Sequence[int] | None = None, coding: str = ADDITIVE,
) -> Iterator[Sums]:  # fmt: skip
    """The phenotype party, for columns in the genotype party's sample order: yields the sums of batches of variants. people:
    as of `AggregatePlan.of`; coding: the genetic model that the genotypes come under."""
    x = columns.values
    plan = AggregatePlan.of(columns, len(x), len(variants), dosage_max, people)
    form = plan.form()
    session.send_json(roles.left, "plan", plan.write())
    session.send(roles.left, "analysed", x[:, plan.analysed].astype(np.uint8))
    what = f"{plan.rings(form)} {variants.digest()}{_of(coding)}"
    store, resend = ask_for_blocks(session, roles.left, masked, what)
    sides = vertical.phenotype_side(
        session, roles, to_digits(x, form), state=state, store=store, resend=resend, threads=threads,
        **plan.rings(form),
    )  # fmt: skip
    program, batching = Program(session, Pair(roles.left, roles.right, roles.dealer)), plan.batching(form)
    start, order = 0, columns.squared_index
    for number, streams in enumerate(batching.of_shares(sides)):
        batching.confirm(session, roles, streams)
        width = len(streams["g"])
        veto = session.receive(roles.left, f"withheld/{number}", shape=(width,), dtype=np.uint8) != 0
        known = session.receive(
            roles.left, f"squares/{number}", shape=(width, len(plan.analysed)), dtype=np.int64
        )  # fmt: skip
        found = _open(program, plan, form, streams)
        if found is None:
            raise ValueError("the left party has no sums")
        q = np.zeros((width, len(order)), np.int64)
        for k, j in enumerate(plan.analysed):
            if j in order:
                q[:, order.index(j)] = known[:, k]
        q[:, [order.index(j) for j in plan.weights]] = found.get("q", np.zeros((width, 0), np.int64))
        parts = (found["g"], found.get("m", np.zeros_like(found["g"])), q)
        g, m, q = (np.where(veto[:, None], 0, part) for part in parts)
        yield Sums(start, g, m, q, withheld=veto if veto.any() else None)
        start += width
    if store is not None:
        store.finish(what)


def deal(session: Session, roles: Roles, *, threads: int = 1) -> float:
    """The dealer. Returns the seconds spent computing products."""
    plan = AggregatePlan.read(session.receive_json(roles.left, "dealer/plan"), roles.left)
    form, program, busy = plan.form(), DealingProgram(session, Pair(roles.left, roles.right, roles.dealer)), 0.0
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
