"""What every command has: an example to copy, --json, --config, --dry-run, and the nearest name for a misspelt one."""

from __future__ import annotations

import difflib
import functools
import json
import math
import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from securegen.cli import manners
from securegen.cli.config import command_words, load_config, path_options
from securegen.cli.flags import speaks_of_flags
from securegen.cli.former import tell_renamed
from securegen.errors import ArtefactError, InputError, SecuregenError, StorageError
from securegen.io.folders import folder_of
from securegen.io.schema import one_line
from securegen.io.store_urls import is_url

Function = Callable[..., Any]  # a command, and what decorates one
JSON, RECORD, DRY_RUN = "securegen.json", "securegen.record", "securegen.dry_run"
WIDTH = 78


def example(line: str) -> str:
    """The epilog of a help text: a command that can be copied, broken with backslashes like a shell line."""
    lines, current = [], " "
    for word in shlex.split(line):
        word = shlex.quote(word)
        if word.startswith("-") and len(current) + len(word) > WIDTH - 24:
            lines.append(current + " \\")
            current = "   "
        current += f" {word}"
    return "\b\nExample:\n" + "\n".join([*lines, current])


class Group(click.Group):
    """A group that knows the nearest command to one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], names, n=2)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(names)}."
            if here := manners.hint(f"--{args[0]}"):  # glm, freq, hardy, …
                hint = f"Here: {here}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


def wants_json(ctx: click.Context | None = None) -> bool:
    return bool((ctx or click.get_current_context()).meta.get(JSON))


def dry_run() -> bool:
    """Whether the command was asked to write nothing."""
    ctx = click.get_current_context(silent=True)
    return bool(ctx and ctx.meta.get(DRY_RUN))


def report(lines: Sequence[str] | str, **record: Any) -> None:
    """What a command says on standard output: lines for people, or with --json the record."""
    ctx = click.get_current_context()
    ctx.meta[RECORD] = {"command": " ".join(command_words(ctx)), **record}
    if not wants_json(ctx):
        for line in [lines] if isinstance(lines, str) else lines:
            click.echo("\n".join(map(one_line, line.split("\n"))))


def json_text(value: Any) -> str:
    """JSON without NaN or infinity, which its standard does not have: null instead."""

    def plain(v: Any) -> Any:
        if isinstance(v, dict):
            return {str(k): plain(x) for k, x in v.items()}
        if isinstance(v, list | tuple):
            return [plain(x) for x in v]
        if isinstance(v, os.PathLike):
            return os.fspath(v)
        v = v.item() if hasattr(v, "item") else v
        return None if isinstance(v, float) and not math.isfinite(v) else v

    text = json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def failure(error: BaseException) -> tuple[str, int, str]:
    """Class, exit code and text of an error, as --json and PREFIX.log name it."""
    if isinstance(error, click.ClickException):
        return "UsageError", error.exit_code, error.format_message()
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "Interrupted", 130, "interrupted"
    return type(error).__name__, getattr(error, "exit_code", 1), str(error)


def print_record(ctx: click.Context, error: BaseException | None = None) -> None:
    """The one object that --json prints: the record of the run, and what went wrong."""
    record = ctx.meta.get(RECORD)
    if error is not None:
        kind, code, text = failure(error)
        record = {**(record or {}), "error": {"class": kind, "exit_code": code, "message": text}}
    if record is not None:
        click.echo(json_text(record))


def refuse_repeats(command: click.Command) -> None:
    """Let an option of one value be given once: a second one would silently replace the first."""
    make: Function = command.make_parser
    if getattr(make, "once", False):
        return

    def make_parser(ctx: click.Context) -> Any:
        parser = make(ctx)
        for option in {id(o): o for o in (*parser._long_opt.values(), *parser._short_opt.values())}.values():
            option.process = functools.partial(_once, option.process, option)
        return parser

    make_parser.once = True  # type: ignore[attr-defined]
    command.make_parser = make_parser  # type: ignore[method-assign]


def _once(process: Function, option: Any, value: Any, state: Any) -> None:
    before, given = state.opts.get(option.dest), option.dest in state.opts
    process(value, state)
    if given and option.action in ("store", "store_const"):
        flag = option.obj.opts[0]
        if option.action == "store":
            raise click.UsageError(f"{flag} is given twice, {before!r} and {value!r}: it takes one value")
        if state.opts[option.dest] != before:
            raise click.UsageError(f"{flag} and {option.obj.secondary_opts[0]} contradict each other")


# --dry-run


def rehearses(function: Function) -> Function:
    """The command calls `stop_rehearsal` itself, after it has read and checked everything."""
    function.__rehearses__ = True  # type: ignore[attr-defined]
    return function


def writes(*templates: str, makes: Sequence[str] = ()) -> Function:
    """What a command writes, from its options; makes: options whose file or folder need not exist before."""

    def decorate(function: Function) -> Function:
        function.__writes__, function.__makes__ = templates, tuple(makes)  # type: ignore[attr-defined]
        return function

    return decorate


def stop_rehearsal(paths: Sequence[str | os.PathLike[str]], **found: Any) -> None:
    """Before the work: raise StorageError when a path cannot be written; under --dry-run say them all and end here."""
    for path in paths:
        if not is_url(path):
            check_writable(Path(path))
    if not dry_run():
        return
    if (given := click.get_current_context().params).get("sign"):
        paths = [*paths, f"{given['out']}.receipt.json"]
    report(
        ["dry run: inputs are in order, nothing was written", *(f"would write {os.fspath(p)}" for p in paths)],
        dry_run=True, would_write=[os.fspath(p) for p in paths], **found,
    )  # fmt: skip
    click.get_current_context().exit(0)


def check_writable(path: Path) -> None:
    """Raise StorageError unless a file can be made below the nearest folder above the path that exists. Leaves nothing."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StorageError(f"cannot make the folder {path.parent}: a file is in the way")
    try:
        os.lstat(path)  # a name that is too long
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".securegen.", dir=folder))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None


