"""Scores by secret sharing with every role on this machine: people, the model's owner and a dealer, each a process."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from securegen.engines.governed import refuse_idle_purpose
from securegen.engines.mpc.deployment import ROLES, SCORES
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.score_protocol import Bars, no_bars
from securegen.errors import UsageError
from securegen.io.output import PRIVATE, copy_file
from securegen.io.table_files import pack
from securegen.local.folders import PARTIES, working_folder
from securegen.local.launcher import Role, given, launch
from securegen.record.run_log import RunLog
from securegen.scores.study import ScoreInputs, ScoreStudy, digests
from securegen.study import checks
from securegen.study.inputs import ASKING, Inputs

_TAKEN = ("score", "score_col_nums", "allow_small_score", "digits", "gzip")
_FILTERS = ("keep", "remove", "extract", "exclude", "from_bp", "to_bp", "purpose", "consent", "mondo")


@dataclass(frozen=True)
class MpcScores:
    """The weights and the genotypes stay with their owners; a dealer of masks helps.

    keep_files: keep the parties' files; allow_small_model: scores whose weights may become known, as may those of
    `allow_small_score`."""

    keep_files: bool = False
    allow_small_model: tuple[str, ...] = ()
    name: ClassVar[str] = "mpc"
    matches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_small_model", checks.names("allow_small_model", self.allow_small_model) or ())

    def check(self, genotypes: Inputs, inputs: ScoreInputs) -> None:
        """Raise UsageError for options that need to see genotypes beside weights, and for genotypes in memory."""
        defaults = ScoreInputs(inputs.score)
        for f in fields(inputs):
            if f.name not in _TAKEN and getattr(inputs, f.name) != getattr(defaults, f.name):
                raise UsageError(
                    f"`{f.name}` cannot be chosen with the engine mpc: the model's owner does not see genotypes"
                )
        if not given(genotypes.genotypes):
            raise UsageError("the engine mpc reads genotypes from files: its parties are processes of their own")

    def run(
        self, genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, study: ScoreStudy | None = None,
        bars: Bars = no_bars,
    ) -> None:  # fmt: skip
        """Makes keys and parties.toml for this run; writes OUT.sscore, OUT.log and OUT.run.json."""
        refuse_idle_purpose(genotypes)
        with working_folder(out, PARTIES, keep=self.keep_files, log=log) as work:
            loopback_study(work, ROLES[SCORES])
            records = launch(_roles(work, genotypes, inputs, self.allow_small_model))
            (made,) = records["genotypes"]["files"]
            copy_file(made, f"{out}.sscore", mode=PRIVATE)
            if inputs.gzip:
                pack(f"{out}.sscore")
        people = records["genotypes"]
        sent = {name: record["bytes"]["sent"][name] for name, record in records.items()}
        dealt = sent.pop("dealer")
        log.seconds["offline"] = records["dealer"]["seconds"]["offline"]
        log.seconds["online"] = log.seconds["score"] = people["seconds"]["online"]
        receipt = people["receipt"] | {"released": [inputs.table(out)]}
        receipt["warnings"] = [
            *receipt["warnings"],
            "the limit of replies is lifted for this run alone, whose model lives as long",
        ]
        log.note([f"who learned what ({receipt['scenario']}):"])
        log.note(f"  {p['name']}: holds {p['holds']}; learns {p['learns']}" for p in receipt["parties"])
        log.note(f"  WARNING: {w}" for w in receipt["warnings"])
        log.write(
            engine="mpc", split=SCORES, inputs=digests(genotypes, inputs), receipt=receipt,
            samples=people["samples_stored"], samples_stored=people["samples_stored"],
            bytes={"sent": sent, "dealer": dealt, "rounds": max(r["bytes"]["rounds"] for r in records.values())},
            parameters={"bits": inputs.weight_bits, "digits": inputs.digits}, planned_noise_margin_bits=None,
            peak_rss_bytes=max(r["peak_rss_bytes"] for r in records.values()),
            **{name: people[name] for name in ("governance",) if name in people},
        )  # fmt: skip


def _roles(work: Path, genotypes: Inputs, inputs: ScoreInputs, allow_small_model: tuple[str, ...]) -> list[Role]:
    """The three processes, and what each is told."""
    common: dict[str, Any] = {"parties": str(work / "parties.toml"), "digits": inputs.digits}
    model: dict[str, Any] = {
        "role": "model", "reply_cap": 1 << 40, "score": [os.path.abspath(path) for path in inputs.score],
        "allow_small_model": [*inputs.allow_small_score, *allow_small_model] or None,
    }  # fmt: skip
    if inputs.score_col_nums:
        model["score_col_nums"] = [",".join(map(str, inputs.score_col_nums))]
    people = {"role": "genotypes"} | given(genotypes.genotypes) | given(genotypes, *_FILTERS, *ASKING)
    if genotypes.chr:
        people["chr"] = ",".join(genotypes.chr)
    told = {"genotypes": people | common, "model": model | common, "dealer": {"parties": common["parties"]}}
    return [
        Role(
            name, ("dealer",) if name == "dealer" else ("party",),
            {**options, "name": name, "out": str(work / name)}, work, config="--run-config",
        )
        for name, options in told.items()
    ]  # fmt: skip
