"""A whole association run for one party: its files in, its result tables out, everybody else through a session.

The tables are those of the plain engine, text for text (`--reveal aggregates`). What the parties first tell each other
is public to them: the genotype party sends its lists of samples and variants, so the phenotype party learns who is
genotyped. Sites that hold different people are a federated study: `securegen.engines.mpc.site_links`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from securegen.catalogue import record_of
from securegen.design.columns import Analysis
from securegen.engines.mpc import gwas, outsourced, vertical
from securegen.engines.mpc.net.frames import MAX_PAYLOAD
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.people import admitted, hear_who
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import ProtocolError, UsageError
from securegen.governance.openings import STRICT
from securegen.model import (
    AnnouncedCohort,
    GenotypeBlock,
    GenotypeReader,
    Samples,
    Sums,
    Variants,
    coding_of,
    regular_blocks,
    watched,
)
from securegen.results.write import Summary, write_tables
from securegen.study.build import build_design
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import ADDITIVE, CODINGS

_TEXT = ("chromosome", "id", "effect_allele", "other_allele")


def announce_cohort(session: Session, to: str, reader: GenotypeReader) -> None:
    """Send who and what is genotyped, not how."""
    s, v = reader.samples, reader.variants
    people = {"fid": list(s.fid), "iid": list(s.iid), "founder": [bool(f) for f in s.founder]}
    sites: dict[str, list[Any]] = {name: [str(x) for x in getattr(v, name)] for name in _TEXT}
    sites["position"] = [int(p) for p in v.position]
    session.send_json(to, "cohort", {"samples": people, "variants": sites, "grid": reader.dosage_grid,
                                "largest": reader.dosage_max, "coding": coding_of(reader)})  # fmt: skip


def receive_cohort(session: Session, source: str) -> AnnouncedCohort:
    """The cohort that `source` announces. ProtocolError when its lists do not fit together."""
    value: Any = session.receive_json(source, "cohort", limit=MAX_PAYLOAD)
    try:
        names = ("samples", "variants", "grid", "largest", "coding")
        people, sites, grid, top, coding = (value[n] for n in names)
        fid, iid = (_words(people[n]) for n in ("fid", "iid"))
        founder = np.array([_typed(f, bool) for f in people["founder"]], bool)
        text = {n: _words(sites[n]) for n in _TEXT}
        position = np.array([_typed(p, int) for p in sites["position"]], np.int64)
        if (position < 0).any():
            raise ValueError(position)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"party {source!r} announced a malformed cohort") from error
    if len({len(fid), len(iid), len(founder)}) != 1 or {len(x) for x in text.values()} != {len(position)}:
        raise ProtocolError(f"party {source!r} announced lists of different lengths")
    if type(grid) is not int or not 1 <= grid <= 1 << 14:
        raise ProtocolError(f"party {source!r} announced the dosage grid {grid!r}")
    if type(top) is not int or not 1 <= top <= 1 << 15:
        raise ProtocolError(f"party {source!r} announced dosages up to {top!r}")
    if not isinstance(coding, str) or coding not in CODINGS:
        raise ProtocolError(f"party {source!r} announced the genetic model {str(coding)[:20]!r}")
    return AnnouncedCohort(Samples(fid, iid, founder), Variants(position=position, **text), grid, top, coding)


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
    column_limit: int | None = None, level: str = STRICT, log: Log = silent,
) -> None:  # fmt: skip
    """The genotype owner of an outsourced run. level: of the rules of what may be opened, as in `aggregates.genotype_run`."""
    announce_cohort(session, roles.right, reader)
    samples = len(reader.samples)
    opened = _agreed_columns(session.receive_json(roles.right, "columns"), roles.right)
    bits = _agreed_ring(session.receive_json(roles.right, "ring"), roles.right)
    sets = session.receive_json(roles.right, "sets")
    if type(sets) is not int or not 0 <= sets <= len(opened["m"]):
        raise ProtocolError(f"party {roles.right!r} announced sets of samples that are none")
    rule = admitted(reader, hear_who(session, roles.right, samples, sets), state, level, log)

    def blocks() -> Iterator[vertical.Block]:
        kept: list[GenotypeBlock] = []
        for block in regular_blocks(reader, vertical.block_size(samples, bits)):
            veto = np.zeros(len(block), bool) if rule is None else rule.scan(block, kept)
            session.send(roles.right, f"withheld/{block.start}", veto.astype(np.uint8))
            made = gwas.genotype_streams(block, squares=bool(opened["q"]), coding=coding_of(reader))
            yield replace(made, withheld=veto)

    outsourced.genotype_owner(
        session, roles, blocks(), samples=samples, columns=len(opened["m"]), cohort=cohort, state=state,
        column_limit=column_limit, bits=bits,
    )  # fmt: skip


def outsourced_phenotype_run(
    session: Session, roles: outsourced.OutsourcedRoles, inputs: Inputs, out: str, *, state: StateFile,
    log: Log = silent, digits: int = 17, seen: Callable[[Sums], None] | None = None,
) -> list[Summary]:  # fmt: skip
    """The phenotype owner of an outsourced run, who also receives the sums and writes the tables. seen: is shown every
    block of them."""
    only_mean(inputs)
    cohort = agreed_cohort(session, roles.left, inputs, log)
    design = build_design(inputs, cohort, log)
    opened = gwas.opened_columns(design.columns, pairs=False)
    bits = gwas.ring_bits(design.columns, cohort.dosage_max)
    sizes = {"samples": len(cohort.samples), "opened": opened, "ring": bits}
    session.send_json(roles.left, "columns", opened)
    session.send_json(roles.left, "ring", bits)
    sets = people_columns(design.analyses)
    session.send_json(roles.left, "sets", len(sets))
    session.send(roles.left, "analysed", design.columns.values[:, sets].astype(np.uint8))
    for server in roles.servers:
        session.send_json(server, "sizes", sizes)
    outsourced.phenotype_owner(session, roles, design.columns.values, state=state, bits=bits)
    blocks = (_without_withheld(session, roles.left, s)
              for s in gwas.outsourced_sums(session, roles, design.columns, bits=bits))  # fmt: skip
    shown = watched(blocks, seen)
    return write_tables(out, cohort.variants, shown, design.analyses, grid=cohort.dosage_grid, digits=digits)


def people_columns(analyses: Sequence[Analysis]) -> list[int]:
    """The columns that say who is analysed, in order."""
    return sorted({j for a in analyses for j in (a.columns[p] for p in record_of(a).reads.people)})


def _without_withheld(session: Session, source: str, sums: Sums) -> Sums:
    """Zeros where the genotype owner sent noise."""
    veto = session.receive(source, f"withheld/{sums.start}", shape=(len(sums),), dtype=np.uint8) != 0
    g, m, q = (np.where(veto[:, None], 0, part) for part in (sums.g, sums.m, sums.q))
    return Sums(sums.start, g, m, q, withheld=veto if veto.any() else None)


def outsourced_server_run(session: Session, roles: outsourced.OutsourcedRoles, *, threads: int = 1) -> None:
    """A server of an outsourced run."""
    sizes = session.receive_json(roles.right, "sizes")
    if not isinstance(sizes, dict) or type(sizes.get("samples")) is not int or not 1 <= sizes["samples"] < 1 << 31:
        raise ProtocolError(f"party {roles.right!r} announced sizes that are none")
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
        width = len(value["m"]) if numbers else 0
        inside = numbers and all(i < width for i in [*value["g"], *value["q"]])
        if inside and 0 < width <= 10_000 and value["m"] == list(range(width)):
            return value
    raise ProtocolError(f"party {sender!r} asked for columns that are none")
