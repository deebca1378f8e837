"""The Merkle tree of a log: RFC 6962 hashes and proofs, kept in the tiles of C2SP tlog-tiles.

The tree commits to a sequence of entries. An inclusion proof shows that an entry is in it; a consistency proof shows that
a later tree only appended to an earlier one. A tile is 256 hashes of one level, of 256^level entries each. No files here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

HASH = 32
WIDTH = 256  # hashes of a full tile
EMPTY = hashlib.sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    """Of an entry's bytes: SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Of two subtrees: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of leaf hashes, of 32 bytes each.

    >>> root_of([]).hex()[:16], root_of([leaf_hash(b"")]).hex()[:16]
    ('e3b0c44298fc1c14', '6e340b9cffb37a98')
    """
    level = list(leaves)
    if not level:
        return EMPTY
    while len(level) > 1:  # an odd last subtree goes up as it is
        level = [node_hash(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def _split(size: int) -> int:
    """The largest power of two below a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes from the leaf's sibling to the root's child (RFC 6962, 2.1.1). Raises ValueError outside the tree."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"entry {index} is not in a log of {len(leaves)}")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_proof(leaves[:k], index), root_of(leaves[k:])]
    return [*inclusion_proof(leaves[k:], index - k), root_of(leaves[:k])]


def consistency_proof(leaves: Sequence[bytes], earlier: int) -> list[bytes]:
    """That the tree of the first `earlier` leaves was appended to (RFC 6962, 2.1.2). Raises ValueError outside the tree."""
    if not 0 <= earlier <= len(leaves):
        raise ValueError(f"a log of {len(leaves)} entries never had {earlier}")
    return _subproof(leaves, earlier, known=True) if earlier else []


def _subproof(leaves: Sequence[bytes], earlier: int, *, known: bool) -> list[bytes]:
    if earlier == len(leaves):
        return [] if known else [root_of(leaves)]
    k = _split(len(leaves))
    if earlier <= k:
        return [*_subproof(leaves[:k], earlier, known=known), root_of(leaves[k:])]
    return [*_subproof(leaves[k:], earlier - k, known=False), root_of(leaves[:k])]


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that the leaf hash is entry `index` of the tree of `size` entries with this root."""
    if not 0 <= index < size or not _hashes([leaf, root, *proof]):
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def consistent(earlier: int, size: int, earlier_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of `size` entries begins with that of `earlier` entries."""
    if not 0 <= earlier <= size or not _hashes([earlier_root, root, *proof]):
        return False
    if earlier == size:
        return not proof and earlier_root == root
    if earlier == 0:
        return not proof and earlier_root == EMPTY
    path = list(proof)
    if earlier & (earlier - 1) == 0:  # a whole subtree of the later tree: its root is not repeated
        path.insert(0, earlier_root)
    if not path:
        return False
    at, last = earlier - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old == earlier_root and new == root


def _hashes(values: Sequence[bytes]) -> bool:
    return all(type(v) is bytes and len(v) == HASH for v in values)


def number_path(number: int) -> str:
    """A tile's index as path elements of three digits.

    >>> number_path(7), number_path(1234067)
    ('007', 'x001/x234/067')
    """
    text = f"{number % 1000:03}"
    while number := number // 1000:
        text = f"x{number % 1000:03}/{text}"
    return text


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Where a tile lies below the log's folder; level `entries` for the bundles of entries.

    >>> tile_path(0, 1), tile_path(1, 0, 17), tile_path("entries", 3, 1)
    ('tile/0/001', 'tile/1/000.p/17', 'tile/entries/003.p/1')
    """
    return f"tile/{level}/{number_path(index)}" + (f".p/{width}" if width < WIDTH else "")


def hashes_in(tile: bytes) -> list[bytes]:
    """The hashes of a tile's bytes."""
    return [tile[i : i + HASH] for i in range(0, len(tile), HASH)]


class Frontier:
    """The partial tiles at the right edge of a tree: all that is needed to append to it, and to say its root.

    size: entries; edge[l]: the hashes of level l that fill no tile yet, size // 256^l % 256 of them.
    """

    def __init__(self, size: int = 0, edge: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self.edge: list[list[bytes]] = [list(level) for level in edge]
        self._whole: list[tuple[int, bytes]] = []  # whole subtrees from left to right: height, hash
        for level in range(len(self.edge) - 1, -1, -1):
            for part in self.edge[level]:
                self._join(8 * level, part)

    def _join(self, height: int, whole: bytes) -> None:
        while self._whole and self._whole[-1][0] == height:
            whole = node_hash(self._whole.pop()[1], whole)
            height += 1
        self._whole.append((height, whole))

    def add(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Append a leaf hash; returns the tiles that it fills: level, index, bytes."""
        self.size += 1
        self._join(0, leaf)
        full: list[tuple[int, int, bytes]] = []
        level, carried = 0, leaf
        while True:
            if level == len(self.edge):
                self.edge.append([])
            hashes = self.edge[level]
            hashes.append(carried)
            if len(hashes) < WIDTH:
                return full
            full.append((level, (self.size >> (8 * (level + 1))) - 1, b"".join(hashes)))
            carried, self.edge[level] = root_of(hashes), []
            level += 1

    def partial_tiles(self) -> Iterator[tuple[int, int, bytes]]:
        """The tiles that are not full: level, index, bytes."""
        for level, hashes in enumerate(self.edge):
            if hashes:
                yield level, self.size >> (8 * (level + 1)), b"".join(hashes)

    def root(self) -> bytes:
        """The Merkle tree hash of all entries."""
        if not self._whole:
            return EMPTY
        found = self._whole[-1][1]
        for _, left in reversed(self._whole[:-1]):
            found = node_hash(left, found)
        return found


def edge_widths(size: int) -> list[int]:
    """The widths of the partial tiles of a tree, from level 0 up; 0 where a level has none.

    >>> edge_widths(70_000)
    [112, 17, 1]
    """
    widths = []
    while size:
        widths.append(size % WIDTH)
        size //= WIDTH
    return widths
