"""A site's own people: phenotypes and covariates as the study file reads them, and the design that all sites share.

What one site cannot know alone is either in the study file (how a phenotype is coded) or opened as a sum (scales, which
phenotypes have the same samples). Who learns what: the sums that `design` and `null_model` ask for, pooled over the sites.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from types import MappingProxyType

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import Design
from securegen.design.side_by_side import side_by_side
from securegen.design.strata import Stratum
from securegen.engines.federated.rounds import not_below_own
from securegen.engines.federated.studyfile import CASE_CONTROL_12, QUANTITATIVE, StudyFile, TraitColumn
from securegen.errors import ArtefactError, InputError, PolicyError, UsageError
from securegen.governance.generalise import parse_rules, refuse_unused
from securegen.io.loco import Offsets
from securegen.io.tables import all_of, read_table
from securegen.model import Samples, Variants
from securegen.study import people as align
from securegen.study.build import Planned, analysed, common_people, designs, no_predictions
from securegen.study.inputs import REGENIE, Inputs, Log, silent
from securegen.study.noised import noised
from securegen.study.ploidy import AUTOSOMAL, NAMES, kinds_of
from securegen.study.strata import places_of, refuse_nowhere
from securegen.study.stratum import Blueprint, Place, QualitySets, stratum_at
from securegen.study.traits import Traits, minimised

NONE_CLOSED: Mapping[tuple[int, str], str] = MappingProxyType({})


def read_phenotype(values: np.ndarray, trait: TraitColumn, where: str) -> align.Phenotype:
    """Values as the study codes them; 0 of a 1/2 coding is missing. Raises InputError for any other value."""
    if trait.kind == QUANTITATIVE:
        return align.Phenotype(trait.name, values, False)
    out = np.where(values == 0, np.nan, values - 1) if trait.kind == CASE_CONTROL_12 else values
    wrong = values[~(np.isnan(out) | (out == 0) | (out == 1))]
    if len(wrong):
        coding = "1/2 (0 missing)" if trait.kind == CASE_CONTROL_12 else "0/1"
        raise InputError(f"{where}: {trait.name} holds {wrong[0]:g}; the study codes controls and cases {coding}")
    return align.Phenotype(trait.name, out, True)


def read_traits(
    study: StudyFile, site: str, inputs: Inputs, samples: Samples, components: np.ndarray, log: Log = silent
) -> Traits:
    """Read and join the site's tables. components: (N, C) coordinates on the study's loadings."""
    if inputs.pheno is None:
        raise UsageError("`pheno` is needed")
    table = read_table(inputs.pheno, all_of(inputs.pheno, [t.name for t in study.phenotypes]))
    rules = parse_rules(inputs.generalise)
    refuse_unused(rules, {*table.columns, *study.covariates})
    table = minimised(table, rules, inputs, silent)
    joined = align.join(samples, table)
    exact = tuple(read_phenotype(align.column_values(table, t.name, joined), t, inputs.pheno) for t in study.phenotypes)
    phenotypes = noised(inputs, samples, exact, log)
    columns, names, unknown = [], list(study.covariates), 0
    if study.covariates:
        if inputs.covar is None:
            raise UsageError(f"the study has covariates {', '.join(study.covariates)}: `covar` is needed")
        covar = read_table(inputs.covar, all_of(inputs.covar, study.covariates))
        covar = minimised(covar, rules, inputs, silent)
        covar_join = align.join(samples, covar)
        unknown = covar_join.unknown
        columns = [align.column_values(covar, name, covar_join) for name in study.covariates]
    for k in range(study.loadings_pcs or study.pcs):
        names.append(f"PC{k + 1}")
        columns.append(components[:, k])
    for other in study.sites[1:] if study.site_indicators else ():
        names.append(f"SITE={other.name}")
        columns.append(np.full(len(samples), float(other.name == site)))
    covariates = np.stack(columns, axis=1) if columns else np.empty((len(samples), 0))
    return Traits(phenotypes, covariates, tuple(names), (joined.unknown, unknown))


def _group(masks: Sequence[np.ndarray], total: fp.SumOverSites, secret: bytes) -> list[list[int]]:
    """Indices of phenotypes whose analysed samples are the same at every site: only whether they are is opened."""
    pairs = list(combinations(range(len(masks)), 2))
    unlike = [0 if (masks[i] == masks[j]).all() else _unlike(masks[i], masks[j], secret) for i, j in pairs]
    sums = total(unlike) if pairs else []
    not_below_own(np.array(unlike, object), np.array(sums, object))
    same = {pair for pair, found in zip(pairs, sums, strict=True) if found == 0}
    groups: list[list[int]] = []
    for j in range(len(masks)):
        home = next((g for g in groups if (g[0], j) in same), None)
        if home is None:
            groups.append([j])
        else:
            home.append(j)
    return groups


def _unlike(a: np.ndarray, b: np.ndarray, secret: bytes) -> int:
    """A positive number that says nothing of two sets but that they differ, the same at every start. Without the secret
    whoever guesses who is in them could check the guess."""
    mark = hmac.new(secret, b"sets\0" + np.packbits(np.stack([a, b])).tobytes(), hashlib.sha256).digest()
    return 1 + int.from_bytes(mark[:16], "little")


def plan_analyses(study: StudyFile, site: str, traits: Traits, samples: Samples, log: Log) -> list[Planned]:
    """Choose tests and samples from this site's data alone, before anything is sent.

    With the study's `common_samples`, everybody analysed has every phenotype, and a known sex where X is summed by sex.
    Raises PolicyError when this site has fewer people than the study's minimum.
    """
    tests = [study.test_of(t) for t in study.phenotypes]
    out, common = [], np.ones(len(samples), bool)
    if study.common_samples:
        common = common_people(traits.phenotypes, tests, traits.covariates)
        if study.by_sex:
            unknown = common & (samples.sex == 0)
            common &= samples.sex != 0
            if unknown.any():
                log(
                    f"{int(unknown.sum())} people of unknown sex are left out everywhere: X is analysed in the same people"
                )
    if traits.covariate_names:
        log(align.covariate_line(traits.covariate_names))
    for test, phenotype in zip(tests, traits.phenotypes, strict=True):
        mask, counts = analysed(phenotype, test, traits)
        left_out = counts.analysed - int((mask & common).sum())
        mask &= common
        if mask.sum() < study.smallest_cohort:
            raise PolicyError(
                f"site {site} has {int(mask.sum())} samples with phenotype {phenotype.name} and every covariate; the study "
                f"takes no site with fewer than {study.smallest_cohort}"
            )
        for line in counts.lines(phenotype.name, "this site's people"):
            log(line)
        if left_out:
            log(
                f"phenotype {phenotype.name}: {left_out} of them lack another phenotype or a covariate and are left out"
            )
        out.append(Planned(phenotype, test, mask))
    return out


def everybody(study: StudyFile, planned: Sequence[Planned]) -> np.ndarray:
    """(N,) bool: over whom quality control is: all samples of this site, or the common ones."""
    return planned[0].mask if study.common_samples else np.ones_like(planned[0].mask)


def set_of(phenotype: str) -> str:
    """What a set of samples is called over which columns are summed: its last sign says that it is not of X or Y."""
    return f'phenotype "{phenotype}"'


def sample_sets(study: StudyFile, planned: Sequence[Planned], samples: Samples) -> list[tuple[str, np.ndarray]]:
    """Every set of samples over which this study sums genotypes, by what it is for."""
    out = [(set_of(p.phenotype.name), p.mask) for p in planned]
    if study.sets is not None and len(planned) > 1:
        out.append(("frequencies of variants of sets", np.logical_or.reduce([p.mask for p in planned])))
    if study.qc:
        people = everybody(study, planned)
        out += [("quality control", people), ("founders", samples.founder & people)]
    return out


def federated_strata(
    study: StudyFile,
    planned: Sequence[Planned],
    traits: Traits,
    places: Sequence[Place],
    samples: Samples,
    total: fp.SumOverSites,
    secret: bytes,
    closed: Mapping[tuple[int, str], str] = NONE_CLOSED,
    log: Log = silent,
    *,
    top: int | None = None,
) -> tuple[Stratum, ...]:
    """The strata of the pooled cohort, this site's rows. The same calls of `total`, in the same order, everywhere.

    secret: 32 bytes of this site's memory, the same at every start; closed: of `closed.closed_strata`;
    top: the largest dosage of rows that sum variants.
    Raises DesignError as `study.build_strata` does, at every site alike.
    """

    def make(
        members: Sequence[Planned], own: Traits, offsets: Mapping[str, np.ndarray] | None, total: fp.SumOverSites
    ) -> list[Design]:
        return designs(
            members, own, bits=study.bits, total=total, offsets=offsets, alike=lambda masks: _group(masks, total, secret),
            interaction=study.interaction, correction=study.correction, coding=study.genetic_model,
            complete=study.missing == "complete",
            most=2 if top is None else -(-top // study.dosage_grid),
        )  # fmt: skip

    quality = None
    if study.qc:
        people = everybody(study, planned)
        quality = QualitySets(samples.founder & people, samples.founder & people, people)
    blueprint = Blueprint(
        planned, traits, samples.sex, make, log, quality, study.xchr_model or 2, study.x_as_stored, closed, top,
        coding=study.genetic_model,
    )  # fmt: skip
    strata = tuple(side_by_side(total, [partial(stratum_at, place, blueprint) for place in places]))
    refuse_nowhere(planned, strata)
    return strata


def places_at(
    study: StudyFile, traits: Traits, offsets: Mapping[str, Offsets] | None, variants: Variants
) -> list[Place]:
    """What shares a design, by the study's variants. Raises ArtefactError where they do not lie where the study says."""
    kinds = kinds_of(variants)
    found = tuple(NAMES[k] for k in np.unique(kinds[kinds != AUTOSOMAL]).tolist())
    if found != study.strata:
        raise ArtefactError(
            f"the study speaks of strata {', '.join(study.strata) or 'of none'}, its variants lie in {', '.join(found) or 'none'}"
        )
    none = no_predictions(traits) if study.statistic == REGENIE else None
    return places_of(kinds, variants, offsets, none)
