"""What is in files that may be packed by gzip or zstd, up to a multiple of their size: no small file fills the memory."""

from __future__ import annotations

import gzip
import io
import os
from typing import BinaryIO, Final, Protocol, cast

import zstandard

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
FREE: Final = 64 << 20  # bytes that any file may unpack to
RATIO: Final = 100  # of the size of a larger one; tables of genomes pack tenfold
_STEP = 1 << 10  # bytes that are unpacked at a time: zstd makes at most 32 MB of them


class _Content(Protocol):
    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class _Frames:
    """What is in zstd frames, one after the other. zstandard's own stream ends without a word where a frame is cut."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._ready, self._at = raw, b"", 0
        self._unpacker = zstandard.ZstdDecompressor()
        self._frame = self._unpacker.decompressobj()

    def read(self, size: int) -> bytes:
        """At least a byte, but at the end. Raises EOFError where the last frame is cut."""
        while self._at == len(self._ready):
            part = self._frame.unused_data or self._raw.read(_STEP)
            if not part:
                if self._frame.eof:
                    return b""
                raise EOFError("its end is missing: it was cut, by a transfer that stopped perhaps")
            if self._frame.eof:
                self._frame = self._unpacker.decompressobj()
            self._ready, self._at = self._frame.decompress(part), 0
        found = self._ready[self._at : self._at + size]
        self._at += len(found)
        return found

    def close(self) -> None:
        self._ready, self._at = b"", 0


class _Limited(io.RawIOBase):
    def __init__(self, content: _Content, raw: BinaryIO, most: int) -> None:
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
    """The unpacked content of a file that is open at its start; the file itself where it is not packed. Closing one closes both.

    Reading raises ValueError where more comes out than `FREE` and `RATIO` times its size, and what the unpackers raise
    (`io.text.readable`).
    """
    head = raw.read(4)
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    if head[:2] == GZIP:
        content: _Content = cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    elif head == ZSTD:
        content = _Frames(raw)
    else:
        return raw
    return io.BufferedReader(_Limited(content, raw, max(FREE, RATIO * size)), 1 << 17)
