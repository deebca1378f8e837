"""What a run leaves beside its results: PREFIX.log for people, PREFIX.run.json for machines."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import resource
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from securegen.errors import InputError, PeerError, UsageError
from securegen.io import schema
from securegen.io.folders import folder_of
from securegen.io.output import PRIVATE, write_json, write_text
from securegen.io.schema import Check, anything, either, has, integer, list_of, map_of, number, one_line, optional, text
from securegen.io.store_urls import is_url
from securegen.io.strict_json import read_json
from securegen.version import VERSION

FAILED = "failed "
_STARTS = re.compile(r"(?m)^(?=securegen \S+ .*, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$)")
_SIZE = integer(0, 1 << 62)
_COUNT = optional(_SIZE)
_NUMBER = optional(number(-1e300, 1e300))
_EXPONENTS = list_of(integer(0, 1 << 10), 0, 1 << 14)  # as private scores of version 0.1 said it


def _sizes(value: object, where: str) -> dict[str, Any]:
    """Bytes by name; those `sent` by party."""
    found = map_of(anything, 256)(value, where)
    return {k: (map_of(_SIZE, 256) if k == "sent" else _SIZE)(v, f"{where}.{k}") for k, v in found.items()}


_PART = schema.record(
    number=integer(1, 1 << 20), of=integer(1, 1 << 20), first=_SIZE, variants=_SIZE,
    tables=map_of(schema.hex_text(32), 1 << 14, name=text(4096)), may_have={"asked": schema.hex_text(32)},
)  # fmt: skip
_STRATA = list_of(has("name", "variants", name=text(255), variants=_SIZE), 0, 64)
_WORDS = list_of(text(1 << 12), 0, 1 << 12)
_FIELDS: dict[str, Check] = {
    "command": text(256), "version": text(64), "engine": text(64), "samples": _COUNT, "variants": _COUNT,
    "phenotypes": optional(list_of(text(255), 0, 1 << 14)), "missing": optional(text(64)), "reveal": optional(text(64)),
    "seconds": map_of(number(0, 1e12), 64), "bytes": _sizes, "parameters": optional(has()),
    "peak_rss_bytes": _COUNT, "planned_noise_margin_bits": optional(number(-1e4, 1e4)), "machine": map_of(text(255), 16),
    "promise": optional(map_of(either(map_of(either(map_of(_NUMBER, 64), _NUMBER), 1 << 14), _EXPONENTS, _NUMBER), 1 << 14)),
    "inputs": optional(map_of(text(255), 1 << 12)), "match": optional(map_of(map_of(_SIZE, 64), 1 << 12, name=text(4096))),
    "receipt": optional(
        has(
            scenario=text(1 << 12), parties=list_of(map_of(text(1 << 14), 16), 0, 1 << 10), released=_WORDS,
            assumptions=_WORDS, warnings=_WORDS,
        )
    ),
    "part": optional(_PART), "strata": optional(_STRATA),
    "covariates": _COUNT, "covariate_names": optional(list_of(text(255), 0, 1 << 14)), "outputs": optional(_WORDS),
    "stored": optional(map_of(schema.hex_text(32), 64, name=text(4096))),
    "catalog": optional(map_of(map_of(text(1 << 12), 64), 1 << 12, name=text(4096))),
    "call": has(
        "command", "options", command=text(256), options=map_of(anything, 256),
        digests=map_of(text(255), 1 << 14, name=text(4096)), untold=list_of(text(4096), 0, 1 << 14), draws=text(4096),
        marks=map_of(text(255), 1 << 14, name=text(4096)),
    ),
}  # fmt: skip
# What readers of a record rely on; engines say more (docs/reference/run-json.md), which is shown as it stands.
RECORD = has(**_FIELDS, earlier=list_of(has("command", **_FIELDS), 0, 256))


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def folder_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes of all files below a folder, or in one of a store."""
    if is_url(folder):
        return sum(folder_of(folder).sizes().values())
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())


