"""Joining the parts of a run (`blocks`) into what one run writes.

>>> import securegen as sg, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> study = dict(pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)
>>> for i in (2, 1):  # in any order, on any machine
...     _ = sg.run(sg.open_study("examples/cohort", **study, blocks=f"{i}/2"), out=f"{folder.name}/a")
>>> merged = sg.merge(f"{folder.name}/a")
>>> whole = sg.run(sg.open_study("examples/cohort", **study), out=f"{folder.name}/b")
>>> from pathlib import Path
>>> Path(merged.paths[0]).read_bytes() == Path(whole.paths["QT"]).read_bytes()
True
>>> folder.cleanup()
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from securegen.engines.ckks.server.results_parts import join_results, parts_of_results
from securegen.errors import InputError, UsageError
from securegen.io.genotypes import FIELDS
from securegen.io.store_urls import is_url
from securegen.record.parts import PartRecord, check_tables, joined_record, read_parts, told_by_all
from securegen.record.run_log import folder_bytes
from securegen.results.join import join_tables
from securegen.scores.parts import SUMS, join_scores, write_joined
from securegen.study.inputs import TABLES

PathLike = str | os.PathLike[str]
SCORES, MATCHES = ".sscore", ".match.tsv"


@dataclass(frozen=True, repr=False)
class Merged:
    """What was joined. paths: tables, or the folder of results; parts: how many; facts: for run.json; private: of people;
    opened_by: the command with which an owner opens results; read: digests of inputs, by path, that all parts told."""

    paths: tuple[str, ...]
    parts: int
    facts: dict[str, Any]
    private: bool = False
    opened_by: str = ""
    read: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Merged({self.parts} parts, {', '.join(self.paths)})"


def merge(prefix: PathLike) -> Merged:
    """Join the parts PREFIX.1of22.… of a run: tables, scores, or the results of a server, as one run writes them, to the
    byte.

    Tables of parts stay, results of parts are moved. Raises UsageError where no part is there, InputError or ArtefactError
    where one is absent, is of another run or was altered, StorageError.
    """
    base = os.fspath(prefix)
    if parts_of_results(base) or is_url(base):
        whole = join_results(base)
        facts = {
            "engine": "ckks", "role": "server", "bytes": {"results": folder_bytes(whole.folder)}, "parts": whole.parts,
        }  # fmt: skip
        return Merged((os.fspath(whole.folder),), whole.parts, facts, opened_by=whole.opened_by)
    parts = _read(base)
    if "score_part" in parts[0].record:
        return _merge_scores(base, parts)
    names = list(parts[0].tables)
    if not names:
        raise UsageError(f"the parts of {base} have no tables: encrypted cohorts are ended by securegen encrypt")
    paths = tuple(f"{base}{name}" for name in names)
    for name, path in zip(names, paths, strict=True):
        join_tables(path, [f"{p.prefix}{name}" for p in parts], check=partial(check_tables, parts))
    return Merged(paths, len(parts), joined_record(parts, paths), read=told_by_all(parts))


def _read(base: str) -> list[PartRecord]:
    return read_parts(base, files=(*FIELDS, *TABLES, "score", "reference"))


def _merge_scores(base: str, parts: Sequence[PartRecord]) -> Merged:
    """Scores add up; the match of the scoring files is the same in every part."""
    for p in parts:
        if set(p.tables) - {MATCHES} != {SUMS} or p.tables.get(MATCHES) != parts[0].tables.get(MATCHES):
            raise InputError(f"{p.prefix} and {parts[0].prefix} matched other variants: they are not parts of one run")
    joined = join_scores(
        [f"{p.prefix}{SUMS}" for p in parts], [p.record.get("score_part", {}) for p in parts],
        parts[0].record.get("inputs") or {},
    )  # fmt: skip
    check_tables(parts)
    paths = [joined.inputs.table(base)]
    if MATCHES in parts[0].tables:
        join_tables(f"{base}{MATCHES}", [f"{parts[0].prefix}{MATCHES}"], check=partial(check_tables, parts))
        paths.append(f"{base}{MATCHES}")
    write_joined(paths[0], joined)
    facts = {k: v for k, v in joined_record(parts, paths[:1]).items() if k != "score_part"} | joined.facts
    return Merged(tuple(paths), len(parts), facts, private=True, read=told_by_all(parts))


def planned(prefix: PathLike) -> list[str]:
    """What `merge` writes."""
    base = os.fspath(prefix)
    if parts_of_results(base) or is_url(base):
        return [f"{base}.results"]
    names = _read(base)[0].tables
    return [f"{base}{SCORES if name == SUMS else name}" for name in names]
