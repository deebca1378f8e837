"""JSON that comes from a file or from another party: read in one place, refused with one line.

It takes no NaN or infinity, no key twice, no depth that exhausts the stack, no number of more digits than Python
converts. Size is bounded, and so is the count of lists and objects, which cost far more memory than their two letters.
Only regular files are opened: a named pipe would keep a reader waiting for ever. What the value must look like is a
`schema.Check`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError, SecuregenError
from securegen.io.schema import Check, Refused

MOST_BYTES = 1 << 26
MOST_CONTAINERS = 1 << 22
MOST_DEPTH = 64


@contextlib.contextmanager
def open_regular(
    path: str | Path, what: str, *, error: type[SecuregenError] = ArtefactError
) -> Iterator[tuple[io.FileIO, os.stat_result]]:
    """A regular file, unbuffered, and its status. Raises FileNotFoundError, `error` for everything else, also where the
    block fails to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with io.FileIO(descriptor) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path} is not a regular file: it cannot be {what}")
            yield stream, status
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as problem:
        if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
            raise MemoryError from None  # of a map: the file is as it should be
        if isinstance(problem, OSError) and problem.errno == errno.ENXIO:
            raise error(f"{path} is not a regular file: it cannot be {what}") from None
        raise error(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}") from None


def read_regular(
    path: str | Path, what: str, *, most: int = MOST_BYTES, error: type[SecuregenError] = ArtefactError
) -> bytes:
    """The bytes of a regular file of at most `most` bytes. Raises FileNotFoundError, `error` for everything else."""
    with open_regular(path, what, error=error) as (stream, status):
        if status.st_size > most:
            raise error(f"{path} has {status.st_size} bytes: too large to be {what}")
        raw = bytearray()
        while part := stream.read(min(1 << 20, most + 1 - len(raw))):
            raw += part
    if len(raw) > most:
        raise error(f"{path} grows while it is read: it cannot be {what}")
    return bytes(raw)


def parse_json(
    text: str | bytes, what: str, check: Check | None = None, *, error: type[SecuregenError] = ArtefactError
) -> Any:
    """The value of JSON text, as `check` returns it. `what` names the text in the message of `error`.

    >>> parse_json('{"a": 1}', "an example")
    {'a': 1}
    >>> parse_json("[[1, NaN]]", "an example")
    Traceback (most recent call last):
    ...
    securegen.errors.ArtefactError: an example is damaged: it is not JSON (not a finite number)
    """
    raw = text.encode() if isinstance(text, str) else text
    containers = raw.count(b"[") + raw.count(b"{")  # at most: strings may hold some
    if containers > MOST_CONTAINERS:
        raise error(f"{what} is damaged: it has more than {MOST_CONTAINERS} lists and objects")
    try:
        value = json.loads(raw.decode(), parse_float=_finite, parse_constant=_finite, object_pairs_hook=_distinct)
        if containers > MOST_DEPTH and _deep(value):
            raise RecursionError
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is not text
    except RecursionError:
        raise error(f"{what} is damaged: it is not JSON (nested too deeply)") from None
    except json.JSONDecodeError as problem:
        raise error(f"{what} is damaged: it is not JSON (line {problem.lineno})") from None
    except UnicodeError:
        raise error(f"{what} is damaged: it is not text") from None
    except ValueError as problem:
        raise error(f"{what} is damaged: it is not JSON ({_brief(problem)})") from None
    try:
        return value if check is None else check(value, "")
    except Refused as problem:
        raise error(f"{what} is damaged: {problem}") from None


def read_json(
    path: str | Path,
    what: str,
    check: Check | None = None,
    *,
    error: type[SecuregenError] = ArtefactError,
    most: int = MOST_BYTES,
) -> Any:
    """The checked value of a JSON file. Raises FileNotFoundError when there is none, `error` for everything else.

    what: the file's role with its article, as in "a public key".
    """
    return parse_json(read_regular(path, what, most=most, error=error), f"{path}, {what},", check, error=error)


def _deep(value: object) -> bool:
    """Whether lists and objects are nested more than MOST_DEPTH times: whoever walks through them need not count."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer if type(outer) is list else ())
            if type(inner) in (dict, list)
        ]
    return bool(level)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key twice")
    return out


def _brief(problem: ValueError) -> str:
    return "a number of too many digits" if "digits" in str(problem) else str(problem)
