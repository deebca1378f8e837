"""Which genotype files a command or a caller names: the registry of formats, and a cohort of one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from securegen.errors import UsageError
from securegen.io import bgen, pgen, plink1, vcf
from securegen.io.fileset_checks import check_chromosome, refuse_control_characters
from securegen.io.filesets import MARK, Log, Part, chain, parts_of_list, parts_of_pattern, read_list, release
from securegen.io.formats import Format, FormatOption
from securegen.io.output import write_text
from securegen.model import SelectableReader

Names = str | tuple[str, ...]

# Every format by its flag. The command line, Inputs, digests and options of other processes follow from it.
FORMATS: Final[dict[str, Format]] = {f.flag: f for f in (plink1.FORMAT, pgen.FORMAT, vcf.FORMAT, bgen.FORMAT)}
OPTIONS: Final[dict[str, FormatOption]] = {o.name: o for f in FORMATS.values() for o in f.options}
LISTS: Final[dict[str, Format]] = {f.list_name: f for f in FORMATS.values()}


def _silent(_: str) -> None:
    """Log nothing."""


@dataclass(frozen=True)
class GenotypeFiles:
    """One cohort on disk, in one format: a prefix (bfile: PLINK1, pfile: PLINK2) or a file (vcf, bgen), and how it is read.

    A name with @ stands for a file of each chromosome, several names for files in that order; bfile_list and so on: a file
    with one name per line. sample: .sample file of a BGEN; ref_last: the last allele of a BGEN is the reference; vcf_field:
    "DS", "GT" or None; multiallelic: "skip" records with several ALT, or
    "split" them (None); dosage_grid: steps of 1/grid, None for 1 where every dosage is an integer and 256 elsewhere.
    """

    bfile: Names = ""
    bfile_list: str = ""
    pfile: Names = ""
    pfile_list: str = ""
    vcf: Names = ""
    vcf_list: str = ""
    bgen: Names = ""
    bgen_list: str = ""
    sample: str = ""
    ref_last: bool = False
    vcf_field: str | None = None
    multiallelic: str | None = None
    dosage_grid: int | None = None

    @property
    def _named(self) -> tuple[str, Format]:
        """The field that names the files, and their format. Raises UsageError unless exactly one does, with options that
        go with it."""
        given = [(name, f) for f in FORMATS.values() for name in (f.flag, f.list_name) if getattr(self, name)]
        if len(given) != 1:
            flags = [_flag(name) for name, _ in given]
            *others, last = (_flag(name) for name in FORMATS)
            raise UsageError(
                f"{' and '.join(flags)}: give one of them"
                if given
                else f"give genotypes: {', '.join(others)} or {last}"
            )
        ((name, form),) = given
        for option in OPTIONS.values():
            if getattr(self, option.name) and option not in form.options:
                owners = [_flag(f.flag) for f in FORMATS.values() if option in f.options]
                raise UsageError(f"{option.flag} goes with {' or '.join(owners)}")
        return name, form

    @property
    def name(self) -> str:
        """What was named, for messages. Raises UsageError as `open`."""
        value = getattr(self, self._named[0])
        return value if isinstance(value, str) else f"{value[0]} and {len(value) - 1} more"

    @property
    def form(self) -> Format:
        """The format. Raises UsageError as `open`."""
        return self._named[1]

    @property
    def given(self) -> bool:
        return genotypes_given(vars(self))

    def parts(self, log: Log = _silent) -> list[Part]:
        """Every file or fileset, in order. Raises UsageError or InputError."""
        field, form = self._named
        value = getattr(self, field)
        if field == form.list_name:
            parts = parts_of_list(read_list(value), value, form.file)
        elif not isinstance(value, str):
            parts = parts_of_list(value, _flag(field), form.file)
        else:
            pattern = MARK in value and not os.path.exists(form.file(value))
            return parts_of_pattern(value, form.file, log) if pattern else [Part("", value)]
        for option in form.options:
            if option.metavar and MARK in (getattr(self, option.name) or ""):
                raise UsageError(f"{option.flag} with {MARK} goes with {_flag(form.flag)} with {MARK}, not with a list")
        return parts

    def open(self, log: Log = _silent) -> SelectableReader:
        """One reader of all files. Raises UsageError, InputError or MissingExtraError."""
        form, parts = self.form, self.parts(log)
        readers = []
        for part in parts:
            options = {o.keyword: self._option(o, part) for o in form.options}
            reader = form.open(form.base(part.name), **options)
            refuse_control_characters(part.name, reader.samples, reader.variants)
            if part.chromosome and (
                warning := check_chromosome(self.name, part.name, part.chromosome, reader.variants)
            ):
                log(warning)
            readers.append(reader)
            if len(parts) > 1:
                release(readers[-1])
        return chain(readers, [part.name for part in parts], log)

    def _option(self, option: FormatOption, part: Part) -> Any:
        value = getattr(self, option.name)
        return (part.here(value) or None) if option.metavar else value

    def files(self) -> dict[str, Path]:
        """Every file by the name it has in run.json: bed, and bed.1, bed.2 … of several."""
        if not self.given:
            return {}
        field, form = self._named
        out: dict[str, Path] = {}
        for part in self.parts():
            options = {o.name: self._option(o, part) for o in form.options}
            for role, path in form.files(part.name, options).items():
                shared = role in OPTIONS and getattr(self, role) == str(path)  # one .sample file of all BGEN files
                out[f"{role}.{part.label}" if part.label and not shared else role] = path
        return out | ({field: Path(getattr(self, field))} if field == form.list_name else {})

    def options(self, lists: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """The fields that give another process the same genotypes, by name. Paths become absolute. lists: a folder, for a
        list of several names that Python gave. Raises UsageError where it is needed and None."""
        out: dict[str, Any] = {}
        for name, value in vars(self._listed(lists)).items():
            option = OPTIONS.get(name)
            path = name in FORMATS or name in LISTS or (option is not None and option.metavar)
            if value:
                out[name] = os.path.abspath(value) if path else value
        return out

    def _listed(self, folder: str | os.PathLike[str] | None) -> GenotypeFiles:
        field, form = (self._named[0], self.form) if self.given else ("", None)
        value = getattr(self, field) if field else ""
        if form is None or isinstance(value, str):
            return self
        if folder is None:
            raise UsageError(
                f"several names of {_flag(field)} are given to another process as a list: {_flag(form.list_name)}"
            )
        path = Path(folder) / f"{form.flag}.list"
        write_text(path, "".join(f"{os.path.abspath(name)}\n" for name in value))
        changed: dict[str, Any] = {field: "", form.list_name: str(path)}
        return replace(self, **changed)


FIELDS: Final = tuple(f.name for f in fields(GenotypeFiles))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def genotypes_given(options: Mapping[str, Any]) -> bool:
    """Whether a file of genotypes is named."""
    return any(options.get(name) for name in (*FORMATS, *LISTS))


def cohorts_of(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields that name each cohort, of options whose names of genotypes, and files that go with them, may be repeated.

    Raises UsageError where such a file is not given for every cohort of its format, or for none.
    """
    out: list[dict[str, Any]] = []
    for form in FORMATS.values():
        mine = [{name: value} for name in (form.flag, form.list_name) for value in _each(options.get(name))]
        for option in form.options:
            if not option.metavar:
                continue
            values = _each(options.get(option.name))
            if values and len(values) != len(mine):
                raise UsageError(f"give one {option.flag} for every --{form.flag}, in the same order, or none")
            for cohort, value in zip(mine, values, strict=False):
                cohort[option.name] = value
        out += mine
    return out or [{}]


def _each(value: Any) -> Sequence[str]:
    return () if not value else (value,) if isinstance(value, str) else value


def named_files(options: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """(field, path) of every file of genotypes that options name, and of lists of them."""
    for cohort in cohorts_of(options):
        if cohort:
            rest = {n: options[n] for n in FIELDS if n in options and n not in (*FORMATS, *LISTS, *cohort)}
            paths = {n: v for n, v in rest.items() if not (n in OPTIONS and OPTIONS[n].metavar)}
            field = next(iter(cohort))
            yield from ((field, path) for path in GenotypeFiles(**paths | cohort).files().values())
