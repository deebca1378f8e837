"""What a format of finished tables is: one record each, in the file that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from securegen.catalogue import Test


@dataclass(frozen=True)
class TableLayout:
    """How one table is to look, and what its metadata say. mode: of the file; trait: the phenotype; covariates: adjusted for;
    genome_build: GRCh37, …; frequency_floor: rarer frequencies are written as this one (0: none is)."""

    digits: int
    mode: int | None = None
    trait: str = ""
    covariates: tuple[str, ...] = ()
    genome_build: str = ""
    frequency_floor: float = 0.0


def any_effects(test: Test) -> bool:
    """Whether a test has the effect sizes that tables of other programs are made of."""
    return test.effects


@dataclass(frozen=True)
class TableFormat:
    """name: of --format; place: of the file, with {out} and {phenotype}; write: (file, our own table, layout) -> how many rows
    were left out, by the reason, None where tables stay as they are; takes: the tests that it has columns for; options:
    fields of `TableForm` that it uses; needs: those that it cannot go without, and why; chisq: its χ² of a linear model has
    the variance of the null model; codings: it has a word for a genetic model; sorts: its rows are not in
    the order of the file."""

    name: str
    place: str
    write: Callable[[str, str, TableLayout], Mapping[str, int]] | None
    takes: Callable[[Test], bool] = any_effects
    options: frozenset[str] = frozenset()
    needs: Mapping[str, str] = field(default_factory=dict)
    chisq: bool = False
    codings: bool = True
    sorts: bool = False

    def __repr__(self) -> str:
        return f"TableFormat({self.name!r})"

    @property
    def ending(self) -> tuple[str, str]:
        """What stands before and after the phenotype in the name of a file."""
        before, _, after = self.place.removeprefix("{out}").partition("{phenotype}")
        return before, after.removeprefix(".")
