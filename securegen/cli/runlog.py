"""The log of a command: PREFIX.run.json also says how to run it again, and --json prints it."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import Any

import click

from securegen.cli.command import RECORD, dry_run
from securegen.cli.config import command_words, digests_of, options_of
from securegen.io.locks import only_one
from securegen.provenance import RunLog


class CommandLog(RunLog):
    """RunLog of the command that is running; under --dry-run it writes nothing.

    Until the command ends it alone writes PREFIX.*: a second one is refused (StorageError). Parties of one run may share
    a prefix; each holds its own name.
    """

    def __init__(self, out: str, command: str, *, quiet: bool = False, private: bool = False, party: str = "") -> None:
        if not dry_run():
            ctx = click.get_current_context()
            lock = only_one(f"{out}{f'.{party}' if party else ''}.lock", f"{out}.*")
            ctx.find_root().with_resource(lock)
        super().__init__(out, command, quiet=quiet, private=private)

    def write(self, **record: Any) -> None:
        """Write PREFIX.log and PREFIX.run.json with the options, and what the command wrote."""
        ctx = click.get_current_context()
        call = {
            "command": " ".join(command_words(ctx)), "options": options_of(ctx),
            "digests": digests_of(ctx, record.get("inputs") or {}),
        }  # fmt: skip
        super().write(call=call, outputs=self._outputs(), **record)
        ctx.meta[RECORD] = self.record

    def save_lines(self) -> None:
        assert not dry_run(), "a rehearsal writes nothing"
        super().save_lines()

    def _outputs(self) -> list[str]:
        """Files and folders PREFIX.* of this run: those changed since it began."""
        base = Path(self.out)
        begun = self.started - 0.02  # clocks of file systems tick
        not_results = tuple(f"{base.name}.{word}" for word in ("log", "run.json", "lock", "parties.", "sites."))
        found = [p for p in base.parent.glob(f"{escape(base.name)}.*") if not p.name.startswith(not_results)]
        return sorted(str(p) for p in found if p.stat().st_mtime >= begun)
