"""Results of parts of a pass, and joining them: PREFIX.3of22.results and its like become PREFIX.results.

A part of association is of blocks of variants, one of scores of chunks of people: each has files of its own, and nothing is
added up. Who learns what: as `associate` and `score`; nothing here is handed a key. What is joined is what one pass writes,
to the byte, and its owner verifies it all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securegen.engines.ckks import artefact, bodies
from securegen.errors import ArtefactError, UsageError
from securegen.io.folder import Folder
from securegen.io.folders import folder_of, folders_beside, place_of
from securegen.io.schema import Check, printable
from securegen.study.parts import RunPart, part_of


@dataclass(frozen=True)
class Kind:
    """What a pass writes. role: of its manifest; head: what its manifest says beside the files, the second and third what it was
    computed from; alike: what those of its parts say in common beside it; files: the field that names the files, `what` in
    words, and `file` the name of each; count: of all files, from the body of a part; check: of such a body; opened_by: the
    owner's command."""

    role: str
    head: tuple[str, ...]
    alike: tuple[str, ...]
    files: str
    what: str
    file: Callable[[int], str]
    count: Callable[[dict[str, Any]], int]
    check: Check
    opened_by: str

    @property
    def part_role(self) -> str:
        return f"part of {self.role}"


def block_file(block: int) -> str:
    """The file of a block's sums."""
    return f"block-{block:06d}.npy"


def chunk_file(chunk: int) -> str:
    """The file of the scores of a chunk of people."""
    return f"scores-{chunk:04d}.npy"


SUMS: Final = Kind(
    "results", ("key", "cohort", "design", "nonce", "streams"), (), "blocks", "blocks", block_file,
    lambda body: len(body["streams"]), bodies.RESULTS_PART, "securegen decrypt",
)  # fmt: skip
SCORES: Final = Kind(
    "scores", ("key", "cohort", "model"), ("all_chunks",), "chunks", "chunks of people", chunk_file,
    lambda body: int(body["all_chunks"]), bodies.SCORES_PART, "securegen prs-step decrypt",
)  # fmt: skip
_KINDS: Final = {kind.part_role: kind for kind in (SUMS, SCORES)}


@dataclass(frozen=True)
class ResultsPart:
    """The manifest of one part, as it was checked. here: bytes of the files in its folder."""

    folder: Folder
    here: dict[str, int]
    kind: Kind
    body: dict[str, Any]


@dataclass(frozen=True)
class JoinedResults:
    """PREFIX.results, of how many parts, and the command with which its owner opens it."""

    folder: Path | Folder
    parts: int
    opened_by: str


def write_results(folder: Folder, kind: Kind, body: dict[str, Any], part: RunPart | None, first: int) -> str:
    """The manifest of results, or of those of a part, whose first file is the `first` of all. Returns its digest."""
    if part is None:
        return artefact.write_manifest(folder, kind.role, {k: v for k, v in body.items() if k not in kind.alike}, None)
    own = {"part": part.number, "of": part.of, "first": first}
    return artefact.write_manifest(folder, kind.part_role, body | own, None)


def parts_of_results(prefix: str | os.PathLike[str]) -> list[Folder]:
    """Folders of parts of PREFIX.results, complete or not."""
    name, found = os.fspath(prefix).rpartition("/")[2], []
    for folder in folders_beside(prefix):
        number, _, of = folder.name[len(name) + 1 :].removesuffix(".results").partition("of")
        if folder.name.endswith(".results") and number.isdecimal() and of.isdecimal():
            found.append(folder)
    return found


