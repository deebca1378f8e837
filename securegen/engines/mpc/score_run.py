"""A whole scoring run for one party: people's genotypes at one, the weights at another, scores to the people's party.

The people's party sends who is genotyped where (variants), how many calls each variant has and their sums: allele
frequencies, by which missing calls are imputed. The model's owner tells score names, scales and how many variants each
score uses; which ones, and their weights, stay hidden, because every variant of the cohort takes part, most with
weight 0. The counts that plink2 prints beside a score would say which, and are left out (NA).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from securegen.engines.governed import counts_between, pass_allele_counts, shown_counts
from securegen.engines.mpc.association import announce_cohort, receive_cohort
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.scores import charge, model_side, people_side
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles, block_size
from securegen.errors import PolicyError, ProtocolError
from securegen.governance.gate import Gate
from securegen.io.schema import score_name
from securegen.io.text import count
from securegen.model import GenotypeReader
from securegen.scores.files import read_scorings
from securegen.scores.match import match_variants
from securegen.scores.plan import AlleleCounts, ScorePlan, plan_scores, used_variants
from securegen.scores.release import DIGITS, minimum_variants, release
from securegen.scores.sscore import write_sscore
from securegen.scores.sums import ScoreSums, count_alleles, second_copies
from securegen.study.inputs import Log, silent


def people_run(
    session: Session,
    roles: Roles,
    reader: GenotypeReader,
    out: str,
    *,
    gate: Gate,
    log: Log,
    everybody: Callable[[], GenotypeReader] | None = None,
    digits: int = DIGITS,
    threads: int = 1,
) -> str:
    """The people's party: writes PREFIX.sscore and returns its path. gate: the door, which allele counts pass, too; log:
    told how many variants the policy's floor leaves out; everybody: as of `counts_between`, None for these people.

    Raises ProtocolError for a malformed reply, PolicyError where the policy refuses.
    """
    everything = np.arange(len(reader.variants))
    between = counts_between(gate, reader, everybody or (lambda: reader))
    pass_allele_counts(gate, reader, len(everything), gate.minor_alleles, gate.inputs, "a session of parties", silent)
    counts = shown_counts(count_alleles(reader, everything), reader.dosage_grid, gate.minor_alleles, between, log)
    announce_cohort(session, roles.right, reader)
    session.send(roles.right, "allele counts", np.stack([counts.dosage, counts.second, counts.called]))
    announced = session.receive_json(roles.right, "scores/plan")
    plan, bits = _public_plan(announced, reader.dosage_grid, roles.right), _ring(announced, roles.right)
    second = plan.second_weight is not None
    values = people_side(
        session, roles, _genotype_blocks(reader, second=second, missing=counts.called < counts.samples),
        people=len(reader.samples), scores=len(plan.names), bits=bits, threads=threads,
    )  # fmt: skip
    path = f"{out}.sscore"
    write_sscore(path, reader.samples, release(ScoreSums(plan, values), digits=digits), gate=gate)
    return path


def model_run(
    session: Session, roles: Roles, paths: Sequence[str], *, model: str, state: StateFile, reply_cap: int,
    score_col_nums: Sequence[int] | None = None, allow_small_model: Sequence[str] = (), digits: int = DIGITS, threads: int = 1,
) -> None:  # fmt: skip
    """The model owner: scoring files in, nothing out. model: the name under which replies are counted; score_col_nums:
    of id, effect allele and weights (None: by header names); allow_small_model: scores whose weights may become known.

    A client hears how many of the variants that it announces a score uses, or by a refusal that they are few: every attempt
    costs an answer a score, before anything is matched. Raises PolicyError when a score uses so few variants that its
    people's scores would give the weights away, or when the cap of replies, at most a twentieth of the weights for each
    score, is reached; InputError and PlanError as for plain scores.
    """
    scorings = read_scorings([*paths], score_col_nums)
    cohort = receive_cohort(session, roles.left)
    size = len(cohort.variants)
    sums = session.receive(roles.left, "allele counts", shape=(3, size), dtype=np.int64)
    _refuse_impossible(sums, len(cohort.samples), cohort.dosage_grid, roles.left)
    first = sum(len(s.names) for s in scorings)
    charge(state, model, roles.left, first, limit=reply_cap)
    matches = [match_variants(s, cohort.variants) for s in scorings]
    wanted = used_variants(matches)
    dosage, second, called = (row[wanted] for row in sums)
    counts = AlleleCounts(wanted, dosage, second, called, len(cohort.samples))
    plan = plan_scores(matches, dosage_grid=cohort.dosage_grid, counts=counts, digits=digits)
    _refuse_revealing(plan, len(cohort.samples), digits, allow_small_model)
    limit = min(reply_cap, lifetime_replies(plan, allow_small_model))
    session.send_json(roles.left, "scores/plan", {
        "names": list(plan.names), "exponent": list(plan.exponent), "file_of": list(plan.file_of),
        "variants_of": list(plan.variants_of), "second": plan.second_weight is not None, "ring": ring_bits(plan),
    })  # fmt: skip
    missing = sums[2] < len(cohort.samples)
    model_side(
        session, roles, _weight_blocks(plan, size, len(cohort.samples), missing), people=len(cohort.samples),
        scores=len(plan.names), model=model, state=state, reply_cap=limit, charged=first, threads=threads,
        constant=plan.constant[: len(plan.names)], bits=ring_bits(plan),
    )  # fmt: skip


def _refuse_impossible(sums: np.ndarray, people: int, grid: int, sender: str) -> None:
    """Raise ProtocolError for allele counts that no genotypes have: they choose weights of missing calls and constants."""
    everything = np.arange(sums.shape[1])
    if not AlleleCounts(everything, sums[0], sums[1], sums[2], people).possible(grid):
        raise ProtocolError(f"party {sender!r} announced allele counts that no {people} people have")


def _refuse_revealing(plan: ScorePlan, people: int, digits: int, allow_small_model: Sequence[str]) -> None:
    """N exact scores are N equations in the weights: refuse models with fewer weights than 20 times the people asked."""
    for s, name in enumerate(plan.names):
        weights, floor = plan.score_variants(s), max(20 * people, minimum_variants(1, digits))
        if weights < floor and name not in allow_small_model:
            raise PolicyError(
                f"score {name} has {count(weights, 'weight')} on this cohort: exact scores of {people} people are so many "
                f"equations that they could be solved for the weights ({floor:,} weights at least are needed). Ask about "
                f"fewer people, share the model, or name it: `allow_small_model` {name}"
            )


def ring_bits(plan: ScorePlan) -> int:
    """32 where every score is certain to be below 2^31 in size, else 64."""
    return 32 if max(plan.bound[: len(plan.names)]) < 1 << 31 else 64


def _ring(announced: object, sender: str) -> int:
    if not isinstance(announced, dict) or announced.get("ring") not in (32, 64):
        raise ProtocolError(f"party {sender!r} announced malformed scores")
    return int(announced["ring"])


def lifetime_replies(plan: ScorePlan, allow_small_model: Sequence[str]) -> int:
    """Scores that a model may ever answer to one party: the rule of 20 weights per person holds over all runs together,
    because people asked for in many small runs are as many equations as in one large one."""
    weights = [plan.score_variants(s) for s, name in enumerate(plan.names) if name not in allow_small_model]
    return len(plan.names) * min(weights) // 20 if weights else 1 << 62


def _blocks(variants: int, people: int, missing: np.ndarray, *, second: bool) -> Iterator[tuple[slice, list[str]]]:
    """Ranges of variants and the streams that take part in them: the same at both parties, from public numbers."""
    size = block_size(people)
    for start in range(0, variants, size):
        rows = slice(start, min(start + size, variants))
        yield rows, ["dosage", *(["second"] if second else []), *(["missing"] if missing[rows].any() else [])]


def _genotype_blocks(reader: GenotypeReader, *, second: bool, missing: np.ndarray) -> Iterator[np.ndarray]:
    for rows, streams in _blocks(len(reader.variants), len(reader.samples), missing, second=second):
        block = reader.read(rows.start, rows.stop)
        made = {"dosage": block.dosage, "missing": block.missing}
        if second:
            made["second"] = second_copies(block.dosage, reader.dosage_grid)
        for name in streams:
            part = made[name]
            if part is None:
                raise ValueError("a stream of the genotypes is absent")
            yield part.astype(np.int8) if part.dtype == np.bool_ else part


def _weight_blocks(plan: ScorePlan, variants: int, people: int, missing: np.ndarray) -> Iterator[np.ndarray]:
    scores = len(plan.names)
    weights = {"dosage": plan.dosage_weight, "second": plan.second_weight, "missing": plan.missing_weight}
    for rows, streams in _blocks(variants, people, missing, second=plan.second_weight is not None):
        used = plan.rows(rows.start, rows.stop)
        for name in streams:
            own = weights[name]
            if own is None:
                raise ValueError("a stream of the weights is absent")
            dense = np.zeros((rows.stop - rows.start, scores), np.int64)
            dense[plan.variant[used] - rows.start] = own[used, :scores]
            yield dense


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError("not an integer")
    return value


def _public_plan(value: object, grid: int, sender: str) -> ScorePlan:
    """What the people's party knows of the plan: no variant, no weight."""
    try:
        names = tuple(score_name(n, "a name") for n in value["names"])  # type: ignore[index]
        exponent, file_of, variants_of = (
            tuple(_integer(v) for v in value[n]) for n in ("exponent", "file_of", "variants_of")  # type: ignore[index]
        )  # fmt: skip
        second = value["second"] is True  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"party {sender!r} announced malformed scores") from error
    sound = 0 < len(names) == len(exponent) == len(file_of) and all(0 <= f < len(variants_of) for f in file_of)
    if not sound or not all(-1024 < e < 1024 for e in exponent):
        raise ProtocolError(f"party {sender!r} announced malformed scores")
    none, empty = np.empty(0, np.int64), np.empty((0, len(names)), np.int64)
    return ScorePlan(
        names=names, variant=none, dosage_grid=grid, imputation="cohort", exponent=exponent, dosage_weight=empty,
        second_weight=empty if second else None, missing_weight=empty, constant=np.zeros(len(names), np.int64),
        bound=(), error=(), file_of=file_of, variants_of=variants_of,
    )  # fmt: skip
