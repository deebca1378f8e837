"""The receipt of a run of the multi-party protocols: who held what, who learned what, what had to be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from securegen.engines.mpc.deployment import AGGREGATES, SCORES, VERTICAL
from securegen.engines.mpc.projected import CHI2, HITS
from securegen.record.receipt import FULL_TABLE, Party, Receipt
from securegen.record.score_receipts import shared_scores

_CHOOSE = "the phenotype owner can read genotypes by choosing phenotypes; the genotype owner counts columns"


def receipt(
    split: str,
    tables: Sequence[str],
    *,
    reveal: str,
    threshold: float,
    column_limit: int | str | None,
) -> Receipt:
    """reveal: of a vertical split; threshold: of hits; column_limit: what
    the genotype owner answers in a cohort's life, None where it is not known."""
    if split == SCORES:
        return shared_scores(tables)
    limit = "set there, not known here" if column_limit is None else str(column_limit)
    warnings = (f"{_CHOOSE} (limit in the life of this cohort: {limit})", FULL_TABLE)
    owners = (
        Party("genotype owner", "genotypes", "who is analysed; numbers of columns and blocks"),
        Party(
            "phenotype owner",
            "phenotypes and covariates",
            "who is genotyped for which variants; every sum of those that the genotype owner does not withhold; the tables",
        ),
    )
    dealer = Party("dealer", "keys of masks", "sizes")
    if split == VERTICAL and reveal != AGGREGATES:
        return _projected(tables, reveal, threshold, limit)
    if split == VERTICAL:
        assumed = ("semi-honest parties; the dealer colludes with nobody", "both owners agreed to open all sums")
        return Receipt(
            f"vertical, secret sharing, reveal {reveal}", (*owners, dealer), assumed, tuple(tables), warnings
        )  # fmt: skip
    servers = Party("each server", "masked data and shares, uniform", "sizes")
    return Receipt(
        "outsourced, secret sharing between two servers", (*owners, servers, dealer),
        ("semi-honest parties; no two of server one, server two and the dealer collude",), tuple(tables), warnings,
    )  # fmt: skip


def _projected(tables: Sequence[str], reveal: str, threshold: float, limit: str) -> Receipt:
    counted = f"the genotype owner counts columns (limit in the life of this cohort: {limit})"
    opened, warnings = f"u, v and variation of variants with p <= {threshold:g}, not of others", [
        "one threshold a phenotype: repeated ones would bisect p",
        f"whoever chooses phenotypes can make chosen genotypes a hit: {counted}",
    ]  # fmt: skip
    if reveal == CHI2:
        opened, warnings = "χ² of every variant, and nothing else", [
            f"χ² of chosen phenotypes tells genotypes: {counted}",
            "whoever has the genotypes and this table can find the phenotypes, up to their sign and scale",
        ]  # fmt: skip
    elif reveal != HITS:
        opened, warnings = "two numbers of every variant, u and v", [f"{_CHOOSE} (limit: {limit})", FULL_TABLE]
    return Receipt(
        f"vertical, secret sharing, reveal {reveal}",
        (
            Party(
                "genotype owner", "genotypes",
                "who is analysed; the test; names of phenotypes; numbers of columns and blocks; no result",
            ),
            Party("phenotype owner", "phenotypes and covariates", f"who is genotyped for which variants; {opened}"),
            Party("dealer", "keys of masks", "sizes; the test"),
        ),
        ("semi-honest parties; the dealer colludes with nobody",), tuple(tables), tuple(warnings),
    )  # fmt: skip
