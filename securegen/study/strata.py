"""The strata of a study: one design for autosomes, and designs of their own for X, Y and MT, as plink2 has them.

X: people of known sex, with sex as a covariate. Y: males. MT: everybody, who has one copy. A phenotype that has no design
somewhere has rows of NA there. With predictions of a whole-genome model every chromosome has its own design, and X is as
regenie has it: everybody, and no covariate more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from securegen.catalogue import MODELS, TESTS, record_of
from securegen.design import qc
from securegen.design.columns import Design
from securegen.design.strata import Stratum, Unanalysed, alone, runs_where
from securegen.errors import DesignError, UsageError
from securegen.io.loco import Offsets
from securegen.io.text import count
from securegen.model import Columns, GenotypeReader, Variants
from securegen.study import predictions
from securegen.study.build import (
    Planned,
    build_design,
    build_qc,
    check_dosages,
    close_samples,
    conditions_of,
    designs,
    joined,
    no_predictions,
    plan,
    quality_sets,
)
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.people import Phenotype
from securegen.study.ploidy import AUTOSOMAL, FEMALE, MALE, MT, NAMES, PloidyReader, X, Y, halves, kinds_of
from securegen.study.sexes import with_sexes
from securegen.study.traits import Traits, read_traits
from securegen.vocabulary import CORR_TOO_HIGH, TOO_FEW_SAMPLES

Make = Callable[[Sequence[Planned], Traits], list[Design]]
SEX = "SEX"
SPANNED = 1e-9  # largest share of the variance of sex that covariates leave which say the same


@dataclass(frozen=True)
class _Place:
    """Variants that will share a design. kind: of `ploidy`; which: (M,) bool; offsets: as of `build.designs`."""

    name: str
    kind: int
    which: np.ndarray
    offsets: Mapping[str, np.ndarray] | None


def build_strata(
    inputs: Inputs, reader: GenotypeReader, log: Log = silent, *, qc_only: bool = False
) -> tuple[GenotypeReader, tuple[Stratum, ...]]:
    """The cohort with dosages as they count copies, and its strata. Raises as `build_design`.

    qc_only: of quality control alone. Without variants on X, Y and MT there is one stratum, and the reader as it is.
    """
    reader = with_sexes(inputs, reader, log)
    kinds = kinds_of(reader.variants)
    if not kinds.any() and (qc_only or not inputs.pred):
        if qc_only:
            return reader, alone(build_qc(inputs, reader, phenotypes=_phenotypes(inputs, reader)), len(kinds))
        return reader, alone(build_design(inputs, reader, log), len(kinds))
    recoded = PloidyReader(reader, kinds, inputs.x_model)
    traits = None if qc_only else read_traits(inputs, reader, log)
    offsets = None
    if inputs.pred and traits is not None:
        traits, offsets = predictions.read_predictions(inputs.pred, reader.samples, traits, log)
    phenotypes = _phenotypes(inputs, reader) if traits is None else traits.phenotypes
    planned = [] if traits is None else plan(inputs, traits, log)
    _refuse_without(inputs, planned)
    if offsets is not None:
        places = _by_chromosome(kinds, reader.variants, offsets)
    else:
        none = no_predictions(traits) if traits is not None and inputs.as_regenie else None
        places = [_Place(NAMES[kind], kind, kinds == kind, none) for kind in np.unique(kinds).tolist()]
    if inputs.x_as_stored and (kinds == X).any():
        log(
            "X: males count 0 and 2, people of unknown sex too, and sex is no covariate, as regenie has it (`xchr_model`)"
        )
    conditions = None if traits is None else conditions_of(inputs, reader, planned, log)
    parts = []
    for place in places:
        make = partial(
            designs, bits=inputs.bits, conditions=conditions, offsets=place.offsets, interaction=inputs.interaction
        )
        kind = AUTOSOMAL if place.kind == X and inputs.x_as_stored else place.kind
        parts.append((place, *_parts(kind, planned, traits, reader.samples.sex, make, log)))
    _refuse_nowhere(
        planned, [d for _, found, _ in parts for d in found], [r for _, _, refused in parts for r in refused]
    )
    _say_left_out(planned, int((kinds != AUTOSOMAL).sum()), log)
    strata: list[Stratum] = []
    for place, found, refused in parts:
        kind = place.kind
        if inputs.qc or qc_only:
            found = [*found, _quality(kind, inputs, reader, phenotypes)]
        nothing = Design(Columns((), np.zeros((len(reader.samples), 0), np.int64), ()), ())
        design = joined(found, planned, share=True) if found else nothing
        doubled = kind == X and inputs.x_model == 1
        if doubled:
            design = count_apart(design, reader.samples.sex == MALE)
        if (top := reader.dosage_max * (1 + doubled)) > 2:
            check_dosages(design, top)
        unit = 1 + halves(kind, inputs.x_model)
        copies = 1 if kind in (Y, MT) else 2
        strata.append(Stratum(place.name, runs_where(place.which), design, unit, copies, tuple(refused)))
    for line in close_people(strata):
        log(f"WARNING: {line}")
    return recoded, tuple(strata)


def _phenotypes(inputs: Inputs, reader: GenotypeReader) -> Sequence[Phenotype]:
    return read_traits(inputs, reader).phenotypes if inputs.pheno else ()


def _by_chromosome(kinds: np.ndarray, variants: Variants, found: Mapping[str, Offsets]) -> list[_Place]:
    """A place for each chromosome, and one for the ends of X where they are named, which have the predictions of X."""
    rows = predictions.rows_of(variants)
    out = []
    for kind, row in dict.fromkeys(zip(kinds.tolist(), rows.tolist(), strict=True)):
        name = NAMES[X] if kind == X else "PAR" if row == predictions.X_ROW else f"chr{row}"
        out.append(_Place(name, kind, (kinds == kind) & (rows == row), predictions.at(found, row)))
    return out


def _refuse_without(inputs: Inputs, planned: Sequence[Planned]) -> None:
    """Raise UsageError for a test that has no place for predictions."""
    for p in planned:
        if inputs.pred and not p.test.predictions:
            raise UsageError(f"`pred` is for a `model` with a null model, not for {p.test.name}")


def _parts(
    kind: int, planned: Sequence[Planned], traits: Traits | None, sex: np.ndarray, make: Make, log: Log
) -> tuple[list[Design], list[Unanalysed]]:
    """Designs of the phenotypes on chromosomes of a kind, and those that have none there. Raises DesignError for one that
    has none where everybody is analysed."""
    if traits is None:
        return [], []
    if kind == AUTOSOMAL:
        return make(planned, traits), []
    mine = [p for p in planned if p.test.copies]
    if kind == MT:
        return make(mine, traits), []
    present = sex == MALE if kind == Y else (sex == MALE) | (sex == FEMALE)
    mine = [replace(p, mask=p.mask & present) for p in mine]
    chosen: dict[tuple[str, ...], tuple[Traits, list[Planned]]] = {}
    for p, before in zip(mine, (p for p in planned if p.test.copies), strict=True):
        _say_people(kind, p, before, log)
        own = _covariates(kind, p, traits, sex, log)
        chosen.setdefault(own.covariate_names, (own, []))[1].append(p)
    made: list[Design] = []
    refused: list[Unanalysed] = []
    for own, members in chosen.values():
        nobody = "no male" if kind == Y else "nobody of known sex (`sex_name` takes it from a table)"
        for p in (p for p in members if not p.mask.any()):
            name = p.phenotype.name
            reason = f"{nobody} has {name} and every covariate"
            refused.append(Unanalysed(p.test.name, name, TOO_FEW_SAMPLES, 0, 0, reason))
        good, bad = _attempt([p for p in members if p.mask.any()], own, make)
        made += good
        refused += bad
    for r in refused:
        log(f"WARNING: {NAMES[kind]}: phenotype {r.phenotype} is not analysed there, its rows are NA: {r.reason}")
    return made, refused


def _attempt(members: Sequence[Planned], traits: Traits, make: Make) -> tuple[list[Design], list[Unanalysed]]:
    """Designs of phenotypes together, or, where one of them has none, of each alone."""
    try:
        return make(members, traits), []
    except DesignError as error:
        if len(members) > 1:
            parts = [_attempt([member], traits, make) for member in members]
            return [d for made, _ in parts for d in made], [r for _, refused in parts for r in refused]
        (p,) = members
        values = p.phenotype.values[p.mask]
        few = len(values) < len(traits.covariate_names) + 3 or (p.test.binary and len(np.unique(values)) < 2)
        cases = int((values == 1).sum())
        code = TOO_FEW_SAMPLES if few else CORR_TOO_HIGH
        return [], [Unanalysed(p.test.name, p.phenotype.name, code, len(values), cases, str(error))]


def _say_people(kind: int, p: Planned, before: Planned, log: Log) -> None:
    here, lost = int(p.mask.sum()), int((before.mask & ~p.mask).sum())
    if kind == Y:
        log(f"Y, phenotype {p.phenotype.name}: {count(here, 'male')} of {int(before.mask.sum()):,} people")
    elif lost and here:
        log(f"WARNING: X, phenotype {p.phenotype.name}: {lost} of {here + lost:,} people are left out there, their sex is not "
            "known; --sex-name takes it from a table")  # fmt: skip


def _covariates(kind: int, p: Planned, traits: Traits, sex: np.ndarray, log: Log) -> Traits:
    """The covariates of a phenotype on X or Y: without those that are constant among its people, and on X with sex unless
    they say it."""
    if not p.test.covariates:
        return traits
    where = f"{NAMES[kind]}, phenotype {p.phenotype.name}"
    here = traits.covariates[p.mask]
    varies = (here != here[:1]).any(axis=0)
    names = [name for name, kept in zip(traits.covariate_names, varies, strict=True) if kept]
    if p.mask.any() and not varies.all():
        constant = [name for name, kept in zip(traits.covariate_names, varies, strict=True) if not kept]
        log(f"{where}: {', '.join(constant)} is the same for everybody there: no covariate")
    elif not p.mask.any():
        varies, names = np.ones(len(varies), bool), list(traits.covariate_names)
    values = traits.covariates[:, varies]
    male = (sex == MALE).astype(float)
    if kind == X and len(np.unique(male[p.mask])) == 2:
        if _spanned(male[p.mask], values[p.mask]):
            log(f"{where}: the covariates say the sex already: it is not added")
        else:
            name = SEX if SEX not in names else f"{SEX}:male"
            values, names = np.concatenate([values, male[:, None]], axis=1), [*names, name]
            log(f"{where}: sex is a covariate there, {name} 1 for males")
    return replace(traits, covariates=values, covariate_names=tuple(names))


def _spanned(column: np.ndarray, others: np.ndarray) -> bool:
    """Whether a column is a linear combination of others and a constant."""
    centred = others - others.mean(axis=0)
    scale = np.sqrt((centred**2).mean(axis=0))
    y = column - column.mean()
    coefficients, *_ = np.linalg.lstsq(centred / np.where(scale > 0, scale, 1), y, rcond=None)
    left = y - centred / np.where(scale > 0, scale, 1) @ coefficients
    return bool(left @ left <= SPANNED * (y @ y))


def _quality(kind: int, inputs: Inputs, reader: GenotypeReader, phenotypes: Sequence[Phenotype]) -> Design:
    if kind == AUTOSOMAL:
        return build_qc(inputs, reader, phenotypes=phenotypes)
    founders, tested = quality_sets(inputs, reader, phenotypes)
    sex = reader.samples.sex
    if kind == X:
        return qc.qc_design_x(founders, tested, sex, unit=1 + halves(kind, inputs.x_model))
    return qc.qc_design_of(founders, tested, sex == MALE if kind == Y else np.ones(len(sex), bool))


def count_apart(design: Design, males: np.ndarray) -> Design:
    """The same design with columns of males, who have one copy where females have two. males: (N,) bool."""
    values, names = list(design.columns.values.T), list(design.columns.names)
    squared, analyses = list(design.columns.squared), []
    for a in design.analyses:
        single = []
        minor = record_of(a).reads.minor
        for j in [a.columns[0], *([] if minor is None else [a.columns[minor]])] if a.association else []:
            column = values[j] * males
            same = next((i for i, known in enumerate(values) if np.array_equal(known, column)), len(values))
            if same == len(values):
                values.append(column)
                names.append(f"{design.columns.names[j]}:male")
                squared.append(False)
            single.append((same, int(column.sum())))
        analyses.append(replace(a, single=tuple(single)))
    return Design(Columns(tuple(names), np.stack(values, axis=1), tuple(squared)), tuple(analyses))


def _say_left_out(planned: Sequence[Planned], variants: int, log: Log) -> None:
    for test in dict.fromkeys(p.test.name for p in planned if not p.test.copies):
        log(f"WARNING: {count(variants, 'variant')} on X, Y or MT have no row in tables of --model {test}, which counts two "
            "alleles a person")  # fmt: skip


def _refuse_nowhere(planned: Sequence[Planned], made: Sequence[Design], refused: Sequence[Unanalysed]) -> None:
    """Raise DesignError for a phenotype that is analysed nowhere."""
    known = {(a.test, a.phenotype) for d in made for a in d.analyses}
    for p in planned:
        if (p.test.name, p.phenotype.name) in known:
            continue
        reasons = [r.reason for r in refused if r.phenotype == p.phenotype.name]
        if reasons:
            raise DesignError(reasons[0])
        others = ", ".join(name for name in MODELS if TESTS[name].copies)
        raise DesignError(
            f"`model` {p.test.name} is done on chromosomes 1 to 22 alone, and no variant is left there: {others} are not"
        )


def close_people(strata: Sequence[Stratum]) -> list[str]:
    """As `close_samples`, of every stratum, each line once."""
    return list(dict.fromkeys(line for s in strata if s.design.columns.names for line in close_samples(s.design)))
