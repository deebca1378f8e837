"""What a run leaves beside its results: PREFIX.log for people, PREFIX.run.json for machines."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from securegen.errors import PeerError
from securegen.io.output import write_json, write_text
from securegen.version import VERSION

FAILED = "failed "
_STARTS = re.compile(r"(?m)^(?=securegen \S+ .*, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$)")


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def folder_bytes(folder: str | Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())


class RunLog:
    """Collects lines and stage times; prints lines to stderr unless quiet.

    The record has the keys of docs/run-json.md; nothing measured on decrypted noise ever enters it. Commands that share
    a prefix share the files: each replaces its own part of the log, and keeps the records of the others as `earlier`.
    A part that tells of a failure stays: it may be all that is left of an attack. Only that of an absent peer gives way
    to the next attempt.
    """

    def __init__(self, out: str, command: str, *, quiet: bool = False) -> None:
        self.out, self.quiet = out, quiet
        self.lines: list[str] = []
        self._saved = ""
        self.started = time.time()
        self.seconds: dict[str, float] = {}
        self.record: dict[str, Any] = {"command": command, "version": VERSION}
        self._clock = time.perf_counter()
        self(f"securegen {VERSION} {command}, {_now()}")

    @property
    def files(self) -> tuple[str, str]:
        """What `write` writes."""
        return f"{self.out}.log", f"{self.out}.run.json"

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if not self.quiet:
            print(line, file=sys.stderr)

    def note(self, lines: Iterable[str]) -> None:
        """Lines for PREFIX.log only."""
        self.lines += lines

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage into `seconds`."""
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def write(self, **record: Any) -> None:
        """Write PREFIX.log and PREFIX.run.json."""
        self.seconds["total"] = time.perf_counter() - self._clock
        self.record |= record
        self.record["seconds"] = {k: round(v, 4) for k, v in self.seconds.items()}
        self.record.setdefault("peak_rss_bytes", peak_rss_bytes())
        self.record["machine"] = {"python": platform.python_version(), "system": platform.system()}
        earlier = [
            r for r in records_in(f"{self.out}.run.json") if _verb(r["command"]) != _verb(self.record["command"])
        ]
        write_json(f"{self.out}.run.json", self.record | ({"earlier": earlier} if earlier else {}))
        self.save_lines()

    def finish(self) -> None:
        """The last line of PREFIX.log: when it ended, and after how long. For a command that has written its record."""
        self.note([f"ended {_now()} after {time.perf_counter() - self._clock:.2f} s"])
        self.save_lines()

    def fail(self, kind: str, code: int, message: str) -> None:
        """Write PREFIX.log of a command that failed; what earlier runs left beside it stays. Raises StorageError."""
        self.note(
            [f"{FAILED}{_now()} after {time.perf_counter() - self._clock:.2f} s: {kind}, exit code {code}", message]
        )
        self.save_lines(replace=False)

    def save_lines(self, *, replace: bool = True) -> None:
        """Write PREFIX.log as it is now. replace: it takes the place of the same command's earlier part."""
        try:
            parts = re.split(_STARTS, Path(f"{self.out}.log").read_text())
        except (OSError, ValueError):
            parts = []
        own = re.escape(f"securegen {VERSION} {_verb(self.record['command'])}") + r"(,| --)"
        others = [p.rstrip() for p in parts if p.strip() and p.rstrip() != self._saved]
        kept = [p for p in others if not (re.match(own, p) and _gives_way(p, replace))]
        self._saved = "\n".join(self.lines)
        write_text(f"{self.out}.log", "\n\n".join([*kept, self._saved]) + "\n")


def _gives_way(part: str, replace: bool) -> bool:
    """Whether a part of the log is replaced by the next run of its command."""
    failure = re.search(rf"(?m)^{FAILED}.*$", part)
    return failure[0].endswith(f": {PeerError.__name__}, exit code {PeerError.exit_code}") if failure else replace


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _verb(command: str) -> str:
    """A command without its options."""
    return command.partition(" --")[0]


def records_in(path: str | Path) -> list[dict[str, Any]]:
    """The records of a PREFIX.run.json, the last run first; none when it is not one."""
    try:
        last = json.loads(Path(path).read_text())
        found = [last, *last.pop("earlier", [])]
        return [r for r in found if isinstance(r["command"], str)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
