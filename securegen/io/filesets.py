"""A cohort in several files, as one chromosome a file: readers in a chain.

A name with @ stands for the files of 1 to 22, X, Y, XY, MT (and their other names) that exist. Every file has the same
people; the first one gives their order. Rows come in the order of the files, and a block never crosses a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from securegen.errors import InputError
from securegen.io.fileset_checks import repeated_variants
from securegen.io.schema import shown
from securegen.io.text import count, lines_of, read_text
from securegen.model import GenotypeBlock, IntArray, Samples, SelectableReader, Variants

Log = Callable[[str], None]
MARK: Final = "@"
# How a file may be named after its chromosome, in the order of tables. More than one of a row is ambiguous.
CHROMOSOMES: Final = (
    *((str(n), f"0{n}") if n < 10 else (str(n),) for n in range(1, 23)),
    ("X", "23"), ("PAR1",), ("PAR2",), ("XY", "25"), ("Y", "24"), ("MT", "M", "26"),
)  # fmt: skip
EXPECTED: Final = frozenset({*(str(n) for n in range(1, 23)), "X", "Y", "MT"})  # a hole among them is logged


@dataclass(frozen=True)
class Part:
    """One file or fileset of a cohort. label: its chromosome or number, empty where it is the only one; chromosome: the one
    that its name says, empty where it does not."""

    label: str
    name: str
    chromosome: str = ""

    def here(self, path: str) -> str:
        """The path of an option that goes with this file: @ stands for the same chromosome."""
        return _filled(path, self.label) if self.label and MARK in path else path


def _filled(name: str, word: str) -> str:
    """The name with its @ replaced; in a folder that exists under that very name, only behind it."""
    folder, _, last = name.rpartition(os.sep)
    if MARK in last and folder and os.path.isdir(folder):
        return f"{folder}{os.sep}{last.replace(MARK, word)}"
    return name.replace(MARK, word)


def parts_of_pattern(pattern: str, there: Callable[[str], Path], log: Log) -> list[Part]:
    """The files that a name with @ stands for. there: the file of genotypes of a name. Raises InputError for none, or two
    names of one chromosome."""
    found: list[Part] = []
    holes: list[str] = []
    for words in CHROMOSOMES:
        here = [
            Part(word, _filled(pattern, word), words[0])
            for word in words
            if os.path.exists(there(_filled(pattern, word)))
        ]
        if len(here) > 1:
            raise InputError(
                f"{pattern}: {here[0].name} and {here[1].name} are both there, and both are chromosome {words[0]}: name the "
                "files in a list"
            )
        found += here
        if not here and words[0] in EXPECTED:
            holes.append(words[0])
    if not found:
        raise InputError(
            f"{pattern}: no file is named so with 1 to 22, X, Y or MT in the place of {MARK} (looked for "
            f"{there(_filled(pattern, '1'))})"
        )
    said = f"; no file of {', '.join(holes)}" if holes else ""
    log(f"{pattern}: {count(len(found), 'file')}, chromosomes {', '.join(p.label for p in found)}{said}")
    return found


def parts_of_list(names: Sequence[str], where: str, there: Callable[[str], Path]) -> list[Part]:
    """The files of a list, numbered. there: the file of genotypes of a name. Raises InputError for one that is not there, or is
    named twice."""
    seen: dict[str, str] = {}
    for name in names:
        file = there(name)
        if not os.path.exists(file):
            hint = f"; {MARK} goes with a name, not with a list" if MARK in name else ""
            raise InputError(f"{where} names {shown(name, 200)}, but there is no file {shown(str(file), 200)}{hint}")
        path = os.path.realpath(file)
        if path in seen:
            also = "" if seen[path] == name else f", also as {seen[path]}"
            raise InputError(f"{where}: {name} is named twice{also}")
        seen[path] = name
    return [Part(str(i), name) for i, name in enumerate(names, 1)] if len(names) > 1 else [Part("", names[0])]


def read_list(path: str) -> list[str]:
    """One name per line. Raises InputError for a list of nothing."""
    names = [line.strip() for line in lines_of(read_text(path)) if line.strip()]
    if not names:
        raise InputError(f"{path} names no file: one name per line is expected")
    return names


def order_of(first: Samples, other: Samples, names: tuple[str, str]) -> IntArray | None:
    """Rows of `other` in the order of `first`; None where it is the same. names: of both files, for the InputError that
    other people are."""
    keys, theirs = (list(zip(s.fid.tolist(), s.iid.tolist(), strict=True)) for s in (first, other))
    if keys == theirs:
        return None
    at = {key: i for i, key in enumerate(theirs)}
    known = set(keys)
    for who, rows, here, elsewhere in (
        ("lacks", keys, at, names[0]), ("has also", theirs, known, names[1]),
    ):  # fmt: skip
        for i, key in enumerate(rows):
            if key not in here:
                raise InputError(
                    f"{names[1]} has other people than {names[0]}: it {who} person {i + 1} of {elsewhere} "
                    f"({len(theirs):,} people here, {len(keys):,} there): files of one cohort have the same people"
                )
    return np.array([at[key] for key in keys], np.int64)


@dataclass(frozen=True)
class FilesetReader:
    """A cohort of several files. parts: readers of its runs of rows; files: the number of each run's file.

    samples: of every part, in the same order; variants: of all parts, one after the other.
    """

    parts: tuple[SelectableReader, ...]
    files: tuple[int, ...]
    samples: Samples
    variants: Variants
    starts: IntArray  # (P + 1,) first row of every part, and the number of rows

    @property
    def dosage_grid(self) -> int:
        return self.parts[0].dosage_grid

    @property
    def dosage_max(self) -> int:
        return max(part.dosage_max for part in self.parts)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """First row of every file, and the number of rows."""
        new = [i for i in range(len(self.parts)) if i == 0 or self.files[i] != self.files[i - 1]]
        return (*(int(self.starts[i]) for i in new), int(self.starts[-1]))

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Dosages of variants start..stop-1, of as many files as they are in. Raises InputError."""
        blocks = list(self._read(start, min(stop, len(self.variants))))
        if len(blocks) == 1:
            return replace(blocks[0], start=start)
        dosage = np.concatenate([b.dosage for b in blocks]) if blocks else np.zeros((0, len(self.samples)), np.int8)
        if all(b.missing is None for b in blocks):
            return GenotypeBlock(start, dosage, None)
        missing = [np.zeros(b.dosage.shape, bool) if b.missing is None else b.missing for b in blocks]
        return GenotypeBlock(start, dosage, np.concatenate(missing))

    def _read(self, start: int, stop: int) -> Iterator[GenotypeBlock]:
        number = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            begin, end = int(self.starts[number]), min(stop, int(self.starts[number + 1]))
            yield self.parts[number].read(start - begin, end - begin)
            if end == int(self.starts[number + 1]) and self.files[number] != self.files[(number + 1) % len(self.files)]:
                release(self.parts[number])
            start, number = end, number + 1

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> FilesetReader:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        parts, files, people = list(self.parts), list(self.files), self.samples
        if variants is not None:
            index = np.asarray(variants, np.int64)
            at = np.searchsorted(self.starts, index, side="right") - 1
            cuts = [0, *(np.flatnonzero(np.diff(at)) + 1).tolist(), len(index)]
            runs = [
                (int(at[a]), index[a:b] - self.starts[at[a]]) for a, b in zip(cuts, cuts[1:], strict=False) if a < b
            ]
            runs = runs or [(0, index)]
            parts, files = [parts[n].select(variants=rows) for n, rows in runs], [files[n] for n, _ in runs]
        if samples is not None:
            parts, people = [part.select(samples=samples) for part in parts], people.take(samples)
        if variants is None:
            return replace(self, parts=tuple(parts), samples=people)
        return chained(parts, files, people)

    def apart(self) -> FilesetReader:
        """See `apart`."""
        return replace(self, parts=tuple(map(apart, self.parts)))

    def on_grid(self, grid: int | None) -> FilesetReader:
        """The same cohort in steps of 1/grid. None: one grid for all files, 1 where no file has a fractional dosage."""
        parts: list[SelectableReader] = []
        for part in self.parts if grid is None else ():
            parts.append(part.on_grid(None))
            release(part)
            if parts[-1].dosage_grid > 1:
                grid = parts[-1].dosage_grid
                break
        if grid is not None:
            parts = [part.on_grid(grid) for part in self.parts]
        return chained(parts, self.files, self.samples)


