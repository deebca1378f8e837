"""The log of a command: PREFIX.run.json also says how to run it again, and --json prints it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import shlex
from collections.abc import Callable, Iterator
from glob import escape
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from securegen.cli.audit_runs import RunAudit
from securegen.cli.command import RECORD, Function, dry_run, failure
from securegen.cli.config import arguments_of, command_words, digest_used, digests_of, file_marks, options_of, untold_of
from securegen.cli.flags import speaks_of_flags, with_flags
from securegen.errors import StorageError, UsageError
from securegen.io.locks import only_one
from securegen.io.looks import noting
from securegen.io.store_urls import local_prefix
from securegen.record.run_log import RunLog

LOG, SIGN = "securegen.log", "securegen.sign"


class CommandLog(RunLog):
    """RunLog of the command that is running; under --dry-run it writes nothing.

    PREFIX.log begins with the command line, the options that were left at their defaults, folder and machine. Until the
    command ends it alone writes PREFIX.*: a second one is refused (StorageError). Parties of one run may share a prefix;
    each holds its own name. place: the prefix as it was given, which may be in a store, beside `out`, which is here; stored:
    what was written there; digests: False where a digest of the inputs would tell of people whom the outputs do not; read:
    digests of inputs, by path, that parts of this command told; lock: the file that exists while the command runs.
    """

    def __init__(
        self, out: str, command: str, *, quiet: bool = False, private: bool = False, party: str = "", digests: bool = True
    ) -> None:  # fmt: skip
        ctx = click.get_current_context()
        self.command = ctx.command
        self.place, out = out, local_prefix(out)
        self.lock: Path | None = None
        if not dry_run():
            lock = only_one(f"{out}{f'.{party}' if party else ''}.lock", f"{out}.*")
            self.lock = ctx.find_root().with_resource(lock)
        super().__init__(out, command, quiet=quiet, private=private)
        self._noted = ctx.find_root().with_resource(noting())
        self.stored: list[str] = []
        self.read: dict[str, str] = {}
        self.audit = None if dry_run() else RunAudit(ctx)
        ctx.meta[LOG] = self
        self.written, self.digests = False, digests
        self._marks = {} if dry_run() else file_marks(ctx)
        self.note(_circumstances(ctx))
        hear_kernels(self)

    def __call__(self, line: str) -> None:
        super().__call__(with_flags(self.command, line))

    def write(self, **record: Any) -> None:
        """Write PREFIX.log and PREFIX.run.json with the options, and what the command wrote."""
        ctx = click.get_current_context()
        call: dict[str, Any] = {
            "command": " ".join(command_words(ctx)), "options": options_of(ctx),
            "digests": digests_of(ctx, self.read, self._noted) if self.digests else {},
        }  # fmt: skip
        changed = self._leave_out_changed(ctx, call["digests"])
        if record.get("inputs"):
            record["inputs"] = {name: digest for name, digest in record["inputs"].items() if digest not in changed}
        call |= untold_of(ctx, call["digests"])
        outputs = [*self._outputs(record), *self.stored]
        digests = {path: digest_used(path, self._noted) for path in outputs}
        if self.audit is not None and (witnesses := self.audit.end(record, call["digests"].values(), digests.values())):
            record["audit"] = witnesses
        if self.stored:
            record["stored"] = {url: digest for url in self.stored if (digest := digests[url])}
        super().write(call=call, outputs=outputs, **record)
        if (identity := ctx.meta.get(SIGN)) is not None:
            from securegen.record import receipt_steps

            signed = receipt_steps.write_receipt(self.out, identity)
            self(f"signed {signed.path} with the key {', '.join(signed.signers)}")
        ctx.meta[RECORD] = self.record
        self.written = True

    def _leave_out_changed(self, ctx: click.Context, digests: dict[str, str]) -> set[str]:
        """Digests of files that changed, which are not those of what was read."""
        now, out = file_marks(ctx), set[str]()
        for path in (path for path, mark in self._marks.items() if now.get(path, mark) != mark):
            out |= {digests.pop(path, "")}
            self(f"WARNING: {path} changed while this ran: what was read is not told by digest")
        return out

    def save_lines(self, *, replace: bool = True) -> None:
        assert not dry_run(), "a rehearsal writes nothing"
        super().save_lines(replace=replace)

    def fail(self, kind: str, code: int, message: str) -> None:
        if self.audit is not None:
            self.audit.failed(code)
        super().fail(kind, code, message)

    def _outputs(self, record: dict[str, Any]) -> list[str]:
        """Files and folders PREFIX.* of this run, and PREFIX_* as regenie names them: those changed since it began."""
        base = Path(self.out)
        begun = self.started - 0.02  # clocks of file systems tick
        words = ("log", "run.json", "receipt.json", "lock", "parties.", "sites.")
        not_results = tuple(f"{base.name}.{word}" for word in words)
        regenie = ["pred.list", "*.loco", *(f"{escape(p)}.regenie" for p in record.get("phenotypes") or ())]
        endings = [".*", *(f"_{name}{packed}" for name in regenie for packed in ("", ".gz", ".zst"))]
        found = {p for ending in endings for p in base.parent.glob(f"{escape(base.name)}{ending}")}
        found = {p for p in found if not p.name.startswith(not_results)}
        return sorted(str(p) for p in found if p.stat().st_mtime >= begun)


class _Heard(logging.Handler):
    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log(record.getMessage())


def hear_kernels(log: Callable[[str], None]) -> None:
    """What kernels say, that they are being compiled, goes to the log of the last command that began."""
    logger = logging.getLogger("securegen.kernels")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a reader of genotypes may have given the root logger a handler
    logger.handlers = [_Heard(log)]


def _circumstances(ctx: click.Context) -> list[str]:
    """What was typed, what was left at its default, where and on what."""
    given: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for flag, value in options_of(ctx).items():
        name = next(str(p.name) for p in ctx.command.params if f"--{flag}" in p.opts)
        typed = ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        if typed or value != "":
            (given if typed else others)[flag] = value
    words = ["securegen", *command_words(ctx), *arguments_of(ctx.command, given)]
    threads = ctx.params.get("threads") or len(os.sched_getaffinity(0))
    return [
        f"command: {shlex.join(words)}",
        f"defaults: {shlex.join(arguments_of(ctx.command, others)) or 'none'}",
        f"folder: {_folder()}",
        f"machine: {platform.node()}, {platform.system()} {platform.release()} {platform.machine()}, Python "
        f"{platform.python_version()}, {threads} thread{'s' * (threads != 1)}",
    ]


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # removed meanwhile
        return "unknown"


def signs(function: Function) -> Function:
    """A command whose --sign FILE signs the receipt of its run. The key is read before anything is computed."""

    @functools.wraps(function)
    def command(*args: Any, sign: str | None, **options: Any) -> Any:
        if sign is not None:
            from securegen.governance.signing import read_identity

            click.get_current_context().meta[SIGN] = read_identity(sign)
        return function(*args, **options)

    return click.option("--sign", metavar="FILE", help="Sign the run's receipt, PREFIX.receipt.json, with this key.")(
        command
    )


def logs(function: Function) -> Function:
    """A command that keeps PREFIX.log: its end is written there, also where it fails."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        with contextlib.nullcontext() if dry_run() else _logged(click.get_current_context()):
            return function(*args, **options)

    return command


@contextlib.contextmanager
def _logged(ctx: click.Context) -> Iterator[None]:
    """A command line that contradicts itself (UsageError) ran nothing and leaves nothing."""
    try:
        with speaks_of_flags(ctx.command):
            yield
    except click.exceptions.Exit:
        raise
    except BaseException as error:
        kind, code, text = failure(error)
        if code != UsageError.exit_code:
            with contextlib.suppress(StorageError):  # the error itself says more, or another command holds the prefix
                log = ctx.meta.get(LOG) or _late(ctx)
                log.fail(kind, code, text)
        raise
    log = ctx.meta.get(LOG)
    if log is not None and log.written:
        log.finish()


def _late(ctx: click.Context) -> CommandLog:
    """The log of a command that failed before it had one."""
    return CommandLog(str(ctx.params["out"]), " ".join(command_words(ctx)), quiet=True, private=True)
