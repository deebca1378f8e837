"""What a run of a part leaves in its record, and whether the records of all parts are of one run.

The record of part 3 of 22 is PREFIX.3of22.run.json. Its `part` says which variants it has, and the digests of its tables.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securegen.errors import InputError, UsageError
from securegen.governance.releases import GROWING
from securegen.io.digests import sha256
from securegen.record.run_log import read_records

_ALIKE = (
    "version", "engine", "samples", "samples_stored", "phenotypes", "covariate_names", "parameters", "missing",
)  # fmt: skip
_GOVERNED = ("policy", "who", "role", "purpose", "visas")  # one decides on every row
FREE = frozenset({"out", "blocks", "threads", "memory", "quiet"})  # options that change no table


@dataclass(frozen=True)
class PartRecord:
    """One part: `number` of `of`, the first of its variants and how many; prefix: of its files; tables: SHA-256 by what
    follows the prefix; record: of the run; asked: a digest of what the whole run was asked for."""

    prefix: str
    number: int
    of: int
    first: int
    variants: int
    tables: Mapping[str, str]
    record: Mapping[str, Any]
    asked: str = ""


def part_record(
    number: int, of: int, first: int, variants: int, out: str, tables: Iterable[str], asked: str
) -> dict[str, Any]:
    """`part` of the record of a run whose files begin with `out`. asked: as of `PartRecord`."""
    names = {path.removeprefix(out): sha256(path) for path in tables}
    told = {"number": number, "of": of, "first": first, "variants": variants, "tables": names, "asked": asked}
    return {"part": told}


def read_parts(prefix: str | os.PathLike[str], *, files: Iterable[str] = ()) -> list[PartRecord]:
    """Every part of the run whose prefix this is, in order. files: options that name files, which are compared by digest.

    Raises UsageError where there are none, or parts of several numbers, InputError for parts that are absent, that are of
    another run, or whose tables are not those which the run wrote.
    """
    base = os.fspath(prefix)
    found = [
        p for path in sorted(glob.glob(f"{glob.escape(base)}.*of*.run.json")) if (p := _read(base, path)) is not None
    ]
    if not found:
        raise UsageError(
            f"no part of {base} is here: {base}.1of22.run.json and so on, of runs with `blocks` (from Python: with `out`)"
        )
    counts = Counter(p.of for p in found)
    if len(counts) > 1:
        kinds = " and ".join(f"{n} of {of}" for of, n in sorted(counts.items()))
        raise UsageError(f"{base} has parts of several runs ({kinds}): remove the files of those that are not meant")
    of = found[0].of
    absent = sorted(set(range(1, of + 1)) - {p.number for p in found})
    if absent:
        names = ", ".join(f"{n}/{of}" for n in absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        raise InputError(f"{base}: {len(absent)} of {of} parts are not there, or did not end: {names}; run these again")
    found.sort(key=lambda p: p.number)
    _refuse_others(found, {name.replace("_", "-") for name in files})
    check_tables(found)
    return found


def check_tables(parts: Iterable[PartRecord]) -> None:
    """Raise InputError for tables that are not those which the runs wrote: a part may be run again while others are read."""
    for p in parts:
        for name, digest in p.tables.items():
            _check(f"{p.prefix}{name}", digest)


def _read(base: str, path: str) -> PartRecord | None:
    named = re.fullmatch(r"\.([1-9][0-9]*)of([1-9][0-9]*)", path.removesuffix(".run.json").removeprefix(base))
    if named is None:
        return None
    record = next(iter(read_records(path)), {})
    part = record.get("part")
    if part is None or (part["number"], part["of"]) != (int(named[1]), int(named[2])):
        raise InputError(f"{path} is not the record of part {named[1]} of {named[2]}")
    for name in part["tables"]:
        if not re.fullmatch(r"[._][^/\0]+", name):
            raise InputError(f"{path} names a table {name!r}, which no run of a part writes")
    return PartRecord(path.removesuffix(".run.json"), **part, record=record)


def _refuse_others(parts: Sequence[PartRecord], files: set[str]) -> None:
    """Raise InputError for parts of another run than the first."""
    first = parts[0]

    def options(p: PartRecord) -> dict[str, Any]:
        return {k: v for k, v in p.record.get("call", {}).get("options", {}).items() if k not in FREE | files}

    for p in parts[1:]:
        wrong = [name for name in _ALIKE if p.record.get(name) != first.record.get(name)]
        wrong += ["inputs"] if _inputs(p) != _inputs(first) else []
        ours, others = options(p), options(first)
        wrong += [f"--{name}" for name in sorted({*ours, *others}) if ours.get(name) != others.get(name)]
        if set(p.tables) != set(first.tables):
            wrong.append("tables")
        if p.asked != first.asked:
            wrong = wrong or ["options, or in files that records do not name"]
        wrong += [name for name in _GOVERNED if _governance(p).get(name) != _governance(first).get(name)]
        if wrong:
            raise InputError(
                f"{p.prefix} and {first.prefix} differ in {', '.join(wrong)}: they are not parts of one run"
            )
    place = 0
    for p in parts:
        if p.first != place:
            raise InputError(f"{p.prefix} begins at variant {p.first + 1}, {place + 1} was expected")
        place += p.variants


def _inputs(part: PartRecord) -> dict[str, str]:
    return {name: digest for name, digest in (part.record.get("inputs") or {}).items() if name not in GROWING}


def _governance(part: PartRecord) -> Mapping[str, Any]:
    found = part.record.get("governance")
    return found if isinstance(found, Mapping) else {}


def _check(path: str, digest: str) -> None:
    if not os.path.isfile(path):
        raise InputError(f"{path} is not there: run its part again")
    if sha256(path) != digest:
        raise InputError(f"{path} is not what its run wrote: it was cut or changed; run its part again")


def told_by_all(parts: Sequence[PartRecord]) -> dict[str, str]:
    """Digests of inputs, by path, that the records of all parts tell alike."""
    told = [p.record.get("call", {}).get("digests", {}) for p in parts]
    return {path: digest for path, digest in told[0].items() if all(other.get(path) == digest for other in told)}


def joined_record(parts: Sequence[PartRecord], paths: Sequence[str]) -> dict[str, Any]:
    """The record of the whole, whose tables are `paths`: what all parts say, seconds of all, the largest memory, variants of
    every stratum. Raises InputError where a record lacks what the others have."""
    try:
        return _joined(parts, paths)
    except (LookupError, TypeError, AttributeError, ValueError):
        raise InputError(
            f"the records of the parts of {parts[0].prefix} do not fit each other, or are damaged: run the parts again"
        ) from None


def _joined(parts: Sequence[PartRecord], paths: Sequence[str]) -> dict[str, Any]:
    first = parts[0].record
    seconds: Counter[str] = Counter()
    for p in parts:
        seconds.update(p.record["seconds"])
    own = {
        "command",
        "version",
        "call",
        "outputs",
        "machine",
        "seconds",
        "part",
        "earlier",
        "audit",
        "promise",
    }
    record = {name: value for name, value in first.items() if name not in own}
    record |= {
        "variants": sum(p.variants for p in parts), "parts": len(parts),
        "seconds_of_parts": {k: round(v, 4) for k, v in seconds.items()},
        "peak_rss_bytes": max(p.record.get("peak_rss_bytes") or 0 for p in parts),
        "promise": _largest([p.record.get("promise") or {} for p in parts]),
    }  # fmt: skip
    if "receipt" in first:
        own_lines = {
            name: _every(p.record["receipt"].get(name, ()) for p in parts) for name in ("decisions", "warnings")
        }
        record["receipt"] = first["receipt"] | own_lines | {"released": list(paths)}
    if "governance" in first:
        own_facts = {
            name: _every(p.record["governance"].get(name, ()) for p in parts) for name in ("requests", "decisions")
        }
        record["governance"] = first["governance"] | own_facts
    if "strata" in first:
        own_strata = [{s["name"]: s["variants"] for s in p.record["strata"]} for p in parts]
        record["strata"] = [s | {"variants": sum(o.get(s["name"], 0) for o in own_strata)} for s in first["strata"]]
    return record


def _every(lists: Iterable[Iterable[Any]]) -> list[Any]:
    """What any of the lists has, each once, in order."""
    out: list[Any] = []
    for item in itertools.chain.from_iterable(lists):
        if item not in out:
            out.append(item)
    return out


def _largest(values: Sequence[Any]) -> Any:
    """The bounds that hold in every part, name by name."""
    if any(isinstance(v, Mapping) for v in values):
        found = [v for v in values if isinstance(v, Mapping)]
        return {
            name: _largest([v[name] for v in found if name in v]) for name in dict.fromkeys(n for v in found for n in v)
        }
    numbers = [v for v in values if v is not None]
    return max(numbers) if numbers else None
