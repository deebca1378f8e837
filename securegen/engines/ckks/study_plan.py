"""The plan of a study, and a later design held against the one that its key was planned for."""

from __future__ import annotations

from dataclasses import replace

from securegen.catalogue import record_of
from securegen.design.columns import Design
from securegen.engines.ckks.blocks import runs_of
from securegen.engines.ckks.planner import Plan, PlannedDesign, Workload, choose
from securegen.errors import DesignError
from securegen.model import variants_with_missing
from securegen.study.inputs import Log
from securegen.study.opening import Study


def stored_squares(design: Design) -> bool:
    """Whether the cohort has a stream of squared dosages unless told: for the weights of a score test. Other Σ g² x, also those
    of an interaction, come from the owner."""
    return design.weights_squared and any(record_of(a).reads.weight is not None for a in design.analyses)


def plan(study: Study, *, squares: bool | None = None) -> Plan:
    """CKKS parameters for this study. Counts, precision and the dosage grid enter, and how many blocks of variants have
    missing calls, which the encrypted cohort shows too. Raises PlanError.

    squares: store a stream of squared dosages; None for what the design needs.
    """
    columns = study.design.columns
    squares = stored_squares(study.design) if squares is None else squares
    bits = max(a.model.bits for a in study.design.analyses)
    encrypted = sum(not columns.is_ones(j) for j in range(len(columns.names)))
    runs = runs_of(study.reader)
    made = choose(
        Workload(
            len(study.reader.samples), len(study.reader.variants), max(encrypted, 1), bits, streams=1 + squares,
            dosage_max=max(study.reader.dosage_max, 2 * study.reader.dosage_grid), squares=squares,
            runs=runs if len(runs) > 1 else (),
        ),
        variants_with_missing(study.reader),
    )  # fmt: skip
    return replace(made, design=planned_names(study.design))


def planned_names(design: Design) -> PlannedDesign:
    """What a design is called: phenotypes, covariates and tests, in order."""
    tests = [a for a in design.analyses if a.association]
    covariates = dict.fromkeys(name for a in tests for name in a.model.covariates)
    return PlannedDesign(
        tuple(a.phenotype for a in tests), tuple(covariates), tuple(dict.fromkeys(a.test for a in tests))
    )


def compare_with_plan(
    design: Design, planned: PlannedDesign | None, log: Log, *, other_covariates: bool = False
) -> None:
    """Hold a design against the one that its key was planned for, and log differences by name.

    Raises DesignError when it lacks a covariate that was planned, unless told by name.
    """
    if planned is None:
        return
    now, then = planned_names(design), planned
    forgotten = [name for name in then.covariates if name not in now.covariates]
    if forgotten and now.phenotypes and not other_covariates:
        raise DesignError(
            f"the key was planned with {len(then.covariates)} covariates; this design lacks {', '.join(forgotten)}: give "
            "--covar as in the plan, or say --other-covariates"
        )
    for what, a, b in (
        ("phenotypes", now.phenotypes, then.phenotypes), ("covariates", now.covariates, then.covariates),
        ("tests", now.models, then.models),
    ):  # fmt: skip
        if set(a) != set(b):
            log(f"WARNING: {what} {', '.join(a) or 'none'}; the key was planned for {', '.join(b) or 'none'}")
