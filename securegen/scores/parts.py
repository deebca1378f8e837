"""Scores of a part of the variants (`blocks`): exact sums of people, and adding those of all parts into one run's table.

A part writes OUT.3of22.sums.tsv: in each row a person's alleles called, dosage of the named alleles, and for every score
its sum in units of 2^-k / D and the alleles that it is averaged over. All are integers and add up over parts, since scales
are those of all rows matched (`plan`). Only what is added is rounded and released.

Who learns what: these sums are exact, and of few variants: they say more of people than the scores, and are their owner's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from securegen.errors import InputError, PlanError
from securegen.governance import releases
from securegen.governance.door import SCORES, OutputFacts
from securegen.governance.gate import Asking, Gate
from securegen.io.digests import sha256
from securegen.io.output import PRIVATE
from securegen.io.schema import boolean, integer, list_of, number, optional, record, text
from securegen.io.table_files import write_table_file
from securegen.model import IntArray, Samples
from securegen.scores.plan import MAXIMUM_GRID, NONE_CALLED, ScorePlan
from securegen.scores.release import refuse_few_variants, release_exact
from securegen.scores.released_table import extra_columns
from securegen.scores.sscore import SSCORE_COLUMNS, sscore_text
from securegen.scores.study import ScoreInputs
from securegen.scores.sums import ExactScores

SUMS: Final = ".sums.tsv"
_ROW: Final = re.compile(rb"[^\t]+\t[^\t]+((?:\t-?[0-9]{1,19})+)")
_MANY: Final = 1 << 14
_COUNTS: Final = list_of(integer(0, 1 << 32), 1, _MANY)
FACTS: Final = record(
    names=list_of(text(255, least=1), 1, _MANY), exponent=list_of(integer(-2000, 2000), 1, _MANY),
    grid=integer(1, MAXIMUM_GRID), bound=list_of(integer(0, (1 << 63) - 1), 1, _MANY),
    error=list_of(number(0, 1e300), 1, _MANY), variants=_COUNTS, scored=integer(0, 1 << 32),
    files=list_of(text(4096), 1, _MANY), of_file=_COUNTS,
    release=record(
        digits=integer(1, 17), min_variants=optional(integer(1, 1 << 62)), allow_small_score=list_of(text(255), 0, _MANY),
        gzip=boolean, reference=optional(text(4096)), risk_intercept=optional(number(-1e300, 1e300)),
        risk_slope=number(-1e300, 1e300),
    ),
    may_have={"asked": record(purpose=text(4096), register=text(4096), may_have={"mondo": text(4096)})},
)  # fmt: skip


@dataclass(frozen=True)
class JoinedScores:
    """What the parts add up to: rows of people as they are written, and the sums; facts: for run.json."""

    samples: Samples
    scores: ExactScores
    inputs: ScoreInputs
    facts: dict[str, Any]


def part_facts_of(
    plan: ScorePlan, inputs: ScoreInputs, files: Sequence[str], asked: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What run.json of a part says, so that parts can be added and released: `score_part`. asked: as of `Asking.asked`."""
    scores = range(len(plan.names))
    own = {"names": plan.names, "exponent": plan.exponent, "grid": plan.dosage_grid, "bound": plan.bound[: len(scores)]}
    counted = {"variants": [plan.score_variants(s) for s in scores], "scored": len(plan.variant)}
    rules = ("digits", "min_variants", "allow_small_score", "gzip", "reference", "risk_intercept", "risk_slope")
    released = {name: getattr(inputs, name) for name in rules} | {"allow_small_score": list(inputs.allow_small_score)}
    return {
        "score_part": {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()} | counted | {
            "error": list(plan.error), "files": list(files), "of_file": list(plan.variants_of), "release": released,
        } | ({} if asked is None else {"asked": dict(asked)})
    }  # fmt: skip


def _columns(names: Sequence[str]) -> list[str]:
    return [*SSCORE_COLUMNS, *(name + suffix for name in names for suffix in ("_ALLELES", "_SUM"))]


def write_sums(path: str | Path, samples: Samples, scores: ExactScores, *, gate: Gate) -> None:
    """Write the sums of a part, readable by its owner only. gate: the door.

    Raises StorageError, PolicyError where the policy refuses.
    """
    gate.release([OutputFacts(SCORES, name, len(samples), 0) for name in scores.names])
    everybody = np.ones(len(samples), bool)
    claimed = [(releases.analysis_of(releases.SCORES, name), everybody) for name in scores.names]
    gate.claim(samples, claimed, Path(path).name)
    if scores.allele_count is None or scores.named_dosage is None:
        raise ValueError("a part of the variants has its counts")
    pairs = np.stack([scores.alleles, scores.score], axis=2).reshape(len(samples), -1)
    numbers = np.column_stack([scores.allele_count, scores.named_dosage, pairs]).tolist()
    with write_table_file(path, mode=PRIVATE) as stream:
        stream.write(("\t".join(_columns(scores.names)) + "\n").encode(errors="surrogateescape"))
        for fid, iid, row in zip(samples.fid, samples.iid, numbers, strict=True):
            line = "\t".join((fid, iid, *map(str, row)))
            stream.write(f"{line}\n".encode(errors="surrogateescape"))


