"""A whole run that opens less than all sums (`--reveal hits` or `uv`), from files to tables, for each party.

Tables are PREFIX.<PHENO>.uv, a row for every variant, and PREFIX.<PHENO>.hits, a row for every hit. Linear regression only:
the weights of a score test are the phenotype party's, so that its v needs all of Σ w g².
"""

from __future__ import annotations

import numpy as np

from securegen.errors import ProtocolError
from securegen.model import GenotypeReader
from securegen.mpc.association import announce_cohort, receive_cohort
from securegen.mpc.projected import Pass, genotype_pass, phenotype_pass
from securegen.mpc.session import Session
from securegen.mpc.state import OwnerState
from securegen.mpc.vertical import Roles
from securegen.stats import projection
from securegen.stats.projected_tables import HITS_SUFFIX, UV_SUFFIX, check_linear, write_projected
from securegen.stats.tables import Summary
from securegen.study import Inputs, Log, build_design, silent


def plan_pass(phenotype: str, columns: int, samples: int, analysed: int, threshold: float | None) -> Pass:
    """What both parties know of a pass. columns: K with the intercept, which are K − 1 of the basis and the residual."""
    df = analysed - columns - 1
    limit = projection.t_squared(threshold, df) if threshold is not None else None
    return Pass(phenotype, columns, projection.choose_scales(samples, df, threshold=limit), threshold)


def genotype_run(
    session: Session, roles: Roles, reader: GenotypeReader, *, cohort: str, state: OwnerState, threshold: float | None,
    column_limit: int | None = None, threads: int = 1,
) -> None:  # fmt: skip
    """The genotype party: announces its cohort, helps, learns who is analysed and the number of columns."""
    announce_cohort(session, roles.right, reader)
    passes = session.receive_json(roles.right, "passes")
    if not isinstance(passes, list):
        raise ProtocolError(f"party {roles.right!r} announced passes that are none")
    samples = len(reader.samples)
    for number, item in enumerate(passes):
        analysed = session.receive(roles.right, f"analysed/{number}", shape=(samples,), dtype=np.uint8).astype(bool)
        name, columns = (item.get("phenotype"), item.get("columns")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or type(columns) is not int or not 0 < columns < int(analysed.sum()) - 1:
            raise ProtocolError(f"party {roles.right!r} announced a pass that is none")
        plan = plan_pass(name, columns, samples, int(analysed.sum()), threshold)
        if item != _public(plan):
            raise ProtocolError(f"party {roles.right!r} has other scales than {session.me!r} for {name!r}")
        genotype_pass(
            session, roles, reader, plan, analysed, cohort=cohort, state=state, column_limit=column_limit,
            threads=threads,
        )  # fmt: skip
    session.send_json(roles.dealer, "dealer/pass", None)


def phenotype_run(
    session: Session, roles: Roles, inputs: Inputs, out: str, *, state: OwnerState, threshold: float | None,
    log: Log = silent, digits: int = 17, threads: int = 1,
) -> list[Summary]:  # fmt: skip
    """The phenotype party: writes the tables. Raises UsageError for tests other than linear regression."""
    cohort = receive_cohort(session, roles.left)
    design = build_design(inputs, cohort, log)
    check_linear(design)
    plans = []
    for a in design.analyses:
        analysed = design.columns.values[:, a.columns[0]]
        plans.append(
            plan_pass(a.phenotype, len(a.model.gram), len(analysed), int(analysed.sum()), threshold)
        )  # fmt: skip
    session.send_json(roles.left, "passes", [_public(p) for p in plans])
    summaries = []
    for number, (a, plan) in enumerate(zip(design.analyses, plans, strict=True)):
        analysed = design.columns.values[:, a.columns[0]].astype(np.uint8)
        session.send(roles.left, f"analysed/{number}", analysed)
        x = projection.basis(design.columns, a, plan.scales)
        which, u, v = phenotype_pass(
            session, roles, x, plan, variants=len(cohort.variants), state=state, threads=threads
        )  # fmt: skip
        suffix = UV_SUFFIX if threshold is None else HITS_SUFFIX
        summaries.append(
            write_projected(out, cohort.variants, a, plan.scales, which, u, v, suffix=suffix, digits=digits)
        )  # fmt: skip
    return summaries


def _public(plan: Pass) -> dict:
    s = plan.scales
    return {
        "phenotype": plan.phenotype, "columns": plan.columns, "threshold": plan.threshold,
        "bits": [s.basis_bits, s.dosage_bits, s.lead_bits],
    }  # fmt: skip
