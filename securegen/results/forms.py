"""How finished tables are laid out: digits, format, gzip, and what the metadata of a format need.

One more format is the file that writes it, and its line in `FORMATS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from securegen.catalogue import TESTS
from securegen.errors import UsageError
from securegen.io.table_files import GZ, pack
from securegen.results import gwas_ssf, regenie
from securegen.results.chosen_columns import keep_columns, parse_columns
from securegen.results.layout import TableFormat, TableLayout
from securegen.results.rows import FULL_DIGITS
from securegen.results.write import Summary
from securegen.vocabulary import ADDITIVE, normalise_build

OWN: Final = TableFormat(
    "plink2", "{out}.{phenotype}.{suffix}", None, takes=lambda _: True, options=frozenset({"cols"})
)
FORMATS: Final[dict[str, TableFormat]] = {f.name: f for f in (OWN, regenie.FORMAT, gwas_ssf.FORMAT)}
PLINK2: Final = OWN.name


def options_of_formats() -> dict[str, list[str]]:
    """Every option that only some formats use, and these."""
    out: dict[str, list[str]] = {}
    for one in FORMATS.values():
        for name in sorted(one.options):
            out.setdefault(name, []).append(one.name)
    return out


@dataclass(frozen=True)
class TableForm:
    """digits: significant; format: one of `FORMATS`; genome_build: of the cohort; frequency_floor: rarer allele frequencies
    are written as this one; gzip: as .gz; cols: which columns, in words of `chosen_columns`. Raises UsageError for a value
    that a field does not take."""

    digits: int = FULL_DIGITS
    format: str = PLINK2
    genome_build: str | None = None
    frequency_floor: float = 0.0
    gzip: bool = False
    cols: str | None = None

    def __post_init__(self) -> None:
        if type(self.digits) is not int or not 1 <= self.digits <= FULL_DIGITS:
            raise UsageError(f"`digits` is {self.digits!r}: a whole number from 1 to {FULL_DIGITS} is expected")
        if not isinstance(self.format, str) or self.format not in FORMATS:
            raise UsageError(f"`format` is {self.format!r}: choose one of {', '.join(FORMATS)}")
        if not isinstance(self.genome_build, str | None):
            raise UsageError(f"`genome_build` takes a name as text, not {self.genome_build!r}")
        if type(self.frequency_floor) not in (int, float) or not 0 <= self.frequency_floor <= 0.5:
            raise UsageError(f"`frequency_floor` is {self.frequency_floor!r}: a number from 0 to 0.5 is expected")
        if type(self.gzip) is not bool:
            raise UsageError(f"`gzip` is True or False, not {self.gzip!r}")
        if self.cols is not None:
            if not isinstance(self.cols, str):
                raise UsageError(f"`cols` takes names as text, not {self.cols!r}")
            parse_columns(self.cols)
        object.__setattr__(self, "genome_build", normalise_build(self.genome_build))
        for name, why in self.kind.needs.items():
            if not getattr(self, name):
                raise UsageError(f"`format` {self.format} needs `{name}`: {why}")
        ordinary = {f.name: f.default for f in fields(self)}
        for name, users in options_of_formats().items():
            if self.format not in users and getattr(self, name) != ordinary[name]:
                raise UsageError(f"`{name}` is for `format` {' and '.join(users)}, not for {self.format}")

    @property
    def kind(self) -> TableFormat:
        return FORMATS[self.format]

    def check(self, model: str | None, *, projected: bool = False, coding: str = ADDITIVE) -> None:
        """Raise UsageError for a test, a reveal or a genetic model whose tables the format has no columns for."""
        if self.kind.write is None:
            return
        if model is not None and not self.kind.takes(TESTS[model]):
            what = "an `interaction`" if TESTS[model].interacts else f"`model` {model}"
            raise UsageError(f"`format` {self.format} has no columns for {what}: leave it in {PLINK2}'s")
        if coding != ADDITIVE and not self.kind.codings:
            raise UsageError(f"`format` {self.format} takes additive tests, not `{coding}`: leave it in {PLINK2}'s")
        if projected:
            raise UsageError(
                f"`format` {self.format} has no columns for `reveal` hits, chi2 or uv: leave it in {PLINK2}'s"
            )

    def path(self, out: str, test: str, phenotype: str) -> str:
        """The file that a table of `test` (a name of the catalogue, or what is revealed) becomes."""
        known = TESTS.get(test)
        chosen = self.kind if known is not None and self.kind.takes(known) else OWN
        place = chosen.place.format(out=out, phenotype=phenotype, suffix=known.suffix if known else test)
        return self.packed(place)

    def packed(self, path: str) -> str:
        """The name of a finished table that is written as `path`."""
        return path + GZ if self.gzip else path

    def finish(self, paths: Sequence[str]) -> list[str]:
        """Pack files that have one form only; returns their names. Raises StorageError."""
        return [pack(path) if self.gzip else path for path in paths]


def convert(
    tables: Sequence[Summary], out: str, form: TableForm, log: Callable[[str], None], *, covariates: Sequence[str] = ()
) -> None:
    """Put finished tables into their form, in place of plink2's text; their paths change. Of OUT and the phenotype's name.

    A table that the format has no columns for keeps plink2's, with a warning. covariates: where a model does not say.
    """
    write = form.kind.write
    for t in tables:
        record = TESTS[t.analysis.test]
        taken = form.kind.takes(record) and (form.kind.codings or t.analysis.coding == ADDITIVE)
        if write is None or not (taken and t.path.endswith(record.suffix)):
            if write is not None:
                log(f"WARNING: {t.path} stays in {PLINK2}'s columns: {form.format} has none for it")
            if form.cols is not None:
                keep_columns(t.path, form.cols)
            (t.path,) = form.finish([t.path])
            continue
        source, name = t.path, t.analysis.phenotype
        known = tuple(t.analysis.model.covariates) if t.analysis.model is not None else tuple(covariates)
        layout = TableLayout(
            form.digits, os.stat(source).st_mode & 0o777, name, known, form.genome_build or "", form.frequency_floor
        )
        t.path = form.path(out, t.analysis.test, name)
        if form.kind.chisq and getattr(t.analysis.model, "null_variance", 0.0) is None:
            log(f"WARNING: {t.path}: CHISQ is the square of Student's t, {form.format}'s has the variance of the null model, "
                "as with `statistic` regenie")  # fmt: skip
        for reason, count in write(t.path, source, layout).items():
            log(f"{t.path}: {count} variants left out: {reason}")
        os.unlink(source)
