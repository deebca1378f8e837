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

from securegen.io.output import PRIVATE, write_json, write_text
from securegen.version import VERSION


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
    """

    def __init__(self, out: str, command: str, *, quiet: bool = False, private: bool = False) -> None:
        """private: lines tell of decrypted numbers, so that the files are the owner's alone."""
        self.out, self.quiet, self.mode = out, quiet, PRIVATE if private else None
        self.lines: list[str] = []
        self.started = time.time()
        self.seconds: dict[str, float] = {}
        self.record: dict[str, Any] = {"command": command, "version": VERSION}
        self._clock = time.perf_counter()
        self(f"securegen {VERSION} {command}, {time.strftime('%Y-%m-%d %H:%M:%S')}")

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
        write_json(f"{self.out}.run.json", self.record | ({"earlier": earlier} if earlier else {}), mode=self.mode)
        self.save_lines()

    def save_lines(self) -> None:
        """Write PREFIX.log as it is now."""
        try:
            parts = re.split(
                r"(?m)^(?=securegen \S+ .*, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$)", Path(f"{self.out}.log").read_text()
            )
        except (OSError, ValueError):
            parts = []
        own = f"securegen {VERSION} {_verb(self.record['command'])}"
        kept = [p.rstrip() for p in parts if p.strip() and not re.match(re.escape(own) + r"(,| --)", p)]
        write_text(f"{self.out}.log", "\n\n".join([*kept, "\n".join(self.lines)]) + "\n", mode=self.mode)


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
