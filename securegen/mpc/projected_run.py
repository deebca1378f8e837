"""A whole run that opens less than all sums (`--reveal hits` or `uv`), from files to tables, for each party.

Tables are PREFIX.<PHENO>.uv, a row for every variant, and PREFIX.<PHENO>.hits, a row for every hit. Linear regression only:
the weights of a score test are the phenotype party's, so that its v needs all of Σ w g².
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from securegen import vocabulary as voc
from securegen.design import Analysis, Design
from securegen.errors import ProtocolError, UsageError
from securegen.io.sumstats import table_rows, write_table
from securegen.model import GenotypeReader, Variants
from securegen.mpc.association import announce_cohort, receive_cohort
from securegen.mpc.projected import Pass, genotype_pass, phenotype_pass
from securegen.mpc.session import Session
from securegen.mpc.state import OwnerState
from securegen.mpc.vertical import Roles
from securegen.stats import projection
from securegen.stats.qc import lambda_gc
from securegen.stats.tables import Summary
from securegen.study import Inputs, Log, build_design, silent


def t_squared(threshold: float, df: int) -> float:
    """T² whose two-sided p-value is `threshold`."""
    return float(special.stdtrit(df, threshold / 2) ** 2)


def plan_pass(phenotype: str, columns: int, samples: int, analysed: int, threshold: float | None) -> Pass:
    """What both parties know of a pass. columns: K with the intercept, which are K − 1 of the basis and the residual."""
    df = analysed - columns - 1
    limit = t_squared(threshold, df) if threshold is not None else None
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
        summaries.append(write_projected(out, cohort.variants, a, plan, which, u, v, digits=digits))
    return summaries


def check_linear(design: Design) -> None:
    """Raise UsageError, naming the phenotype, unless every analysis is a linear regression."""
    other = next((a for a in design.analyses if a.test != "linear"), None)
    if other is not None:
        raise UsageError(
            f"--reveal hits and uv are for linear regression; phenotype {other.phenotype} has the test {other.test}: "
            "use --model linear, or --reveal aggregates --consent-aggregates"
        )


def write_projected(
    out: str, variants: Variants, a: Analysis, plan: Pass, which: np.ndarray, u: Sequence[int], v: Sequence[int], *,
    digits: int = 17,
) -> Summary:  # fmt: skip
    """Write OUT.<PHENO>.uv or .hits from the exact integers u and v of the variants in `which` ((M,) bool)."""
    rows = np.flatnonzero(which)
    columns = projection.statistics(
        *(projection.to_floats([x[i] for i in rows]) for x in (u, v)), a.model, plan.scales
    )  # fmt: skip
    here = variants.take(rows)
    path = f"{out}.{a.phenotype}.{'uv' if plan.threshold is None else 'hits'}"
    write_table(path, projection.UV_COLUMNS, table_rows(here, columns, projection.UV_COLUMNS, digits))
    scale = np.maximum(columns["CHISQ"], 1)
    worst = {f"dchisq_{n.lower()}": columns[f"DCHISQ_{n}"] / scale for n in ("BOUND", "EXPECTED")}
    promise = {
        "dchisq_promised": projection.PROMISED,
        "dchisq_certain": float(np.nanmax(worst["dchisq_bound"], initial=0.0)),
        "dchisq_expected": float(np.nanmax(worst["dchisq_expected"], initial=0.0)),
    }
    codes = {
        str(c): int(n) for c, n in zip(*np.unique(columns["ERRCODE"].astype(str), return_counts=True), strict=True)
    }
    top = []
    for j in np.argsort(-np.nan_to_num(columns["LOG10_P"], nan=-1.0), kind="stable")[:10]:
        if columns["ERRCODE"][j] == voc.OK:
            row = {"ID": here.id[j], "#CHROM": here.chromosome[j], "POS": int(here.position[j])}
            top.append(
                row | {"A1": here.effect_allele[j], **{n: columns[n][j] for n in ("BETA", "SE", "P", "LOG10_P")}}
            )
    inflation = lambda_gc(columns["P"]) if plan.threshold is None else float("nan")
    return Summary(a, path, len(here), len(variants) - len(here), codes, promise, inflation, top)


def _public(plan: Pass) -> dict:
    s = plan.scales
    return {
        "phenotype": plan.phenotype, "columns": plan.columns, "threshold": plan.threshold,
        "bits": [s.basis_bits, s.dosage_bits, s.lead_bits],
    }  # fmt: skip
