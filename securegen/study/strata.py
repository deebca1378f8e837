"""The strata of a study: one design for autosomes, and designs of their own for X, Y and MT, as plink2 has them.

X: people of known sex, with sex as a covariate. Y: males. MT: everybody, who has one copy. A phenotype that has no design
somewhere has rows of NA there. With predictions of a whole-genome model every chromosome has its own design, and X is as
regenie has it: everybody, and no covariate more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from securegen.catalogue import TESTS, models
from securegen.design.columns import Design
from securegen.design.covariates import ScaledCovariates
from securegen.design.fixedpoint import SumOverSites
from securegen.design.remade import Workbench, remade
from securegen.design.strata import Stratum, alone
from securegen.errors import DesignError, UsageError
from securegen.io.loco import Offsets
from securegen.io.text import count
from securegen.model import GenotypeReader, Variants, coding_of
from securegen.study import predictions
from securegen.study.build import (
    Planned,
    build_design,
    build_qc,
    close_samples,
    conditions_of,
    designs,
    most_copies,
    no_predictions,
    plan,
    quality_sets,
)
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.noised import enter_made
from securegen.study.people import Phenotype
from securegen.study.ploidy import AUTOSOMAL, NAMES, PloidyReader, X, kinds_of
from securegen.study.sexes import with_sexes
from securegen.study.stratum import Blueprint, Make, Place, QualitySets, stratum_at
from securegen.study.traits import Traits, read_traits

AS_REGENIE = (
    "X: males count 0 and 2, people of unknown sex too; sex is not added as a covariate, as in regenie (`xchr_model`)"
)


def build_strata(
    inputs: Inputs, reader: GenotypeReader, log: Log, *, qc_only: bool = False, among: np.ndarray | None = None
) -> tuple[GenotypeReader, tuple[Stratum, ...]]:
    """The cohort with dosages as they count copies, and its strata. Raises as `build_design`.

    qc_only: of quality control alone; among: as `read_traits`. Without variants on X, Y and MT there is one stratum, and
    the reader as it is.
    """
    reader = with_sexes(inputs, reader, log)
    kinds = kinds_of(reader.variants)
    if not kinds.any() and (qc_only or not inputs.pred):
        if qc_only:
            return reader, alone(build_qc(inputs, reader, _phenotypes(inputs, reader)), len(kinds))
        strata = alone(build_design(inputs, reader, log, among=among), len(kinds))
        enter_made(inputs, strata)
        return reader, strata
    recoded = PloidyReader(reader, kinds, inputs.x_model, log=log)
    traits = None if qc_only else read_traits(inputs, reader, log, among=among)
    offsets = None
    if inputs.pred and traits is not None:
        traits, offsets = predictions.read_predictions(inputs.pred, reader.samples, traits, log)
    phenotypes = _phenotypes(inputs, reader) if traits is None else traits.phenotypes
    planned = [] if traits is None else plan(inputs, traits, log)
    _refuse_without(inputs, planned)
    none = no_predictions(traits) if traits is not None and inputs.as_regenie else None
    places = places_of(kinds, reader.variants, offsets, none)
    if inputs.x_as_stored and (kinds == X).any():
        log(AS_REGENIE)
    quality = None
    if inputs.qc or qc_only:
        quality = QualitySets(*quality_sets(inputs, reader, phenotypes), np.ones(len(reader.samples), bool))
    blueprint = Blueprint(
        planned, traits, reader.samples.sex, _make(inputs, reader, planned, qc_only, log), log, quality, inputs.x_model,
        inputs.x_as_stored, top=reader.dosage_max, coding=coding_of(reader),
    )  # fmt: skip
    make = partial(_one_at_a_time, bench=Workbench()) if offsets is not None else stratum_at
    strata = tuple(make(place, blueprint) for place in places)
    refuse_nowhere(planned, strata)
    enter_made(inputs, strata)
    _say_left_out(planned, int((kinds != AUTOSOMAL).sum()), log)
    for line in close_people(strata):
        log(f"WARNING: {line}")
    return recoded, strata


def _one_at_a_time(place: Place, blueprint: Blueprint, *, bench: Workbench) -> Stratum:
    """As `stratum_at`, of one of many: its columns are made again when its variants come, and dropped after."""
    bench.clear()
    made, again = stratum_at(place, blueprint), replace(blueprint, log=silent)
    return replace(made, design=remade(made.design, lambda: stratum_at(place, again).design, bench))


def _make(inputs: Inputs, reader: GenotypeReader, planned: Sequence[Planned], qc_only: bool, log: Log) -> Make:
    conditions = None if qc_only else conditions_of(inputs, reader, planned, log)
    scaled: dict[bytes, ScaledCovariates] = {}

    def make(
        members: Sequence[Planned], traits: Traits, offsets: Mapping[str, np.ndarray] | None, total: SumOverSites
    ) -> list[Design]:
        return designs(
            members,
            traits,
            bits=inputs.bits,
            offsets=offsets,
            total=total,
            conditions=conditions,
            coding=coding_of(reader),
            interaction=inputs.interaction,
            correction=inputs.correction,
            complete=inputs.missing == "complete",
            scaled=scaled,
            most=most_copies(reader),
        )

    return make


def _phenotypes(inputs: Inputs, reader: GenotypeReader) -> Sequence[Phenotype]:
    return read_traits(inputs, reader).phenotypes if inputs.pheno else ()


def places_of(
    kinds: np.ndarray, variants: Variants, found: Mapping[str, Offsets] | None, none: Mapping[str, np.ndarray] | None
) -> list[Place]:
    """What shares a design: all variants of a kind; with predictions, of a chromosome. none: offsets without predictions."""
    if found is None:
        return [Place(NAMES[kind], kind, kinds == kind, none) for kind in np.unique(kinds).tolist()]
    return _by_chromosome(kinds, variants, found)


def _by_chromosome(kinds: np.ndarray, variants: Variants, found: Mapping[str, Offsets]) -> list[Place]:
    """A place for each chromosome, and one for the ends of X where they are named, which have the predictions of X; of a
    cohort that is encrypted already, others for variants whose chromosome has none."""
    rows = predictions.rows_of(variants)
    out = []
    for kind, row in dict.fromkeys(zip(kinds.tolist(), rows.tolist(), strict=True)):
        if row == predictions.NO_ROW:
            out.append(Place(NAMES[kind], kind, (kinds == kind) & (rows == row), analysed=False))
            continue
        name = NAMES[X] if kind == X else "PAR" if row == predictions.X_ROW else f"chr{row}"
        out.append(Place(name, kind, (kinds == kind) & (rows == row), predictions.At(found, row)))
    return out


def _refuse_without(inputs: Inputs, planned: Sequence[Planned]) -> None:
    """Raise UsageError for a test that has no place for predictions."""
    for p in planned:
        if inputs.pred and not p.test.predictions:
            raise UsageError(f"`pred` is for a `model` with a null model, not for {p.test.name}")


def _say_left_out(planned: Sequence[Planned], variants: int, log: Log) -> None:
    for test in dict.fromkeys(p.test.name for p in planned if not p.test.copies):
        log(f"WARNING: {count(variants, 'variant')} on X, Y or MT have no row in tables of --model {test}, which counts two "
            "alleles per person")  # fmt: skip


def refuse_nowhere(planned: Sequence[Planned], strata: Sequence[Stratum]) -> None:
    """Raise DesignError for a phenotype that is analysed nowhere."""
    known = {(a.test, a.phenotype) for s in strata for a in s.design.analyses}
    for p in planned:
        if (p.test.name, p.phenotype.name) in known:
            continue
        reasons = [r.reason for s in strata for r in s.refused if r.phenotype == p.phenotype.name]
        if reasons:
            raise DesignError(reasons[0])
        others = ", ".join(name for name in models() if TESTS[name].copies)
        raise DesignError(
            f"`model` {p.test.name} uses chromosomes 1 to 22 alone, and no variant is left there: {others} use X, Y and MT too"
        )


def close_people(strata: Sequence[Stratum]) -> list[str]:
    """As `close_samples`, of every stratum, each line once."""
    return list(dict.fromkeys(line for s in strata if s.design.columns.names for line in close_samples(s.design)))
