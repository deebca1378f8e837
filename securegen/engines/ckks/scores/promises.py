"""What a model owner promises when it answers a request: models by their weights, the ledger, its own copy of the plan.

Who learns what: nothing here leaves the model owner.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks.scores import public_model
from securegen.engines.ckks.scores.blinding import ModelSize
from securegen.engines.ckks.scores.schema import MOST_SCORES, record_of_plan
from securegen.errors import ArtefactError, UsageError
from securegen.io.kept_arrays import keep_array, keep_json, kept_array, kept_json
from securegen.io.locks import only_one
from securegen.io.output import private_folder
from securegen.io.schema import hex_text, list_of, record, text
from securegen.io.text import read_text
from securegen.model import FloatArray
from securegen.scores import identity
from securegen.scores.files import DOSAGE, ScoringFile, read_scorings
from securegen.scores.ledger import Asked, Ledger
from securegen.scores.match import Match
from securegen.scores.plan import ScorePlan
from securegen.scores.study import ScoreInputs
from securegen.study import checks
from securegen.study.inputs import Log, silent

PLAN = "plan.json"  # of an invitation that is outstanding
TOKEN_BYTES = 16
KEPT = record(
    plan=record_of_plan, token=hex_text(TOKEN_BYTES), models=list_of(text(identity.MOST_NAME), 1, MOST_SCORES)
)


@dataclass(frozen=True)
class PrivacyRules:
    """What the model owner decides. ledger: its file of replies; client: its name for who asks; allow_small_model: models that
    may have fewer than 20 weights per person; reply_cap: replies in the model's life, None for the computed one."""

    ledger: Path
    client: str
    allow_small_model: tuple[str, ...] = ()
    reply_cap: int | None = None

    def __post_init__(self) -> None:
        ledger = checks.path("ledger", self.ledger)
        if not ledger:
            raise UsageError("`ledger` is needed: the replies of a private model are counted in that file")
        object.__setattr__(self, "ledger", Path(ledger))
        if not isinstance(self.client, str) or not self.client:
            raise UsageError(f"`client` takes a name as text, not {self.client!r}")
        object.__setattr__(self, "allow_small_model", checks.names("allow_small_model", self.allow_small_model) or ())
        checks.whole("reply_cap", self.reply_cap, 1, None)


def model_names(scoring: ScoringFile) -> list[str]:
    """`model_name` of every score of a file."""
    return [model_name(scoring, s) for s in range(len(scoring.names))]


def model_name(scoring: ScoringFile, s: int) -> str:
    """What the ledger calls a score (`scores.identity`): by its weights, whatever the file's name, order, compression, other
    columns, way to write a number, scale, or allele that is counted."""
    rows = []
    for r in range(len(scoring)):
        own = (scoring.weight[r, s],)
        if scoring.dosage_weight is not None and scoring.effect_type[r] == DOSAGE:
            own = tuple(scoring.dosage_weight[r])
        weights = tuple(Decimal(text) for text in own)
        if any(weights):
            place = f"{scoring.chromosome[r]}:{scoring.position[r]}" if scoring.position[r] >= 0 else ""
            rows.append((scoring.id[r], place, weights))
    return identity.name(rows)


def telling_weights(plan: ScorePlan, match: Match) -> list[int]:
    """For each score, the fewest weights that its answers are equations in: its non-zero ones, or, where another score of
    the file is a multiple of it but for fewer, those, since a difference of multiples of two answers is a score too."""
    out = [plan.score_variants(s) for s in range(len(plan.names))]
    if len(out) == 1:
        return out
    scoring = match.scoring
    columns = scoring.weight[match.row]
    columns[scoring.effect_type[match.row] == DOSAGE] = "1"  # weights that all scores of a file have
    columns = columns.astype(np.float64)
    for s in range(len(out)):
        for t in range(s):
            if differ := _not_multiples(columns[:, s], columns[:, t]):
                out[s], out[t] = min(out[s], differ), min(out[t], differ)
    return out


def _not_multiples(own: FloatArray, other: FloatArray) -> int:
    """How many weights of one score are not the multiple of the other's that most are; of rows that either has."""
    both = (own != 0) & (other != 0)
    ratios = own[both] / other[both]
    _, counts = np.unique(np.sign(ratios) * (100 + np.round(np.log(np.abs(ratios)), 9)), return_counts=True)
    return int(((own != 0) | (other != 0)).sum() - counts.max(initial=0))


