"""securegen dealer"""

from __future__ import annotations

from pathlib import Path

import click

from securegen.cli import options as opt
from securegen.cli import passphrases
from securegen.cli.command import dry_run, rehearses, stop_rehearsal
from securegen.cli.party import KEYS, NAME, PARTIES, write_record
from securegen.cli.runlog import CommandLog
from securegen.record.run_log import print_end


@click.command()
@PARTIES
@NAME
@KEYS
@passphrases.passphrase_options
@opt.run_options_beside_parties
@rehearses
def command(
    parties: str, name: str | None, keys: str | None, passphrase_file: str | None, out: str, threads: int | None,
    memory: int | None, quiet: bool,
) -> None:  # fmt: skip
    """Hand out correlated randomness for one session. A dealer has keys and sizes, never data.

    It must collude with nobody: run it where neither owner has access.
    """
    from securegen.engines.mpc.deployment import split_of
    from securegen.engines.mpc.net.parties import DEALER, read_parties
    from securegen.engines.mpc.steps import party_of, run_dealer

    opt.use_threads(threads)
    group = read_parties(Path(parties))
    me = party_of(group, DEALER, name)
    log = CommandLog(out, f"dealer {me}", quiet=quiet, party=me)
    folder = Path(keys or Path(parties).parent)
    secret = passphrases.passphrase_for(folder / f"{me}.key", passphrase_file)
    outcome = run_dealer(group, name=me, keys=folder, passphrase=secret, threads=threads, check_only=dry_run())
    if dry_run():
        stop_rehearsal(log.files, split=split_of(group), party=me)
    log(f"dealt {outcome.traffic.total} bytes in {outcome.seconds['offline']:.2f} s of computing")
    write_record(log, me, outcome)
    print_end(log, [])
