"""Receipts of association, one function a scenario: who held what, who learned what, what had to be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from securegen.record.receipt import FULL_TABLE, Party, Receipt
from securegen.record.score_receipts import shared_scores


def plain_receipt(tables: list[str], warnings: Sequence[str] = ()) -> Receipt:
    """Everything in the clear at one owner. warnings: what its tables give away together."""
    owner = Party("owner", "genotypes, phenotypes, covariates", "everything")
    return Receipt("in the clear", (owner,), (), tuple(tables), (FULL_TABLE, *warnings))


def outsourced_receipt(
    tables: list[str], encryptor: str, design: str = "", warnings: Sequence[str] = (), *, strata: int = 1, packed: bool
) -> Receipt:
    """CKKS: the owner holds the key, a server computes. design: what was opened, in one line; warnings: what the tables
    give away together; strata: how many designs by chromosome; packed: a store without streams of missing calls."""
    which = "" if packed else ", which blocks have missing calls"
    which += f", which blocks have which of {strata} designs" if strata > 1 else ""
    return Receipt(
        "outsourced, CKKS",
        (
            Party("owner", "the secret key and its own data", "the results, after verification"),
            Party(
                "server", "ciphertexts",
                f"numbers of samples, variants and columns, which columns are 1 for everybody{which}; no genotype, phenotype "
                "or result",
            ),
        ),
        ("ring learning with errors at 128 bits; nothing of the server but availability", f"encryption by {encryptor}"),
        tuple(tables),
        (FULL_TABLE, *warnings),
        design,
    )  # fmt: skip


def federated_receipt(
    sites: Sequence[str], tables: Sequence[str], *, opened: Sequence[str], read: Sequence[str]
) -> Receipt:
    """Sites that add their sums under pairwise masks. opened: what every site learns of all; read: what can be read in it."""
    parties = [
        Party(f"site {name}", "its own data in the clear, a key with every other site", "the pooled sums")
        for name in sites
    ]
    parties.append(Party("hub", "what carries the messages, no key", "who takes part, sizes and times"))
    warnings = [FULL_TABLE, *read]
    if len(sites) == 2:
        warnings.append("two sites: each subtracts its own sums from the totals and has the other's exactly")
    return Receipt(
        "federated, pairwise masks",
        tuple(parties),
        (
            "two sites do not collude: all but one together see the last one's sums",
            "X25519 or ML-KEM-768 is hard, and AES-256 is",
            "sites tell the truth about their people: false sums are not noticed",
        ),
        (*(f"pooled, to every site: {what}" for what in opened), *tables),
        tuple(warnings),
    )


_APART = "; where designs begin and end, who is analysed in each: on Y who is male, on X whose sex is known"
_SEXES = ", and their sexes where X or Y are among these"
_CHOOSE = "the phenotype owner can read genotypes by choosing phenotypes; the genotype owner counts columns"


def mpc_receipt(
    split: str,
    tables: Sequence[str],
    *,
    reveal: str,
    threshold: float,
    column_limit: int | str | None,
    several: bool = False,
) -> Receipt:
    """reveal: of a vertical split; several: designs, of X, Y, MT or single chromosomes; threshold: of hits; column_limit: what
    the genotype owner answers in a cohort's life, None where it is not known."""
    if split == "scores":
        return shared_scores(tables)
    limit = "set there, not known here" if column_limit is None else str(column_limit)
    apart, sexes = (_APART, _SEXES) if several else ("", "")
    warnings = (f"{_CHOOSE} (limit in the life of this cohort: {limit})", FULL_TABLE)
    owners = (
        Party("genotype owner", "genotypes", f"who is analysed; numbers of columns and blocks{apart}"),
        Party(
            "phenotype owner",
            "phenotypes and covariates",
            f"who is genotyped for which variants{sexes}; every sum of those that the genotype owner does not withhold; the "
            "tables",
        ),
    )
    dealer = Party("dealer", "keys of masks", "sizes")
    if split == "vertical" and reveal != "aggregates":
        return _projected(tables, reveal, threshold, limit, several=several)
    if split == "vertical":
        assumed = ("semi-honest parties; the dealer colludes with nobody", "both owners agreed to open all sums")
        return Receipt(
            f"vertical, secret sharing, reveal {reveal}", (*owners, dealer), assumed, tuple(tables), warnings
        )
    servers = Party("each server", "masked data and shares, uniform", "sizes")
    return Receipt(
        "outsourced, secret sharing between two servers", (*owners, servers, dealer),
        ("semi-honest parties; no two of server one, server two and the dealer collude",), tuple(tables), warnings,
    )  # fmt: skip


def _projected(tables: Sequence[str], reveal: str, threshold: float, limit: str, *, several: bool) -> Receipt:
    apart, sexes = (_APART, _SEXES) if several else ("", "")
    counted = f"the genotype owner counts columns (limit in the life of this cohort: {limit})"
    opened, warnings = f"u, v and variation of variants with p <= {threshold:g}, not of others", [
        "one threshold per phenotype: repeated ones would bisect p",
        f"whoever chooses phenotypes can make chosen genotypes a hit: {counted}",
    ]  # fmt: skip
    if reveal == "chi2":
        opened, warnings = "χ² of every variant, and nothing else", [
            f"χ² of chosen phenotypes tells genotypes: {counted}",
            "whoever has the genotypes and this table can find the phenotypes, up to their sign and scale",
        ]  # fmt: skip
    elif reveal != "hits":
        opened, warnings = "two numbers of every variant, u and v", [f"{_CHOOSE} (limit: {limit})", FULL_TABLE]
    return Receipt(
        f"vertical, secret sharing, reveal {reveal}",
        (
            Party(
                "genotype owner", "genotypes",
                f"who is analysed; the test; names of phenotypes; numbers of columns and blocks{apart}; no result",
            ),
            Party("phenotype owner", "phenotypes and covariates", f"who is genotyped for which variants{sexes}; {opened}"),
            Party("dealer", "keys of masks", "sizes; the test"),
        ),
        ("semi-honest parties; the dealer colludes with nobody",), tuple(tables), tuple(warnings),
    )  # fmt: skip
