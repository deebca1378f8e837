"""What a finished run prints: tables, codes, precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from securegen.design.columns import Analysis
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.vocabulary import ADD, ADDITIVE, CODINGS, OK

FEW = 5  # tables of which the log shows more than the first hit


def covariate_facts(models: Iterable[Any]) -> dict[str, Any]:
    """How many covariates, and which, for run.json: of the model that has most."""
    names = max((list(m.covariates) for m in models), key=len, default=[])
    return {"covariates": len(names), "covariate_names": names}


def coding_facts(coding: str) -> dict[str, str]:
    """The genetic model, where there is one, for run.json."""
    return {} if coding == ADDITIVE else {"genetic_model": coding}


def print_summaries(tables: Sequence[Summary], log: Callable[[str], None], filters: Filters | None = None) -> None:
    """One line per table, its precision, inflation and hits; what filters left out and who knows it."""
    if filters and filters.active:
        flags = " ".join(f"{flag} {bound:g}" for flag, bound in filters.given().items())
        log(f"{flags}: applied where the tables are written; a server of encrypted data does not learn which variants "
            "passed, a reader of the tables does")  # fmt: skip
    for t in tables:
        rows = f"{t.variants} variants" if t.tested is None else f"{t.variants} of {t.tested} variants opened"
        odd = ", ".join(f"{n} {code}" for code, n in sorted(t.codes.items()) if code != OK)
        inflation = "" if math.isnan(t.lambda_gc) else f"; λ_GC {t.lambda_gc:.4f}"  # none for hits alone
        by_each = ", ".join(f"{count} by {flag}" for flag, count in t.filtered.items())
        left_out = f", {t.dropped} left out by filters ({by_each})" if t.dropped else ""
        log(f"wrote {t.path}: {rows}{left_out}{f' ({odd})' if odd else ''}{inflation}{_of_test(t)}")
        if "dt_certain" in t.promise and t.variants:
            log(
                f"  precision of T: certain within {t.promise['dt_certain']:.1e}·(1 + T²/df), expected within "
                f"{t.promise['dt_expected']:.1e}; promised {t.promise['dt_promised']:.0e}·(1 + T²/df)"
            )
        if "dchisq_certain" in t.promise and t.variants:
            log(
                f"  precision of χ²: certain within {t.promise['dchisq_certain']:.1e}·max(1, χ²), expected within "
                f"{t.promise['dchisq_expected']:.1e}; promised {t.promise['dchisq_promised']:.0e}·max(1, χ²)"
            )
    for t in tables:
        print_top(t, log, count=5 if len(tables) <= FEW else 1)


def _of_test(table: Summary) -> str:
    """Which of several rows of a variant is ranked; empty where there is one."""
    found = str(table.top[0].get("TEST", ADD)) if table.top else ADD
    return "" if found in CODINGS.values() else f" of {found}"


def print_top(table: Summary, log: Callable[[str], None], count: int = 5) -> None:
    """The hits with the smallest p-values."""
    if not table.top:
        none = "" if table.tested is None else ": no P is as small as the threshold"
        log(f"no hits of {table.analysis.phenotype}{none}")
        return
    log(f"top hits of {table.analysis.phenotype}{_of_test(table)}:")
    effects = any("BETA" in row for row in table.top)  # not in tables of χ² alone
    top = table.top[:count]
    wide = max(20, *(len(str(row["ID"])) for row in top))
    allele = max(2, *(len(str(row["A1"])) for row in top))
    columns = f"{'BETA':>10} {'SE':>9} " if effects else ""
    log(f"  {'ID':<{wide}} {'CHROM':>5} {'POS':>10} {'A1':<{allele}} {columns}{'LOG10_P':>8}")
    for row in top:
        effect = f"{row.get('BETA', math.nan):>10.4g} {row.get('SE', math.nan):>9.3g} " if effects else ""
        where = f"{row['ID']!s:<{wide}} {row['#CHROM']!s:>5} {row['POS']:>10} {row['A1']!s:<{allele}}"
        log(f"  {where} {effect}{row['LOG10_P']:>8.2f}")


def promises(tables: Sequence[Summary]) -> dict[str, Any]:
    """Printed error bounds: of the table when there is one, else by phenotype."""
    if len(tables) == 1:
        return tables[0].promise
    return {t.analysis.phenotype: t.promise for t in tables}


def summary_json(table: Summary) -> dict[str, Any]:
    """What run-local prints of a site's table."""

    def plain(v: Any) -> Any:
        return v.item() if hasattr(v, "item") else v

    top = [{k: plain(v) for k, v in row.items()} for row in table.top]
    own = {
        k: getattr(table, k)
        for k in ("path", "variants", "dropped", "codes", "promise", "lambda_gc", "filtered", "tested")
    }
    return {**own, "top": top, "test": table.analysis.test, "phenotype": table.analysis.phenotype}


def summary_of(row: Mapping[str, Any], path: str) -> Summary:
    """The table at `path`, as another process described it by `summary_json`; null of its record is NaN again."""
    kept = {name: row[name] for name in ("variants", "dropped", "codes", "filtered", "tested")}
    kept |= {name: _with_nan(row[name]) for name in ("lambda_gc", "promise", "top")}
    return Summary(Analysis(row["test"], row["phenotype"], (), (), None), path, **kept)


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_nan(inner) for inner in value]
    return math.nan if value is None else value
