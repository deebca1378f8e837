"""securegen doctor"""

from __future__ import annotations

import click

from securegen.cli.command import json_option, report
from securegen.errors import SecuregenError


@click.command()
@json_option
def command() -> None:
    """Examine this installation: versions, extras, processor, memory, caches, SEAL by a self test, disk.

    Lines marked `advice` cost speed or a feature, and say what to do. Exit code 1 when the core is broken.
    """
    from securegen.inspection.doctor import BROKEN, examine

    checks = examine()
    lines = []
    for c in checks:
        lines.append(f"{c.state:<7} {c.name:<16} {c.found}")
        if c.advice:
            lines.append(f"{'':<7} {'':<16} → {c.advice}")
    broken = [c for c in checks if c.state == BROKEN]
    report(lines, checks=[vars(c) for c in checks], healthy=not broken)
    if broken:
        raise SecuregenError(f"{broken[0].name}: {broken[0].found}; {broken[0].advice or 'install securegen again'}")
