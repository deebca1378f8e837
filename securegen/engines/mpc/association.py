"""A whole association run for one party: its files in, its result tables out, everybody else through a session.

The tables are those of the plain engine, text for text (`--reveal aggregates`). What the parties first tell each other
is public to them: the genotype party sends its lists of samples and variants, so the phenotype party learns who is
genotyped, and where there are variants on X or Y of which sex; `runs` says what several designs tell. Sites that hold
different people are a federated study: `securegen.engines.mpc.site_links`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from securegen.catalogue import record_of
from securegen.design.columns import Analysis
from securegen.engines.governed import check_tables, for_study, gate_of_inputs
from securegen.engines.mpc import gwas, outsourced, vertical
from securegen.engines.mpc.announced import StudyRun, open_announced
from securegen.engines.mpc.net.frames import MAX_PAYLOAD
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.owner_gate import of_session, pass_owner, rare_rows
from securegen.engines.mpc.people import admitted, charge, hear_who, tell_who
from securegen.engines.mpc.runs import RunReader, VariantRun, hear, hear_each, tell, tell_number
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import ProtocolError, UsageError
from securegen.governance.gate import Gate
from securegen.governance.openings import STRICT
from securegen.governance.policy import FULL
from securegen.model import AnnouncedCohort, GenotypeBlock, GenotypeReader, Samples, Sums, Variants, coding_of, watched
from securegen.results.write import Summary, write_tables
from securegen.study.consented import claim_release
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.study.ploidy import X, Y, kinds_of
from securegen.vocabulary import ADDITIVE, CODINGS

_TEXT = ("chromosome", "id", "effect_allele", "other_allele")


def announce_cohort(session: Session, to: str, reader: GenotypeReader) -> None:
    """Send who and what is genotyped, not how; of variants on X or Y also the sexes."""
    s, v = reader.samples, reader.variants
    people: dict[str, list[Any]] = {
        "fid": list(s.fid), "iid": list(s.iid), "founder": [bool(f) for f in s.founder],
    }  # fmt: skip
    if s.sex.any() and np.isin(kinds_of(v), (X, Y)).any():
        people["sex"] = [int(sex) for sex in s.sex]
    sites: dict[str, list[Any]] = {name: [str(x) for x in getattr(v, name)] for name in _TEXT}
    sites["position"] = [int(p) for p in v.position]
    told = {"samples": people, "variants": sites, "grid": reader.dosage_grid, "largest": reader.dosage_max}
    if coding_of(reader) != ADDITIVE:
        told["coding"] = coding_of(reader)
    session.send_json(to, "cohort", told)


def receive_cohort(session: Session, source: str) -> AnnouncedCohort:
    """The cohort that `source` announces. ProtocolError when its lists do not fit together."""
    value: Any = session.receive_json(source, "cohort", limit=MAX_PAYLOAD)
    try:
        people, sites, grid, top = (value[n] for n in ("samples", "variants", "grid", "largest"))
        coding = value.get("coding", ADDITIVE)
        fid, iid = (_words(people[n]) for n in ("fid", "iid"))
        founder = np.array([_typed(f, bool) for f in people["founder"]], bool)
        sex = np.array([_typed(x, int) for x in people.get("sex", [0] * len(fid))], np.int8)
        if not np.isin(sex, (0, 1, 2)).all():
            raise ValueError(sex)
        text = {n: _words(sites[n]) for n in _TEXT}
        position = np.array([_typed(p, int) for p in sites["position"]], np.int64)
        if (position < 0).any():
            raise ValueError(position)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ProtocolError(f"party {source!r} announced a malformed cohort") from error
    if len({len(fid), len(iid), len(founder), len(sex)}) != 1 or {len(x) for x in text.values()} != {len(position)}:
        raise ProtocolError(f"party {source!r} announced lists of different lengths")
    if type(grid) is not int or not 1 <= grid <= 1 << 14:
        raise ProtocolError(f"party {source!r} announced the dosage grid {grid!r}")
    if type(top) is not int or not 1 <= top <= 1 << 15:
        raise ProtocolError(f"party {source!r} announced dosages up to {top!r}")
    if not isinstance(coding, str) or coding not in CODINGS:
        raise ProtocolError(f"party {source!r} announced the genetic model {str(coding)[:20]!r}")
    return AnnouncedCohort(Samples(fid, iid, founder, sex), Variants(position=position, **text), grid, top, coding)


def agreed_cohort(session: Session, source: str, inputs: Inputs, log: Log) -> AnnouncedCohort:
    """As `receive_cohort`. Raises ProtocolError where these inputs name a genetic model and genotypes come under another."""
    cohort = receive_cohort(session, source)
    if inputs.coding not in (ADDITIVE, cohort.coding):
        raise ProtocolError(
            f"party {source!r} recodes genotypes {cohort.coding}, these inputs say `{inputs.coding}`: the genotype owner's run "
            "chooses the genetic model"
        )
    if cohort.coding != ADDITIVE:
        log(f"genotypes come recoded by party {source!r}: {cohort.coding}")
    return cohort


def _words(values: list[Any]) -> np.ndarray:
    """Names that a table can hold; ValueError for others: a tab or a line's end in one would forge a row."""
    out = np.array([_typed(v, str) for v in values], object)
    if not all(v.isprintable() for v in out):
        raise ValueError(values)
    return out


