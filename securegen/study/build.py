"""From inputs and genotypes to the integer design of every phenotype: one owner's, or one site's of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import Design, combine
from securegen.design.contingency import contingency_design
from securegen.design.covariates import ScaledCovariates
from securegen.design.linear import linear_design
from securegen.design.logistic import logistic_design
from securegen.design.qc import qc_design
from securegen.errors import DesignError, UsageError
from securegen.governance.openings import close_sets
from securegen.model import GenotypeReader
from securegen.study import people
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.traits import Traits, rank_inverse_normal, read_traits


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
            raise DesignError(f"`model` {test} needs cases and controls; phenotype {phenotype.name} is quantitative")
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
                raise UsageError("the score test needs `missing` mean: its null model would differ for each variant")
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
            raise UsageError("`hwe_controls` needs a binary phenotype (`pheno`)")
        tested = founders & (binary.values == 0)
    return qc_design(founders, tested, total=total)


def _in_order(design: Design, names: Sequence[str]) -> Design:
    """Analyses in the order of the phenotype file; quality control last."""
    position = {name: i for i, name in enumerate(names)}
    analyses = sorted(design.analyses, key=lambda a: len(names) if a.test == "qc" else position[a.phenotype])
    return Design(design.columns, tuple(analyses))
