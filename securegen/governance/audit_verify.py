"""What an auditor finds in a copy of a log, without the log's secret: whole, or altered at a place that is named.

Two kinds of fault: the entries are not what the checkpoint signs (edited, cut, in another order, another key), and the
log is not what a witness saw (rolled back, or forked: two auditors were shown two logs). The second needs a witness:
a folder that was put back whole to an earlier day is a whole log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securegen.errors import ArtefactError
from securegen.governance.audit_entry import Entry, read_entries, read_entry
from securegen.governance.audit_folder import LogFolder, bundle_path
from securegen.governance.audit_log import signed_beyond
from securegen.governance.audit_note import Checkpoint, LogKey
from securegen.governance.audit_tree import WIDTH, Frontier, leaf_hash, tile_path
from securegen.governance.signing import verifies


@dataclass(frozen=True)
class LogState:
    """A log that was found whole.

    checkpoint: signed size and root; entries: all of them, those of `beyond` last; leaves: hashes of those in the checkpoint;
    beyond: whole signed entries that a kill left outside the checkpoint; torn: bytes of one that was never acknowledged;
    witnesses: how many earlier checkpoints it was compared with.
    """

    key: LogKey
    checkpoint: Checkpoint
    entries: tuple[Entry, ...] = field(repr=False)
    leaves: tuple[bytes, ...] = field(repr=False)
    beyond: int = 0
    torn: int = 0
    witnesses: int = 0

    @property
    def verdict(self) -> str:
        """One line: what this says, and what it cannot say."""
        size = self.checkpoint.size
        signed = f"{size} entr{'y is' if size == 1 else 'ies are'} as signed"
        if not self.witnesses:
            return f"consistent, no witness: {signed}; whether there were more cannot be told"
        return f"consistent with {self.witnesses} witness{'es' * (self.witnesses > 1)}: {signed}"


def read_log(
    folder: str | Path, *, key: LogKey | None = None, seen: Sequence[Checkpoint] = (), fingerprint: str | None = None
) -> LogState:
    """Read a whole log and check it. key, fingerprint: whose it must be, where the auditor knows; seen: witnesses.

    Raises ArtefactError naming the fault and its place; StorageError for a link.
    """
    place = LogFolder(folder)
    with place.locked(alone=False):
        held = place.key()
        for wanted in [key, *(s.key for s in seen)]:
            if wanted is not None and wanted != held:
                raise ArtefactError(
                    f"the audit log {folder} has key {held.fingerprint}, not {wanted.fingerprint}: it is another log, "
                    "or was made anew"
                )
        if fingerprint is not None and held.fingerprint != fingerprint:
            raise ArtefactError(f"the audit log {folder} has key {held.fingerprint}, not {fingerprint}")
        return _Reading(place, held).state(seen)


class _Reading:
    def __init__(self, folder: LogFolder, key: LogKey) -> None:
        self.folder, self.key = folder, key
        self.lines: list[bytes] = []
        self.torn = 0

    def state(self, seen: Sequence[Checkpoint]) -> LogState:
        signed = self.folder.checkpoint(self.key)
        self._read_lines(signed.size)
        wanted = {s.size: s for s in seen}
        frontier, leaves, roots, tiles = Frontier(), [], {0: Frontier().root()}, []
        for number, line in enumerate(self.lines[: signed.size], 1):
            leaves.append(leaf_hash(line))
            tiles += frontier.add(leaves[-1])
            if number in wanted:
                roots[number] = frontier.root()
        if frontier.root() != signed.root:
            raise ArtefactError(self._altered(signed))
        entries = list(self._entries(signed.size))
        self._check_tiles(tiles, frontier)
        for line in self.lines[signed.size :]:
            last = entries[-1].at if entries else ""
            entries.append(signed_beyond(line, frontier, self.key, last, str(self.folder)))
            frontier.add(leaf_hash(line))
            if frontier.size in wanted:
                roots[frontier.size] = frontier.root()
        self._compare(seen, roots, len(entries))
        return LogState(
            self.key, signed, tuple(entries), tuple(leaves), len(entries) - signed.size, self.torn, len(seen)
        )

    def _read_lines(self, size: int) -> None:
        number, rest = 0, b""
        while True:
            lines, rest = self.folder.bundle(number)
            self.lines += lines
            if len(lines) > WIDTH:
                raise ArtefactError(f"{self.folder / bundle_path(number)} was altered: it has {len(lines)} entries")
            if len(lines) < WIDTH or rest:
                break
            number += 1
        if len(self.lines) < size:
            self._name_disorder()
            raise ArtefactError(
                f"the audit log {self.folder} was cut: entry {len(self.lines)} is missing, {size} were signed"
            )
        if any(self.folder.bundle(number + 1)):
            raise ArtefactError(f"the audit log {self.folder} was cut: entry {len(self.lines)} is missing")
        self.torn = len(rest)

    def _entries(self, size: int) -> Iterator[Entry]:
        """The entries that the checkpoint signs. Raises ArtefactError naming one that the log's key signed wrongly."""
        last = ""
        for first in range(0, size, WIDTH):
            lines = self.lines[first : min(first + WIDTH, size)]
            for number, entry in enumerate(read_entries(lines, first, str(self.folder)), first):
                if entry.number != number or entry.at < last:
                    raise ArtefactError(f"entry {number} of the audit log {self.folder} is out of order, and signed so")
                last = entry.at
                yield entry

    def _altered(self, signed: Checkpoint) -> str:
        """Where entries are not those that were signed."""
        self._name_disorder()
        lines = self.lines[: signed.size]
        roots = [Frontier().root()]
        frontier = Frontier()
        for line in lines:
            frontier.add(leaf_hash(line))
            roots.append(frontier.root())
        low, high = 0, len(lines)  # entries before `low` carry good signatures; a signature covers all before it
        while low < high:
            middle = (low + high) // 2
            if self._well_signed(middle, lines[middle], roots[middle]):
                low = middle + 1
            else:
                high = middle
        if low == len(lines):
            return (
                f"the audit log {self.folder} was altered: its checkpoint signs other entries than these, each signed"
            )
        return f"entry {low} of the audit log {self.folder} was altered; what follows it cannot be relied on"

    def _well_signed(self, number: int, line: bytes, root: bytes) -> bool:
        try:
            entry = read_entry(line, f"entry {number} of the audit log {self.folder}")
        except ArtefactError:
            return False
        return entry.number == number and verifies(
            self.key.verify_key, entry.signed_text(self.key.name, root), entry.signature
        )

    def _name_disorder(self) -> None:
        """Raises ArtefactError for the first line that is not an entry or stands at another's place."""
        for number, line in enumerate(self.lines):
            entry = read_entry(line, f"entry {number} of the audit log {self.folder}")
            if entry.number != number:
                what = "is missing" if entry.number > number else "was replaced"
                raise ArtefactError(
                    f"the audit log {self.folder} was cut or put in another order: entry {number} {what}, in its place "
                    f"stands entry {entry.number}"
                )

    def _check_tiles(self, full: Iterable[tuple[int, int, bytes]], frontier: Frontier) -> None:
        for level, index, wanted in [*full, *frontier.partial_tiles()]:
            width = len(wanted) // 32
            if self.folder.tile(level, index, width) != wanted:
                raise ArtefactError(
                    f"{self.folder / tile_path(level, index, width)} is gone or not the tile of the entries, which are as "
                    f"signed: delete {self.folder / 'tile'}, and the next entry makes all tiles anew"
                )

    def _compare(self, seen: Sequence[Checkpoint], roots: dict[int, bytes], held: int) -> None:
        good = max((s.size for s in seen if roots.get(s.size) == s.root), default=0)
        for witness in sorted(seen, key=lambda s: s.size):
            if witness.size > held:
                raise ArtefactError(
                    f"the audit log {self.folder} was rolled back: it has {held} entries, and a witness saw {witness.size}; "
                    f"entries {held} to {witness.size - 1} are gone"
                )
            if roots[witness.size] != witness.root:
                raise ArtefactError(
                    f"the audit log {self.folder} is not the one that a witness saw: between entries {min(good, witness.size)} "
                    f"and {witness.size - 1} other entries were written (rolled back, or shown in two versions)"
                )
