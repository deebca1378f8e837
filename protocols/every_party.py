"""Every party of a protocol as a process of its own on this machine, or the one that the command line names."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from securegen.engines.mpc.loopback import loopback_study
from securegen.errors import SecuregenError


def start(
    parser: argparse.ArgumentParser,
    parties: Mapping[str, str],
    run_party: Callable[[Path, str, argparse.Namespace], None],
) -> None:
    """Run the party of --party in --directory, or make keys for all `parties`, name to role, and start each of them.

    Exits with 1 when a party failed.
    """
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--party", choices=list(parties))
    arguments = parser.parse_args()
    if arguments.party:
        try:
            run_party(arguments.directory, arguments.party, arguments)
        except SecuregenError as error:
            raise SystemExit(f"{arguments.party}: {error}") from None
        return
    with tempfile.TemporaryDirectory() as directory:
        loopback_study(Path(directory), parties)
        command = [sys.executable, *sys.argv, "--directory", directory, "--party"]
        children = [subprocess.Popen([*command, name]) for name in parties]
        codes = [child.wait() for child in children]  # of every party, also after one has failed
        if any(codes):
            raise SystemExit(1)
