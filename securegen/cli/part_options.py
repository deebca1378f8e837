"""--blocks and --executor: one part of a run for a job of its own, or all of them over many workers."""

from __future__ import annotations

import os
from glob import escape, glob
from pathlib import Path
from typing import Any

import click

from securegen.cli.command import Function, dry_run
from securegen.cli.config import arguments_of, command_words, options_of
from securegen.cli.options import apply_options
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.errors import UsageError
from securegen.io.store_urls import is_url
from securegen.local.workers import pool_of, run_parts
from securegen.study.parts import part_of

JOIN = "when all parts are there: securegen merge, with the same --out as PREFIX"
_OURS = ("executor", "workers", "blocks", "json")


def part_options(command: Function) -> Function:
    """--blocks, --executor, --workers."""
    return apply_options(
        [
            click.option("--blocks", metavar="i/n", help="Do only part i of n, as one job of several; merge joins them."),
            click.option("--executor", metavar="NAME", help="Spread all parts over workers: processes, dask or dask:ADDRESS."),
            click.option("--workers", type=click.IntRange(1), metavar="N",
                         help="Parts for --executor, and workers here [cores]."),
        ]
    )(command)  # fmt: skip


def part_out(out: str, blocks: str | None) -> str:
    """The prefix of what a run writes: with `blocks`, that of its part. Raises UsageError for what is not `i/n`."""
    return out if blocks is None else part_of(blocks).prefix(out)


def over_workers(executor: str | None, workers: int | None, blocks: str | None, log: CommandLog) -> int:
    """Run all parts of the running command on the workers of --executor; how many there were, 0
    without one.

    Raises UsageError for --workers without it, or beside --blocks, and as `run_parts`.
    """
    if executor is None:
        if workers is not None:
            raise UsageError("--workers is for --executor")
        return 0
    if blocks is not None:
        raise UsageError("--executor runs all parts: leave --blocks out")
    if dry_run():
        return 0
    ctx = click.get_current_context()
    options = {k: v for k, v in options_of(ctx).items() if k not in _OURS}
    threads, count = ctx.params.get("threads") or 1, workers or len(os.sched_getaffinity(0))
    words = command_words(ctx)
    own = arguments_of(ctx.command, options | {"threads": threads})
    parts = [[*words, *own, f"--blocks={i}/{count}", "--quiet"] for i in range(1, count + 1)]
    with (
        log.stage("parts"), pool_of(executor, count, log) as pool, progress("running", unit="parts", quiet=log.quiet) as report
    ):  # fmt: skip
        run_parts(parts, pool, threads=threads, mark=log.lock, progress=report, log=log)
    return count


def remove_parts(out: str, count: int) -> None:
    """Remove the files of so many parts, which are joined."""
    for i in range(1, count + 1):
        for path in glob(f"{escape(part_of(f'{i}/{count}').prefix(out))}[._]*"):
            Path(path).unlink()


def spread(options: dict[str, Any], log: CommandLog) -> bool:
    """As `over_workers`, with the options of a command, and the parts joined into tables or results, and removed."""
    if not over_workers(options.pop("executor"), options.pop("workers"), options["blocks"], log):
        return False
    from securegen.engines.merging import merge
    from securegen.record.run_log import print_end

    found = merge(log.place)
    log.stored, log.read = [p for p in found.paths if is_url(p)], found.read
    remove_parts(log.out, found.parts)
    log.write(**found.facts)
    print_end(log, found.paths)
    return True
