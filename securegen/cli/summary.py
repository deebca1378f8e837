"""What a finished run prints: tables, codes, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from securegen.provenance import RunLog
from securegen.stats.qc import Filters
from securegen.stats.tables import Summary
from securegen.vocabulary import OK


def print_summaries(tables: Sequence[Summary], log: RunLog, filters: Filters | None = None) -> None:
    """One line a table, its precision and inflation; what filters left out and who knows it."""
    if filters and filters.active:
        log(f"{filters}: applied to the finished sums where the tables are written; a server of encrypted data does not "
            "learn which variants passed, a reader of the tables does")  # fmt: skip
    for t in tables:
        odd = ", ".join(f"{n} {code}" for code, n in sorted(t.codes.items()) if code != OK)
        inflation = "" if math.isnan(t.lambda_gc) else f"; λ_GC {t.lambda_gc:.4f}"  # none for hits alone
        left_out = f", {t.dropped} left out by filters" if t.dropped else ""
        log(f"wrote {t.path}: {t.variants} variants{left_out}{f' ({odd})' if odd else ''}{inflation}")
        if "dt_certain" in t.promise:
            log(
                f"  precision of T: certain within {t.promise['dt_certain']:.1e}·(1 + T²/df), expected within "
                f"{t.promise['dt_expected']:.1e}; promised {t.promise['dt_promised']:.0e}·(1 + T²/df)"
            )
        if "dchisq_certain" in t.promise:
            log(
                f"  precision of χ²: certain within {t.promise['dchisq_certain']:.1e}·max(1, χ²), expected within "
                f"{t.promise['dchisq_expected']:.1e}; promised {t.promise['dchisq_promised']:.0e}·max(1, χ²)"
            )


def print_top(table: Summary, log: RunLog, count: int = 5) -> None:
    """The hits with the smallest p-values."""
    if not table.top:
        log(f"no hits of {table.analysis.phenotype}")
        return
    log(f"top hits of {table.analysis.phenotype}:")
    effects = any("BETA" in row for row in table.top)  # not in tables of χ² alone
    log(f"  {'ID':<20} {'CHROM':>5} {'POS':>10} A1 {'BETA':>10} {'SE':>9} {'LOG10_P':>8}"
        if effects else f"  {'ID':<20} {'CHROM':>5} {'POS':>10} A1 {'LOG10_P':>8}")  # fmt: skip
    for row in table.top[:count]:
        effect = f"{row.get('BETA', math.nan):>10.4g} {row.get('SE', math.nan):>9.3g} " if effects else ""
        log(
            f"  {row['ID']!s:<20} {row['#CHROM']!s:>5} {row['POS']:>10} {row['A1']!s:<2} {effect}{row['LOG10_P']:>8.2f}"
        )


def print_end(tables: Sequence[Summary], log: RunLog, verdict: str = "") -> None:
    """Top hits, seconds, bytes and files, after log.write; saves the log."""
    for table in tables:
        print_top(table, log)
    if verdict:
        log(verdict)
    print_costs(log, [t.path for t in tables])


def print_costs(log: RunLog, paths: Sequence[str]) -> None:
    """Seconds, bytes and files, after log.write; saves the log."""
    for stage, seconds in log.seconds.items():
        log(f"  {stage:<8} {seconds:8.2f} s")
    for what, size in log.record["bytes"].items():
        if what == "rounds":
            log(f"  {what:<10} {size:10d}")
            continue
        for name, count in (size if isinstance(size, dict) else {what: size}).items():
            log(f"  {name:<10} {count / 1e6:10.3f} MB")
    log("wrote " + ", ".join([*paths, f"{log.out}.run.json", f"{log.out}.log"]))
    log.save_lines()


def promises(tables: Sequence[Summary]) -> dict[str, Any]:
    """Printed error bounds: of the table when there is one, else by phenotype."""
    if len(tables) == 1:
        return tables[0].promise
    return {t.analysis.phenotype: t.promise for t in tables}
