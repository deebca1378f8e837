"""Results of parts of a cohort's blocks, and joining them: PREFIX.3of22.results and its like become PREFIX.results.

Who learns what: as `associate`; nothing here is handed a key. What is joined is what one pass over all blocks writes, to the
byte, and its owner verifies it all the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Final

from securegen.engines.ckks import artefact, bodies
from securegen.errors import ArtefactError, UsageError
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder, sync_folder
from securegen.study.parts import RunPart, part_of

ROLE: Final = "part of results"
_OF_ONE_PASS: Final = ("key", "cohort", "design", "nonce", "streams", "of")


@dataclass(frozen=True)
class ResultsPart:
    """The manifest of one part, as it was checked."""

    folder: Path
    body: dict[str, Any]


def write_results(folder: Path, body: dict[str, Any], part: RunPart | None, first: int) -> str:
    """The manifest of results, or of those of a part, whose first block is `first`. Returns its digest."""
    if part is None:
        return artefact.write_manifest(folder, "results", body, None)
    return artefact.write_manifest(folder, ROLE, body | {"part": part.number, "of": part.of, "first": first}, None)


def parts_of_results(prefix: str | os.PathLike[str]) -> list[Path]:
    """Folders of parts of PREFIX.results, complete or not."""
    base = Path(prefix)
    found = []
    for path in base.parent.glob(f"{escape(base.name)}.*of*.results"):
        middle = path.name[len(base.name) + 1 : -len(".results")]
        number, _, of = middle.partition("of")
        if number.isdecimal() and of.isdecimal():
            found.append(path)
    return sorted(found)


def join_results(prefix: str | os.PathLike[str]) -> Path:
    """Put the blocks of every part into PREFIX.results and write its manifest; the parts go. Returns the folder.

    A killed join goes on. Raises UsageError where no part is there, ArtefactError where one is absent or of another pass.
    """
    folders = parts_of_results(prefix)
    if not folders:
        raise UsageError(f"no part of {os.fspath(prefix)}.results is here: run securegen gwas with `blocks` first")
    parts = sorted((_read(folder) for folder in folders), key=lambda p: (p.body["of"], p.body["part"]))
    _refuse_others(parts)
    target = Path(f"{os.fspath(prefix)}.results")
    make_folder(target, FOLDER_FOR_OTHERS)
    (target / artefact.MANIFEST).unlink(missing_ok=True)
    entries = [(part.folder, entry) for part in parts for entry in part.body["blocks"]]
    for folder, entry in entries:
        _move(folder, target, entry)
    sync_folder(target)
    whole = {name: parts[0].body[name] for name in ("key", "cohort", "design", "nonce", "streams")}
    artefact.write_manifest(target, "results", whole | {"blocks": [entry for _, entry in entries]}, None)
    for part in parts:
        shutil.rmtree(part.folder)
    return target


def _read(folder: Path) -> ResultsPart:
    body = artefact.read_manifest(folder, ROLE, None, bodies.RESULTS_PART)
    if folder.name.split(".")[-2] != f"{body['part']}of{body['of']}":
        raise ArtefactError(f"{folder} holds part {body['part']} of {body['of']}: it was renamed")
    return ResultsPart(folder, body)


def _refuse_others(parts: Sequence[ResultsPart]) -> None:
    """Raise ArtefactError unless these are all blocks of one pass, in order."""
    first = parts[0]
    for part in parts[1:]:
        wrong = [name for name in _OF_ONE_PASS if part.body[name] != first.body[name]]
        if wrong:
            raise ArtefactError(
                f"{part.folder} and {first.folder} differ in {', '.join(wrong)}: they are of two passes; remove the other one"
            )
    of, blocks = first.body["of"], len(first.body["streams"])
    absent = sorted(set(range(1, of + 1)) - {part.body["part"] for part in parts})
    if absent:
        names = ", ".join(f"{n}/{of}" for n in absent[:8])
        raise ArtefactError(f"{len(absent)} of {of} parts are not there, or did not end ({names}): run these again")
    for part in parts:
        start, stop = part_of(f"{part.body['part']}/{of}").span(blocks, "blocks")
        named = [entry["name"] for entry in part.body["blocks"]]
        if part.body["first"] != start or named != [block_file(b) for b in range(start, stop)]:
            raise ArtefactError(f"{part.folder} has other blocks than its part")


def block_file(block: int) -> str:
    """The file of a block's sums."""
    return f"block-{block:06d}.npy"


def _move(folder: Path, target: Path, entry: dict[str, Any]) -> None:
    """Move one file; where a killed join moved it before, it is there. Raises ArtefactError for another than the entry says."""
    there = folder / entry["name"]
    found = there if os.path.isfile(there) else target / entry["name"]
    if (
        not os.path.isfile(found)
        or found.stat().st_size != entry["size"]
        or artefact.digest_file(found) != entry["blake3"]
    ):
        raise ArtefactError(f"{there} is not what its manifest names: run its part again")
    if found is there:
        os.replace(there, target / entry["name"])
