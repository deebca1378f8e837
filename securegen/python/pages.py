"""Pictures and a page of a finished run from Python, by its prefix or by one of its tables. Needs securegen[plot]."""

from __future__ import annotations

import os
from collections.abc import Sequence

from securegen.study.checks import names, path, whole

Path = str | os.PathLike[str]


def draw(
    prefix: Path,
    *,
    only: str | Sequence[str] | None = None,
    width: int | None = None,
    formats: str | Sequence[str] = "png",
    pheno: Path | None = None,
    pheno_name: str | Sequence[str] | None = None,
    reference: Path | None = None,
    out: Path | None = None,
) -> list[str]:
    """Write OUT.<PHENO>.manhattan.png and the other pictures of a run; returns their names.

    prefix: what the run was given as out, or one table; only: of manhattan, qq, density, calibration, cost, noise, None: all
    there are; width: pixels; formats: png, svg, pdf; pheno, pheno_name, reference: of scores, as in `report.open_run`; out:
    None for the prefix. Raises InputError and UsageError.
    """
    from securegen.report.gather import open_run
    from securegen.report.pictures import KINDS, planned, write_pictures

    whole("width", width, 300, 6000)
    run = open_run(
        os.fspath(prefix), pheno=path("pheno", pheno), pheno_name=names("pheno_name", pheno_name),
        reference=path("reference", reference),
    )  # fmt: skip
    todo = planned(
        run, os.fspath(out) if out else run.prefix, chosen=names("only", only) or KINDS, width=width,
        formats=names("formats", formats) or (),
    )  # fmt: skip
    return write_pictures(todo)


def write_report(
    prefix: Path,
    out: Path | None = None,
    *,
    annotate: Path | None = None,
    overwrite: bool = False,
    pheno: Path | None = None,
    pheno_name: str | Sequence[str] | None = None,
    reference: Path | None = None,
) -> str:
    """Write one HTML page of a run, which loads nothing; returns its name, PREFIX.report.html where out is None.

    annotate: a table of columns to show beside hits; overwrite: also replace a file that is not an earlier report of this run;
    pheno, pheno_name, reference: as in `draw`. Raises InputError, UsageError and StorageError.
    """
    from securegen.report import build
    from securegen.report.gather import open_run

    run = open_run(
        os.fspath(prefix), pheno=path("pheno", pheno), pheno_name=names("pheno_name", pheno_name),
        reference=path("reference", reference),
    )  # fmt: skip
    where = os.fspath(out) if out else f"{run.name}.report.html"
    build.write_report(where, run, annotations=path("annotate", annotate), overwrite=overwrite)
    return where
