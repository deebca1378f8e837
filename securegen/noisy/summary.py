"""What a summary with noise is: a public question, a draw that alone reads people, and a table of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from securegen.governance.people_noise import PeopleNoise

COUNTS, FREQUENCIES, HITS, HISTOGRAM = SUMMARIES = ("counts", "frequencies", "hits", "histogram")
ENDINGS: Final = {COUNTS: "counts.tsv", FREQUENCIES: "afreq", HITS: "hits.tsv", HISTOGRAM: "histogram.tsv"}


@dataclass(frozen=True)
class NoisyTable:
    """Names of columns, and columns of one length: numbers, or objects of text."""

    header: tuple[str, ...]
    columns: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class NoisySummary:
    """A question about a cohort.

    kind: of SUMMARIES; asked: what is asked, beside the files, known without the data; rows: of the table; draw: fresh numbers
    with noise, which spends it; table: of numbers that were drawn; facts: sensitivities and deviations, for run.json.
    """

    kind: str
    asked: Mapping[str, Any]
    rows: int
    draw: Callable[[PeopleNoise], list[int]]
    table: Callable[[Sequence[int], PeopleNoise], NoisyTable]
    facts: Callable[[PeopleNoise], dict[str, Any]]


def texts(words: Sequence[str]) -> np.ndarray:
    """(n,) object array of text."""
    out = np.empty(len(words), object)
    out[:] = list(words)
    return out
