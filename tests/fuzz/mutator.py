"""Changes of a valid sample: bits, spans, numbers, fields, lines, and JSON whose leaves, keys and depth are others."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable
from typing import Any

BYTES, TEXT, JSON, HEAD = "bytes", "text", "json", "head"  # HEAD: a line of JSON, and bytes after it
WORDS = (
    b"", b"\0", b"NA", b"nan", b"-nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"-0", b"1_000", b"0x10", b"9" * 19, b"9" * 400,
    b"9" * 5000, b"18446744073709551616", b"-9223372036854775809", b"4294967295", b"1e308", b"5e-324", b"0.1e-400", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "\u202e".encode(), "\u2028".encode(), "\u0663".encode(),
    "\xa0".encode(), b"\x1b[2J", b"../../x", b"..", b".", b"#", b"'", b'"', b"\\", b"@", b"=", b"[[", b"{", b"\t", b" ", b"\r",
    b"\n", b"\x85", b"\x0b", b"%s%n", b"chr1", b"X", b"y" * 300, b"z" * 70000, b"PK\x03\x04", b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
)  # fmt: skip
LEAVES: tuple[object, ...] = (
    None, True, False, [], {}, -1, 0, 1, 2, 255, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 10**30, 10**400, -(10**12), 0.5, -0.0,
    1e308, 5e-324, float("nan"), float("inf"), "", "x", "1", "0" * 64, "aa" * 16, "é", "\0", "\ud800", "\u202e", "\x1b[2J\n",
    "../x", "/etc/passwd", ".", "y" * 5000, [[[]]], {"a": {"b": None}}, ["g"], [-1], [0] * 3000, [[]] * 3000,
    {str(i): i for i in range(900)},
)  # fmt: skip
MOST = 1 << 22  # bytes of a change
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_NUMBER = re.compile(rb"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_CELL = re.compile(rb"[^\t \r\n,;:|]+")


def mutated(sample: bytes, kind: str, *place: object) -> bytes:
    """One change, or a few. place: what it is the change of; the same place makes the same change, in every process."""
    chance = random.Random(hashlib.sha256("/".join(map(str, place)).encode()).digest())
    out = sample
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        known = [_anywhere]
        if kind in (JSON, HEAD):
            known += [_json_head if kind == HEAD else _json] * 4
        elif kind == TEXT:
            known += [_text] * 3
        out = chance.choice(known)(chance, out)[:MOST]
    if kind == TEXT and chance.random() < 0.04:
        out = _anywhere(chance, gzip.compress(out, 1, mtime=0))
    return out


def _span(chance: random.Random, size: int, most: int = 64) -> tuple[int, int]:
    start = chance.randrange(size + 1)
    return start, min(size, start + chance.randrange(1, most))


def _put(raw: bytes, start: int, stop: int, word: bytes) -> bytes:
    return raw[:start] + word + raw[stop:]


def _anywhere(chance: random.Random, raw: bytes) -> bytes:
    """Whatever the bytes are."""
    start, stop = _span(chance, len(raw), chance.choice((2, 9, 64, 4096)))
    if chance.random() < 0.3:  # heads say how to read the rest
        start, stop = start % 64, start % 64 + 1 + stop % 8
    width = chance.choice((1, 2, 4, 8))
    number = (chance.choice(EDGES) & (1 << 8 * width) - 1).to_bytes(width, chance.choice(("little", "big")))
    return chance.choice(
        (
            lambda: _put(
                raw, start, start + 1, bytes([raw[start] ^ 1 << chance.randrange(8)]) if start < len(raw) else b"\1"
            ),
            lambda: _put(raw, start, start + 1, bytes([chance.randrange(256)])),
            lambda: _put(raw, start, start + width, number),
            lambda: _put(raw, start, start + width, number),
            lambda: raw[:start],
            lambda: raw[start:],
            lambda: _put(raw, start, stop, b""),
            lambda: _put(raw, start, start, raw[start:stop] * chance.choice((1, 2, 50))),
            lambda: _put(raw, start, start, chance.choice(WORDS)),
            lambda: _put(raw, start, stop, chance.choice(WORDS)),
            lambda: _put(raw, start, stop, bytes(stop - start)),
            lambda: raw + raw[start:stop],
            lambda: chance.choice((b"", raw + raw, raw + bytes(9), b"\n" + raw)),
        )
    )()


def _text(chance: random.Random, raw: bytes) -> bytes:
    """Numbers, cells and lines."""
    what = chance.randrange(8)
    if what < 4:
        found = list((_NUMBER if what < 2 else _CELL).finditer(raw[: 1 << 16]))
        if found:
            place = chance.choice(found)
            other = chance.choice(found)[0] if chance.random() < 0.2 else chance.choice(WORDS)
            return _put(raw, *place.span(), other)
    lines = raw.split(b"\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    blank = b"\t" if b"\t" in lines[at] else b" "
    cells = lines[at].split(blank)
    cell = chance.randrange(len(cells))
    if what == 4:
        del lines[at]
    elif what == 5:
        lines[at:at] = [lines[other]] * chance.choice((1, 1, 3, 300 if len(lines[other]) < 9000 else 4))
    elif what == 6:
        lines[at] = blank.join(cells[:cell] + cells[cell + 1 :])
    elif chance.random() < 0.2:
        return raw.replace(b"\n", chance.choice((b"\r", b"\r\n", b"\n\n", b"\0", b"")))
    elif chance.random() < 0.2:
        return raw.replace(blank, chance.choice((b" ", b"\t", b",", b"\t\t")))
    else:
        lines[at] = blank.join(
            cells[:cell]
            + [cells[cell]] * chance.choice((2, 3, 2000 if len(cells[cell]) < 1000 else 4))
            + cells[cell + 1 :]
        )
    return b"\n".join(lines)


def _json_head(chance: random.Random, raw: bytes) -> bytes:
    line, end, rest = raw.partition(b"\n")
    return _json(chance, line).replace(b"\n", b" ") + end + rest


def _json(chance: random.Random, raw: bytes) -> bytes:
    """Another value, key or depth somewhere; where it is no JSON any more, any change."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return _anywhere(chance, raw)
    if chance.random() < 0.06:
        deep = chance.choice((5, 70, 3000, 200_000))
        return raw.replace(b"[", b"[" * deep, 1) if chance.random() < 0.5 else b"[" * deep + raw + b"]" * deep
    if chance.random() < 0.04:
        return raw.replace(b"{", b'{"x": 1, "x": 2, ', 1)
    if not isinstance(value, dict | list) or not value:
        return json.dumps(chance.choice(LEAVES)).encode()
    return json.dumps(changed(chance, value)).encode()


