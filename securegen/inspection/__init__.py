"""What a file or folder is, without any key: role, version, parameters, security, shapes, and whether its digests and
signature hold. Nothing secret is returned, also of files that are secret: of those only what is public in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securegen.engines.ckks.artefact import MANIFEST
from securegen.engines.ckks.keys import PublicKey
from securegen.errors import InputError
from securegen.inspection.files import describe_file, key_fingerprint
from securegen.inspection.folders import describe_boxes, describe_manifest, describe_study_folder
from securegen.io.schema import printable
from securegen.io.secret_files import is_secret

__all__ = ["Inspection", "inspect", "is_secret", "key_fingerprint", "neighbours"]

KNOWN = (
    "encrypted cohorts, designs, results and score messages (folders), owner's folders, keys, plans, run.json, result "
    "tables, match logs, study.toml, parties.toml, certificates"
)


@dataclass(frozen=True)
class Inspection:
    """kind: what it is; facts: name -> value; checks: what was verified -> how it came out; problems: what does not hold;
    notes: what its holder should know."""

    path: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "problems": list(self.problems), "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """For people, one fact per line."""
        out = [f"{self.path}: {self.kind}"]
        out += [f"  {name:<16} {_text(value)}" for name, value in self.facts.items()]
        out += [f"  {name:<16} {result}" for name, result in self.checks.items()]
        out += [f"  note: {note}" for note in self.notes]
        return out + [f"  PROBLEM: {problem}" for problem in self.problems]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{printable(k, 80)} {_text(v)}" for k, v in value.items())
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else printable(value, 1000)


def inspect(path: str | Path, *, public: PublicKey | None = None, digests: bool = True) -> Inspection:
    """Look at any artefact. public: the key whose signature is expected; digests: read every file it names.

    Raises InputError when there is nothing at `path`, or nothing that it knows.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise InputError(f"there is no file or folder {path}{neighbours(path)}")
    try:
        if not path.is_dir() and not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder")
        if not path.is_dir():
            found = describe_file(path)
        elif (path / MANIFEST).exists():
            found = describe_manifest(path, public, digests=digests)
        else:
            found = describe_study_folder(path) or describe_boxes(path)
    except OSError as error:
        raise InputError(f"cannot read {error.filename or path}: {error.strerror}") from None
    if found is None:
        raise InputError(f"{path} is nothing that inspect knows{_about(path)}; it knows {KNOWN}")
    return Inspection(str(path), **found)


def neighbours(path: Path) -> str:
    """Artefacts that begin with the same name: PREFIX is easily given for PREFIX.cohort."""
    near: Iterable[Path] = sorted(path.parent.glob(f"{path.name}.*")) if path.parent.is_dir() and path.name else ()
    names = [str(p) for p in near][:8]
    return f"; did you mean {', '.join(names)}?" if names else ""


def _about(path: Path) -> str:
    if path.is_dir():
        names = sorted(p.name for p in path.iterdir())[:5]
        return f" (it has no manifest.json; in it: {', '.join(names) or 'nothing'})"
    return f" ({path.stat().st_size} bytes)"  # not its first words: it may be somebody's passphrase
