"""What a finished run left under one prefix: its record, its tables, its scores."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from securegen.catalogue import TESTS
from securegen.errors import InputError, UsageError
from securegen.io.strict_json import read_json
from securegen.io.tables import read_table
from securegen.model import Samples
from securegen.plot.association import Associations
from securegen.plot.scores import Scores
from securegen.record.run_log import RECORD, records_in
from securegen.results.forms import FORMATS
from securegen.results.read import read_results
from securegen.scores.sscore import read_reference
from securegen.study.people import column_values, interpret_phenotype, join
from securegen.vocabulary import ADD, CODINGS

HITS = "hits"
SUFFIXES = (*(t.suffix for t in TESTS.values()), "uv", "chi2", HITS)
# What stands before and after the phenotype's name, in this program's own columns and in other formats.
NAMES = (*((".", suffix) for suffix in SUFFIXES), *(f.ending for f in FORMATS.values() if f.write is not None))
_PACKED = ("", ".gz", ".zst")
META = "meta"  # the ending of a meta-analysis, which has no phenotype's name
COUNTS = ("OBS_CT", "CASE_CT", "CTRL_CT")


@dataclass(frozen=True)
class Result:
    """One table. test: its suffix; whole: it has a row for every variant, so that pictures of all of them make sense."""

    phenotype: str
    path: str
    test: str
    table: pd.DataFrame

    @property
    def whole(self) -> bool:
        return self.test != HITS

    @cached_property
    def tests(self) -> Associations:
        t = self.table
        return Associations(
            self.phenotype, t["#CHROM"].to_numpy(object), t["POS"].to_numpy(np.int64), t["ID"].to_numpy(object),
            t["LOG10_P"].to_numpy(np.float64), self.people, self.row,
        )  # fmt: skip

    @property
    def row(self) -> str:
        """Which of several tests of a variant is shown, empty where there is one."""
        found = str(self.table["TEST"].iloc[0]) if "TEST" in self.table and len(self.table) else ADD
        return "" if found in CODINGS.values() else found

    @property
    def people(self) -> int:
        """How many are analysed, 0 where the table does not say."""
        largest = {n: int(np.nanmax(self.table[n].to_numpy(float), initial=0)) for n in COUNTS if n in self.table}
        return largest.get("OBS_CT") or largest.get("CASE_CT", 0) + largest.get("CTRL_CT", 0)


@dataclass(frozen=True)
class Run:
    """record: of PREFIX.run.json, {} where there is none; results: tables of associations; scores: of a score run, and of
    how many people; name: what its report is called, without the ending."""

    prefix: str
    record: dict[str, Any]
    results: tuple[Result, ...] = ()
    scores: tuple[Scores, ...] = ()
    people: int = 0
    name: str = ""

    @property
    def identity(self) -> str:
        """A digest of which run this is: the same for its reports, another one for those of other runs."""
        call = self.record.get("call") or self.record.get("command")
        shown = [Path(self.name).name, *(Path(r.path).name for r in self.results), *(s.name for s in self.scores)]
        return hashlib.sha256(json.dumps([call, shown], sort_keys=True).encode()).hexdigest()


def open_run(
    prefix: str, *, pheno: str | None = None, pheno_name: Sequence[str] | None = None, reference: str | None = None
) -> Run:
    """Read PREFIX.run.json and the tables beside it; or one table of a run, when `prefix` is the name of a file.

    pheno, pheno_name: a phenotype table, for pictures of scores against an outcome; reference: a .sscore file of a
    reference panel. Raises InputError when there is nothing, UsageError when several phenotypes could be meant.
    """
    if Path(prefix).is_file() and not prefix.endswith(".run.json"):
        return _lone(prefix, pheno, pheno_name, reference)
    prefix = prefix.removesuffix(".run.json")
    try:
        record = read_json(f"{prefix}.run.json", "the record of a run", RECORD, error=InputError)
    except FileNotFoundError:
        raise InputError(
            f"{prefix}.run.json: no such file; name what a finished run was given as --out, or a table"
        ) from None
    results = tuple(Result(p, path, test, read_results(path)) for p, path, test in find_tables(prefix, record))
    sscore = _one_packing(f"{prefix}.sscore", record)
    scores, people = _scores(sscore, pheno, pheno_name, reference) if sscore else ((), 0)
    return Run(prefix, record, results, scores, people, prefix)


def find_tables(prefix: str, record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(phenotype, path, suffix) of every table under a prefix: those of the record's phenotypes, else by their names."""
    out = []
    named = [p for p in record.get("phenotypes") or [] if os.sep not in p]  # none of them leaves the folder
    for before, suffix in NAMES:
        start, end = prefix + before, f".{suffix}"
        there = [p for packed in _PACKED for p in glob.glob(f"{glob.escape(start)}*{end}{packed}")]
        plain = [f"{start}{name}{end}" for name in named] or sorted({_unpacked(p) for p in there})
        found = [(p, _one_packing(p, record)) for p in plain]
        out += [(p[len(prefix) + 1 : -len(end)], path, suffix) for p, path in found if path]
    if record.get("command") == META and (path := _one_packing(f"{prefix}.{META}", record)):
        out.append((META, path, META))
    order = {name: i for i, name in enumerate(named)}
    return sorted(out, key=lambda found: order.get(found[0], len(order)))


