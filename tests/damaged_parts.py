"""What may have become of the second of three parts of results: r.2of3.results, joined by `merge`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECOND = "r.2of3.results"
Damage = Callable[[Path], object]


def edited(change: Callable[[dict[str, Any]], object] | None = None, **fields: Any) -> Damage:
    """Other fields in its manifest, or what `change` makes of its body."""

    def damage(folder: Path) -> None:
        path = folder / SECOND / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["body"] |= fields
        if change is not None:
            change(manifest["body"])
        path.write_text(json.dumps(manifest))

    return damage


def flipped(name: str) -> Damage:
    """A bit of one of its files."""

    def damage(folder: Path) -> None:
        path = folder / SECOND / name
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)

    return damage


def absent(folder: Path) -> None:
    shutil.rmtree(folder / SECOND)


def renamed(folder: Path) -> None:
    (folder / SECOND).rename(folder / "r.3of4.results")
