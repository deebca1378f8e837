"""A study as its user names it: files, names and filters -> a genotype reader and a design, with a log of every choice.

Both the command line and Python start here, so that they read the same samples and columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securegen import align
from securegen.design import Design, combine, linear_design
from securegen.errors import DesignError, UsageError
from securegen.io.plink1 import PlinkReader, read_plink
from securegen.io.tables import read_ids, read_names, read_table

Log = Callable[[str], None]


def silent(_: str) -> None:
    """Log nothing."""


@dataclass(frozen=True)
class Inputs:
    """What names a study. Paths are text; pheno_name and covar_name None mean every column of the file.

    model: linear, logistic, trend, allelic, or None to choose by the phenotype; missing: mean or complete;
    bits: of a design column, None for the planned precision; force_01: read 0/1 as control/case even if one is absent.
    """

    bfile: str
    pheno: str | None = None
    pheno_name: tuple[str, ...] | None = None
    covar: str | None = None
    covar_name: tuple[str, ...] | None = None
    model: str | None = None
    missing: str = "mean"
    keep: str | None = None
    remove: str | None = None
    extract: str | None = None
    exclude: str | None = None
    bits: int | None = None
    force_01: bool = False

    def files(self) -> dict[str, Path]:
        """Every input file by the name it has in run.json."""
        out = {e: Path(f"{self.bfile}.{e}") for e in ("bed", "bim", "fam")}
        for name in ("pheno", "covar", "keep", "remove", "extract", "exclude"):
            if getattr(self, name):
                out[name] = Path(getattr(self, name))
        return out

    def digests(self) -> dict[str, str]:
        """SHA-256 of every input file."""
        out = {}
        for name, path in self.files().items():
            with path.open("rb") as stream:
                out[name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return out


def open_genotypes(inputs: Inputs, log: Log = silent) -> PlinkReader:
    """Open the genotypes and apply the sample and variant filters. Raises UsageError when nothing is left."""
    reader = read_plink(inputs.bfile)
    log(f"{inputs.bfile}: {len(reader.samples)} samples, {len(reader.variants)} variants")
    keep = np.ones(len(reader.samples), bool)
    if inputs.keep:
        keep &= align.match_people(reader.samples, read_ids(inputs.keep))
        log(f"--keep: {int(keep.sum())} samples remain")
    if inputs.remove:
        keep &= ~align.match_people(reader.samples, read_ids(inputs.remove))
        log(f"--remove: {int(keep.sum())} samples remain")
    wanted = np.ones(len(reader.variants), bool)
    if inputs.extract:
        names = set(read_names(inputs.extract))
        wanted &= np.array([v in names for v in reader.variants.id], bool)
        log(f"--extract: {int(wanted.sum())} variants remain")
    if inputs.exclude:
        names = set(read_names(inputs.exclude))
        wanted &= np.array([v not in names for v in reader.variants.id], bool)
        log(f"--exclude: {int(wanted.sum())} variants remain")
    if not keep.any() or not wanted.any():
        raise UsageError(f"the filters leave {int(keep.sum())} samples and {int(wanted.sum())} variants")
    if keep.all() and wanted.all():
        return reader
    return reader.select(np.flatnonzero(keep), np.flatnonzero(wanted))


@dataclass(frozen=True)
class Traits:
    """Phenotypes and covariates in sample order: phenotypes; covariates (N, K−1) float64 with NaN; their names; and how
    many rows of each table name nobody in the genotype file."""

    phenotypes: tuple[align.Phenotype, ...]
    covariates: np.ndarray
    covariate_names: tuple[str, ...]
    unknown: tuple[int, int]


def read_traits(inputs: Inputs, reader: PlinkReader) -> Traits:
    """Read and join the phenotype and covariate tables."""
    if inputs.pheno is None:
        raise UsageError("--pheno is needed")
    table = read_table(inputs.pheno).select(inputs.pheno_name)
    if not table.columns:
        raise UsageError(f"{inputs.pheno} has no phenotype column")
    joined = align.join(reader.samples, table)
    phenotypes = tuple(
        align.interpret_phenotype(
            name, align.column_values(reader.samples, table, name, joined), force_01=inputs.force_01
        )
        for name in table.columns
    )
    names: tuple[str, ...] = ()
    covariates = np.empty((len(reader.samples), 0))
    unknown = 0
    if inputs.covar:
        table = read_table(inputs.covar).select(inputs.covar_name)
        covar_join = align.join(reader.samples, table)
        names, unknown = tuple(table.columns), covar_join.unknown
        if names:
            columns = [align.column_values(reader.samples, table, n, covar_join) for n in names]
            covariates = np.stack(columns, axis=1)
    elif inputs.covar_name:
        raise UsageError("--covar-name needs --covar")
    return Traits(phenotypes, covariates, names, (joined.unknown, unknown))


def build_design(inputs: Inputs, reader: PlinkReader, log: Log = silent) -> Design:
    """The design of every phenotype; those with the same analysed samples share their columns."""
    traits = read_traits(inputs, reader)
    masks = []
    for phenotype in traits.phenotypes:
        mask, counts = align.analysed_samples(phenotype.values, traits.covariates, traits.unknown)
        log(
            f"phenotype {phenotype.name} ({'case/control' if phenotype.binary else 'quantitative'}): {counts.analysed} "
            f"samples analysed; dropped {counts.no_phenotype} without phenotype, {counts.no_covariate} without a "
            f"covariate; rows of people without genotypes: {counts.unknown_phenotype_rows} phenotype, "
            f"{counts.unknown_covariate_rows} covariate"
        )
        if not counts.analysed:
            raise DesignError(f"no sample has phenotype {phenotype.name} and every covariate")
        masks.append(mask)
    parts = []
    for group in align.group_by_samples(masks):
        members = [traits.phenotypes[i] for i in group]
        mask = masks[group[0]]
        values = np.stack([m.values[mask] for m in members], axis=1)
        parts.append(
            linear_design(
                mask, traits.covariates[mask], traits.covariate_names, values, [m.name for m in members],
                bits=inputs.bits,
            )
        )  # fmt: skip
    return combine(parts)
