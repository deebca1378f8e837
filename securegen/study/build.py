"""From inputs and genotypes to the integer design of every phenotype: one owner's, or one site's of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from securegen.catalogue import FIRTH, NONE, Test, chosen
from securegen.design import fixedpoint as fp
from securegen.design.columns import Design, combine
from securegen.design.covariates import ScaledCovariates
from securegen.design.data import DesignData
from securegen.design.qc import qc_design
from securegen.errors import DesignError, UsageError
from securegen.governance.openings import close_sets
from securegen.model import GenotypeReader, coding_of
from securegen.study import people
from securegen.study.conditions import Conditions, read_conditions
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.traits import Traits, rank_inverse_normal, read_traits
from securegen.vocabulary import ADDITIVE


@dataclass(frozen=True)
class Planned:
    """One phenotype: its test and (N,) bool, who is analysed."""

    phenotype: people.Phenotype
    test: Test
    mask: np.ndarray


def build_design(
    inputs: Inputs, reader: GenotypeReader, log: Log = silent, *, among: np.ndarray | None = None
) -> Design:
    """The design of every phenotype of one owner; those of a test that allows it share the columns of the same people.

    among: as `read_traits`.

    Raises UsageError, InputError and DesignError, each saying which column and what to do.
    """
    traits = read_traits(inputs, reader, log, among=among)
    planned = plan(inputs, traits, log)
    offsets = no_predictions(traits) if inputs.as_regenie else None
    conditions = conditions_of(inputs, reader, planned, log)
    coding = coding_of(reader)
    parts = designs(
        planned, traits, bits=inputs.bits, offsets=offsets, conditions=conditions, coding=coding,
        interaction=inputs.interaction, correction=inputs.correction, complete=inputs.missing == "complete",
        most=most_copies(reader),
    )  # fmt: skip
    if inputs.qc:
        parts.append(build_qc(inputs, reader, traits.phenotypes))
    design = joined(parts, planned, share=True)
    if reader.dosage_max > 2:
        check_dosages(design, reader.dosage_max)
    for line in close_samples(design):
        log(f"WARNING: {line}")
    return design


def conditions_of(inputs: Inputs, reader: GenotypeReader, planned: Sequence[Planned], log: Log) -> Conditions:
    """Dosages that are covariates. Raises as `read_conditions`, and UsageError where no test has covariates."""
    conditions = read_conditions(inputs, reader, log)
    if conditions.names and not any(p.test.covariates for p in planned):
        raise UsageError(f"`condition`: model {planned[0].test.name} uses no covariates")
    return conditions


def designs(
    planned: Sequence[Planned],
    traits: Traits,
    *,
    bits: int | None,
    offsets: Mapping[str, np.ndarray] | None = None,
    total: fp.SumOverSites = fp.pooled,
    alike: Callable[[Sequence[np.ndarray]], list[list[int]]] = people.group_by_samples,
    conditions: Conditions | None = None,
    coding: str = ADDITIVE,
    interaction: str | None = None,
    correction: str = NONE,
    complete: bool = False,
    scaled: dict[bytes, ScaledCovariates] | None = None,
    most: int = 2,
) -> list[Design]:
    """The designs of planned phenotypes, of one owner or of one of several sites, which make the same calls of `total`.

    offsets: phenotype -> (N,) float64, what a whole-genome model predicts, or zeros for the statistic of regenie without one.
    alike: (masks) -> indices of those that are the same people, at every site; conditions:
    dosages that are covariates too; coding: the genetic model of the dosages that will be summed; interaction: the covariate
    whose product with a dosage is tested; correction: of `CORRECTIONS`, for which null models are kept of each person;
    complete: as of `DesignData`; scaled: remembers covariates of one owner for further calls with the same ones; most: copies
    that a person may have.
    Raises DesignError as the test's design, UsageError for a test that no genetic model is for.
    """
    if total is not fp.pooled:
        scaled = None
    elif scaled is None:
        scaled = {}
    _refuse_coding(planned, coding)

    def design(members: Sequence[Planned]) -> Design:
        test, mask = members[0].test, members[0].mask
        values = np.stack([m.phenotype.values[mask] for m in members], axis=1)
        covariates, names = traits.covariates[mask], traits.covariate_names
        if conditions is not None and conditions.names:
            covariates = np.concatenate([covariates, conditions.of(mask)], axis=1)
            names = (*names, *conditions.names)
        if not test.covariates:
            covariates, names = covariates[:, :0], ()
        group = DesignData(
            tuple(m.phenotype.name for m in members),
            values,
            mask,
            covariates,
            names,
            bits,
            scaled,
            coding=coding,
            interaction=interaction,
            corrected=correction != NONE,
            penalised=correction == FIRTH,
            complete=complete,
            most=most,
        )
        if offsets is not None:
            group = replace(group, offsets=np.stack([offsets[name][mask] for name in group.names], axis=1))
        return test.design(group, total)

    out = [design([p]) for p in planned if not p.test.together]
    for test in dict.fromkeys(p.test.name for p in planned if p.test.together):
        mine = [p for p in planned if p.test.name == test]
        out += [design([mine[i] for i in group]) for group in alike([p.mask for p in mine])]
    return out


def _refuse_coding(planned: Sequence[Planned], coding: str) -> None:
    for p in planned:
        if coding != ADDITIVE and not p.test.codings:
            raise UsageError(f"these genotypes are recoded ({coding}), which `model` {p.test.name} does not take")


def no_predictions(traits: Traits) -> dict[str, np.ndarray]:
    """The offsets of a run with the statistic of regenie and without predictions."""
    return {p.name: np.zeros(len(p.values)) for p in traits.phenotypes}


def joined(parts: Sequence[Design], planned: Sequence[Planned], *, share: bool) -> Design:
    """One design of all parts: analyses in the order of the phenotypes, quality control last. share: as `combine`."""
    design = combine(parts, share=share)
    position = {p.phenotype.name: i for i, p in enumerate(planned)}
    noise = {p.phenotype.name: p.phenotype.noise for p in planned}
    made = [replace(a, noise=noise[a.phenotype]) if a.association else a for a in design.analyses]
    analyses = sorted(made, key=lambda a: position[a.phenotype] if a.association else len(planned))
    return Design(design.columns, tuple(analyses))


def refuse_missing(test: Test, missing: str) -> None:
    """Raise UsageError where a test that imputes missing calls cannot leave people out, variant by variant."""
    if test.missing and missing not in test.missing:
        raise UsageError(f"{test.called} needs `missing` mean: its null model would differ for each variant")


def common_people(phenotypes: Sequence[people.Phenotype], tests: Sequence[Test], covariates: np.ndarray) -> np.ndarray:
    """(N,) bool: who has every phenotype, and every covariate unless no test uses them."""
    used = any(test.covariates for test in tests)
    out = ~np.isnan(covariates).any(axis=1) if used else np.ones(len(covariates), bool)
    for phenotype in phenotypes:
        out &= ~np.isnan(phenotype.values)
    return out


def analysed(phenotype: people.Phenotype, test: Test, traits: Traits) -> tuple[np.ndarray, people.DropCounts]:
    """(N,) bool: who has the phenotype and the covariates that the test uses, and how many were left out for what."""
    covariates = traits.covariates if test.covariates else traits.covariates[:, :0]
    return people.analysed_samples(phenotype.values, covariates, traits.unknown)


def plan(inputs: Inputs, traits: Traits, log: Log) -> list[Planned]:
    """The test of every phenotype and who is analysed, said aloud. Raises UsageError and DesignError."""
    tests = [chosen(inputs.model, binary=p.binary, interaction=inputs.interaction) for p in traits.phenotypes]
    _check_correction(inputs, traits.phenotypes, tests, log)
    common = np.ones(len(traits.covariates), bool)
    if inputs.common_samples:
        common = common_people(traits.phenotypes, tests, traits.covariates)
    out = []
    for phenotype, test in zip(traits.phenotypes, tests, strict=True):
        if test.binary and not phenotype.binary:
            raise DesignError(
                f"`model` {test.name} needs cases and controls; phenotype {phenotype.name} is quantitative"
            )
        mask, counts = analysed(phenotype, test, traits)
        _log_counts(phenotype, mask, counts, log)
        if (mask & ~common).any():
            log(f"--common-samples: {int((mask & ~common).sum())} of them lack another phenotype or a covariate")
            mask = mask & common
        if not mask.any():
            raise DesignError(f"no sample has phenotype {phenotype.name} and every covariate")
        refuse_missing(test, inputs.missing)
        if not test.covariates and (inputs.covar or inputs.missing != "mean"):
            log(f"WARNING: --model {test.name} uses called genotypes of everybody with {phenotype.name}; --covar and "
                "--missing are not used")  # fmt: skip
        if inputs.apply_rint and not test.binary:
            phenotype = _transformed(phenotype, mask, log)
        out.append(Planned(phenotype, test, mask))
    return out


def _check_correction(inputs: Inputs, phenotypes: Sequence[people.Phenotype], tests: Sequence[Test], log: Log) -> None:
    """Raise UsageError where no phenotype has a test that is corrected; say which are not."""
    if not inputs.corrects:
        return
    plain = [p.name for p, test in zip(phenotypes, tests, strict=True) if inputs.correction not in test.corrections]
    if len(plain) == len(tests):
        raise UsageError(
            f"`correction` {inputs.correction} needs cases and controls under `model` logistic, and no phenotype has them"
        )
    if plain:
        log(f"--correction {inputs.correction}: not of {', '.join(plain)}, whose model is not logistic")


def close_samples(design: Design) -> list[str]:
    """What tables of phenotypes with nearly the same people give away, in words."""
    sets = [(a.phenotype, design.columns.people(a.columns[0])) for a in design.analyses if a.association]
    return [
        f"phenotypes {first} and {second} are analysed in people who differ by {count}: these tables together give {count} "
        f"{'person' if count == 1 else 'people'}'s genotypes; --common-samples analyses both in the same people"
        for first, second, count in close_sets(sets)
    ]


def most_copies(reader: GenotypeReader) -> int:
    """Copies of A1 that a person may have: 2, or more where rows sum several variants."""
    return -(-reader.dosage_max // reader.dosage_grid)


def check_dosages(design: Design, top: int) -> None:
    """Raise PlanError unless n·Σgx and n·Σg² fit 64 bits for dosages of up to `top` units."""
    samples = len(design.columns.values)
    sums = (int(v) for v in np.abs(design.columns.values).sum(0))
    bound = samples * top * max([samples * top, *sums])
    fp.check_sum_bound(bound, f"the sums over dosages of up to {top} units")


def _log_counts(phenotype: people.Phenotype, mask: np.ndarray, counts: people.DropCounts, log: Log) -> None:
    kind = "quantitative"
    if phenotype.binary:
        cases = int((phenotype.values[mask] == 1).sum())
        kind = f"{cases:,} cases, {counts.analysed - cases:,} controls"
    for line in counts.lines(phenotype.name, kind):
        log(line)


def _transformed(phenotype: people.Phenotype, mask: np.ndarray, log: Log) -> people.Phenotype:
    log(f"phenotype {phenotype.name}: rank-based inverse normal transform (Blom), units are standard deviations")
    values = phenotype.values.copy()
    values[mask] = rank_inverse_normal(values[mask])
    return replace(phenotype, values=values)


def build_qc(inputs: Inputs, reader: GenotypeReader, phenotypes: Sequence[people.Phenotype]) -> Design:
    """The design of quality control: founders, everybody, and who is in the Hardy–Weinberg test."""
    founders, tested = quality_sets(inputs, reader, phenotypes)
    return qc_design(founders, tested, coding=coding_of(reader))


def quality_sets(
    inputs: Inputs, reader: GenotypeReader, phenotypes: Sequence[people.Phenotype]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool of founders, and of those in the Hardy–Weinberg test."""
    founders = reader.samples.founder
    if not inputs.hwe_controls:
        return founders, founders
    binary = next((p for p in phenotypes if p.binary), None)
    if binary is None:
        raise UsageError("`hwe_controls` needs a binary phenotype (`pheno`)")
    return founders, founders & (binary.values == 0)
