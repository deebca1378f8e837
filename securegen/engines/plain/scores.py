"""Scores in the clear, at one owner: the oracle of every other engine of scores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from securegen.engines.governed import door_of_scores, gate_of_scores
from securegen.engines.score_protocol import Bars, no_bars
from securegen.governance.releases import GROWING
from securegen.governance.signing import digest_of
from securegen.record.parts import part_record
from securegen.record.run_log import RunLog
from securegen.record.score_receipts import plain_scores as receipt_of
from securegen.scores.parts import SUMS, part_facts_of, write_sums
from securegen.scores.released_table import write_scores
from securegen.scores.study import ScoreInputs, ScoreStudy, asked_for, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.consented import whole_run
from securegen.study.held import held
from securegen.study.inputs import Inputs


@dataclass(frozen=True)
class PlainScores:
    """Genotypes and weights in the clear."""

    name: ClassVar[str] = "plain"
    matches: ClassVar[bool] = True

    def check(self, genotypes: Inputs, inputs: ScoreInputs) -> None:
        """Nothing is refused."""

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Writes OUT.sscore, OUT.log and OUT.run.json, and OUT.match.tsv where `study` is not opened yet.

        Of a part (`blocks`), OUT is the prefix of its files, and OUT.sums.tsv is in the place of OUT.sscore.
        """
        gate = gate_of_scores(self.name, genotypes, inputs, log)
        with log.stage("match"), held(genotypes, log) as waiting:
            study = study or open_scores(genotypes, inputs, log=waiting, out=out)
        gate = door_of_scores(gate, waiting, study.reader, inputs.imputation, study.plan.names)
        with log.stage("score"):
            sums = plain_scores(study.reader, study.plan)
        table, facts = inputs.table(out), dict[str, Any]()
        if study.part is None:
            write_scores(out, study.reader.samples, sums, inputs, log, gate=gate)
        else:
            table, (start, stop) = f"{out}{SUMS}", study.span
            write_sums(table, study.reader.samples, sums.exact, gate=gate)
            log(f"wrote {table}: exact sums of {stop - start:,} variants")
            tables = [path for path in (table, f"{out}.match.tsv") if os.path.isfile(path)]
            told = {k: v for k, v in asked_for(genotypes, inputs).items() if k not in GROWING}
            asked = digest_of(told | whole_run(genotypes))
            facts = part_record(study.part.number, study.part.of, start, stop - start, out, tables, asked)
            files = [m.scoring.path for m in study.matches]
            facts |= part_facts_of(study.plan, inputs, files, genotypes.asking.asked())
        log.write(
            receipt=receipt_of(table).with_decisions(gate.lines()).to_json(), engine="plain",
            parameters={"bits": inputs.weight_bits, "digits": inputs.digits}, bytes={}, planned_noise_margin_bits=None,
            **study.record(), **gate.record(), **facts,
        )  # fmt: skip
