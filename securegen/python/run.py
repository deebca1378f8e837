"""A run of any engine from Python: all roles on this machine, results as frames.

>>> import securegen as sg
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)
>>> results = sg.run(study)
>>> results
Results(plain, QT)
>>> len(results["QT"]) == len(study.reader.variants)
True
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securegen.engines.choosing import engine_of
from securegen.engines.protocol import Engine, EngineRun, members_of, part_facts
from securegen.errors import UsageError
from securegen.governance.signing import SigningIdentity, read_identity
from securegen.io.output import copy_file
from securegen.io.store_urls import refuse_url
from securegen.python.pages import draw, write_report
from securegen.record.receipt import Receipt
from securegen.record.receipt_steps import write_receipt
from securegen.record.run_log import RunLog
from securegen.results.forms import PLINK2, TableForm, convert
from securegen.results.read import read_frame, read_frames
from securegen.results.summary import summary_json, summary_of
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.study.parts import RunPart
from securegen.study.unchanged import refuse_changed

if TYPE_CHECKING:
    import pandas as pd


class Results(Mapping[str, "pd.DataFrame"]):
    """Tables of a run: phenotype (of quality control: afreq, vmiss, hardy) -> frame, read when it is asked for."""

    def __init__(
        self, run: EngineRun, prefix: str, record: dict[str, Any],
        folder: str | None = None, part: RunPart | None = None,
    ) -> None:  # fmt: skip
        """folder: where the tables lie, when they go with these results; part: of the study, of whose variants they are."""
        self._run, self._prefix, self._part = run, prefix, part
        if folder is not None:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._frames: dict[str, pd.DataFrame] = {}
        self.record: dict[str, Any] = record
        self.paths = {t.analysis.phenotype: t.path for t in run.tables}
        self.paths |= {Path(p).name.removesuffix(".gz").removeprefix(f"{Path(prefix).name}."): p for p in run.files}

    def __repr__(self) -> str:
        return f"Results({self._run.engine}, {', '.join(self.paths)})"

    def __getitem__(self, phenotype: str) -> pd.DataFrame:
        if phenotype not in self.paths:
            raise KeyError(f"no table {phenotype!r}; there are {', '.join(self.paths)}")
        if phenotype not in self._frames:
            self._frames[phenotype] = read_frame(self.paths[phenotype])
        return self._frames[phenotype]

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def frame(self) -> pd.DataFrame:
        """Every table of association as one frame; of several phenotypes, the first index level is PHENO. Raises UsageError
        for a run that made none."""
        if not self._run.tables:
            raise UsageError(f"this run made no table of association: its tables are {', '.join(self.paths)}")
        return read_frames({t.analysis.phenotype: t.path for t in self._run.tables})

    @property
    def receipt(self) -> Receipt:
        """Who held what, who learned what, what had to be trusted."""
        return self._run.receipt

    @property
    def promise(self) -> dict[str, Any]:
        """The printed error bounds, of the table or by phenotype."""
        promise: dict[str, Any] = self.record["promise"]
        return promise

    def write(
        self, prefix: str | os.PathLike[str], *, format: str = PLINK2, digits: int = 17, genome_build: str | None = None,
        frequency_floor: float = 0.0, gzip: bool = False, cols: str | None = None,
    ) -> list[str]:  # fmt: skip
        """Write the tables as PREFIX.<PHENO>.<TEST>, or as the format names them; returns their names. Those of a study with
        `blocks` begin with PREFIX.3of22; for `sg.merge` give `out` to `run`.

        format: plink2, regenie or gwas-ssf (genome_build, frequency_floor: of it); cols: columns, as chrom,pos,p.
        Raises UsageError for fewer digits than
        the run wrote in plink2's columns, and for tables that the run wrote in another form.
        """
        form = TableForm(digits, format, genome_build, frequency_floor, gzip, cols)
        if format == PLINK2 and digits != 17:
            raise UsageError("tables of plink2's columns have the digits of their run: give run(…, digits=)")
        base = os.fspath(prefix) if self._part is None else self._part.prefix(os.fspath(prefix))
        tables = []
        for t in self._run.tables:
            own = Path(self._prefix).name
            path = base + Path(t.path).name.removeprefix(own)
            copy_file(t.path, path)
            tables.append(summary_of(summary_json(t), path))
        convert(tables, base, form, lambda _: None, covariates=self.record.get("covariate_names", ()))
        return [t.path for t in tables]

    def plot(
        self, prefix: str | os.PathLike[str], *, only: str | Sequence[str] | None = None, width: int | None = None,
        formats: str | Sequence[str] = "png",
    ) -> list[str]:  # fmt: skip
        """Write pictures as PREFIX.<PHENO>.manhattan.png, …; returns their names. Arguments and errors as `sg.draw`."""
        return draw(self._prefix, only=only, width=width, formats=formats, out=prefix)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page of the run, which loads nothing. Needs securegen[plot]."""
        write_report(self._prefix, path, overwrite=True)


