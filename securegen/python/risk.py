"""What a finished run gives away before it is released: tests of membership, columns per sample, small scores.

>>> import securegen as sg, tempfile
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT")
>>> folder = tempfile.TemporaryDirectory()
>>> _ = sg.run(study, out=f"{folder.name}/a")
>>> found = sg.risk(f"{folder.name}/a", independent=200)
>>> found
Risk(4 tests of membership, largest power 0.27)
>>> folder.cleanup()
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.engines.governed import gate_of_inputs
from securegen.errors import InputError, PolicyError, UsageError
from securegen.governance.audit_beside import logs_beside, record
from securegen.governance.door import LD, OutputFacts
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.history import PeopleFacts
from securegen.governance.opened_columns import ColumnShare, opened_columns
from securegen.governance.policy_file import beside
from securegen.governance.signing import digest_of
from securegen.governance.small_models import SmallModel
from securegen.io.digests import sha256
from securegen.io.output import write_json, write_text
from securegen.model import SelectableReader
from securegen.python.assessment import (
    Chosen,
    Membership,
    assess,
    released_columns,
    rows_within,
    share_of,
    together,
)
from securegen.record.run_log import records_in
from securegen.report.gather import find_tables
from securegen.results.released import ReleasedTable, read_released
from securegen.scores.released_models import released_models
from securegen.study import checks
from securegen.study.genotypes import open_genotypes
from securegen.study.held import held
from securegen.study.inputs import Inputs, Log, silent

FORMAT = "securegen risk 1"
FALSE_POSITIVES = (0.05, 0.001)
POWER = 0.5
STRONGER = "power of this test; stronger ones exist"
_QUALITY = ("afreq", "hardy")


@dataclass(frozen=True, repr=False)
class Risk:
    """prefix: what was looked at; tests: of membership, each with its power; columns: sums per variant, over samples; chosen:
    of each table, which rows stay below the wanted power; scores: combinations behind their values; warnings: of the run's
    receipt; digests: SHA-256 of the tables by name."""

    prefix: str
    fpr: tuple[float, ...]
    power: float
    tests: tuple[Membership, ...]
    columns: tuple[ColumnShare, ...]
    chosen: tuple[Chosen, ...]
    scores: tuple[SmallModel, ...]
    warnings: tuple[str, ...]
    digests: dict[str, str]

    def __repr__(self) -> str:
        return f"Risk({len(self.tests)} tests of membership, largest power {self.largest:.2g})"

    @property
    def largest(self) -> float:
        """The largest power of all tests, 0 where there are none."""
        return max((p for t in self.tests for p in t.power), default=0.0)

    def refuse_beyond(self, max_power: float) -> None:
        """Raise PolicyError where a test finds more than that share of the members, at any of the false-positive rates."""
        checks.number("max_power", max_power, max(self.fpr), 1 - 1e-9)
        if self.largest <= max_power:
            return
        worst = max(self.tests, key=lambda t: max(t.power))
        fewer = [f"{len(c.places)} of {c.rows} rows of {c.table}" for c in self.chosen if c.table == worst.table]
        record(self.prefix, "refusal", {"rules": ["risk.max_power"], "what": "risk"})
        instead = f"; alone, {fewer[0]} stay at {self.power:g}" if fewer else ""
        raise PolicyError(
            f"risk.max_power: {worst.line()}: more than {max_power:g} of the members{instead}. Release fewer rows, or of more "
            "people, or allow more (`max_power`)"
        )

    def to_json(self) -> dict[str, Any]:
        """What PREFIX.risk.json holds: counts and powers, nothing of a person."""
        return {
            "format": FORMAT, "note": STRONGER, "fpr": list(self.fpr), "power": self.power,
            "tests": [t.to_json() for t in self.tests], "columns": [c.to_json() for c in self.columns],
            "rows": [c.to_json() for c in self.chosen], "scores": [s.to_json() for s in self.scores],
            "warnings": list(self.warnings), "tables": self.digests, "fact": self.fact(),
        }  # fmt: skip

    def fact(self) -> dict[str, Any]:
        """What the audit log keeps of this estimate: a digest of the tables, and counts."""
        tables = "".join(f"{digest}\n" for digest in sorted(self.digests.values()))
        return {
            "command": "risk", "phase": "end", "inputs": hashlib.sha256(tables.encode()).hexdigest(),
            "files": len(self.digests), "columns": max((c.columns for c in self.columns), default=0),
            "samples": max((c.samples for c in self.columns), default=0),
            "variants": max((t.variants for t in self.tests), default=0),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        at = " and ".join(f"{f:g}" for f in self.fpr)
        out = [f"share of members that a test of membership finds, at a false-positive rate of {at} ({STRONGER})"]
        out += [f"  {t.line()}" for t in self.tests] or ["  no table with frequencies or effects"]
        out += [c.line() for c in self.columns]
        out += [c.line(self.power, self.fpr) for c in self.chosen]
        out += [f"score {s.line()}" for s in self.scores]
        return out + [f"WARNING: {w}" for w in self.warnings]


def risk(
    prefix: str | os.PathLike[str],
    *,
    fpr: float | Sequence[float] = FALSE_POSITIVES,
    power: float | None = None,
    max_power: float | None = None,
    independent: int | None = None,
    genotypes: Inputs | None = None,
    out: str | os.PathLike[str] | None = None,
    log: Log = silent,
) -> Risk:
    """Power of likelihood-ratio tests of membership on what a run releases, and what else can be counted before.

    prefix: what the run was given as out, or one of its tables; fpr: false-positive rates; power: rows are chosen that stay
    at most there [max_power, or 0.5]; max_power: more than that in any test is refused; independent: how many independent
    variants a table is worth; genotypes: count them in these, of the owner or of a reference panel, and choose no two linked
    rows (without either every variant counts, which is an upper bound); out: also write OUT.risk.json, and the chosen ids of
    each table. Raises InputError for tables without frequencies or effects, UsageError, and PolicyError beyond `max_power`,
    after the files are written, for chosen people of genotypes that a policy governs, and where that refuses: counting in them is
    a request as others, with a purpose. Under a policy every call is an entry of its audit log.
    """
    rates = tuple(fpr) if isinstance(fpr, Sequence) else (fpr,)
    for rate in rates or (float("nan"),):
        checks.number("fpr", rate, 1e-12, 0.5)
    if max_power is not None:
        checks.number("max_power", max_power, max(rates), 1 - 1e-9)
    wanted = next(p for p in (power, max_power, POWER) if p is not None)
    checks.number("power", wanted, max(rates), 1 - 1e-9)
    checks.whole("independent", independent, 1, None)
    if independent is not None and genotypes is not None:
        raise UsageError("`independent` says what would be counted in the genotypes: give one of them")
    files = [] if genotypes is None else list(genotypes.files().values())
    if genotypes is not None and (genotypes.keep or genotypes.remove) and beside(files):
        raise PolicyError(
            "policy.differing_people: which variants are linked among chosen people tells of these, and a policy governs the "
            "genotypes: leave `keep` and `remove` out"
        )
    reader = None if genotypes is None else _counted_in(os.fspath(prefix), genotypes, (*rates, wanted), log)
    found, ids = _estimate(os.fspath(prefix), rates, wanted, independent, reader, log)
    for audit in logs_beside([found.prefix, *files]):  # what genotypes say leaves, wherever the table is from
        audit.append("run", found.fact())
    if out is not None:
        write_risk(os.fspath(out), found, ids)
    if max_power is not None:
        found.refuse_beyond(max_power)
    return found


def _counted_in(prefix: str, genotypes: Inputs, rates: Sequence[float], log: Log) -> SelectableReader:
    """The genotypes, once their door allows that linkage is counted in them: one column of everybody for each estimate. It is no
    table of people, so that no set of samples is entered, which would be compared with those of tables."""
    with held(genotypes, log) as waiting:
        reader = open_genotypes(genotypes, waiting)
    gate = gate_of_inputs("plain", genotypes, log)
    if gate.policy is not None:
        paths, _, scores = _tables(prefix)
        tables = sorted(sha256(path) for path in (*paths, *([scores] if scores else [])))
        asked = genotypes.asked_for() | {"risk": digest_of({"tables": tables, "rates": list(rates)})}
        people = PeopleFacts(reader.samples, products=((f"risk {asked}", 1),), genotypes=Fingerprints(reader))
        count = len(reader.variants)
        gate.of(people, asked).release(
            [OutputFacts(LD, "risk", len(reader.samples), count, columns=1, minor=gate.minor_alleles)]
        )
    waiting.tell()
    return reader


def planned(out: str, prefix: str) -> list[str]:
    """What `risk` writes under OUT."""
    return [f"{out}.risk.json", *(_list_of(out, table) for table in _tables(prefix)[0])]


def write_risk(out: str, found: Risk, ids: Sequence[Sequence[str]]) -> None:
    """Write OUT.risk.json and, of each table, the ids of the chosen rows."""
    for chosen, names in zip(found.chosen, ids, strict=True):
        write_text(_list_of(out, chosen.table), "".join(f"{name}\n" for name in names))
    write_json(f"{out}.risk.json", found.to_json())


def _list_of(out: str, table: str) -> str:
    own = Path(table).name.removeprefix(Path(out).name).strip(".")
    return f"{out}.{own}.risk.in" if own else f"{out}.risk.in"


_Found = tuple[list[str], list[dict[str, Any]], str | None]


def _tables(prefix: str) -> _Found:
    """Paths of the tables, the run's records, and its scores."""
    if Path(prefix).is_file() and not prefix.endswith(".run.json"):
        return ([], [], prefix) if prefix.removesuffix(".gz").endswith(".sscore") else ([prefix], [], None)
    prefix = prefix.removesuffix(".run.json")
    records = records_in(f"{prefix}.run.json")
    paths = [path for _, path, _ in find_tables(prefix, records[0] if records else {})]
    paths += [p for name in _QUALITY for p in (f"{prefix}.{name}", f"{prefix}.{name}.gz") if Path(p).is_file()]
    scores = next((p for p in (f"{prefix}.sscore", f"{prefix}.sscore.gz") if Path(p).is_file()), None)
    if not (paths or scores):
        raise InputError(f"{prefix}: no table of results; name what a finished run was given as --out, or a table")
    return paths, records, scores


