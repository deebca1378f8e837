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
from dataclasses import dataclass
from typing import Any

from securegen.engines.ckks.server.results_parts import join_results, parts_of_results
from securegen.errors import UsageError
from securegen.io.genotypes import FIELDS
from securegen.record.parts import joined_record, read_parts
from securegen.record.run_log import folder_bytes
from securegen.results.join import join_tables
from securegen.study.inputs import TABLES

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, repr=False)
class Merged:
    """What was joined. paths: tables, or the folder of results; parts: how many; facts: for run.json."""

    paths: tuple[str, ...]
    parts: int
    facts: dict[str, Any]

    def __repr__(self) -> str:
        return f"Merged({self.parts} parts, {', '.join(self.paths)})"


def merge(prefix: PathLike) -> Merged:
    """Join the parts PREFIX.1of22.… of a run: tables, or the results of a server, as one run writes them, to the byte.

    Tables of parts stay, results of parts are moved. Raises UsageError where no part is there, InputError or ArtefactError
    where one is absent, is of another run or was altered, StorageError.
    """
    base = os.fspath(prefix)
    if folders := parts_of_results(base):
        whole = join_results(base)
        facts = {"engine": "ckks", "role": "server", "bytes": {"results": folder_bytes(whole)}, "parts": len(folders)}
        return Merged((os.fspath(whole),), len(folders), facts)
    parts = read_parts(base, files=(*FIELDS, *TABLES))
    names = list(parts[0].tables)
    if not names:
        raise UsageError(f"the parts of {base} have no tables: encrypted cohorts are ended by securegen encrypt")
    paths = tuple(f"{base}{name}" for name in names)
    for name, path in zip(names, paths, strict=True):
        join_tables(path, [f"{p.prefix}{name}" for p in parts])
    return Merged(paths, len(parts), joined_record(parts, paths))


def planned(prefix: PathLike) -> list[str]:
    """What `merge` writes."""
    base = os.fspath(prefix)
    if parts_of_results(base):
        return [f"{base}.results"]
    return [f"{base}{name}" for name in read_parts(base, files=(*FIELDS, *TABLES))[0].tables]
