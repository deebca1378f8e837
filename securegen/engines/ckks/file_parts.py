"""A file of an artefact that is read once, from its start to its end, a part at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from blake3 import blake3

from securegen.engines.ckks import artefact
from securegen.io.folder import FilePart
from securegen.io.folders import Place, folder_of


class FileInParts:
    """A .npy file whose parts are mapped one after the other, and digested when they were used: then they lie in a cache.

    What is computed from a part may be kept, but must not leave before the last part was used: only then the digest is
    known.
    """

    def __init__(self, folder: Place, entry: dict[str, Any], shape: tuple[int, ...], dtype: str = "<u4") -> None:
        """shape, dtype: of the array that the file must hold, whose size is then that of its entry."""
        self._folder, self._entry, self._shape, self._dtype = folder_of(folder), entry, shape, np.dtype(dtype)
        self._name = artefact.name_of(self._folder, entry)
        self._start, self._digest, self._header = 0, blake3(), b""

    @contextlib.contextmanager
    def next(self, count: int) -> Iterator[np.ndarray]:
        """The next `count` values, flat and read-only, unmapped with the last reference after the block.

        Raises ArtefactError naming the file where it cannot be read, is not of its size or, when the block with its last
        value ends, has another digest or header than its entry says.
        """
        size = artefact.array_bytes(self._shape, self._dtype.str)
        begin = self._start or size - self._length()
        end = begin + count * self._dtype.itemsize
        if not begin <= end <= size:
            raise ValueError(f"{self._folder.at(self._name)} has {size - begin} bytes more, {end - begin} are read")
        with artefact.found(self._folder, self._name, self._entry, self._shape, self._dtype):
            memory = self._folder.part(FilePart(self._name, size, self._start, end))
        if not self._start:
            self._header = bytes(memory[:begin])
        array = np.frombuffer(memory, self._dtype, count, begin - self._start)
        array.flags.writeable = False
        yield array
        self._digest.update(memory)
        self._start = end
        if end == size:
            artefact.require_whole(
                self._folder, self._name, self._entry, self._digest.hexdigest(), self._header, self._shape, self._dtype
            )

    def _length(self) -> int:
        """Bytes of the array."""
        return int(np.prod(self._shape, dtype=object)) * self._dtype.itemsize