def changed(chance: random.Random, value: Any) -> Any:
    """A copy of a container with one change in it."""
    out = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []
    _walk(out, places)
    inside, key = chance.choice(places)
    leaf = copy.deepcopy(chance.choice(LEAVES))
    what: Callable[[], object]
    if isinstance(inside, dict):
        what = chance.choice((
            lambda: inside.update({key: leaf}), lambda: inside.update({key: leaf}), lambda: inside.pop(key),
            lambda: inside.update({chance.choice(("x", "", "\ud800", "__class__", "é")): leaf}),
            lambda: inside.update({key: [inside[key]]}), lambda: inside.update({key: _near(chance, inside[key])}),
            lambda: inside.update({key: chance.choice(list(inside.values()))}),
        ))  # fmt: skip
    else:
        what = chance.choice((
            lambda: inside.__setitem__(key, leaf), lambda: inside.__setitem__(key, leaf), lambda: inside.pop(key),
            lambda: inside.insert(key, leaf), lambda: inside.extend([inside[key]] * chance.choice((1, 2, 2000))),
            inside.clear, inside.reverse, lambda: inside.__setitem__(key, _near(chance, inside[key])),
        ))  # fmt: skip
    what()
    return out


def _near(chance: random.Random, value: Any) -> Any:
    """Another value of the same type: what a schema of types alone lets through."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice((value + 1, value - 1, -value, value * 2, value * 1000, value << 32))
    if isinstance(value, float):
        return chance.choice((-value, value * 1e300, value * 1e-300, 0.0))
    if isinstance(value, str):
        half = len(value) // 2
        other = value[:half] + chance.choice("0aZ9-_/+ é\u202e\0") + value[half + 1 :]
        return chance.choice((other, value[:half], value + value, value.upper(), value[::-1]))
    return value


def _walk(value: Any, out: list[tuple[Any, Any]]) -> None:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for n, (key, inner) in enumerate(list(pairs)):
        if n < 64 or n == len(value) - 1:
            out.append((value, key))
            if isinstance(inner, dict | list) and inner:
                _walk(inner, out)
