"""Text files of other programs: unpacked, decoded, split into fields; and what is said of a file that holds something
else.

Blanks are the space and the tab alone: a non-breaking space or a line separator inside a cell belongs to the cell.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import zstandard

from securegen.errors import InputError
from securegen.io.schema import printable, shown
from securegen.io.unpacked import unpacked

_FIELD: Final = re.compile(r"[^ \t]+")
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
# First bytes of files that are not text -> what they are.
_FOREIGN: Final = {
    b"\xff\xfe": "UTF-16 text (Excel's 'Unicode text'): save it as UTF-8, tab separated",
    b"\xfe\xff": "UTF-16 text (Excel's 'Unicode text'): save it as UTF-8, tab separated",
    b"PK\x03\x04": "a spreadsheet or a zip archive: export the table as tab-separated text",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: export the table as tab-separated text",
    b"%PDF": "a PDF document: export the table as tab-separated text",
    b"PAR1\x15": "a Parquet file: export the table as tab-separated text",
    b"BZh91AY": "packed by bzip2: unpack it, or use gzip or zstd",
    b"\xfd7zXZ": "packed by xz: unpack it, or use gzip or zstd",
}
_NUL: Final = "holds NUL bytes: it is a binary file, or text in UTF-16; save it as tab-separated UTF-8 text"


def beside(path: str | Path) -> Path:
    """The file itself, or the same name with .gz or .zst where only that is there. No name is too long to be asked for."""
    return next((Path(f"{path}{end}") for end in ("", ".gz", ".zst") if os.path.exists(f"{path}{end}")), Path(path))


def refuse_foreign(head: bytes, path: str | Path) -> None:
    """Raise InputError when the first bytes are those of a file that is not UTF-8 text."""
    found = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)
    if found:
        raise InputError(f"{path} is {found}")


def iterate_lines(path: str | Path) -> Iterator[str]:
    """Lines of a plain, gzip or zstd file without their ends, one at a time. Raises InputError naming the file."""
    with readable(path), Path(path).open("rb") as raw:
        head = raw.read(8)
        raw.seek(0)
        refuse_foreign(head, path)
        with io.TextIOWrapper(unpacked(raw), "utf-8-sig") as text:
            number = 0
            try:
                for line in text:
                    number += 1
                    if "\0" in line:
                        raise InputError(f"{path} {_NUL}")
                    yield line.rstrip("\r\n")
            except UnicodeDecodeError as error:  # met in a stretch of the file of which no line came yet
                at = number + 1 + bytes(error.object).count(b"\n", 0, error.start)
                raise InputError(_no_text(path, at, error.object[error.start])) from None


def read_text(path: str | Path) -> str:
    """Text of a plain, gzip or zstd file. Raises InputError naming the file."""
    with readable(path):
        raw = Path(path).read_bytes()
    return text_of(raw, path)


def text_of(raw: bytes, path: str | Path) -> str:
    """Text of the bytes of such a file, read from `path`. Raises InputError naming it."""
    with readable(path):
        raw = unpacked(io.BytesIO(raw)).read()
        refuse_foreign(raw[:8], path)
        if b"\0" in raw:
            raise InputError(f"{path} {_NUL}")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(_no_text(path, raw.count(b"\n", 0, error.start) + 1, raw[error.start])) from None


def _no_text(path: str | Path, line: int, byte: int) -> str:
    return f"{path}, line {line}: byte {byte:#04x} is not UTF-8 text (utf-8); save the file as UTF-8"


@contextlib.contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """What a file system, a decompressor or a decoder raises as InputError naming the file."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def lines_of(text: str) -> list[str]:
    """Lines ended by LF, CR LF or CR alone; no other character ends one."""
    lines = _LINE_END.split(text) if "\r" in text else text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def fields_of(line: str) -> list[str]:
    """Fields between spaces and tabs."""
    return line.split() if line.isascii() else _FIELD.findall(line)


def count(number: int, noun: str) -> str:
    """A number with its noun, which takes an s unless there is one.

    >>> count(1, "field"), count(1200, "variant")
    ('1 field', '1,200 variants')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


def whole_number(text: str) -> int | None:
    """A whole number of 64 bits in plain digits, as a position is; None for any other text.

    >>> [whole_number(t) for t in ("7", "-7", "007", "1_000", "1e5", "\N{ARABIC-INDIC DIGIT THREE}", "9" * 19)]
    [7, -7, 7, None, None, None, None]
    """
    if not _NUMBER.fullmatch(text):
        return None
    value = int(text)
    return value if abs(value) < 1 << 63 else None


def refuse_quotes(fields: Sequence[str], path: str | Path, line: int, what: str = "fields") -> None:
    """Raise InputError for a line with a field in quotes, as R and spreadsheets write text: they would be part of it."""
    first = next((field for field in fields if field.startswith(('"', "'"))), None)
    if first is not None:
        raise InputError(
            f"{path}, line {line}: {what} are quoted (found {printable(first, 40)}): write the table without quotes "
            "(R: write.table(…, quote=FALSE, row.names=FALSE))"
        )


def refuse_separator(header: Sequence[str], path: str | Path, line: int) -> None:
    """Raise InputError for a line whose fields are quoted or whose first one holds commas or semicolons."""
    first = header[0] if header else ""
    refuse_quotes(header, path, line, "names")
    for mark, name in ((",", "commas"), (";", "semicolons")):
        if mark in first:
            raise InputError(
                f"{path}, line {line}: fields are separated by {name} (found {shown(first)}): write the table with tabs "
                "(pandas: to_csv(sep='\\t', index=False); R: write.table(…, sep='\\t', quote=FALSE, row.names=FALSE))"
            )
