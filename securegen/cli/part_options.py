"""--blocks: one part of a run, for a job of its own."""

from __future__ import annotations

import click

from securegen.study.parts import part_of

blocks_option = click.option(
    "--blocks", metavar="i/n", help="The i-th of n parts alone, for a job of its own; securegen merge joins them."
)


JOIN = "when all parts are there: securegen merge, with the same --out as PREFIX"


def part_out(out: str, blocks: str | None) -> str:
    """The prefix of what a run writes: with `blocks`, that of its part. Raises UsageError for what is no i/n."""
    return out if blocks is None else part_of(blocks).prefix(out)