def join_scores(
    paths: Sequence[str | Path], records: Sequence[Mapping[str, Any]], digests: Mapping[str, str]
) -> JoinedScores:
    """Add the sums of all parts. paths: OUT.3of22.sums.tsv; records: `score_part` of each; digests: of the run's inputs.

    Raises InputError for parts that are damaged or do not fit each other, PlanError where sums could leave 63 bits,
    PolicyError as `refuse_small_models`, and where somebody withdrew after the parts were made.
    """
    facts = [_facts(path, value) for path, value in zip(paths, records, strict=True)]
    first = facts[0]
    for path, own in zip(paths, facts, strict=True):
        wrong = [k for k in ("names", "exponent", "grid", "files", "release", "asked") if own.get(k) != first.get(k)]
        if wrong:
            raise InputError(f"{path} and {paths[0]} differ in {', '.join(wrong)}: they are not parts of one run")
    bound = [sum(column) for column in zip(*(own["bound"] for own in facts), strict=True)]
    for name, limit in zip(first["names"], bound, strict=True):
        if limit >= 1 << 63:
            raise PlanError(
                f"sums of {name} could reach 2^{limit.bit_length()}: use fewer bits per weight (`weight_bits`)"
            )
    for file, *of_parts in zip(first["files"], *(own["of_file"] for own in facts), strict=True):
        if not sum(of_parts):
            raise InputError(NONE_CALLED if len(first["files"]) == 1 else f"{file}: {NONE_CALLED}")
    variants = [sum(column) for column in zip(*(own["variants"] for own in facts), strict=True)]
    rules = dict(first["release"])
    refuse_few_variants(
        dict(zip(first["names"], variants, strict=True)),
        digits=rules["digits"], min_variants=rules["min_variants"], allow_small_score=rules["allow_small_score"],
    )  # fmt: skip
    inputs = ScoreInputs(score=tuple(first["files"]), **rules)
    if inputs.reference is not None and sha256(inputs.reference) != digests.get("reference"):
        raise InputError(f"{inputs.reference} is not the reference that the parts were told of: it has changed")
    total: IntArray | None = None
    people: tuple[list[str], list[str]] = ([], [])
    for path, own in zip(paths, facts, strict=True):
        ids, values = _read_sums(path, own)
        if total is not None and ids != people:
            raise InputError(f"{path} and {paths[0]} hold different people: they are not parts of one run")
        total = values if total is None else total + values
        people = ids
    if total is None:
        raise ValueError("no parts")
    fid, iid = (np.array(column, dtype=object) for column in people)
    samples = Samples(fid, iid, np.ones(len(iid), bool))
    if "asked" in first:
        Asking().again(first["asked"]).refuse_withdrawn(samples)
    scores = ExactScores(
        tuple(first["names"]), tuple(first["exponent"]), first["grid"], total[:, 3::2], total[:, 2::2], total[:, 0],
        total[:, 1],
    )  # fmt: skip
    errors = [float(sum(column)) for column in zip(*(own["error"] for own in facts), strict=True)]
    promised = {
        name: {"sum_error": error, "exponent": k}
        for name, error, k in zip(scores.names, errors, scores.exponent, strict=True)
    }
    told = {
        "variants": sum(own["scored"] for own in facts), "promise": promised,
        "scores": dict(zip(first["names"], variants, strict=True)),
    }  # fmt: skip
    return JoinedScores(samples, scores, inputs, told)


def write_joined(path: str, joined: JoinedScores) -> None:
    """Write OUT.sscore of the scores that all parts, which passed the door, add up to. Raises StorageError."""
    table = release_exact(joined.scores, digits=joined.inputs.digits)
    with write_table_file(path, mode=PRIVATE) as stream:
        content = sscore_text(joined.samples, table, extra_columns(joined.inputs, table))
        stream.write(content.encode(errors="surrogateescape"))


def _facts(path: str | Path, value: object) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = FACTS(value, "score_part")
    except ValueError as error:
        raise InputError(f"the record of {path} is not of a part of scores: {error}") from None
    scores = {len(facts[name]) for name in ("names", "exponent", "bound", "error", "variants")}
    if len(scores) > 1 or len(facts["files"]) != len(facts["of_file"]):
        raise InputError(f"the record of {path} is not of a part of scores: its lists differ in length")
    return facts


def _read_sums(path: str | Path, facts: Mapping[str, Any]) -> tuple[tuple[list[str], list[str]], IntArray]:
    """Ids, and (N, 2 + 2S) int64 of the columns. Raises InputError for what `write_sums` would not write."""
    header, rows = "\t".join(_columns(facts["names"])).encode(errors="surrogateescape"), _lines(path)
    if next(rows, None) != header:
        raise InputError(f"{path} has other columns than the sums of {', '.join(facts['names'])}")
    width, fid, iid, numbers = 2 + 2 * len(facts["names"]), [], [], []
    most = [facts["grid"] * (1 << 34)] * 2 + [b for bound in facts["bound"] for b in (1 << 34, bound)]
    for place, line in enumerate(rows, 2):
        cells = line.split(b"\t")
        if len(cells) != width + 2 or not _ROW.fullmatch(line):
            raise InputError(
                f"{path}, line {place}: two ids and {width} whole numbers were expected: run its part again"
            )
        values = list(map(int, cells[2:]))
        if any(abs(v) > limit for v, limit in zip(values, most, strict=True)):
            raise InputError(f"{path}, line {place}: a number is larger than its part can make: run its part again")
        fid.append(cells[0].decode(errors="surrogateescape"))
        iid.append(cells[1].decode(errors="surrogateescape"))
        numbers.append(values)
    if not numbers:
        raise InputError(f"{path} has no row: run its part again")
    return (fid, iid), np.array(numbers, np.int64)


def _lines(path: str | Path) -> Iterator[bytes]:
    try:
        with Path(path).open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    raise InputError(f"{path} ends within a line: it was cut, run its part again")
                yield line[:-1]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
