"""From a question to a table that may leave: door, accountant, draw, and the answer on the disk before anything is shown.

Who learns what: whoever sees the table, the log and the record learns numbers with noise, and nothing else of anybody. Of these
files none says how many people there are, or has a digest of what they brought. Whoever runs this holds the data.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securegen.design.columns import AppliedNoise
from securegen.errors import PolicyError
from securegen.governance.decision import Reason
from securegen.governance.door import NOISY, OutputFacts
from securegen.governance.gate import Gate, gate_of
from securegen.governance.integer_noise import load_opendp
from securegen.governance.noise_ledger import BUDGET_RULE, NoiseEntries
from securegen.governance.noise_store import open_draws
from securegen.governance.people_noise import PeopleNoise
from securegen.io.output import atomic
from securegen.noisy.cohort import CountedCohort, chosen_options, open_cohort, refuse_untaken
from securegen.noisy.counts import counts
from securegen.noisy.frequencies import frequencies
from securegen.noisy.histogram import histogram
from securegen.noisy.hits import hits
from securegen.noisy.summary import (
    COUNTS,
    ENDINGS,
    FREQUENCIES,
    HISTOGRAM,
    HITS,
    SUMMARIES,
    NoisySummary,
    NoisyTable,
)
from securegen.record.noisy_receipts import noisy_summary
from securegen.results.rows import column_text
from securegen.study import checks
from securegen.study.held import held
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.noised import most_of

_BUILDERS: Mapping[str, Callable[..., NoisySummary]] = {
    COUNTS: counts, FREQUENCIES: lambda _, cohort: frequencies(cohort), HITS: hits, HISTOGRAM: histogram,
}  # fmt: skip
DIGITS = 10


@dataclass(frozen=True, repr=False)
class NoisyRelease:
    """What left. table: as it was written; path; fresh: whether it was drawn now, and charged; spent: ε and δ of a person of this
    place; facts: for run.json."""

    table: NoisyTable
    path: str
    fresh: bool
    spent: tuple[float, float]
    facts: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"NoisyRelease({self.path})"


def asked_of(inputs: Inputs, kind: str, log: Log = silent, **options: Any) -> tuple[NoisySummary, CountedCohort]:
    """The question, before anything is drawn. Raises UsageError, InputError."""
    checks.choice("kind", kind, SUMMARIES)
    refuse_untaken(inputs, kind)
    cohort = open_cohort(inputs, log, autosomes=kind == HITS)
    return _BUILDERS[kind](inputs, cohort, **options), cohort


def write_summary(
    inputs: Inputs, out: str, kind: str, noise: PeopleNoise, log: Log = silent, **options: Any
) -> NoisyRelease:
    """Write OUT.noisy.ENDING, of `summary.ENDINGS`: the answer that was given before to this question of these files, or a fresh
    one, which is charged. kind: of `summary.SUMMARIES`; options: of its builder.

    Raises PolicyError where a policy refuses, or ε or δ of a life is spent; StorageError where the store is not as it was
    written; UsageError, InputError, MissingExtraError.
    """
    refuse_untaken(inputs, kind)
    load_opendp()
    gate = gate_of("plain", inputs.asking, inputs.files().values(), log=log, consent=bool(inputs.consent))
    with held(inputs, log) as waiting:
        summary, cohort = asked_of(inputs, kind, waiting, **options)
    numbers, fresh, spent = _answer(inputs, summary, noise, replace(gate, allowed=waiting.tell), log)
    waiting.tell()
    table = summary.table(numbers, noise)
    path = f"{out}.noisy.{ENDINGS[kind]}"
    write_noisy(path, table, gate=gate)
    receipt = noisy_summary(os.path.basename(path), noise.line()).with_decisions(gate.lines())
    for line in receipt.lines():
        log(line)
    log(
        f"{'charged' if fresh else 'answered before, not charged'}: ε = {spent[0]:g}, δ = {spent[1]:g} of a person are spent"
    )
    facts = {
        "engine": "plain", "variants": len(cohort.variants), "peak_rss_bytes": None,
        "receipt": receipt.to_json(), **gate.record(),
        "people_noise": {
            "summary": kind, "epsilon": noise.epsilon, "delta": noise.delta, "mechanism": noise.mechanism, "charged": fresh,
            "spent_epsilon": spent[0], "spent_delta": spent[1], **summary.facts(noise),
        },
    }  # fmt: skip
    return NoisyRelease(table, path, fresh, spent, facts)


def _answer(
    inputs: Inputs, summary: NoisySummary, noise: PeopleNoise, gate: Gate, log: Log
) -> tuple[list[int], bool, tuple[float, float]]:
    """The numbers, whether they were drawn now, and what a person has spent. When this returns they are on the disk."""
    places, most = places_of(inputs, gate), most_of(gate.policy)
    text = json.dumps({
        "kind": summary.kind, "asked": dict(summary.asked), "epsilon": noise.epsilon, "delta": noise.delta,
        "files": inputs.digests(), "options": chosen_options(inputs),
    }, sort_keys=True)  # fmt: skip
    for place in places:  # keys stay, so that a refused request has its digest for a second signature
        with _open(place, log) as entries:
            entries.begun = True
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(_open(place, log)) for place in places]
        marks = [entries.question(text) for entries in stores]
        known = [entries.answer(mark) for entries, mark in zip(stores, marks, strict=True)]
        numbers = next((answer for answer in known if answer is not None), None)
        faults = [e.summary_fault(noise, most) for e, answer in zip(stores, known, strict=True) if answer is None]
        fault = next((f for f in faults if f is not None), None)
        _pass_door(replace(gate, inputs={"question": marks[0]}, draws=None), summary, noise, fault)
        fresh = numbers is None
        if numbers is None:
            numbers = summary.draw(noise)
        for entries, mark, answer in zip(stores, marks, known, strict=True):
            if answer is None:
                entries.enter_answer(mark, noise, numbers, most)
        spent = [entries.most_spent() for entries in stores]
    return numbers, fresh, (max(e for e, _ in spent), max(d for _, d in spent))


def _pass_door(gate: Gate, summary: NoisySummary, noise: PeopleNoise, fault: str | None) -> None:
    """Raises PolicyError where the policy refuses, or what is spent does (`fault`)."""
    line = None if gate.policy is None else gate.policy.line("noise.epsilon")
    said = fault or "ε and δ of everybody here are within what a person may spend"
    applied = AppliedNoise(noise.epsilon, noise.delta, noise.mechanism)
    replace(gate, extra=lambda: (Reason(BUDGET_RULE, fault is None, said, line),)).release(
        [OutputFacts(NOISY, summary.kind, 0, summary.rows, noise=applied)]
    )
    if fault is not None:  # nothing governs
        raise PolicyError(f"{BUDGET_RULE}: {fault}")


def places_of(inputs: Inputs, gate: Gate) -> list[Path]:
    """Folders whose stores know what people spent: that of the policy; without one those of genotypes and phenotypes, since
    noise on phenotypes is kept beside these."""
    if gate.policy is not None:
        return [Path(os.path.realpath(gate.folder or "."))]
    files = [*inputs.genotypes.files().values(), *([Path(inputs.pheno)] if inputs.pheno else [])]
    return sorted({Path(os.path.realpath(file)).parent for file in files})


def _open(place: Path, log: Log) -> contextlib.AbstractContextManager[NoiseEntries]:
    return open_draws(place, log)


def write_noisy(path: str, table: NoisyTable, *, gate: Gate) -> None:
    """Write a table whose numbers are in the store already. Raises PolicyError, StorageError."""
    gate.passed(noisy=True)
    columns = [column_text(c, DIGITS) for c in table.columns]
    lines = ["\t".join(table.header), *("\t".join(row) for row in zip(*columns, strict=True))]
    with atomic(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
