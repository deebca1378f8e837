"""A study as its user names it: files, names and filters -> a genotype reader and a design, with a log of every choice.

Both the command line and Python start here, so that they read the same samples and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from securegen.design import fixedpoint as fp
from securegen.design.binary import contingency_design, logistic_design, qc_design
from securegen.design.linear import Design, ScaledCovariates, combine, linear_design
from securegen.errors import DesignError, UsageError
from securegen.governance.openings import close_sets
from securegen.io.digests import sha256
from securegen.io.genotypes import FIELDS, FORMATS, LISTS, OPTIONS, GenotypeFiles
from securegen.io.tables import Table, count_missing_numbers, expand_names, read_table
from securegen.io.text import count
from securegen.model import GenotypeReader, SelectableReader
from securegen.study import checks, people, selection
from securegen.vocabulary import MODELS

Log = selection.Log
MISSING = ("mean", "complete")
FEW_VALUES = 4  # of a quantitative trait: is one of them a missing code?
_SEVERAL = ("pheno_name", "covar_name", "chr", "covar_categorical")
_TABLES = ("pheno", "covar", "keep", "remove", "extract", "exclude")
_FLAGS = ("force_01", "apply_rint", "qc", "hwe_controls", "no_input_missing_phenotype")


def silent(_: str) -> None:
    """Log nothing."""


@dataclass(frozen=True)
class Inputs(GenotypeFiles):
    """What names a study: genotypes as in `io.genotypes.GenotypeFiles`, phenotypes, and how they are analysed. Paths are
    text; pheno_name and covar_name None mean every column of the file.

    model: linear, logistic, trend, allelic, or None to choose by the phenotype; missing: mean or complete;
    bits: of a design column, None for the planned precision; force_01: read 0/1 as control/case even if one is absent;
    covar_categorical: covariates that are categories; apply_rint: rank-based inverse normal transform of quantitative
    traits; chr, from_bp, to_bp: where variants lie; qc: also sum what quality control needs; hwe_controls:
    Hardy–Weinberg over controls of the first binary phenotype only; no_input_missing_phenotype: −9 is a number;
    common_samples: analyse every phenotype in the people who have all of them, None where the engine decides.

    One name may be given as text. Raises UsageError for a value that a field does not take.
    """

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
    chr: tuple[str, ...] | None = None
    from_bp: int | None = None
    to_bp: int | None = None
    bits: int | None = None
    force_01: bool = False
    covar_categorical: tuple[str, ...] | None = None
    apply_rint: bool = False
    qc: bool = False
    hwe_controls: bool = False
    no_input_missing_phenotype: bool = False
    common_samples: bool | None = None

    def __post_init__(self) -> None:
        for name in _SEVERAL:
            object.__setattr__(self, name, checks.names(name, getattr(self, name)))
        for name in FORMATS:
            object.__setattr__(self, name, checks.paths(name, getattr(self, name)))
        for name in (*LISTS, *(o.name for o in OPTIONS.values() if o.metavar), *_TABLES):
            object.__setattr__(self, name, checks.path(name, getattr(self, name)))
        for option in OPTIONS.values():
            if option.choices:
                checks.choice(option.name, getattr(self, option.name), (None, *option.choices))
        for name in (*_FLAGS, *(o.name for o in OPTIONS.values() if o.off)):
            checks.flag(name, getattr(self, name))
        checks.choice("common_samples", self.common_samples, (None, True, False))
        checks.choice("model", self.model, (None, *MODELS))
        checks.choice("missing", self.missing, MISSING)
        checks.whole("bits", self.bits, fp.MINIMUM_BITS, fp.MAXIMUM_BITS)
        checks.whole("from_bp", self.from_bp, 0, None)
        checks.whole("to_bp", self.to_bp, 0, None)
        checks.whole("dosage_grid", self.dosage_grid, 1, None)
        if self.from_bp is not None and self.to_bp is not None and self.from_bp > self.to_bp:
            raise UsageError(f"from_bp {self.from_bp} lies behind to_bp {self.to_bp}")

    @property
    def genotypes(self) -> GenotypeFiles:
        return GenotypeFiles(**{name: getattr(self, name) for name in FIELDS})

    def files(self) -> dict[str, Path]:
        """Every input file by the name it has in run.json."""
        out = self.genotypes.files()
        for name in _TABLES:
            if getattr(self, name):
                out[name] = Path(getattr(self, name))
        return out

    def digests(self) -> dict[str, str]:
        """SHA-256 of every input file."""
        return {name: sha256(path) for name, path in self.files().items()}


def open_genotypes(inputs: Inputs, log: Log = silent, opened: SelectableReader | None = None) -> SelectableReader:
    """Open the genotypes (or take a reader), apply the sample and variant filters and settle the dosage grid.

    Raises UsageError when nothing is left.
    """
    files = inputs.genotypes
    reader = opened if opened is not None else files.open(log)
    log(
        f"{files.name if opened is None else 'genotypes in memory'}: {len(reader.samples)} samples, "
        f"{len(reader.variants)} variants"
    )
    if opened is None and files.form is FORMATS["bgen"]:
        log(f"REF is the {'last' if files.ref_last else 'first'} allele of the BGEN; --ref-last and --ref-first choose")
    keep = selection.chosen_samples(reader.samples, inputs.keep, inputs.remove, log)
    wanted = selection.chosen_variants(reader.variants, inputs.extract, inputs.exclude, log)
    wanted &= selection.in_range(reader.variants, inputs.chr, inputs.from_bp, inputs.to_bp, log)
    wanted &= selection.supported(reader.variants, wanted, log)
    if not wanted.any():
        raise UsageError(
            "the filters leave no variant: --extract, --exclude, --chr, --from-bp and --to-bp act together"
        )
    if not (keep.all() and wanted.all()):
        reader = reader.select(np.flatnonzero(keep), np.flatnonzero(wanted))
    reader = reader.on_grid(inputs.dosage_grid)
    if reader.dosage_grid > 1:
        log(f"dosages are rounded to 1/{reader.dosage_grid}; the printed precision is that of everything else")
    return reader


@dataclass(frozen=True)
class Traits:
    """Phenotypes and covariates in sample order: phenotypes; covariates (N, K−1) float64 with NaN; their names; and how
    many rows of each table name nobody in the genotype file."""

    phenotypes: tuple[people.Phenotype, ...]
    covariates: np.ndarray
    covariate_names: tuple[str, ...]
    unknown: tuple[int, int]


def read_traits(inputs: Inputs, reader: GenotypeReader, log: Log = silent) -> Traits:
    """Read and join the phenotype and covariate tables."""
    if inputs.pheno is None:
        raise UsageError("--pheno is needed")
    table = read_table(inputs.pheno).select(inputs.pheno_name)
    if not table.columns:
        raise UsageError(f"{inputs.pheno} has no phenotype column")
    for name in table.columns:
        checks.file_name(name, table.path)
    joined = people.join(reader.samples, table)
    log_pasted(table, joined, log)
    phenotypes = tuple(_phenotype(inputs, reader, table, name, joined, log) for name in table.columns)
    names: list[str] = []
    columns: list[np.ndarray] = []
    unknown = 0
    if inputs.covar:
        table = read_table(inputs.covar).select(inputs.covar_name)
        covar_join = people.join(reader.samples, table)
        log_pasted(table, covar_join, log)
        unknown = covar_join.unknown
        categorical = set(
            expand_names(
                inputs.covar_categorical or (),
                list(table.columns),
                f"--covar-categorical: the chosen part of {table.path}",
            )
        )
        for name in table.columns:
            if name in categorical:
                expanded = people.category_columns(reader.samples, table, name, covar_join)
                log(f"covariate {name}: categories, {len(expanded)} indicator columns ({', '.join(expanded)})")
                names += expanded
                columns += expanded.values()
            else:
                names.append(name)
                columns.append(_numbers(inputs, reader, table, name, covar_join, log))
        log(people.covariate_line(names))
    elif inputs.covar_name or inputs.covar_categorical:
        raise UsageError("--covar-name and --covar-categorical need --covar")
    covariates = np.stack(columns, axis=1) if columns else np.empty((len(reader.samples), 0))
    return Traits(phenotypes, covariates, tuple(names), (joined.unknown, unknown))


def _numbers(
    inputs: Inputs, reader: GenotypeReader, table: Table, name: str, joined: people.Join, log: Log, advice: str = ""
) -> np.ndarray:
    """A column of numbers in sample order; says how many −9 are read as missing."""
    nines = 0 if inputs.no_input_missing_phenotype else count_missing_numbers(table, name)
    if nines:
        flag = "--no-input-missing-phenotype: as a number"
        log(f"column {name} of {table.path}: {count(nines, 'cell')} with -9 read as missing ({flag})")
    values = people.column_values(
        reader.samples, table, name, joined, advice=advice, missing_number=not inputs.no_input_missing_phenotype
    )
    for line in people.doubts(name, values):
        log(f"WARNING: {table.path}: {line}")
    return values


def _phenotype(
    inputs: Inputs, reader: GenotypeReader, table: Table, name: str, joined: people.Join, log: Log
) -> people.Phenotype:
    values = _numbers(inputs, reader, table, name, joined, log, people.CODING)
    phenotype = people.interpret_phenotype(name, values, force_01=inputs.force_01)
    zeros = int((values == 0).sum())
    if phenotype.binary and zeros and np.isnan(phenotype.values[values == 0]).all():
        log(f"phenotype {name} is read as 1 control, 2 case: {count(zeros, 'cell')} with 0 read as missing")
    seen = np.unique(values[~np.isnan(values)])
    if not phenotype.binary and len(seen) <= FEW_VALUES:
        found = ", ".join(f"{v:g}" for v in seen)
        log(f"WARNING: phenotype {name} takes only the values {found} and is read as quantitative{people.CODING}")
    return phenotype


def log_pasted(table: Table, joined: people.Join, log: Log) -> None:
    """Say how many people were found under FID_IID, as plink2 writes ids into a VCF."""
    if joined.pasted:
        log(f"{table.path}: {joined.pasted} people are matched by FID_IID, the genotype file has no family ids")


def build_design(
    inputs: Inputs, reader: GenotypeReader, log: Log = silent, total: fp.SumOverSites = fp.pooled
) -> Design:
    """The design of every phenotype; quantitative ones with the same analysed samples share their columns."""
    traits = read_traits(inputs, reader, log)
    linear: list[tuple[people.Phenotype, np.ndarray]] = []
    parts: list[Design] = []
    common = _common_samples(inputs, traits) if inputs.common_samples else np.ones(len(reader.samples), bool)
    scaled: dict[bytes, ScaledCovariates] = {}
    for phenotype in traits.phenotypes:
        test = inputs.model or ("logistic" if phenotype.binary else "linear")
        if test != "linear" and not phenotype.binary:
            raise DesignError(f"--model {test} needs cases and controls; phenotype {phenotype.name} is quantitative")
        contingency = test in ("trend", "allelic")
        covariates = np.empty((len(reader.samples), 0)) if contingency else traits.covariates
        mask, counts = people.analysed_samples(phenotype.values, covariates, traits.unknown)
        _log_counts(phenotype, mask, counts, log)
        if (mask & ~common).any():
            log(f"--common-samples: {int((mask & ~common).sum())} of them lack another phenotype or a covariate")
            mask = mask & common
        if not mask.any():
            raise DesignError(f"no sample has phenotype {phenotype.name} and every covariate")
        if test == "linear":
            linear.append((phenotype, mask))
        elif test == "logistic":
            if inputs.missing == "complete":
                raise UsageError("the score test needs --missing mean: its null model would differ for each variant")
            cases = phenotype.values[mask]
            parts.append(
                logistic_design(
                    mask,
                    covariates[mask],
                    traits.covariate_names,
                    cases,
                    phenotype.name,
                    total=total,
                    bits=inputs.bits,
                    scaled=scaled if total is fp.pooled else None,
                )  # fmt: skip
            )
        else:
            if inputs.covar or inputs.missing != "mean":
                log(f"WARNING: --model {test} uses called genotypes of everybody with {phenotype.name}; --covar and "
                    "--missing are not used")  # fmt: skip
            parts.append(contingency_design(mask, phenotype.values == 1, phenotype.name, test, total=total))
    for group in people.group_by_samples([mask for _, mask in linear]):
        members, mask = [linear[i][0] for i in group], linear[group[0]][1]
        values = np.stack([_transformed(m.values[mask], inputs, m.name, log) for m in members], axis=1)
        parts.append(
            linear_design(
                mask, traits.covariates[mask], traits.covariate_names, values, [m.name for m in members], total=total,
                bits=inputs.bits,
            )
        )  # fmt: skip
    if inputs.qc:
        parts.append(build_qc(inputs, reader, total, traits.phenotypes))
    design = combine(parts, share=total is fp.pooled)
    if reader.dosage_max > 2:
        check_dosages(design, reader.dosage_max)
    for line in close_samples(design):
        log(f"WARNING: {line}")
    return _in_order(design, [p.name for p in traits.phenotypes])


def _common_samples(inputs: Inputs, traits: Traits) -> np.ndarray:
    """(N,) bool: who has every phenotype, and every covariate unless no test uses them."""
    used = inputs.model not in ("trend", "allelic")
    out = ~np.isnan(traits.covariates).any(axis=1) if used else np.ones(len(traits.covariates), bool)
    for phenotype in traits.phenotypes:
        out &= ~np.isnan(phenotype.values)
    return out


def close_samples(design: Design) -> list[str]:
    """What tables of phenotypes with nearly the same people give away, in words."""
    sets = [(a.phenotype, design.columns.values[:, a.columns[0]] != 0) for a in design.analyses if a.test != "qc"]
    return [
        f"phenotypes {first} and {second} are analysed in people who differ by {count}: these tables together give {count} "
        f"{'person' if count == 1 else 'people'}'s genotypes; --common-samples analyses both in the same people"
        for first, second, count in close_sets(sets)
    ]


def check_dosages(design: Design, top: int) -> None:
    """Raise PlanError unless n·Σgx and n·Σg² fit 64 bits for dosages of up to `top` units."""
    samples = len(design.columns.values)
    sums = [int(v) for v in np.abs(design.columns.values).sum(0)]
    bound = samples * top * max(*sums, samples * top)
    fp.check_sum_bound(bound, f"the sums over dosages of up to {top} units")


def _log_counts(phenotype: people.Phenotype, mask: np.ndarray, counts: people.DropCounts, log: Log) -> None:
    kind = "quantitative"
    if phenotype.binary:
        cases = int((phenotype.values[mask] == 1).sum())
        kind = f"{cases:,} cases, {counts.analysed - cases:,} controls"
    for line in counts.lines(phenotype.name, kind):
        log(line)


def _transformed(values: np.ndarray, inputs: Inputs, name: str, log: Log) -> np.ndarray:
    if not inputs.apply_rint:
        return values
    log(f"phenotype {name}: rank-based inverse normal transform (Blom), units are standard deviations")
    return rank_inverse_normal(values)


def rank_inverse_normal(values: np.ndarray) -> np.ndarray:
    """Φ⁻¹((rank − 3/8)/(n + 1/4)), ties at their mean rank (Blom 1958; regenie's --apply-rint)."""
    from scipy.stats import rankdata  # a second of every start, for one option

    return ndtri((rankdata(values) - 0.375) / (len(values) + 0.25))


def build_qc(
    inputs: Inputs,
    reader: GenotypeReader,
    total: fp.SumOverSites = fp.pooled,
    phenotypes: Sequence[people.Phenotype] = (),
) -> Design:
    """The design of quality control: founders, everybody, and who is in the Hardy–Weinberg test."""
    founders = reader.samples.founder
    tested = founders
    if inputs.hwe_controls:
        binary = next((p for p in phenotypes if p.binary), None)
        if binary is None:
            raise UsageError("--hwe-controls needs a binary phenotype (--pheno)")
        tested = founders & (binary.values == 0)
    return qc_design(founders, tested, total=total)


def _in_order(design: Design, names: Sequence[str]) -> Design:
    """Analyses in the order of the phenotype file; quality control last."""
    position = {name: i for i, name in enumerate(names)}
    analyses = sorted(design.analyses, key=lambda a: len(names) if a.test == "qc" else position[a.phenotype])
    return Design(design.columns, tuple(analyses))
