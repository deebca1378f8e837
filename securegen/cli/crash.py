"""The last net of the command line: whatever nobody foresaw becomes one line and a file for a bug report.

The file says where the program was, by file, line and function, and the class of each error; never an error's text, a
value or an argument, which may be somebody's data. It is readable by its owner only.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

from securegen.errors import SecuregenError, StorageError
from securegen.version import VERSION

PACKAGE = Path(__file__).parents[1]


@contextlib.contextmanager
def no_traceback() -> Iterator[None]:
    """Turn what securegen did not raise on purpose into a SecuregenError of one line."""
    try:
        yield
    except (SecuregenError, click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:  # whoever reads has seen enough
        lead_nowhere("stdout")
        raise click.exceptions.Exit(StorageError.exit_code) from None
    except MemoryError:
        raise SecuregenError("out of memory: use fewer threads or smaller blocks") from None
    except OSError as error:
        named = isinstance(error.filename, str | bytes)
        where = f"{os.fsdecode(error.filename)}: " if named else "standard output or a temporary file: "
        raise StorageError(f"{where}{error.strerror or type(error).__name__}") from error
    except Exception as error:
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            raise SecuregenError("the system allows no more threads: use fewer (--threads 1)") from None
        raise SecuregenError(_line(error)) from error


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(PACKAGE)] or frames
    where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    kept = _report(error)
    told = f"; {kept} says where, without data: please report it" if kept else "; please report it"
    return f"an error that securegen does not know, {type(error).__name__}{where}{told}"


def _report(error: BaseException) -> str | None:
    """Write the report; its path, or None where nothing can be written."""
    machine = f"Python {platform.python_version()}, {platform.system()}"
    lines = [f"securegen {VERSION}, {machine}", f"command: {' '.join(_words())}"]
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        lines += ["", f"{type(seen).__module__}.{type(seen).__qualname__}"]
        lines += [f"  {f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(seen.__traceback__)[-60:]]
        seen = seen.__cause__ or seen.__context__
    try:
        descriptor, path = tempfile.mkstemp(prefix="securegen-crash-", suffix=".txt")  # mode 0600
        with os.fdopen(descriptor, "w") as stream:
            stream.write("\n".join(lines) + "\n")
    except OSError:
        return None
    return path


def _words() -> list[str]:
    """The command without its options and arguments."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        return [*ctx.command_path.split(), *([ctx.invoked_subcommand] if ctx.invoked_subcommand else [])]
    return ["securegen", *(a for a in sys.argv[1:2] if a.isalpha())]


def open_streams() -> None:
    """Standard streams that the caller closed lead nowhere: a file opened next must not take their place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            while (taken := os.open(os.devnull, os.O_RDWR)) < number:
                pass
            if taken > number:
                os.close(taken)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 for the rest of the process


def settle_streams() -> str | None:
    """Write out what was printed. Returns why standard output did not take it, "" where its reader has gone; such a
    stream then leads nowhere, so that the interpreter does not stumble over it again."""
    why = None
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError) as error:
            lead_nowhere(name)
            if name == "stdout":
                broken = isinstance(error, BrokenPipeError)
                why = "" if broken else getattr(error, "strerror", None) or "it is closed"
    return why


def lead_nowhere(name: str) -> None:
    """Point a standard stream at the null device."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, getattr(sys, name).fileno())
        os.close(null)
