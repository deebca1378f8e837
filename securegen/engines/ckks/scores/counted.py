"""The door of allele counts that leave for scores: in a request for the model's owner, and as means in a public model.

Who learns what: the model's owner learns counts of every variant; the server of a public model the cohort's mean of each that
is imputed by it, of which the count follows. Two such tables whose people differ by one are that person, and a count of one is
who carries it; so they pass the policy and the register of consent as quality control does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from securegen.engines.ckks.scores.messages import ScoreRequest
from securegen.engines.governed import counts_between, gate_of_inputs, pass_allele_counts, shown_counts
from securegen.errors import PolicyError, UsageError
from securegen.governance.pin import Pin
from securegen.model import SelectableReader
from securegen.scores.study import ScoreStudy, asked_for
from securegen.scores.sums import count_alleles
from securegen.study.genotypes import everybody_beside
from securegen.study.inputs import Inputs, Log


def pass_counts(
    request: ScoreRequest, reader: SelectableReader, inputs: Inputs | None, folder: str | os.PathLike[str], log: Log
) -> ScoreRequest:
    """The request as it may leave: variants of fewer carriers than a policy's floor have no counts, as if nobody were
    called, and scores leave them out. The same request where it has no counts.

    inputs: what names the genotypes, and who asks. Raises UsageError where it is None, PolicyError where the policy refuses, or
    consent does.
    """
    c = request.counts
    if c is None:
        return request
    if inputs is None:
        raise UsageError(
            "allele counts would leave for the model's owner: say whose by `inputs`, beside whose files a policy may stand; or "
            "impute by the scoring file's frequencies (`imputation` file) or nothing (`imputation` none)"
        )
    gate = gate_of_inputs("ckks", inputs, log, more=[folder])
    floor, between = gate.minor_alleles, counts_between(gate, reader, partial(everybody_beside, inputs, reader))
    pass_allele_counts(gate, reader, len(request.variants), floor, inputs.asked_for(), Path(folder).name, log)
    return replace(request, counts=shown_counts(c, request.dosage_grid, floor, between, log))


def tells_means(study: ScoreStudy) -> bool:
    """Whether a public model has the cohort's mean of a variant."""
    plan = study.plan
    return plan.imputation == "cohort" and bool((plan.missing_weight[:, : len(plan.names)] != 0).any())


def pass_means(
    study: ScoreStudy, places: Iterable[str | os.PathLike[str]], log: Log, *,
    pins: Iterable[tuple[str, Pin | None]] = (), check: bool = False,
) -> None:  # fmt: skip
    """Before a public model is written for a server: its means are sums of these people. Nothing where it has none.

    places: files and folders beside which a policy may stand, besides the study's; pins: what remembers one; check: ask alone,
    and enter nothing. Raises PolicyError where the policy refuses, or consent does.
    """
    plan, reader = study.plan, study.two_copies
    told = (plan.missing_weight[:, : len(plan.names)] != 0).any(axis=1)
    if not tells_means(study):
        return
    gate = gate_of_inputs("ckks", study.genotypes, log, more=[*study.inputs.score, *places], pins=pins)
    minor = None
    if gate.policy is not None:
        between = counts_between(gate, reader, partial(everybody_beside, study.genotypes, reader))
        differ = count_alleles(reader, plan.variant[told]).who_differ(reader.dosage_grid)
        minor = int(np.where(between[plan.variant[told]], 0, differ).min())
    try:
        asked = asked_for(study.genotypes, study.inputs) if gate.policy is not None else {}
        pass_allele_counts(gate, reader, int(told.sum()), minor, asked, "public model", log, check=check)
    except PolicyError as error:
        raise PolicyError(
            f"{error}. The model tells a server the cohort's mean of every variant: impute by the scoring file's frequencies "
            "(`imputation` file) or nothing (`imputation` none) and it tells none"
        ) from None
