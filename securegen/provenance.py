"""What a run leaves beside its results: PREFIX.log for people, PREFIX.run.json for machines."""

from __future__ import annotations

import contextlib
import platform
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from securegen.io.output import write_json, write_text
from securegen.version import VERSION


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def folder_bytes(folder: str | Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())


class RunLog:
    """Collects lines and stage times; prints lines to stderr unless quiet.

    The record has the keys of docs/run-json.md; nothing measured on decrypted noise ever enters it.
    """

    def __init__(self, out: str, command: str, *, quiet: bool = False) -> None:
        self.out, self.quiet = out, quiet
        self.lines: list[str] = []
        self.started = time.time()
        self.seconds: dict[str, float] = {}
        self.record: dict[str, Any] = {"command": command, "version": VERSION}
        self._clock = time.perf_counter()
        self(f"securegen {VERSION} {command}, {time.strftime('%Y-%m-%d %H:%M:%S')}")

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
        write_json(f"{self.out}.run.json", self.record)
        self.save_lines()

    def save_lines(self) -> None:
        """Write PREFIX.log as it is now."""
        write_text(f"{self.out}.log", "\n".join(self.lines) + "\n")
