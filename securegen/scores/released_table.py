"""Integers of scores -> PREFIX.sscore, with the columns that compare them with a reference. The last step of every engine."""

from __future__ import annotations

import numpy as np

from securegen.governance.gate import Gate
from securegen.io.text import count
from securegen.model import FloatArray, Samples
from securegen.scores.release import ScoreTable, against_reference, logistic_risk, reference_distribution, release
from securegen.scores.sscore import read_reference, write_sscore
from securegen.scores.study import ScoreInputs
from securegen.scores.sums import ScoreSums
from securegen.study.inputs import Log, silent


def extra_columns(inputs: ScoreInputs, table: ScoreTable) -> dict[str, FloatArray]:
    """Percentile and z-score against the reference, and risk, where they are asked for: name -> (N,) float64."""
    out: dict[str, FloatArray] = {}
    for s, name in enumerate(table.names):
        if inputs.reference:
            reference = reference_distribution(read_reference(inputs.reference, name))
            out[f"{name}_PERCENTILE"], out[f"{name}_Z"] = against_reference(table.total[:, s], reference)
        if inputs.risk_intercept is not None:
            out[f"{name}_RISK"] = logistic_risk(
                table.total[:, s], intercept=inputs.risk_intercept, slope=inputs.risk_slope
            )
    return out


def write_scores(
    out: str, samples: Samples, sums: ScoreSums, inputs: ScoreInputs, log: Log = silent, *, gate: Gate
) -> None:
    """Round, compare with the reference and write OUT.sscore. The last step of every engine. gate: the door."""
    write_table(out, samples, release(sums, digits=inputs.digits), inputs, log, gate=gate)


def write_table(
    out: str, samples: Samples, table: ScoreTable, inputs: ScoreInputs, log: Log = silent, *, gate: Gate
) -> None:
    """Write OUT.sscore of released scores, with the columns that compare them with a reference. gate: the door.

    Raises PolicyError where the policy refuses.
    """
    path = inputs.table(out)
    write_sscore(path, samples, table, extra_columns(inputs, table), gate=gate)
    for s, name in enumerate(table.names):
        column = table.total[:, s]
        log(f"{name}: mean {np.mean(column):.4g}, from {np.min(column):.4g} to {np.max(column):.4g}")
    log(f"wrote {path}: {len(samples)} samples, {count(len(table.names), 'score')}, {table.digits} significant digits")