def _estimate(
    prefix: str,
    fpr: tuple[float, ...],
    power: float,
    independent: int | None,
    reader: SelectableReader | None,
    log: Log,
) -> tuple[Risk, list[list[str]]]:
    paths, records, sscore = _tables(prefix)
    tables: list[ReleasedTable] = []
    unread: list[str] = []
    for path in paths:
        try:
            tables.append(read_released(path))
        except InputError as error:
            unread.append(str(error))
    if unread and not tables:
        raise InputError(unread[0])
    tests: list[Membership] = []
    chosen: list[Chosen] = []
    shares: list[float] = []
    for table in tables:
        share, linked = share_of(table, reader, independent, log)
        shares.append(share)
        tests += assess(table, share, fpr)
        chosen.append(rows_within(table, power, fpr, linked))
    tests += together(tables, shares, fpr)
    ran = records[0] if records else {}
    released = released_columns(tables)
    columns = [c for c in (released, *opened_columns(ran)) if c is not None]
    receipt = ran.get("receipt") or {}
    warnings = [str(w) for w in receipt.get("warnings", [])] + unread
    scores = released_models(sscore, records, log) if sscore else ()
    digests = {Path(p).name: sha256(p) for p in (*paths, *([sscore] if sscore else []))}
    ids = [[str(t.id[j]) for j in c.places] for t, c in zip(tables, chosen, strict=True)]
    return Risk(prefix, fpr, power, tuple(tests), tuple(columns), tuple(chosen), scores, tuple(warnings), digests), ids
