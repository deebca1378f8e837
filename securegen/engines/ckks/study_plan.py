"""The plan of a study, and a later design held against the one that its key was planned for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from securegen.catalogue import record_of
from securegen.design.column_bits import COVARIATE_BITS
from securegen.design.columns import Analysis
from securegen.design.strata import Stratum
from securegen.engines.ckks.blocks import runs_of, starts_of
from securegen.engines.ckks.column_pool import pooled, strata_of
from securegen.engines.ckks.planned_design import PlannedDesign
from securegen.engines.ckks.planner import Plan, choose
from securegen.engines.ckks.workload import Workload
from securegen.errors import DesignError
from securegen.model import variants_with_missing
from securegen.study.inputs import Log
from securegen.study.opening import Study


def stored_squares(strata: Sequence[Stratum]) -> bool:
    """Whether the cohort has a stream of squared dosages unless told: for the weights of a score test. Other Σ g² x, also those
    of an interaction, come from the owner."""
    return any(
        s.design.weights_squared and any(record_of(a).reads.weight is not None for a in s.design.analyses)
        for s in strata
    )


def plan(study: Study, *, squares: bool | None = None, scores: bool = False) -> Plan:
    """CKKS parameters for this study. Counts, precision and the dosage grid enter, and how many blocks of variants have
    missing calls, which the encrypted cohort shows too. Raises PlanError, and DesignError for predictions that are malformed.

    squares: store a stream of squared dosages; None for what the design needs; scores: one variant per coefficient, so that
    scores can be computed from the same cohort.
    """
    reader, strata = study.reader, study.strata
    squares = stored_squares(strata) if squares is None else squares
    bits = max(_bits_of(a) for s in strata for a in s.design.analyses)
    coarse = min(bits, COVARIATE_BITS)
    runs = runs_of(reader)
    workload = Workload(
        len(reader.samples), len(reader.variants), 1, bits, streams=1 + squares,
        dosage_max=max(reader.dosage_max, 2 * reader.dosage_grid), squares=squares, runs=runs if len(runs) > 1 else (),
        spread=2 if study.inputs.pred else 1,
    )  # fmt: skip
    pool = pooled(strata)
    sets = pool.sets
    if workload.spread > 1 and pool.largest_norm > workload.norm:
        raise DesignError(
            f"what predictions leave of a phenotype varies {workload.spread} times as much as it did: are they of this "
            "phenotype, and in the units of regenie's step 1?"
        )
    hidden = [sets.hidden(number) for number in range(len(strata))]
    few = math.sqrt(workload.samples) * workload.root_mean_square(coarse)
    fine = {
        j for own in hidden for j in own if pool.norm(j) > few
    }  # two classes: what a covariate's bits hold, and the rest
    workload = replace(
        workload,
        columns=max(1, *map(len, hidden)),
        coarse_bits=coarse if coarse < bits else 0,
        fine=max(len(fine & set(own)) for own in hidden),
        owner_squares=0 if squares else max(len(sets.squares(number)) for number in range(len(strata))),
    )
    if len(strata) > 1:
        own = strata_of(strata, starts_of(runs).tolist())
        workload = replace(
            workload,
            sets=tuple(map(len, hidden)),
            set_of=own,
            stored=sets.public_ones.count(False),
            stored_fine=len(fine),
        )
    return replace(
        choose(workload, variants_with_missing(reader), whole=scores),
        design=planned_names(study.analyses),
    )


def _bits_of(a: Analysis) -> int:
    """Of the finest of its columns."""
    return max(getattr(a.model, name, 0) for name in ("bits", "covariate_bits", "weight_bits"))


def planned_names(analyses: Sequence[Analysis]) -> PlannedDesign:
    """What a design is called: phenotypes, covariates and tests, in order."""
    tests = [a for a in analyses if a.association]
    covariates = dict.fromkeys(name for a in tests for name in a.model.covariates)
    return PlannedDesign(
        tuple(a.phenotype for a in tests), tuple(covariates), tuple(dict.fromkeys(a.test for a in tests))
    )


def compare_with_plan(
    analyses: Sequence[Analysis], planned: PlannedDesign | None, log: Log, *, other_covariates: bool = False
) -> None:
    """Compare the analyses of a design with those that its key was planned for, and log each difference.

    Raises DesignError when the design lacks a planned covariate, unless `other_covariates`.
    """
    if planned is None:
        return
    now, then = planned_names(analyses), planned
    forgotten = [name for name in then.covariates if name not in now.covariates]
    if forgotten and now.phenotypes and not other_covariates:
        raise DesignError(
            f"the key was planned with {len(then.covariates)} covariates; this design lacks {', '.join(forgotten)}: give "
            "`covar` as in the plan, or say `other_covariates`"
        )
    for what, a, b in (
        ("phenotypes", now.phenotypes, then.phenotypes), ("covariates", now.covariates, then.covariates),
        ("tests", now.models, then.models),
    ):  # fmt: skip
        if set(a) != set(b):
            log(f"WARNING: {what} {', '.join(a) or 'none'}; the key was planned for {', '.join(b) or 'none'}")