def join_results(prefix: str | os.PathLike[str]) -> JoinedResults:
    """Put the files of every part into PREFIX.results and write its manifest; the parts go.

    A killed join goes on. Raises UsageError where no part is there, ArtefactError where one is absent or of another pass.
    """
    found = [(folder, folder.sizes()) for folder in parts_of_results(prefix)]
    parts = [_read(folder, here) for folder, here in found if here]  # a kill may leave an empty one
    if not parts:
        raise UsageError(
            f"no part of {os.fspath(prefix)}.results is here: run securegen gwas or prs with `blocks` first"
        )
    parts.sort(key=lambda p: (p.body["of"], p.body["part"]))
    kind = parts[0].kind
    target = folder_of(f"{os.fspath(prefix)}.results")
    whole_before = all(_is_joined(part, target) for part in parts)
    if not whole_before:
        _refuse_others(parts)
    target.make()
    whole = {name: parts[0].body[name] for name in kind.head}
    with target.claimed(writer := artefact.writer_of(*(whole[name] for name in kind.head[1:3]), "joined")):
        if not whole_before:
            target.remove([artefact.MANIFEST])
        there = target.sizes()
        for part in parts:
            for entry in part.body[kind.files]:
                _move(part.folder, target, entry, part.here, there)
        target.settle()
        if not whole_before:
            target.confirm(writer)
            entries = [entry for part in parts for entry in part.body[kind.files]]
            artefact.write_manifest(target, kind.role, whole | {kind.files: entries}, None)
    for part in parts:
        moved = {artefact.MANIFEST, *(entry["name"] for entry in part.body[kind.files])}
        part.folder.remove(part.here.keys() - moved)  # the manifest goes last: then what is left is known
        part.folder.discard()
    return JoinedResults(place_of(f"{os.fspath(prefix)}.results"), len(parts), kind.opened_by)


def _read(folder: Folder, here: dict[str, int]) -> ResultsPart:
    found = artefact.open_manifest(folder)
    kind = _KINDS.get(found.body["role"])
    if kind is None:
        raise ArtefactError(f"{folder} is an encrypted {printable(found.body['role'], 40)}, expected a part of results")
    body = found.checked(kind.check)
    if folder.name.split(".")[-2] != f"{body['part']}of{body['of']}":
        raise ArtefactError(f"{folder} holds part {body['part']} of {body['of']}: it was renamed")
    return ResultsPart(folder, here, kind, body)


def _is_joined(part: ResultsPart, target: Folder) -> bool:
    """Whether results are whole and name all files of a part, which was left by a join that was killed after its manifest."""
    try:
        body, kind = artefact.open_manifest(target).body, part.kind
    except ArtefactError:
        return False
    first, own, files = part.body["first"], part.body[kind.files], body.get(kind.files)
    same = body.get("role") == kind.role and all(body.get(name) == part.body[name] for name in kind.head)
    return same and isinstance(files, list) and files[first : first + len(own)] == own


def _refuse_others(parts: Sequence[ResultsPart]) -> None:
    """Raise ArtefactError unless these are all files of one pass, in order."""
    first, kind = parts[0], parts[0].kind
    count = kind.count(first.body)
    for part in parts[1:]:
        alike = ("role", *kind.head, *kind.alike, "of")
        wrong = [name for name in alike if part.body.get(name) != first.body[name]]
        if wrong:
            raise ArtefactError(
                f"{part.folder} and {first.folder} differ in {', '.join(wrong)}: they come from two passes; remove one of them"
            )
    of = first.body["of"]
    absent = sorted(set(range(1, of + 1)) - {part.body["part"] for part in parts})
    if absent:
        names = ", ".join(f"{n}/{of}" for n in absent[:8])
        raise ArtefactError(f"{len(absent)} of {of} parts are not there, or did not end ({names}): run these again")
    for part in parts:
        start, stop = part_of(f"{part.body['part']}/{of}").span(count, kind.what)
        named = [entry["name"] for entry in part.body[kind.files]]
        if part.body["first"] != start or named != [kind.file(i) for i in range(start, stop)]:
            raise ArtefactError(f"{part.folder} has other {kind.what} than its part")


def _move(folder: Folder, target: Folder, entry: dict[str, Any], here: dict[str, int], there: dict[str, int]) -> None:
    """Move one file; where a killed join moved it before, it is there. here, there: bytes of the files in both folders.

    Raises ArtefactError for another than the entry says.
    """
    name = artefact.name_of(folder, entry)
    found, size = (folder, here[name]) if name in here else (target, there.get(name))
    try:
        if size is None or size != entry["size"] or found.digest(name, size) != entry["blake3"]:
            raise ArtefactError(f"{folder.at(name)} is not what its manifest names: run its part again")
        if found is folder:
            target.take(name, folder)
    except FileNotFoundError:
        raise ArtefactError(f"{folder.at(name)} went while it was moved: run its part again") from None
