"""Every target. A new parser of foreign bytes gets one here: a sample that it takes, and a function of bytes."""

from __future__ import annotations

from pathlib import Path

import targets_files
import targets_governance
import targets_keys
import targets_parties
from target import Target

KINDS = (targets_files, targets_keys, targets_governance, targets_parties)


def every(folder: Path) -> list[Target]:
    """All targets, whose files are in the folder."""
    out: list[Target] = []
    for kind in KINDS:
        own = folder / kind.__name__
        own.mkdir()
        out += kind.targets(own)
    return out
