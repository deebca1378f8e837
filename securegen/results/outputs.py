"""What tables say of themselves at the door: people, cases, columns and rows of each; and which rows it withholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.catalogue import record_of
from securegen.design.columns import Analysis, AppliedNoise
from securegen.design.strata import Stratum
from securegen.errors import PolicyError
from securegen.governance.door import ASSOCIATION, QUALITY, OutputFacts
from securegen.governance.gate import Gate
from securegen.governance.policy import FULL
from securegen.model import Variants
from securegen.vocabulary import MASK_REF

AT_A_TIME = 1024  # variants
NO_EXPOSED = (
    "policy.minor_alleles: rows in which fewer than {} of the exposed, or of the others, differ are withheld, and this design "
    "cannot count them: its exposure lies with several sites, or it was made by an earlier version. Make the design again by "
    "one owner of all the people, or set `limits.minor_alleles` to 0"
)


def associations(
    analyses: Sequence[Analysis], strata: Sequence[Stratum], variants: int, reveal: str = FULL, floor: int | None = None
) -> list[OutputFacts]:
    """One output an analysis of phenotypes; where strata differ, the fewest people and the most columns of any.

    floor: rows of fewer carriers are withheld; None where that cannot be seen. Raises PolicyError where they would have
    to be, and cannot be found: interactions whose exposure nobody has whole.
    """
    out = []
    for a in analyses:
        if not a.association:
            continue
        built = [(s, found) for s in strata if (found := s.analysis(a.test, a.phenotype)) is not None]
        here, noise = [found for _, found in built] or [a], noise_of_all([found for _, found in built] or [a])
        if floor and record_of(a).interacts and not all(m.model.ends for m in here):
            raise PolicyError(NO_EXPOSED.format(floor))
        cases = [m.model.cases for m in here] if record_of(a).binary else []
        controls = [m.model.samples - m.model.cases for m in here] if record_of(a).binary else []
        out.append(
            OutputFacts(
                ASSOCIATION, a.phenotype, min(m.model.samples for m in here), variants,
                columns=max(len(m.model.covariates) + 1 for m in here), cases=min(cases, default=None),
                controls=min(controls, default=None), minor=floor, reveal=reveal, noise=noise,
                made=() if noise is None else tuple(dict.fromkeys(s.design.mark_of(found) for s, found in built)),
            )
        )  # fmt: skip
    return out


def noise_of_all(here: Sequence[Analysis]) -> AppliedNoise | None:
    """Of one phenotype wherever it is analysed; None where any of these has none, or another one."""
    found = {a.noise for a in here}
    return found.pop() if len(found) == 1 else None


def quality(strata: Sequence[Stratum], variants: int, floor: int | None = None) -> list[OutputFacts]:
    """Tables of quality control."""
    people = [a.model.samples for s in strata for a in s.design.analyses if not a.association]
    return [OutputFacts(QUALITY, "QC", min(people, default=0), variants, minor=floor)]


NO_MASKS = (
    "policy.minor_alleles: rows of fewer than {} carriers are withheld, and two masks of a set may differ by fewer: masks "
    "need `limits.minor_alleles` 0"
)


def refuse_masks(variants: Variants, floor: int) -> None:
    """Raise PolicyError for masks where rows of fewer than `floor` carriers are withheld: those of one set contain each
    other, so the difference of two rows that are shown is one that may not be."""
    if floor and (variants.other_allele == MASK_REF).any():
        raise PolicyError(NO_MASKS.format(floor))


def hidden_rows(gate: Gate, what: str, variants: int) -> np.ndarray:
    """(M,) bool: as `Gate.hidden`, of all variants, few at a time."""
    parts = [gate.hidden(what, "", start, min(start + AT_A_TIME, variants)) for start in range(0, variants, AT_A_TIME)]
    return np.concatenate([np.zeros(0, bool), *parts])
