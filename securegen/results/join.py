"""The tables of the parts of a run, one behind the other: the table of one run, to the byte."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from securegen.errors import InputError
from securegen.io.table_files import write_table_file
from securegen.io.unpacked import unpacked

AT_A_TIME: Final = 1 << 20


def join_tables(path: str | Path, parts: Sequence[str | Path], *, check: Callable[[], None]) -> None:
    """Write the rows of `parts` under their one header, gzip where the names end with .gz. check: raises where a part is not
    what it was; the table is there when it has been asked, after all were read.

    Raises InputError where a part has another header or ends within a line, StorageError.
    """
    with write_table_file(path) as out:
        header = b""
        for number, part in enumerate(parts):
            with _opened(part) as table:
                try:
                    own = table.readline()
                    if number and own != header:
                        raise InputError(f"{part} has other columns than {parts[0]}: the parts are not of one run")
                    if not number:
                        header = own
                        out.write(own)
                    _copy(table, out, part)
                except (OSError, EOFError, ValueError, zlib.error) as error:
                    raise InputError(f"{part} cannot be read: {error}") from None
        check()


def _opened(path: str | Path) -> BinaryIO:
    try:
        return unpacked(Path(path).open("rb"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _copy(table: BinaryIO, out: BinaryIO, name: str | Path) -> None:
    last = b"\n"
    while piece := table.read(AT_A_TIME):
        out.write(piece)
        last = piece[-1:]
    if last != b"\n":
        raise InputError(f"{name} ends within a line: it was cut, run this part again")
