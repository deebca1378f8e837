"""Phenotypes and covariates: tables joined to the samples of a reader, with a log of every choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from securegen.errors import UsageError
from securegen.governance import generalise
from securegen.governance.generalise import parse_rules, refuse_unused
from securegen.io.table_numbers import count_missing_numbers
from securegen.io.tables import Table, expand_names, read_table
from securegen.io.text import count
from securegen.model import GenotypeReader
from securegen.study import checks, people
from securegen.study.held import governing, refuse_few
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.noised import noised

FEW_VALUES = 4  # of a quantitative trait: is one of them a missing code?


@dataclass(frozen=True)
class Traits:
    """Phenotypes and covariates in sample order: phenotypes; covariates (N, K−1) float64 with NaN; their names; and how
    many rows of each table name nobody in the genotype file."""

    phenotypes: tuple[people.Phenotype, ...]
    covariates: np.ndarray
    covariate_names: tuple[str, ...]
    unknown: tuple[int, int]


def read_traits(
    inputs: Inputs, reader: GenotypeReader, log: Log = silent, *, among: np.ndarray | None = None
) -> Traits:
    """Read and join the phenotype and covariate tables. among: (N,) bool, who may be analysed, None for everybody."""
    if inputs.pheno is None:
        raise UsageError("`pheno` is needed")
    policy = governing(inputs)
    fewest = 0 if policy is None else int(policy["limits.smallest_cohort"])
    rules = parse_rules(inputs.generalise)
    table = read_used(inputs.pheno, inputs.pheno_name, inputs.sex_name, log, "phenotype")
    used = set(table.columns)
    if not table.columns:
        raise UsageError(f"{inputs.pheno} has no phenotype column")
    for name in table.columns:
        checks.file_name(name, table.path)
    table = minimised(table, rules, inputs, log)
    joined = people.join(reader.samples, table, fewest)
    log_pasted(table, joined, log)
    if among is not None:
        joined = replace(joined, row=np.where(among, joined.row, -1))
    say = log if inputs.label_noise is None else silent  # what exact values look like is one person's, too
    exact = tuple(_phenotype(inputs, reader, table, name, joined, say, fewest) for name in table.columns)
    phenotypes = noised(inputs, reader.samples, exact, log)
    names: list[str] = []
    columns: list[np.ndarray] = []
    unknown = 0
    if inputs.covar:
        table = read_used(inputs.covar, inputs.covar_name, inputs.sex_name, log, "covariate", inputs.covar_categorical)
        used |= set(table.columns)
        covar_join = people.join(reader.samples, table, fewest)
        log_pasted(table, covar_join, log)
        unknown = covar_join.unknown
        categorical = set(
            expand_names(inputs.covar_categorical or (), list(table.columns), f"`covar_categorical`: {table.path}")
        )
        table = minimised(table, rules, inputs, log, categorical)
        for name in table.columns:
            if name in categorical:
                expanded = people.category_columns(table, name, covar_join, fewest)
                log(f"covariate {name}: categories, {count(len(expanded), 'indicator column')} ({', '.join(expanded)})")
                names += expanded
                columns += expanded.values()
            else:
                names.append(name)
                columns.append(_numbers(inputs, reader, table, name, covar_join, log, fewest))
        log(people.covariate_line(names))
    elif inputs.covar_name or inputs.covar_categorical:
        raise UsageError("`covar_name` and `covar_categorical` need `covar`")
    refuse_unused(rules, used)
    covariates = np.stack(columns, axis=1) if columns else np.empty((len(reader.samples), 0))
    return Traits(phenotypes, covariates, tuple(names), (joined.unknown, unknown))


def minimised(
    table: Table, rules: Mapping[str, Fraction], inputs: Inputs, log: Log, categorical: Set[str] = frozenset()
) -> Table:
    """The table with coarser values where a rule says so. Raises PolicyError for whole dates and free text."""
    columns = {}
    for name, cells in table.columns.items():
        generalise.refuse_dates(table.path, name, cells, categories=name in categorical)
        if (width := rules.get(name)) is None:
            columns[name] = cells
        elif name in categorical:
            columns[name] = generalise.cut(name, cells, width)
            log(f"--generalise {name}: the first {width} characters of each code")
        else:
            numbers = not inputs.no_input_missing_phenotype
            columns[name] = generalise.binned(name, cells, width, missing_number=numbers)
            log(f"--generalise {name}: bins of width {float(width):g}, each value the lower end of its bin")
        if name in categorical:
            generalise.refuse_free_text(table.path, name, columns[name])
    return replace(table, columns=columns)


def read_used(
    path: str, names: Sequence[str] | None, sex_name: str | None, log: Log, what: str,
    categorical: Sequence[str] | None = None,
) -> Table:  # fmt: skip
    """The columns of a table that `used_columns` chooses; of no other column a cell is kept."""
    return read_table(path, lambda columns: used_columns(columns, path, names, sex_name, log, what, categorical))


def used_columns(
    columns: Sequence[str], path: str, names: Sequence[str] | None, sex_name: str | None, log: Log, what: str,
    categorical: Sequence[str] | None = None,
) -> list[str]:  # fmt: skip
    """Names of the columns of a table that are named, among them the categories, as in regenie; without names all but the one
    of the sex. Raises UsageError."""
    also = expand_names(categorical or (), list(columns), f"`covar_categorical`: {path}")
    if names is not None:
        return list(dict.fromkeys([*expand_names(names, list(columns), path), *also]))
    if sex_name in columns and sex_name not in also:
        log(f"column {sex_name} of {path} gives the sex: it is a {what} only if it is named as one")
    return [name for name in columns if name != sex_name or name in also]


def _numbers(
    inputs: Inputs, reader: GenotypeReader, table: Table, name: str, joined: people.Join, log: Log, fewest: int,
    advice: str = "",
) -> np.ndarray:  # fmt: skip
    """A column of numbers in sample order; says how many −9 are read as missing. Raises as `refuse_few`."""
    nines = 0 if inputs.no_input_missing_phenotype else count_missing_numbers(table, name)
    if nines:
        flag = "--no-input-missing-phenotype: as a number"
        log(f"column {name} of {table.path}: {count(nines, 'cell')} with -9 read as missing ({flag})")
    values = people.column_values(
        table, name, joined, advice=advice, missing_number=not inputs.no_input_missing_phenotype
    )
    refuse_few(fewest, int((~np.isnan(values)).sum()), name)
    for line in people.doubts(name, values):
        log(f"WARNING: {table.path}: {line}")
    return values


def _phenotype(
    inputs: Inputs, reader: GenotypeReader, table: Table, name: str, joined: people.Join, log: Log, fewest: int
) -> people.Phenotype:
    values = _numbers(inputs, reader, table, name, joined, log, fewest, people.CODING)
    phenotype = people.interpret_phenotype(name, values, force_01=inputs.force_01)
    zeros = int((values == 0).sum())
    if phenotype.binary and zeros and np.isnan(phenotype.values[values == 0]).all():
        log(f"phenotype {name} is read as 1 control, 2 case: {count(zeros, 'cell')} with 0 read as missing")
    seen = np.unique(values[~np.isnan(values)])
    if not phenotype.binary and len(seen) <= FEW_VALUES:
        found = people.of_many(values)
        log(f"WARNING: phenotype {name} takes only the values {found} and is read as quantitative{people.CODING}")
    return phenotype


def log_pasted(table: Table, joined: people.Join, log: Log) -> None:
    """Say how many people were found under FID_IID, as plink2 writes ids into a VCF."""
    if joined.pasted:
        log(f"{table.path}: {joined.pasted} people are matched by FID_IID, the genotype file has no family ids")


def rank_inverse_normal(values: np.ndarray) -> np.ndarray:
    """Φ⁻¹((rank − 3/8)/(n + 1/4)), ties at their mean rank (Blom 1958; regenie's --apply-rint)."""
    from scipy.special import ndtri  # a second of every start, for one option
    from scipy.stats import rankdata

    out: np.ndarray = ndtri((rankdata(values) - 0.375) / (len(values) + 0.25))
    return out