def former_names(inputs: ScoreInputs, plan: ScorePlan) -> list[str]:
    """What ledgers of version 1 called each score: a digest of its file's rows, and its name."""
    rows = [line for line in read_text(inputs.score[0]).splitlines() if not line.startswith("#")]
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return [f"{digest}:{name}" for name in plan.names]


@contextlib.contextmanager
def promise(
    plan: ScorePlan, match: Match, size: ModelSize, inputs: ScoreInputs, rules: PrivacyRules, *,
    people: int, bits: float, log: Log = silent,
) -> Iterator[tuple[str, int]]:  # fmt: skip
    """Reserve the answers of an invitation in the ledger and charge one; its token there, and the cap of the model's life.
    The block writes the invitation: where it fails, the answers are given back, all but one.

    bits: the most that an answer says. All scores of a file count for each of them: a vendor's hospital may ask about one
    in the place of another, and scores may share weights. Raises PolicyError by the rules; nothing may leave before this
    returns.
    """
    answers = people * len(plan.names)
    cap = size.cap(bits) if rules.reply_cap is None else rules.reply_cap
    if cap > size.cap(bits):
        log(f"WARNING: --reply-cap {cap} is above {size.cap(bits)}: so many replies give the weights away")
    models = model_names(match.scoring)
    names = zip(models, former_names(inputs, plan), plan.names, telling_weights(plan, match), strict=True)
    asked = [
        Asked(model, former, name, answers, cap, None if name in rules.allow_small_model else weights)
        for model, former, name, weights in names
    ]
    if repeated := [n for n, count in zip(plan.names, map(Counter(models).get, models), strict=True) if count != 1]:
        log(f"WARNING: {', '.join(repeated)} have the same weights: their answers count as one model's")
    token = secrets.token_hex(TOKEN_BYTES)
    ledger = Ledger(rules.ledger)
    ledger.reserve(token, rules.client, asked)
    try:
        yield token, cap
    except BaseException:
        ledger.withdraw(token)
        raise


def spend(private: Path, inputs: ScoreInputs, rules: PrivacyRules) -> None:
    """Charge what an invitation or an offer reserved, which is answered once, however many copies of it there are.

    Raises ArtefactError when it was answered or withdrawn, or belongs to another ledger or scoring file.
    """
    kept = _kept(private)
    (scoring,) = read_scorings(inputs.score, inputs.score_col_nums, genome_build=inputs.genome_build)
    if model_names(scoring) != kept["models"]:
        raise ArtefactError(f"{private} is not of the model in {scoring.path}: give the scoring file it was made with")
    Ledger(rules.ledger).charge(kept["token"])


def withdraw(private: Path, ledger: Path) -> None:
    """Model owner: give the answers of an invitation back, all but the one that inviting costs; it is never answered."""
    Ledger(ledger).withdraw(_kept(private)["token"])


@contextlib.contextmanager
def keeping_plan(plan: ScorePlan, token: str, match: Match, private: Path) -> Iterator[None]:
    """The model owner's copy of a plan, and what the ledger calls its models and its invitation, in a folder of its own.

    The block keeps what belongs to it there. Until it ends the folder holds no plan: a run that was killed leaves none of
    its numbers beside those of an earlier one. Raises StorageError while another process keeps a plan there.
    """
    private_folder(private)
    with only_one(private / ".lock", str(private)):
        for name in (PLAN, *(f"{a}.npy" for a in (*public_model.PLAN_ARRAYS, "second_weight"))):
            (private / name).unlink(missing_ok=True)
        for name, array in public_model.plan_arrays(plan).items():
            keep_array(private / f"{name}.npy", array, mode=0o600)
        yield
        kept = {"plan": public_model.plan_header(plan), "token": token, "models": model_names(match.scoring)}
        keep_json(private / PLAN, kept, mode=0o600)


def kept_plan(private: Path) -> ScorePlan:
    """Raises ArtefactError when the folder holds no plan."""
    header = _kept(private)["plan"]
    names = [*public_model.PLAN_ARRAYS, *(["second_weight"] if (private / "second_weight.npy").exists() else [])]
    return public_model.restore_plan(header, {name: kept_array(private / f"{name}.npy") for name in names})


def _kept(private: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = kept_json(private / PLAN, "a plan of an invitation", KEPT)
        return found
    except FileNotFoundError:
        raise ArtefactError(f"{private} holds no plan of an invitation") from None