def _typed(value: object, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def outsourced_genotype_run(
    session: Session, roles: outsourced.OutsourcedRoles, reader: GenotypeReader, *, cohort: str, state: StateFile,
    column_limit: int | None = None, level: str = STRICT, log: Log = silent, gate: Gate | None = None,
) -> bool:  # fmt: skip
    """The genotype owner of an outsourced run. level: of the rules of what may be opened, as in `aggregates.genotype_run`;
    gate: the owner's door."""
    announce_cohort(session, roles.right, reader)
    samples = len(reader.samples)
    told, runs = hear(session, roles.right, "columns", reader.variants)
    opened = [_agreed_columns(value, roles.right) for value in told]
    bits = [_agreed_ring(session.receive_json(roles.right, "ring"), roles.right) for _ in opened]
    sets = [_hear_sets(session, roles.right, samples, len(own["m"])) for own in opened]
    copies = RunReader(reader)
    places = [copies.places(i, runs) for i in range(len(opened))]
    pass_owner(
        gate,
        reader,
        list(zip(places, sets, strict=True)),
        max(len(own["m"]) for own in opened),
        FULL,
        state=state,
        session=session,
    )
    rules = admitted(reader, list(zip(places, sets, strict=True)), state, level, log)
    costs = [(where, who, len(own["m"])) for where, who, own in zip(places, sets, opened, strict=True)]
    charge(state, cohort, costs, people=reader, column_limit=column_limit)
    kept: list[GenotypeBlock] = []

    def blocks(run: VariantRun) -> Iterator[vertical.Block]:
        rule, squares = rules[run.stratum], bool(opened[run.stratum]["q"])
        for block, calls in copies.blocks(run, vertical.block_size(samples, bits[run.stratum])):
            rare = rare_rows(calls, sets[run.stratum], copies.grid, gate)
            veto = rare if rule is None else rule.scan(calls, kept) | rare
            session.send(roles.right, f"withheld/{block.start}", veto.astype(np.uint8))
            made = gwas.genotype_streams(block, squares=squares, coding=coding_of(reader))
            yield replace(made, withheld=veto, place=run.place)

    tell_number(session, roles.dealer, "dealer/sizes", runs)
    for run in runs:
        outsourced.genotype_owner(
            session, roles, blocks(run), samples=samples, columns=len(opened[run.stratum]["m"]), cohort=cohort, state=state,
            charged=True, bits=bits[run.stratum],
        )  # fmt: skip
    return not runs[0].whole


def _hear_sets(session: Session, source: str, samples: int, columns: int) -> np.ndarray:
    sets = session.receive_json(source, "sets")
    if type(sets) is not int or not 0 <= sets <= columns:
        raise ProtocolError(f"party {source!r} announced malformed sets of samples")
    return hear_who(session, source, samples, sets)


def outsourced_phenotype_run(
    session: Session, roles: outsourced.OutsourcedRoles, inputs: Inputs, out: str, *, state: StateFile, log: Log = silent,
    digits: int = 17, seen: Callable[[Sums], None] | None = None, opened: Callable[[Study], None] | None = None,
    gate: Gate | None = None,
) -> list[Summary]:  # fmt: skip
    """The phenotype owner of an outsourced run, who also receives the sums and writes the tables. seen: is shown every
    block of them; opened: the study; gate: the door, by default that of the inputs."""
    only_mean(inputs)
    announced = open_announced(inputs, agreed_cohort(session, roles.left, inputs, log), log)
    study, parts = announced.study, announced.parts()
    gate = for_study(gate or gate_of_inputs("mpc", inputs, log), study)
    check_tables(gate, study)
    claim_release([inputs], study.reader.samples, study.strata, out)
    sizes: list[dict[str, Any]] = []
    if opened is not None:
        opened(study)
    for stratum in announced.strata:
        columns = stratum.design.columns
        bits = gwas.ring_bits(columns, announced.dosage_max(stratum))
        shown = gwas.opened_columns(columns, pairs=False)
        sizes.append({"samples": len(columns.values), "opened": shown, "ring": bits})
    gate = of_session(gate, session, max(len(s["opened"]["m"]) for s in sizes))
    tell(session, roles.left, "columns", [s["opened"] for s in sizes], [part.run for part in parts])
    for size in sizes:
        session.send_json(roles.left, "ring", size["ring"])
    for stratum in announced.strata:
        sets = people_columns(stratum.design.analyses)
        session.send_json(roles.left, "sets", len(sets))
        tell_who(session, roles.left, stratum.design.columns.values[:, sets], stratum.name)
    for server in roles.servers:
        tell_number(session, server, "sizes", [part.run for part in parts])

    def of(part: StudyRun) -> Iterator[Sums]:
        columns, size = part.stratum.design.columns, sizes[part.run.stratum]
        for server in roles.servers:
            session.send_json(server, "sizes", size)
        outsourced.phenotype_owner(session, roles, columns.values, state=state, bits=size["ring"], use=part.run.place)
        for sums in gwas.outsourced_sums(session, roles, columns, bits=size["ring"]):
            own = _without_withheld(session, roles.left, sums)
            yield replace(own, start=sums.start - part.run.start + part.first)

    blocks = watched(announced.sums(of), seen)
    return write_tables(
        out, study.reader.variants, blocks, study.analyses, gate=gate, strata=study.strata, grid=study.reader.dosage_grid,
        digits=digits,
    )  # fmt: skip


def people_columns(analyses: Sequence[Analysis]) -> list[int]:
    """The columns that say who is analysed, and who of them has one copy, in order."""
    people = {j for a in analyses for j in (a.columns[p] for p in record_of(a).reads.people)}
    return sorted(people | {j for a in analyses for j, _ in a.single[:1]})


def _without_withheld(session: Session, source: str, sums: Sums) -> Sums:
    """Zeros where the genotype owner sent noise."""
    veto = session.receive(source, f"withheld/{sums.start}", shape=(len(sums),), dtype=np.uint8) != 0
    g, m, q = (np.where(veto[:, None], 0, part) for part in (sums.g, sums.m, sums.q))
    return Sums(sums.start, g, m, q, withheld=veto if veto.any() else None)


def outsourced_server_run(session: Session, roles: outsourced.OutsourcedRoles, *, threads: int = 1) -> None:
    """A server of an outsourced run."""
    for sizes in hear_each(session, roles.right, "sizes"):
        if not isinstance(sizes, dict) or type(sizes.get("samples")) is not int or not 1 <= sizes["samples"] < 1 << 31:
            raise ProtocolError(f"party {roles.right!r} announced malformed sizes")
        opened = _agreed_columns(sizes.get("opened"), roles.right)
        outsourced.server(
            session, roles, samples=sizes["samples"], columns=len(opened["m"]), opened=opened,
            bits=_agreed_ring(sizes.get("ring"), roles.right), threads=threads,
        )  # fmt: skip


def only_mean(inputs: Inputs) -> None:
    """Raise UsageError for complete cases."""
    if inputs.missing != "mean":
        raise UsageError("engine mpc runs `missing` mean; complete cases need engine plain")


def _agreed_ring(value: object, sender: str) -> int:
    if value not in (32, 64):
        raise ProtocolError(f"party {sender!r} announced a ring of {str(value)[:20]} bits")
    return int(str(value))


def _agreed_columns(value: object, sender: str) -> dict[str, list[int]]:
    """Which columns are opened for each stream, as the phenotype party says: no more of g and q than of m."""
    if isinstance(value, dict) and set(value) == {"g", "q", "m"}:
        lists = list(value.values())
        numbers = all(isinstance(v, list) and all(type(i) is int and i >= 0 for i in v) for v in lists)
        numbers = numbers and all(
            len(set(v)) == len(v) for v in lists
        )  # a million times one column would be as many sums
        width = len(value["m"]) if numbers else 0
        inside = numbers and all(i < width for i in [*value["g"], *value["q"]])
        if inside and 0 < width <= 10_000 and value["m"] == list(range(width)):
            return value
    raise ProtocolError(f"party {sender!r} asked for malformed columns")