def _rehearse_by_options(ctx: click.Context, function: Function) -> None:
    """Check that every file and folder an option names is there, and whole where it is an artefact."""
    makes = {"out", "ledger", "state", *getattr(function, "__makes__", ())}
    for name, path in path_options(ctx):
        if name not in makes:
            check_input(path)
    out = [t.format(**ctx.params) for t in getattr(function, "__writes__", ("{out}.log", "{out}.run.json"))]
    stop_rehearsal(out)


def check_input(path: Path) -> None:
    """Raise InputError unless a file or folder can be read, and is whole where it is an artefact."""
    from securegen.inspection import inspect

    if (path / "manifest.json").exists():
        found = inspect(path)
        if found.problems:
            raise ArtefactError(found.problems[0])
        return
    try:
        if path.is_dir():
            os.listdir(path)
        else:
            path.open("rb").close()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def there(path: Path, what: str) -> Path:
    """The path of a folder that another step wrote. Raises ArtefactError saying what lies beside it where it is absent."""
    if not path.is_dir():
        from securegen.inspection import neighbours

        raise ArtefactError(f"there is no {what} {path}{neighbours(path)}")
    return path


def folder_there(place: str, what: str) -> str:
    """As `there`, of a folder that may be in a store."""
    if not is_url(place):
        return str(there(Path(place), what))
    from securegen.engines.ckks.artefact import MANIFEST

    if folder_of(place).size(MANIFEST) is None:
        raise ArtefactError(f"there is no {what} {place}, or it is not complete")
    return place


def common_options(function: Function, *, config: str = "--config") -> Function:
    """--json, --config, --dry-run."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        ctx = click.get_current_context()
        if not ctx.params.get("quiet"):
            tell_renamed(ctx)
        with speaks_of_flags(ctx.command):
            if not ctx.meta.get(DRY_RUN):
                return function(*args, **options)
            if not getattr(function, "__rehearses__", False):
                return _rehearse_by_options(ctx, function)
            function(*args, **options)
            raise SecuregenError("this command went on after its rehearsal: please report it")

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[DRY_RUN] = True

    made: Function = command
    for option in (
        click.option(
            "--dry-run", is_flag=True, expose_value=False, callback=remember,
            help="Check the inputs, say what would be written, write nothing.",
        ),
        click.option(
            config, "run_config", metavar="FILE", is_eager=True, expose_value=False, callback=load_config,
            help="Options from a TOML file, under their names; the command line wins.",
        ),
        json_option,
    ):  # fmt: skip
        made = option(made)
    return made


def json_option(function: Function) -> Function:
    """--json alone; `main` prints the record."""
    text = "Print one JSON object on standard output, nothing else."
    return click.option("--json", is_flag=True, is_eager=True, expose_value=False, help=text)(function)
