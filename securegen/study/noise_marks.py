"""Marks of the tables of people that a run with noise on phenotypes read, by which a later run knows that one changed.

A record may not have their digests (`noise_place`). A mark is an HMAC under a key within the encrypted file of draws: who holds a
record and not that file learns nothing by it, and tries no guess.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from securegen.governance.noise_store import has_draws, open_draws
from securegen.io.digests import sha256


def marks_of(folder: str | os.PathLike[str], paths: Iterable[str]) -> dict[str, str]:
    """Path -> mark of a file as it is now, under the key of the draws of a folder; empty where it has none."""
    if not has_draws(folder := Path(folder)):
        return {}
    with open_draws(folder) as entries:
        return {path: entries.question(json.dumps(["input", sha256(path)])) for path in paths}


def compared(folder: str | os.PathLike[str], marks: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What is to be said of marked files that changed or are missing, and the paths of those that nothing here can compare."""
    missing = [path for path in marks if not os.path.isfile(path)]
    there = {path: mark for path, mark in marks.items() if path not in missing}
    now = marks_of(folder, there)
    changed = [f"{path} changed since" for path, mark in there.items() if path in now and now[path] != mark]
    return [f"{path} is missing" for path in missing] + changed, [path for path in there if path not in now]
