"""Who of the samples allows what a run is for: a filter of samples like `keep`, for every engine, aloud in counts; and the
rule by which their exact tables leave again after somebody left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.design.strata import Stratum
from securegen.errors import PolicyError
from securegen.governance import consent_steps, releases
from securegen.governance.releases import GROWING
from securegen.model import Samples
from securegen.study.inputs import Inputs, Log


def consented(inputs: Inputs, samples: Samples, log: Log) -> np.ndarray:
    """(N,) bool: whose consent covers the purpose; everybody where none is named.

    Raises PolicyError where it is nobody, and as `consent_steps.check`.
    """
    if inputs.purpose is None or inputs.consent is None:
        return np.ones(len(samples), bool)
    found = consent_steps.check(inputs.consent, samples, inputs.purpose, mondo=inputs.mondo)
    if not found.reason.allowed:
        raise PolicyError(f"{found.reason}")
    for line in found.lines(consent_steps.purpose_of(inputs.purpose)):
        log(line)
    return found.people


def whole_run(inputs: Inputs) -> dict[str, str]:
    """What the run was asked for of which `blocks` is a part, as `Inputs.asked_for`. Each part enters its release in the register
    of consent, whose digest changes so: who is covered stands for it."""
    asked = replace(inputs, blocks=None).asked_for(but=GROWING)
    if inputs.purpose is None or inputs.consent is None:
        return asked
    return asked | {"covered": consent_steps.covering_mark(inputs.consent, inputs.purpose, mondo=inputs.mondo)}


def claim_release(members: Sequence[Inputs], samples: Samples, strata: Sequence[Stratum], out: str) -> None:
    """Enter in the registers of consent that exact tables of these strata leave; nothing where no purpose is named.

    members: inputs, one per site; out: prefix of the run. Raises PolicyError where they differ by few people from a table that
    left before (`releases`).
    """
    sets = release_sets(strata) if any(m.purpose for m in members) else []
    for purpose, register, mondo in dict.fromkeys((m.purpose, m.consent, m.mondo) for m in members):
        if purpose is not None and register is not None:
            consent_steps.claim(register, samples, sets, purpose, Path(out).name, mondo=mondo)


def release_sets(strata: Sequence[Stratum]) -> list[tuple[str, np.ndarray]]:
    """What exact tables of strata are, in the words of `releases.analysis_of`, and (N,) bool: of whom."""
    return [
        (releases.analysis_of(releases.ASSOCIATION, f"{a.phenotype} {a.test}", s.name), s.design.columns.people(a.columns[0]))
        for s in strata for a in s.design.analyses
    ]  # fmt: skip
