"""securegen dealer"""

from __future__ import annotations

import os
from pathlib import Path

import click

from securegen.cli import options as opt
from securegen.cli.command import dry_run, rehearses, stop_rehearsal
from securegen.cli.party import CONFIG, KEYS, NAME, who, write_record
from securegen.cli.runlog import CommandLog
from securegen.cli.summary import print_end


@click.command()
@CONFIG
@NAME
@KEYS
@opt.passphrase_options
@opt.run_options_beside_parties
@rehearses
def command(config, name, keys, passphrase_file, out, threads, memory, quiet) -> None:
    """Hand out correlated randomness for one session. A dealer has keys and sizes, never data.

    It must collude with nobody: run it where neither owner has access.
    """
    from securegen.engines.mpc.deployment import run_dealer, split_of
    from securegen.engines.mpc.net.certs import Identity
    from securegen.engines.mpc.net.parties import DEALER, read_parties

    opt.use_threads(threads)
    parties = read_parties(config)
    me = who(parties, DEALER, name)
    log = CommandLog(out, f"dealer {me}", quiet=quiet, party=me)
    folder = Path(keys or Path(config).parent)
    identity = Identity.in_directory(folder, me, opt.passphrase_for(folder / f"{me}.key", passphrase_file))
    if dry_run():
        identity.check(pin=parties[me].pin, rank=parties.rank(me))
        stop_rehearsal(log.files, split=split_of(parties), party=me)
    outcome = run_dealer(parties, identity, threads=threads or os.cpu_count() or 1)
    log(f"dealt {outcome.traffic.total} bytes in {outcome.seconds['offline']:.2f} s of computing")
    write_record(log, me, outcome)
    print_end(log, [])