def run(
    study: Study,
    engine: str | Engine = "plain",
    out: str | os.PathLike[str] | None = None,
    *,
    digits: int = 17,
    format: str = PLINK2,
    genome_build: str | None = None,
    frequency_floor: float = 0.0,
    gzip: bool = False,
    cols: str | None = None,
    filters: Filters | None = None,
    qc_only: bool = False,
    sign: str | os.PathLike[str] | SigningIdentity | None = None,
) -> Results:
    """Run every role of an engine on this machine.

    engine: its name, or a record of its options (`sg.Plain`, `sg.Ckks`, `sg.Federated`, `sg.Mpc`); out: prefix of tables,
    log and run.json (of a study with `blocks`, OUT.3of22 and so on),
    None: they are deleted with the results; digits, format, genome_build, frequency_floor, gzip, cols:
    how tables are laid out; filters: rows to leave out, of a study with qc=True; qc_only: the tables of quality control;
    sign: a signing key, or the file of one, that signs the receipt OUT.receipt.json (`sg.receipt`).

    Raises UsageError for what does not go together, before anything is computed, InputError where a file of the study changed
    since it was opened, and as the roles do.
    """
    refuse_changed(study.marks)
    chosen = engine_of(engine, {})
    form = TableForm(digits, format, genome_build, frequency_floor, gzip, cols)
    chosen.check(members_of(study), form, filters)
    chosen.check_study(study)
    if qc_only and not chosen.quality:
        raise UsageError(f"engine {chosen.name} computes no tables of quality control alone: plain or ckks")
    if sign is not None and out is None:
        raise UsageError("`sign` signs the receipt of files that stay: give `out`")
    signer = read_identity(os.fspath(sign)) if isinstance(sign, str | os.PathLike) else sign
    if out is not None:
        refuse_url(out, "a table, which is in the clear,")
    folder = tempfile.mkdtemp(prefix="securegen.") if out is None else None
    prefix = f"{folder}/run" if out is None else os.fspath(out)
    prefix = prefix if study.part is None else study.part.prefix(prefix)
    try:
        log = RunLog(prefix, f"run --engine {chosen.name}", quiet=True)
        made = chosen.run(study, prefix, form, log, filters=filters, qc_only=qc_only)
        log.note(made.receipt.lines())
        kept = {} if out is None else {"outputs": made.paths, **part_facts(study, prefix, made.paths, form, filters)}
        log.write(**made.record(), **kept)
        if signer is not None:
            write_receipt(prefix, signer)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return Results(made, prefix, log.record, folder, study.part)


def qc(
    study: Study, engine: str | Engine = "plain", out: str | os.PathLike[str] | None = None, *, gzip: bool = False
) -> Results:
    """Frames afreq, vmiss and, of hard calls, hardy: of `sg.open_qc`, or of a study with qc=True. As `run`."""
    return run(study, engine, out, gzip=gzip, qc_only=True)


def open_sites(members: Sequence[Inputs], engine: str | Engine = "federated", *, log: Log = silent) -> Study:
    """Cohorts of several sites, which share tables of phenotypes and covariates, as one study for `sg.run`.

    members: one `sg.Inputs` a site; engine: that will run it. Raises InputError, DesignError and
    UsageError.
    """
    if len(members) < 2 or not all(isinstance(m, Inputs) for m in members):
        raise UsageError("`members` are two or more sg.Inputs, one per site")
    chosen = engine_of(engine, {})
    chosen.check(members, TableForm())
    return chosen.open(members, log)
