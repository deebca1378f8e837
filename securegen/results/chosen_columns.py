"""Which columns a table has, in plink2's words: `--cols +a1freq,-ci`, or the whole list.

ID, A1 and TEST always stay. A set has plink2's name; a column that plink2 does not have, its own in small letters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from securegen.catalogue import TESTS
from securegen.errors import UsageError
from securegen.io.table_files import write_table_file

ALWAYS: Final = ("ID", "A1", "TEST")
SETS: Final = {
    "chrom": ("#CHROM",), "pos": ("POS",), "ref": ("REF",), "alt": ("ALT",), "a1freq": ("A1_FREQ",), "nobs": ("OBS_CT",),
    "beta": ("BETA",), "orbeta": ("BETA", "OR"), "se": ("SE",), "ci": ("L95", "U95"), "tz": ("T_STAT", "Z_STAT", "T_OR_F_STAT"),
    "p": ("P",), "log10p": ("LOG10_P",), "err": ("ERRCODE",),
}  # fmt: skip


def chosen_columns(spec: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of a table that `spec` leaves, in the table's own order.

    >>> chosen_columns("chrom,pos,p", ("#CHROM", "POS", "ID", "REF", "A1", "TEST", "BETA", "P"))
    ('#CHROM', 'POS', 'ID', 'A1', 'TEST', 'P')
    >>> chosen_columns("-ref,-beta", ("#CHROM", "POS", "ID", "REF", "A1", "TEST", "BETA", "P"))
    ('#CHROM', 'POS', 'ID', 'A1', 'TEST', 'P')

    A set whose columns this table does not have changes nothing. Raises UsageError for a word that no table knows, and for
    signs beside words without one.
    """
    words = parse_columns(spec)
    kept = set(columns) if words[0][0] in "+-" else set()
    for word in words:
        own = _columns_of(word.lstrip("+-"))
        kept = kept - set(own) if word[0] == "-" else kept | set(own)
    return tuple(name for name in columns if name in kept or name in ALWAYS)


def parse_columns(spec: str) -> list[str]:
    """The words of a list of columns. Raises UsageError for a list that means nothing."""
    words = [word.strip() for word in spec.split(",")]
    if not spec.strip() or not all(word.lstrip("+-") for word in words):
        raise UsageError(
            f"`cols` is {spec!r}: names of columns between commas are expected, as chrom,pos,p or +a1freq,-ci"
        )
    if len({word[0] in "+-" for word in words}) > 1:
        raise UsageError(
            f"`cols` is {spec!r}: either every name has a sign, which changes the usual columns, or none has one"
        )
    for word in words:
        _columns_of(word.lstrip("+-"))
    return words


def _columns_of(word: str) -> tuple[str, ...]:
    if word.startswith("maybe") and word[5:] in SETS:  # plink2 writes such a column where it says something
        word = word[5:]
    if word in SETS:
        return SETS[word]
    own = {name.lower(): name for test in TESTS.values() for name in test.columns}
    if word in own:
        return (own[word],)
    raise UsageError(
        f"`cols`: {word!r} is not a column; there are {', '.join(SETS)}, and the names of columns in small letters"
    )


def keep_columns(path: str, spec: str) -> None:
    """Rewrite a tab-separated table with the chosen columns only, as private as it was. Raises StorageError."""
    mode = os.stat(path).st_mode & 0o777
    with open(path, "rb") as source:
        names = source.readline().decode().rstrip("\n").split("\t")
        wanted = chosen_columns(spec, names)
        index = [names.index(name) for name in wanted]
        with write_table_file(path, mode=mode) as target:
            header = [wanted[0] if wanted[0].startswith("#") else f"#{wanted[0]}", *wanted[1:]]
            target.write(("\t".join(header) + "\n").encode())
            while lines := source.readlines(1 << 20):
                rows = (line.rstrip(b"\n").split(b"\t") for line in lines)
                target.write(b"".join(b"\t".join([row[i] for i in index]) + b"\n" for row in rows))
