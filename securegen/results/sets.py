"""Tables of set tests: OUT.<PHENO>.sets, a row a mask and test, through the door."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np

from securegen import vocabulary as voc
from securegen.design.strata import Stratum, analyses_of
from securegen.governance.gate import Gate
from securegen.io.output import atomic
from securegen.model import Variants
from securegen.results import outputs
from securegen.results.rows import FULL_DIGITS, table_text
from securegen.stats.pvalue import chisq_1_inverse

SUFFIX = "sets"


@dataclass(frozen=True)
class SetResult:
    """Of a mask and a phenotype. row: of the masks' table; variants: that vary; collapsed: of them, in one row; log10p: test
    -> −log10 P, NaN where nothing can be tested; withheld: few people would stand out in what it is made of."""

    row: int
    phenotype: str
    samples: int
    variants: int
    collapsed: int
    log10p: dict[str, float]
    withheld: bool = False


def sets_path(prefix: str, phenotype: str) -> str:
    """The file of the set tests of a phenotype."""
    return f"{prefix}.{phenotype}.{SUFFIX}"


def write_sets(
    prefix: str, masks: Variants, results: Iterable[Sequence[SetResult]], strata: Sequence[Stratum], tests: Set[str], *,
    gate: Gate, count: int, digits: int = FULL_DIGITS,
) -> list[str]:  # fmt: skip
    """Write a table of every phenotype of the strata while results stream by, whole or not at all; returns their paths.

    masks: table of all masks; count: how many are tested; gate: the door, passed before the first set is read. Raises PolicyError
    where the policy refuses.
    """
    outputs.refuse_masks(masks, gate.minor_alleles)
    analyses = [a for a in analyses_of(strata) if a.association]
    gate.release(outputs.associations(analyses, strata, count, floor=gate.minor_alleles))
    names = [name for name in voc.SET_TESTS if name in tests]
    paths = {a.phenotype: sets_path(prefix, a.phenotype) for a in analyses}
    with contextlib.ExitStack() as stack:
        streams = {name: stack.enter_context(atomic(path)) for name, path in paths.items()}
        for stream in streams.values():
            stream.write(("\t".join(voc.SET_COLUMNS) + "\n").encode())
        for several in results:
            for phenotype in dict.fromkeys(r.phenotype for r in several):
                mine = [r for r in several if r.phenotype == phenotype]
                rows = masks.take(np.repeat([r.row for r in mine], len(names)))
                streams[phenotype].write(table_text(rows, _columns(mine, names), voc.SET_COLUMNS, digits))
    return list(paths.values())


def _columns(results: Sequence[SetResult], names: Sequence[str]) -> dict[str, np.ndarray]:
    log10p = np.array([r.log10p[name] for r in results for name in names])
    known = ~np.isnan(log10p)
    each = len(names)
    chisq = chisq_1_inverse(np.where(known, log10p, 0.0))
    return {
        "TEST": np.array([f"{voc.ADD}-{name.upper()}" for name in names] * len(results), object),
        "OBS_CT": np.repeat([r.samples for r in results], each),
        "VARIANT_CT": np.repeat([r.variants for r in results], each),
        "COLLAPSED_CT": np.repeat([r.collapsed for r in results], each),
        "CHISQ": np.where(known, chisq, np.nan),
        "P": 10.0**-log10p,
        "LOG10_P": log10p,
        "ERRCODE": np.where(
            np.repeat([r.withheld for r in results], each),
            voc.FEW_CARRIERS,
            np.where(known, voc.OK, voc.CONST_OMITTED_ALLELE),
        ).astype(object),
    }
