"""securegen rerun"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from securegen.cli.command import json_option, report
from securegen.cli.config import arguments_of, digest_of, manifest_at, toml_of
from securegen.errors import InputError, UsageError
from securegen.io.looks import noting
from securegen.io.schema import one_line
from securegen.record.run_log import read_records
from securegen.study.noise_marks import compared


@click.command()
@click.argument("record", metavar="PREFIX.run.json")
@click.option("--out", metavar="PREFIX", help="Write under this prefix instead [the prefix of the first run].")
@click.option(
    "--command", "which", metavar="NAME", help="Which command to rerun, where several share the prefix [the last]."
)
@click.option("--accept-changed-inputs", is_flag=True, help="Run although an input has changed.")
@click.option("--print-config", is_flag=True, help="Only print the options, as a file for --config.")
@click.option("--dry-run", is_flag=True, help="Check the inputs, say what would be written, write nothing.")
@click.option("--quiet", is_flag=True, help="Print nothing on stderr but errors.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, record: str, out: str | None, which: str | None, accept_changed_inputs: bool,
    print_config: bool, dry_run: bool, quiet: bool,
) -> Any:  # fmt: skip
    """Run again what a PREFIX.run.json records, with the same options.

    The inputs are checked first. If one has changed, it is named and nothing runs. Paths are those of the first
    run, so start it in the same folder. Passphrases are not recorded: give them as the first time.
    """
    call = _call(record, which)
    if print_config:
        return report(toml_of(call["command"], call["options"]).rstrip(), **call)
    changed = [line for path, digest in call["digests"].items() if (line := _changed(path, digest))]
    marked, unseen = compared(call.get("draws", "."), marks := call.get("marks", {}))
    changed += marked
    if unseen := sorted({*unseen, *(path for path in call.get("untold", ()) if path not in marks)}):
        click.echo(
            one_line(
                f"WARNING: whether {', '.join(unseen)} changed is not seen: the record may not have digests of them"
            ),
            err=True,
        )
    if changed and not accept_changed_inputs:
        raise InputError(
            "; ".join(changed)
            + ". Restore it, or run on with --accept-changed-inputs (and --out, to keep the first result)"
        )
    for line in changed:
        click.echo(one_line(f"WARNING: {line}"), err=True)
    root = ctx.find_root()
    words = call["command"].split()
    found: click.Command | None = root.command
    for word in words:
        found = found.get_command(root, word) if isinstance(found, click.Group) else None
    if found is None:
        raise UsageError(f"{record} records securegen {call['command']}, which this version does not have")
    options = call["options"] | ({"out": out} if out else {}) | ({"quiet": True} if quiet else {})
    more = ["--dry-run"] * dry_run + ["--json"] * bool(root.params.get("json") or root.meta.get("securegen.json"))
    arguments = [*words, *arguments_of(found, options), *more]
    with noting() as noted:
        if not changed:  # a store may show another one to the command than to whoever asked above
            noted |= {manifest_at(path): digest for path, digest in call["digests"].items()}
        return root.command.main(arguments, prog_name="securegen", standalone_mode=False)


def _call(path: str, which: str | None) -> dict[str, Any]:
    """The recorded call. Raises InputError when there is none."""
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}: rerun takes the PREFIX.run.json that a command left")
    records = [r for r in read_records(path) if isinstance(r.get("call"), dict)]
    if not records:
        raise InputError(f"{path} does not say how to run it again: it is not a run.json, or an older one")
    calls = [r["call"] for r in records]
    chosen = [c for c in calls if which in (None, c.get("command"))]
    if not chosen:
        raise UsageError(f"{path} records {', '.join(c['command'] for c in calls)}, not {which}")
    call = chosen[0]
    return {"digests": {}, **call}


def _changed(path: str, digest: str) -> str | None:
    now = digest_of(path)
    if now == digest:
        return None
    if now is None:
        return f"{path} is missing"
    return f"{path} changed since: it was {digest[:28]}…, now {now[:28]}…"
