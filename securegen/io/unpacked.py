"""What is in files that may be packed by gzip or zstd, up to a multiple of their size: no small file fills the memory."""

from __future__ import annotations

import gzip
import io
import os
from typing import BinaryIO, Final, cast

import zstandard

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
FREE: Final = 64 << 20  # bytes that any file may unpack to
RATIO: Final = 100  # of the size of a larger one; tables of genomes pack tenfold


class _Limited(io.RawIOBase):
    def __init__(self, content: BinaryIO, raw: BinaryIO, most: int) -> None:
        self._content, self._raw, self._left = content, raw, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._content.read(min(len(buffer), self._left + 1))
        if len(data) > self._left:
            raise ValueError(f"it unpacks to more than {RATIO} times its size; unpack it first where that is meant")
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._content.close()
        self._raw.close()
        super().close()


def unpacked(raw: BinaryIO) -> BinaryIO:
    """What is in a file, open at its begin: itself where it is not packed. Closing it closes the file.

    Reading raises ValueError where more comes out than `FREE` and `RATIO` times its size, and what the unpackers raise
    (`io.text.readable`).
    """
    head = raw.read(4)
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    if head[:2] == GZIP:
        content = cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    elif head == ZSTD:
        content = cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
    else:
        return raw
    return io.BufferedReader(_Limited(content, raw, max(FREE, RATIO * size)), 1 << 17)
