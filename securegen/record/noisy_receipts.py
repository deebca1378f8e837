"""Receipts of summaries with noise of whole people."""

from __future__ import annotations

from securegen.record.receipt import Party, Receipt

_MORE = (
    "which variants the file has, how long this took and whether files changed since the question was asked before are not "
    "protected"
)
_EXACT = "whatever leaves of the same people without such noise is not covered by this ε, before or after"


def noisy_summary(table: str, protects: str) -> Receipt:
    """A question of whoever holds the data, answered with noise. protects: ε and δ, in words."""
    owner = Party("owner", "genotypes and phenotypes", "everything")
    reader = Party(
        "reader of the table", "the table, the record and the log", "numbers with noise, or names of variants"
    )
    assumed = (
        "bounds, edges, lists and filters were chosen without the data",
        "no person is in the files twice under two ids, and close relatives share what they share",
        "the draws are the operating system's, through OpenDP",
    )
    return Receipt(
        "summary with noise of whole people", (owner, reader), assumed, (f"{table}: {protects}",), (_EXACT, _MORE)
    )