def chained(parts: Sequence[SelectableReader], files: Sequence[int], samples: Samples) -> FilesetReader:
    """Readers of the same people in one chain. The variant table is held once: each part keeps a view of it."""
    starts = np.concatenate([[0], np.cumsum([len(p.variants) for p in parts])]).astype(np.int64)
    table = Variants(**{n: np.concatenate([getattr(p.variants, n) for p in parts]) for n in Variants.__annotations__})
    views = [
        _with_table(p, table.take(slice(int(a), int(b)))) for p, a, b in zip(parts, starts, starts[1:], strict=False)
    ]
    return FilesetReader(tuple(views), tuple(files), samples, table, starts)


def chain(readers: Sequence[SelectableReader], names: Sequence[str], log: Log) -> SelectableReader:
    """Readers of one cohort's files as one reader; a single one stays as it is.

    Raises InputError where a file has other people than the first.
    """
    first, *others = readers
    if not others:
        return first
    parts = [first]
    for reader, name in zip(others, names[1:], strict=True):
        order = order_of(first.samples, reader.samples, (names[0], name))
        if order is not None:
            log(f"{name}: people in another order than in {names[0]}, aligned by their ids")
            reader = reader.select(samples=order)
        for what, field in (("parents", "founder"), ("sexes", "sex")):
            if (getattr(reader.samples, field) != getattr(first.samples, field)).any():
                log(f"WARNING: {name} says other {what} than {names[0]}: those of {names[0]} are used")
        parts.append(reader)
    out = chained(parts, range(len(parts)), first.samples)
    for line in repeated_variants(out.variants, out.boundaries, names):
        log(line)
    return out


def _with_table(part: SelectableReader, variants: Variants) -> SelectableReader:
    return replace(part, variants=variants) if is_dataclass(part) and not isinstance(part, type) else part


def release(part: Any) -> None:
    """Close what reading this part has opened; a later read opens it again."""
    if hasattr(part, "release"):
        part.release()


def apart(reader: SelectableReader) -> SelectableReader:
    """The same cohort with a place of its own in every file that is read forwards: for who reads it beside another."""
    found: SelectableReader = reader.apart() if hasattr(reader, "apart") else reader
    return found
