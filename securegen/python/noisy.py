"""Summaries with noise of whole people from Python, `sg.dp`: of one owner's files, through the same door and accountant as
`securegen dp`. Asked again, a question is answered as it was before, and not charged.

>>> import securegen as sg
>>> sg.dp.SUMMARIES
('counts', 'frequencies', 'hits', 'histogram')
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from securegen.governance.people_noise import people_noise_of
from securegen.noisy.release import NoisyRelease, write_summary
from securegen.noisy.summary import COUNTS, FREQUENCIES, HISTOGRAM, HITS, SUMMARIES
from securegen.study.inputs import Inputs, Log, silent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUMMARIES", "counts", "frequencies", "histogram", "hits", "write"]
PathLike = str | os.PathLike[str]


def counts(
    inputs: Inputs, *, epsilon: float, delta: float | None = None, sexes: bool = False, called: bool = False, log: Log = silent
) -> pd.DataFrame:  # fmt: skip
    """People, and cases, controls and others of each of `pheno_name`: #OF, WHO, COUNT, NOISE_SD.

    epsilon, delta: of a person, None for pure ε; sexes: also by sex; called: also called genotypes. attrs["people_noise"] says
    what was charged. Raises UsageError, InputError, PolicyError, StorageError, MissingExtraError.
    """
    return _frame(inputs, COUNTS, epsilon, delta, log, sexes=sexes, called=called)


def frequencies(inputs: Inputs, *, epsilon: float, delta: float | None = None, log: Log = silent) -> pd.DataFrame:
    """Allele frequencies of the variants that inputs name: #CHROM, POS, ID, REF, ALT, ALT_FREQS, OBS_CT, ALT_CT, and NOISE_SD
    in copies. As `counts`."""
    return _frame(inputs, FREQUENCIES, epsilon, delta, log)


def hits(
    inputs: Inputs, *, epsilon: float, delta: float | None = None, k: int = 10, bounds: Any = None, log: Log = silent
) -> pd.DataFrame:
    """The k variants that go most with the one phenotype `pheno_name`: #RANK, CHROM, POS, ID, REF, ALT, without numbers.

    bounds: LO,HI of a quantitative phenotype, known without the data; None: cases and controls. As `counts`.
    """
    return _frame(inputs, HITS, epsilon, delta, log, k=k, bounds=bounds)


def histogram(
    inputs: Inputs, *, edges: Any, epsilon: float, delta: float | None = None, log: Log = silent
) -> pd.DataFrame:
    """People between edges, below, above and without a number, of the one column `pheno_name` of any table `pheno`: #LOW, HIGH,
    COUNT, NOISE_SD. edges: rising numbers, known without the data. As `counts`."""
    return _frame(inputs, HISTOGRAM, epsilon, delta, log, edges=edges)


def write(
    inputs: Inputs, out: PathLike, kind: str, *, epsilon: float, delta: float | None = None, log: Log = silent, **options: Any
) -> NoisyRelease:  # fmt: skip
    """Write OUT.noisy.counts.tsv, .afreq, .hits.tsv or .histogram.tsv, as `securegen dp`. kind: of SUMMARIES; options: of the
    function of that name. Raises as `counts`."""
    return write_summary(inputs, os.fspath(out), kind, people_noise_of(epsilon, delta), log, **options)


def _frame(inputs: Inputs, kind: str, epsilon: float, delta: float | None, log: Log, **options: Any) -> pd.DataFrame:
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
        made = write(inputs, f"{folder}/n", kind, epsilon=epsilon, delta=delta, log=log, **options)
    frame = pd.DataFrame(dict(zip(made.table.header, made.table.columns, strict=True)))
    frame.attrs["people_noise"] = made.facts["people_noise"]
    return frame