def label_of(run: Run, result: Result) -> str:
    """What a table is called beside others of the run: its phenotype, with the ending where files of several endings have it."""
    drawn = [
        suffix for before, suffix in NAMES if suffix != HITS
        and any(os.path.isfile(f"{run.prefix}{before}{result.phenotype}.{suffix}{packed}") for packed in _PACKED)
    ]  # fmt: skip
    return f"{result.phenotype}.{result.test}" if len(drawn) > 1 else result.phenotype


def _unpacked(path: str) -> str:
    return next((path.removesuffix(packed) for packed in _PACKED[1:] if path.endswith(packed)), path)


def _one_packing(path: str, record: dict[str, Any]) -> str | None:
    """A table as it is or packed, None when it is not there. Raises InputError where both are and the record does not say
    which one is the run's."""
    there = [path + packed for packed in _PACKED if os.path.isfile(path + packed)]
    written = {Path(str(p)).name for p in record.get("outputs") or []}
    there = [p for p in there if Path(p).name in written] or there
    if len(there) > 1:
        raise InputError(f"there are {' and '.join(there)}: which one is the run's? Move the other one away")
    return there[0] if there else None


def _lone(path: str, pheno: str | None, pheno_name: Sequence[str] | None, reference: str | None) -> Run:
    """One file of a run: its prefix is the path without the ending of its kind. With the record beside it, if that
    names it."""
    base = _unpacked(path)
    if base.endswith(".sscore"):
        scores, people = _scores(path, pheno, pheno_name, reference)
        prefix = base.removesuffix(".sscore")
        return Run(prefix, _record_of(prefix, base), (), scores, people, prefix)
    table = base
    if base.endswith(f".{META}"):
        prefix = base.removesuffix(f".{META}")
        return Run(prefix, _record_of(prefix, table), (Result(META, path, META, read_results(path)),), name=base)
    before, suffix = next(((b, s) for b, s in NAMES if base.endswith(f".{s}")), ("", ""))
    base = base.removesuffix(f".{suffix}") if suffix else base
    folder, name = str(Path(base).parent), Path(base).name
    prefix, _, phenotype = name.rpartition(before) if suffix else ("", "", name)
    result = Result(phenotype, path, suffix, read_results(path))
    whole = str(Path(folder) / (prefix or name))
    return Run(whole, _record_of(whole, table), (result,), name=base)


def _record_of(prefix: str, table: str) -> dict[str, Any]:
    """The record of PREFIX.run.json that says it wrote the table; {} where none does."""
    names = {Path(table + packed).name for packed in _PACKED}
    for record in records_in(f"{prefix}.run.json"):
        if names & {Path(str(p)).name for p in record.get("outputs") or []}:
            return record
    return {}


def _scores(
    path: str, pheno: str | None, pheno_name: Sequence[str] | None, reference: str | None
) -> tuple[tuple[Scores, ...], int]:
    """Every score of a .sscore file, with outcome and reference where they are given; and how many people."""
    table = read_table(path)
    names = [c.removesuffix("_SUM") for c in table.columns if c.endswith("_SUM") and c != "NAMED_ALLELE_DOSAGE_SUM"]
    if not names:
        raise InputError(f"{path} has no column <score>_SUM")
    people = Samples(table.fid if table.fid is not None else table.iid, table.iid, np.ones(len(table.iid), bool))
    outcome, trait = None, ""
    if pheno:
        phenotypes = read_table(pheno).select(pheno_name)
        if len(phenotypes.columns) != 1:
            raise UsageError(f"{pheno} has {', '.join(phenotypes.columns)}: name one with `pheno_name`")
        (trait,) = phenotypes.columns
        values = column_values(phenotypes, trait, join(people, phenotypes))
        outcome = interpret_phenotype(trait, values).values
    elif pheno_name:
        raise UsageError("`pheno_name` needs `pheno`")
    out = []
    for name in names:
        risk = _column(table.columns[f"{name}_RISK"]) if f"{name}_RISK" in table.columns else None
        panel = read_reference(reference, name) if reference else None
        out.append(Scores(name, _column(table.columns[f"{name}_SUM"]), panel, outcome, trait, risk))
    return tuple(out), len(table.iid)


def _column(text: np.ndarray) -> np.ndarray:
    """(N,) float64 of a column that this program wrote."""
    numbers: np.ndarray = pd.to_numeric(pd.Series(text), errors="coerce").to_numpy(np.float64)
    return numbers
