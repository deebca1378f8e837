"""What an engine of scores is: what it refuses before work starts, and one run with every role on this machine.

Who learns what: each engine's receipt says it; whoever owns the machine of such a run can read every role.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from securegen.errors import UsageError
from securegen.model import Progress, SelectableReader, no_progress
from securegen.record.run_log import RunLog
from securegen.scores.study import ScoreInputs, ScoreStudy
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, Log


class Bars(Protocol):
    """Shows the progress of a stage: a context that yields a callback (done, total)."""

    def __call__(self, label: str, *, unit: str = "blocks") -> AbstractContextManager[Progress]: ...


@contextlib.contextmanager
def no_bars(label: str, *, unit: str = "blocks") -> Iterator[Progress]:
    """Show nothing."""
    yield no_progress


class ScoreEngine(Protocol):
    """name: in `SCORE_ENGINES`; matches: whether its run writes OUT.match.tsv, the owner knowing the model."""

    @property
    def name(self) -> str: ...

    @property
    def matches(self) -> bool: ...

    def check(self, genotypes: Inputs, inputs: ScoreInputs) -> None:
        """Raise UsageError for what this engine cannot do, before anything is read."""

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Every role on this machine: OUT.sscore, and by `log` OUT.log and OUT.run.json. study: opened already."""


def refuse_part(genotypes: Inputs, engine: str) -> None:
    """Raise UsageError for a part of the variants, which the plain engine alone sums."""
    if genotypes.blocks is not None:
        raise UsageError(f"`blocks` {genotypes.blocks} is for engine plain, not for {engine}")


def genotypes_of(genotypes: Inputs, study: ScoreStudy | None, log: Log) -> SelectableReader:
    """The genotypes of a run whose people's party does not know the model."""
    return open_genotypes(genotypes, log) if study is None else study.two_copies
