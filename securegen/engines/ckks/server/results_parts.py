"""Results of parts of a cohort's blocks, and joining them: PREFIX.3of22.results and its like become PREFIX.results.

Who learns what: as `associate`; nothing here is handed a key. What is joined is what one pass over all blocks writes, to the
byte, and its owner verifies it all the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securegen.engines.ckks import artefact, bodies
from securegen.errors import ArtefactError, UsageError
from securegen.io.folder import Folder
from securegen.io.folders import folder_of, folders_beside, place_of
from securegen.study.parts import RunPart, part_of

ROLE: Final = "part of results"
_OF_ONE_PASS: Final = ("key", "cohort", "design", "nonce", "streams", "of")


@dataclass(frozen=True)
class ResultsPart:
    """The manifest of one part, as it was checked."""

    folder: Folder
    body: dict[str, Any]


def write_results(folder: Folder, body: dict[str, Any], part: RunPart | None, first: int) -> str:
    """The manifest of results, or of those of a part, whose first block is `first`. Returns its digest."""
    if part is None:
        return artefact.write_manifest(folder, "results", body, None)
    return artefact.write_manifest(folder, ROLE, body | {"part": part.number, "of": part.of, "first": first}, None)


def parts_of_results(prefix: str | os.PathLike[str]) -> list[Folder]:
    """Folders of parts of PREFIX.results, complete or not."""
    name, found = os.fspath(prefix).rpartition("/")[2], []
    for folder in folders_beside(prefix):
        number, _, of = folder.name[len(name) + 1 :].removesuffix(".results").partition("of")
        if folder.name.endswith(".results") and number.isdecimal() and of.isdecimal():
            found.append(folder)
    return found


def join_results(prefix: str | os.PathLike[str]) -> Path | Folder:
    """Put the blocks of every part into PREFIX.results and write its manifest; the parts go. Returns the folder.

    A killed join goes on. Raises UsageError where no part is there, ArtefactError where one is absent or of another pass.
    """
    folders = parts_of_results(prefix)
    if not folders:
        raise UsageError(f"no part of {os.fspath(prefix)}.results is here: run securegen gwas with `blocks` first")
    parts = sorted((_read(folder) for folder in folders), key=lambda p: (p.body["of"], p.body["part"]))
    _refuse_others(parts)
    target = folder_of(f"{os.fspath(prefix)}.results")
    target.make()
    whole = {name: parts[0].body[name] for name in ("key", "cohort", "design", "nonce", "streams")}
    with target.claimed(writer := artefact.writer_of(whole["cohort"], whole["design"], "joined")):
        target.remove([artefact.MANIFEST])
        entries = [(part.folder, entry) for part in parts for entry in part.body["blocks"]]
        there = target.sizes()
        for folder in (part.folder for part in parts):
            here = folder.sizes()
            for entry in (entry for own, entry in entries if own is folder):
                _move(folder, target, entry, here, there)
        target.settle()
        target.confirm(writer)
        artefact.write_manifest(target, "results", whole | {"blocks": [entry for _, entry in entries]}, None)
    for part in parts:
        part.folder.discard()
    return place_of(f"{os.fspath(prefix)}.results")


def _read(folder: Folder) -> ResultsPart:
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
                f"{part.folder} and {first.folder} differ in {', '.join(wrong)}: they come from two passes; remove one of them"
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


def _move(folder: Folder, target: Folder, entry: dict[str, Any], here: dict[str, int], there: dict[str, int]) -> None:
    """Move one file; where a killed join moved it before, it is there. here, there: bytes of the files in both folders.

    Raises ArtefactError for another than the entry says.
    """
    name = artefact.name_of(folder, entry)
    found, size = (folder, here[name]) if name in here else (target, there.get(name))
    if size is None or size != entry["size"] or found.digest(name, size) != entry["blake3"]:
        raise ArtefactError(f"{folder.at(name)} is not what its manifest names: run its part again")
    if found is folder:
        target.take(name, folder)
