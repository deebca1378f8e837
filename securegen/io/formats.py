"""What a genotype format is to the rest of the package: its flag, its files, its options and how it is opened.

A format costs two files: its reader, which ends with such a record, and `io.genotypes`, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securegen.io.text import beside
from securegen.model import SelectableReader


@dataclass(frozen=True)
class FormatOption:
    """An option of a reader. name: of the field and, with dashes, of the flag; keyword: of the reader's function.

    It takes a file where `metavar` says so, one of `choices`, or is a switch that `off` names when it is not set.
    """

    name: str
    keyword: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    off: str = ""

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


MULTIALLELIC: Final = FormatOption(
    "multiallelic", "multiallelic", "Records with several ALT alleles: one row per ALT, or leave them out [split].",
    choices=("split", "skip"),
)  # fmt: skip


@dataclass(frozen=True)
class Format:
    """One genotype format. flag: of the command line without dashes, and the keyword in Python.

    open: reads the file or fileset of a name, with the keywords of `options`; ends: suffixes of a fileset's files, the
    first one is the file of genotypes, or none where the name is that of one file; beside: files that are read with it by
    themselves; package, extra: what `pip` installs for it.
    """

    flag: str
    help: str
    open: Callable[..., SelectableReader]
    ends: tuple[str, ...] = ()
    options: tuple[FormatOption, ...] = ()
    beside: Callable[[str, Mapping[str, Any]], dict[str, Path]] = lambda name, options: {}
    package: str = ""
    extra: str = ""

    @property
    def metavar(self) -> str:
        return "PREFIX" if self.ends else "FILE"

    @property
    def list_name(self) -> str:
        """The field and, with dashes, the flag of a file that lists one name per line."""
        return f"{self.flag}_list"

    def base(self, name: str) -> str:
        """A prefix without the suffix that a shell may have added."""
        return name.removesuffix(f".{self.ends[0]}") if self.ends else name

    def file(self, name: str) -> Path:
        """The file that holds the genotypes of a name."""
        return Path(f"{self.base(name)}.{self.ends[0]}" if self.ends else name)

    def files(self, name: str, options: Mapping[str, Any]) -> dict[str, Path]:
        """Every file of a name that is read, by the word for it in run.json."""
        base = self.base(name)
        out = {end: beside(f"{base}.{end}") for end in self.ends} or {self.flag: Path(name)}
        given = {o.name: Path(options[o.name]) for o in self.options if o.metavar and options.get(o.name)}
        return out | given | self.beside(name, options)
