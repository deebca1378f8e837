"""securegen merge"""

from __future__ import annotations

import click

from securegen.cli import options as opt
from securegen.cli.command import common_options, rehearses, stop_rehearsal
from securegen.cli.runlog import CommandLog, logs
from securegen.cli.stores import stores
from securegen.io.output import PRIVATE
from securegen.io.store_urls import is_url
from securegen.record.run_log import print_end


@click.command()
@click.argument("out", metavar="PREFIX", callback=opt.prefix)
@click.option("--quiet", is_flag=True, help="Print nothing on stderr but errors.")
@common_options
@logs
@rehearses
@stores("out")
def command(out: str, quiet: bool) -> None:
    """Join the parts of a run that --blocks made, PREFIX.1of22.… and so on.

    Of tables and scores: they are what one run writes, byte for byte. Of the server's gwas or prs: PREFIX.results, which goes
    to the owner. Parts may end in any order; one that is absent, cut or of another run is named. To finish an encrypted
    cohort, run encrypt without --blocks.
    """
    from securegen.engines.merging import merge, planned

    log = CommandLog(out, "merge", quiet=quiet)
    stop_rehearsal([*planned(out), *log.files])
    with log.stage("merge"):
        found = merge(out)
    log.mode = PRIVATE if found.private else log.mode
    log.stored = [p for p in found.paths if is_url(p)]
    log(f"{found.parts} {'part' if found.parts == 1 else 'parts'} joined")
    log.write(**found.facts)
    to_owner = f"{found.paths[0]} goes to the owner; next, there: {found.opened_by} --results {found.paths[0]}"
    print_end(log, found.paths, to_owner if found.opened_by else None)
