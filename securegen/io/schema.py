"""What a value from a file or a peer must look like: checks that compose, applied before anything is allocated.

A check takes a value and where it stands, and returns the value (bytes for hex) or raises `Refused` saying what is wrong.

    BLOCK = record(name=text(255), size=integer(0, 1 << 40), seed=hex_bytes(16))
    MANIFEST = record(samples=integer(1, 1 << 22), blocks=list_of(BLOCK, 1, 1 << 20))
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

Check = Callable[[object, str], Any]


class Refused(ValueError):
    """A value that its schema does not allow. The text never repeats more than a few printable characters of it."""


def printable(value: object, size: int) -> str:
    """Another party's text, cut to `size`, without what would forge lines of a log or move a terminal's cursor.

    >>> printable("a\x1b[2J" + chr(10), 9)
    'a?[2J?'
    """
    return "".join(c if c.isprintable() else "?" for c in str(value)[:size])


def one_line(text: str) -> str:
    """Text with whatever is not printable as Python writes it: it stays one line and moves no cursor.

    >>> print(one_line("a\x1b[2J" + chr(10) + "é"))
    a\\x1b[2J\\né
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shown(value: object, size: int = 40) -> str:
    """A foreign value for an error text: one line, cut, text in quotes."""
    cut = printable(value, size) + ("…" if len(str(value)) > size else "")
    return f"'{cut}'" if isinstance(value, str) else cut


def _refuse(where: str, value: object, wanted: str) -> Refused:
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    found = kinds.get(type(value)) or shown(value)
    return Refused(f"{where or 'the whole'} is {found}, expected {wanted}")


def anything(value: object, where: str) -> object:
    """Whatever is there: its form is checked elsewhere."""
    return value


def integer(low: int, high: int) -> Check:
    """An integer with low ≤ value ≤ high; true and 1.0 are not integers."""

    def check(value: object, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _refuse(where, value, f"an integer from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A finite number with low ≤ value ≤ high, as float."""

    def check(value: object, where: str) -> float:
        if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):  # type: ignore[operator,arg-type]
            raise _refuse(where, value, f"a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    return check


def boolean(value: object, where: str) -> bool:
    """true or false."""
    if type(value) is not bool:
        raise _refuse(where, value, "true or false")
    return value


def text(most: int, *, least: int = 0, printable: bool = True) -> Check:
    """Text of at most `most` characters; without line ends, tabs and control characters when `printable`."""

    def check(value: object, where: str) -> str:
        if type(value) is not str or not least <= len(value) <= most or (printable and not value.isprintable()):
            raise _refuse(where, value, f"text of {least} to {most} printable characters")
        return value

    return check


def one_of(*choices: object) -> Check:
    """One of the given values, of the same type."""

    def check(value: object, where: str) -> object:
        if not any(type(value) is type(c) and value == c for c in choices):
            raise _refuse(where, value, "one of " + ", ".join(map(str, choices)))
        return value

    return check


def hex_bytes(size: int) -> Check:
    """Lower-case hex of exactly `size` bytes, returned as bytes."""

    def check(value: object, where: str) -> bytes:
        if type(value) is not str or len(value) != 2 * size or set(value) - set("0123456789abcdef"):
            raise _refuse(where, value, f"{size} bytes in hex")
        return bytes.fromhex(value)

    return check


def hex_text(size: int) -> Check:
    """As `hex_bytes`, but the text stays text."""
    raw = hex_bytes(size)

    def check(value: object, where: str) -> str:
        raw(value, where)
        return str(value)

    return check


def optional(inner: Check) -> Check:
    """null, or what `inner` allows."""
    return lambda value, where: None if value is None else inner(value, where)


def list_of(inner: Check, least: int, most: int) -> Check:
    """A list of `least` to `most` values."""

    def check(value: object, where: str) -> list[Any]:
        if type(value) is not list:
            raise _refuse(where, value, f"a list of {least} to {most}")
        if not least <= len(value) <= most:
            raise Refused(f"{where or 'the whole'} is a list of {len(value)}, expected one of {least} to {most}")
        return [inner(v, f"{where}[{i}]") for i, v in enumerate(value)]

    return check


def map_of(inner: Check, most: int, *, name: Check | None = None) -> Check:
    """An object with any keys, at most `most` of them."""
    name = name or text(255)

    def check(value: object, where: str) -> dict[str, Any]:
        if type(value) is not dict or len(value) > most:
            raise _refuse(where, value, f"an object of at most {most} entries")
        return {name(k, f"a key of {where or 'the whole'}"): inner(v, f"{where}.{shown(k)}") for k, v in value.items()}

    return check


def either(*choices: Check) -> Check:
    """What one of these allows; told is what the last one wanted."""

    def check(value: object, where: str) -> Any:
        for choice in choices[:-1]:
            with contextlib.suppress(Refused):
                return choice(value, where)
        return choices[-1](value, where)

    return check


def has(*needed: str, **fields: Check) -> Check:
    """An object with the needed fields; others may be there. Those that have a check are held against it, the rest stays."""

    def check(value: object, where: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise _refuse(where, value, "an object")
        if absent := [f for f in needed if f not in value]:
            raise Refused(f"{where or 'the whole'} lacks {', '.join(absent)}")
        prefix = f"{where}." if where else ""
        return {**value, **{k: check(value[k], prefix + k) for k, check in fields.items() if k in value}}

    return check


def record(*, may_have: dict[str, Check] | None = None, **fields: Check) -> Check:
    """An object with exactly these fields, and any of `may_have`."""
    extra = may_have or {}

    def check(value: object, where: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise _refuse(where, value, "an object")
        absent = [f for f in fields if f not in value]
        unknown = [k for k in value if k not in fields and k not in extra]
        if absent:
            raise Refused(f"{where or 'the whole'} lacks {', '.join(absent)}")
        if unknown:
            raise Refused(f"{where or 'the whole'} has an unknown field {shown(unknown[0])}")
        checks = {**fields, **extra}
        prefix = f"{where}." if where else ""
        return {k: checks[k](v, prefix + k) for k, v in value.items()}

    return check


score_name: Check = text(255, least=1)
"""A score's name as it may stand in the header of a table: no tab, line end or control character, not empty."""
