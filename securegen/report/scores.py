"""The results of a score run: distribution, percentiles, how it goes with an outcome."""

from __future__ import annotations

from typing import Any

import numpy as np

from securegen.plot.distribution import MARKS
from securegen.plot.scores import Scores, calibration, groups_of, score_density
from securegen.report.association import both
from securegen.report.html import NOTHING, Content, Markup, breakable, element, join, pairs, table
from securegen.scores.match import USED
from securegen.scores.pgs_catalog import DESCRIBED as CATALOG


def score_section(scores: Scores, record: dict[str, Any]) -> Markup:
    """Pictures and tables of one score."""
    parts: list[Content] = [element("h3", scores.name)]
    counts = record.get("scores")
    if isinstance(counts, dict) and scores.name in counts:
        parts.append(pairs([("variants scored", f"{counts[scores.name]:,}")]))
    groups = dict(groups_of(scores))
    if scores.reference is not None:
        groups["reference"] = scores.reference
    head = ["people", "n", "mean", "SD", *(f"{m:g} %" for m in MARKS)]
    rows = [
        [name, f"{len(v):,}", f"{np.mean(v):.4g}", f"{np.std(v, ddof=1):.4g}" if len(v) > 1 else "NA",
         *(f"{q:.4g}" for q in np.percentile(v, MARKS))]
        for name, v in ((n, v[np.isfinite(v)]) for n, v in groups.items()) if len(v)
    ]  # fmt: skip
    parts.append(table(head, rows, numbers=range(1, len(head))))
    if all(len(v) > 1 and np.ptp(v) > 0 for v in groups.values()):
        against = "the reference panel" if scores.reference is not None else "the cohort"
        parts.append(
            both(score_density, scores, f"Distribution of {scores.name}", f"Dotted lines are percentiles of {against}.")
        )
    else:
        parts.append(element("p", "The scores do not vary: there is no distribution to draw."))
    if scores.outcome is not None and np.isfinite(scores.outcome).sum() > 20:
        text = "Ten groups of people by score, with 95 % intervals."
        if scores.risk is not None and scores.binary:
            text = (
                "Ten groups of people by predicted risk, with 95 % intervals; on the dashed line prediction is right."
            )
        alt = f"{scores.outcome_name} by tenth of {scores.name}"
        parts.append(both(calibration, scores, alt, text, half=True))
    return join(parts)


def match_table(record: dict[str, Any]) -> Markup:
    """What became of the rows of each scoring file."""
    found = record.get("match") or {}
    words = sorted({w for counts in found.values() for w in counts}, key=lambda w: (w not in USED, w))
    rows = []
    for path, counts in found.items():
        total, scored = sum(counts.values()), sum(n for w, n in counts.items() if w in USED)
        share = f"{100 * scored / total:.1f} %" if total else "NA"
        rows.append(
            [breakable(path.rpartition("/")[2], 16), f"{total:,}", share, *(f"{counts.get(w, 0):,}" for w in words)]
        )
    head = ["scoring file", "rows", "scored", *(w.replace("_", " ") for w in words)]
    return table(head, rows, numbers=range(1, len(head))) if rows else NOTHING


def catalog_tables(record: dict[str, Any]) -> Markup:
    """What the PGS Catalog says of each scoring file, as text."""
    parts: list[Content] = []
    for path, header in (record.get("catalog") or {}).items():
        rows = [
            (name, str(header[key])) for key, name in CATALOG.items() if isinstance(header, dict) and header.get(key)
        ]
        if rows:
            parts += [element("h4", "From the header of ", element("code", str(path).rpartition("/")[2])), pairs(rows)]
    return join(parts)
