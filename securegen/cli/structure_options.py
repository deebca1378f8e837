"""What the commands of structure share: open, run, and say what was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from securegen.cli.command import dry_run, stop_rehearsal
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.record.run_log import print_end
from securegen.study.inputs import Inputs

if TYPE_CHECKING:
    from securegen.structure.run import Made


def run_structure(
    write: Callable[..., Made], inputs: Inputs, out: str, command: str, planned: list[str], then: str, *, quiet: bool,
    unit: str,
    **options: Any,
) -> None:  # fmt: skip
    """Run one of them. planned: what it writes; then: what comes next; unit: of its progress."""
    log = CommandLog(out, command, quiet=quiet, private=True)
    if dry_run():
        from securegen.governance.door import LD, PEOPLE
        from securegen.structure.run import ask_door, open_autosomes
        from securegen.study.held import held

        with held(inputs, log) as waiting:  # what it says of people waits for the door
            reader = open_autosomes(inputs, waiting)
        ask_door(inputs, reader, log, LD if command == "ld" else PEOPLE)
        waiting.tell()
        stop_rehearsal([*planned, *log.files])
    with log.stage(command), progress(command, unit=unit, quiet=log.quiet) as report:
        made = write(inputs, out, log, progress=report, **options)
    log.write(**made.facts)
    print_end(log, list(made.paths), then)