class RunLog:
    """Collects lines and stage times; prints lines to stderr unless quiet.

    The record has the keys of docs/reference/run-json.md; nothing measured on decrypted noise ever enters it. Commands that share
    a prefix share the files: each replaces its own part of the log, and keeps the records of the others as `earlier`.
    A part that tells of a failure stays: it may be all that is left of an attack. Only that of an absent peer gives way
    to the next attempt.
    """

    def __init__(self, out: str, command: str, *, quiet: bool = False, private: bool = False) -> None:
        """private: lines tell of decrypted numbers, so that the files are the owner's alone."""
        self.out, self.quiet, self.mode = out, quiet, PRIVATE if private else None
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
        line = one_line(line)  # names of others are in some of them
        self.lines.append(line)
        if not self.quiet:
            with contextlib.suppress(OSError, ValueError):  # a full disk behind stderr does not stop a run
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
        text = _finite(self.record | ({"earlier": earlier} if earlier else {}))
        write_json(f"{self.out}.run.json", text, mode=self.mode)
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
            parts = re.split(_STARTS, _text_of_log(self.out))
        except OSError:
            parts = []
        own = rf"securegen \S+ {re.escape(_verb(self.record['command']))}(,| --)"  # of any version, as in the record
        others = [p.rstrip() for p in parts if p.strip() and p.rstrip() != self._saved]
        kept = [p for p in others if not (re.match(own, p) and _gives_way(p, replace))]
        self._saved = "\n".join(self.lines)
        write_text(f"{self.out}.log", "\n\n".join([*kept, self._saved]) + "\n", mode=self.mode)


def print_end(log: RunLog, paths: Sequence[str], then: str | None = None) -> None:
    """Seconds, bytes, files and what to do with them, after log.write, where tables were written. then: what comes next,
    where it is not a report."""
    for stage, seconds in log.seconds.items():
        log(f"  {stage:<8} {seconds:8.2f} s")
    for what, size in log.record.get("bytes", {}).items():
        if what == "rounds":
            log(f"  {what:<10} {size:10d}")
            continue
        for name, count in (size if isinstance(size, dict) else {what: size}).items():
            log(f"  {name:<10} {count / 1e6:10.3f} MB")
    log("wrote " + ", ".join([*paths, f"{log.out}.run.json", f"{log.out}.log"]))
    if then is not None:
        log(then)
    elif paths:
        log(f"next, to see it: securegen report {shlex.quote(log.out)}")


def _text_of_log(out: str) -> str:
    """PREFIX.log as it was written: names of files may be no UTF-8, and no locale changes a letter."""
    return Path(f"{out}.log").read_bytes().decode(errors="surrogateescape")


def _gives_way(part: str, replace: bool) -> bool:
    """Whether a part of the log is replaced by the next run of its command."""
    failure = re.search(rf"(?m)^{FAILED}.*$", part)
    return failure[0].endswith(f": {PeerError.__name__}, exit code {PeerError.exit_code}") if failure else replace


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _finite(value: Any) -> Any:
    """null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verb(command: str) -> str:
    """A command without its options."""
    return command.partition(" --")[0]


def records_in(path: str | Path) -> list[dict[str, Any]]:
    """The records of a PREFIX.run.json, the last run first; none when it is not one."""
    try:
        return read_records(path)
    except (FileNotFoundError, InputError):
        return []


def refuse_other_commands(out: str, group: str) -> None:
    """Raise UsageError where OUT.log or OUT.run.json is of a command outside a group: it would go along with this one's."""
    told = [str(r["command"]) for r in records_in(f"{out}.run.json")]
    with contextlib.suppress(OSError):
        parts = re.split(_STARTS, _text_of_log(out))
        told += [p.split("\n")[0].partition(",")[0].partition(" ")[2].partition(" ")[2] for p in parts if p.strip()]
    if other := next((command for command in told if command.split()[:1] != [group]), None):
        raise UsageError(
            f"`out` {out}: its log and record belong to {other!r} too, with exact numbers of people: give it a prefix of its own"
        )


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """As `records_in`. Raises FileNotFoundError, InputError saying what is wrong with it."""
    last = read_json(path, "the record of a run", RECORD, error=InputError)
    earlier = last.pop("earlier", [])
    return [r for r in (last, *earlier) if "command" in r]
