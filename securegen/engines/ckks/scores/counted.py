"""The door of allele counts in a request for scores: they are a table of sums, and leave for the model's owner.

Who learns what: the model's owner learns counts of every variant. Two such tables whose people differ by one are that person,
and a count of one is who carries it; so they pass the policy and the register of consent as quality control does.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.engines.ckks.scores.messages import ScoreRequest
from securegen.engines.governed import gate_of_inputs
from securegen.errors import UsageError
from securegen.governance import releases
from securegen.governance.door import QUALITY, OutputFacts
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.history import PeopleFacts
from securegen.io.text import count
from securegen.model import SelectableReader
from securegen.study.inputs import Inputs, Log

COUNTS = "allele counts"


def pass_counts(
    request: ScoreRequest, reader: SelectableReader, inputs: Inputs | None, folder: str | os.PathLike[str], log: Log
) -> ScoreRequest:
    """The request as it may leave: variants with fewer minor alleles than a policy's floor have no counts, as if nobody were
    called, and scores leave them out. The same request where it has no counts.

    inputs: what names the genotypes, and who asks. Raises UsageError where it is None, PolicyError where the policy refuses, or
    consent does.
    """
    c, everybody = request.counts, np.ones(request.samples, bool)
    if c is None:
        return request
    if inputs is None:
        raise UsageError(
            "allele counts would leave for the model's owner: say whose by `inputs`, beside whose files a policy may stand; or "
            "impute by the scoring file's frequencies (`imputation` file) or nothing (`imputation` none)"
        )
    gate = gate_of_inputs("ckks", inputs, log, more=[folder])
    columns = np.ones((request.samples, 1), np.int64)
    facts = PeopleFacts(reader.samples, ((COUNTS, "", everybody),), (columns,), genotypes=Fingerprints(reader))
    floor = gate.minor_alleles
    if gate.policy is not None:
        gate = gate.of(facts, inputs.asked_for())
    gate.release([OutputFacts(QUALITY, COUNTS, request.samples, len(request.variants), minor=floor)])
    gate.claim(reader.samples, [(releases.analysis_of(releases.ASSOCIATION, COUNTS), everybody)], Path(folder).name)
    for line in gate.lines():
        log(line)
    rare = np.minimum(c.dosage, 2 * request.dosage_grid * c.called - c.dosage) < floor * request.dosage_grid
    if rare.any():
        few = count(int(rare.sum()), "variant")
        log(f"{few} with fewer than {floor} minor alleles (policy): without counts, scores leave them out")
    dosage, second, called = (np.where(rare, 0, x) for x in (c.dosage, c.second, c.called))
    return replace(request, counts=replace(c, dosage=dosage, second=second, called=called))
