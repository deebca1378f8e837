"""What a store says of its objects, checked: whoever runs it may say anything."""

from __future__ import annotations

from typing import Any

from securegen.errors import ArtefactError, StorageError
from securegen.io.schema import shown

MOST_SIZE = 1 << 62


def size_of(described: dict[str, Any], where: str) -> int:
    """Bytes of an object. Raises StorageError unless the store says a number of bytes."""
    size = described.get("size")
    if type(size) is not int or not 0 <= size <= MOST_SIZE:
        raise StorageError(f"{where} cannot be read: the store says it has {shown(size)} bytes")
    return size


def is_plain(name: str) -> bool:
    """Whether a store takes a name for nothing but a name: no path, version or pattern."""
    ordinary = all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    return bool(name) and name not in (".", "..") and ordinary


def plain_name(name: str, folder: object) -> str:
    """The name. Raises ArtefactError where a store might take it for anything else."""
    if not is_plain(name):
        raise ArtefactError(f"{folder}: {shown(name, 80)} is not the name of a file in a store")
    return name
