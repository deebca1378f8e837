"""Scores of a model that stays with its owner, step by step: request, invite, encrypt, reply, open.

The genotype owner runs `request`, `encrypt_for` and `open_scores_for`, the model owner `invite` and `reply`; only
folders travel. docs/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from securegen.ckks import prs_blinding, prs_encrypted, prs_messages, prs_model, prs_open, prs_reply
from securegen.ckks.cohort import (
    EncryptedCohort,
    OwnerState,
    Progress,
    encrypt_cohort,
    no_progress,
    open_cohort,
    read_info,
)
from securegen.ckks.encryption import make_encryptor
from securegen.ckks.keys import SecretKey, generate
from securegen.ckks.parameters import Parameters
from securegen.ckks.prs_blinding import Blinding, ModelSize, choose_blinded, rounded_up
from securegen.ckks.prs_ledger import Asked, Ledger
from securegen.ckks.prs_messages import Invitation, Request
from securegen.ckks.prs_schema import MOST_SCORES, record_of_plan
from securegen.ckks.prs_weights import ScoreReader, StoredWeights, second_rows, stored_weights
from securegen.ckks.publickey import NONCE_BYTES, publish
from securegen.errors import ArtefactError, UsageError
from securegen.io.kept_arrays import keep_array, kept_array
from securegen.io.output import PRIVATE_FOLDER, make_folder, write_json
from securegen.io.schema import hex_text, list_of, record
from securegen.io.scoring import DOSAGE, ScoringFile, read_scorings
from securegen.io.strict_json import read_json
from securegen.io.tables import read_text
from securegen.match import Match
from securegen.model import IntArray, SelectableReader
from securegen.score_plan import ScorePlan, used_variants
from securegen.score_release import ScoreTable, release
from securegen.score_study import ScoreInputs, make_plan, match_scores
from securegen.study import Log, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

TOKEN_BYTES = 16
KEPT = record(plan=record_of_plan, token=hex_text(TOKEN_BYTES), models=list_of(hex_text(32), 1, MOST_SCORES))
RINGS = tuple(dict.fromkeys(prs_blinding.RINGS + prs_encrypted.RINGS))


@dataclass(frozen=True)
class PrivacyRules:
    """What the model owner decides. ledger: its file of replies; client: its name for who asks; allow: models that may
    have fewer than 20 weights a person; cap: replies in the model's life, None for the computed one."""

    ledger: Path
    client: str
    allow: tuple[str, ...] = ()
    cap: int | None = None


def model_size(plan: ScorePlan, weights: StoredWeights, inputs: ScoreInputs) -> ModelSize:
    """What a reply's parameters are planned from, rounded up: the genotype owner is told what follows from it."""
    nonzero = min(plan.score_variants(s) for s in range(len(plan.names)))
    bound = math.ceil(rounded_up(weights.sum_bound))
    bits = min(int(np.abs(column).max()).bit_length() for column in weights.dosage.T)
    return ModelSize(rounded_up(weights.norm), bound, nonzero, bits, inputs.digits)


def score_weights(plan: ScorePlan) -> StoredWeights:
    """The scores alone: allele counts and dosages of named alleles would give directions away."""
    return stored_weights(plan, slice(0, len(plan.names)))


def model_names(scoring: ScoringFile) -> list[str]:
    """`model_name` of every score of a file."""
    return [model_name(scoring, s) for s in range(len(scoring.names))]


def model_name(scoring: ScoringFile, s: int) -> str:
    """What the ledger calls a score: a digest of its weights, whatever the file's name, order, compression, other columns
    or way to write a number."""
    rows = []
    for r in range(len(scoring)):
        numbers = _numbers(scoring, r, s)
        if any(number != "0" for number in numbers):
            place = (scoring.id[r], scoring.chromosome[r], str(scoring.position[r]), scoring.effect_allele[r])
            rows.append("\t".join((*place, scoring.effect_type[r], *numbers)))
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _numbers(scoring: ScoringFile, r: int, s: int) -> tuple[str, ...]:
    """The weights of a row for a score, each number written one way."""
    own = (scoring.weight[r, s],)
    if scoring.dosage_weight is not None and scoring.effect_type[r] == DOSAGE:
        own = tuple(scoring.dosage_weight[r])
    return tuple(str(Decimal(text).normalize() + 0) for text in own)  # + 0: one zero


def telling_weights(plan: ScorePlan, match: Match) -> list[int]:
    """For each score, the fewest weights that its answers are equations in: its non-zero ones, or, where another score of
    the file differs from it in fewer, those, since the difference of two answers is a score too."""
    scoring = match.scoring
    scores = range(len(plan.names)) if len(plan.names) > 1 else ()
    columns = [np.array(["\t".join(_numbers(scoring, r, s)) for r in match.row], object) for s in scores]
    out = [plan.score_variants(s) for s in range(len(plan.names))]
    for s, own in enumerate(columns):
        for t, other in enumerate(columns[:s]):
            if differ := int((own != other).sum()):
                out[s], out[t] = min(out[s], differ), min(out[t], differ)
    return out


def former_names(inputs: ScoreInputs, plan: ScorePlan) -> list[str]:
    """What ledgers of version 1 called each score: a digest of its file's rows, and its name."""
    rows = [line for line in read_text(inputs.score[0]).splitlines() if not line.startswith("#")]
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return [f"{digest}:{name}" for name in plan.names]


def plan_private(
    request: Request, inputs: ScoreInputs, log: Log = silent
) -> tuple[ScorePlan, tuple[Match, ...], ModelSize]:
    """Match and plan on a request; the plan, the matches and its size."""
    if len(inputs.score) != 1:
        raise UsageError("a model that stays private is one scoring file (it may hold several scores)")
    matches = match_scores(inputs, request.variants, log)
    counts = request.counts_of(used_variants(matches))
    plan = make_plan(inputs, matches, counts, grid=request.dosage_grid, log=log)
    return plan, matches, model_size(plan, score_weights(plan), inputs)


def promise(
    plan: ScorePlan, match: Match, size: ModelSize, inputs: ScoreInputs, rules: PrivacyRules, *,
    people: int, bits: float, log: Log = silent,
) -> tuple[str, int]:  # fmt: skip
    """Reserve the answers of an invitation in the ledger and charge one; its token there, and the cap of the model's life.

    bits: the most that an answer says. All scores of a file count for each of them: a vendor's hospital may ask about one
    in the place of another, and scores may share weights. Raises PolicyError by the rules; nothing may leave before this
    returns.
    """
    answers = people * len(plan.names)
    cap = size.cap(bits) if rules.cap is None else rules.cap
    if cap > size.cap(bits):
        log(f"WARNING: --reply-cap {cap} is above {size.cap(bits)}: so many replies give the weights away")
    models = model_names(match.scoring)
    names = zip(models, former_names(inputs, plan), plan.names, telling_weights(plan, match), strict=True)
    asked = [
        Asked(model, former, name, answers, cap, None if name in rules.allow else weights)
        for model, former, name, weights in names
    ]
    if repeated := [n for n, count in zip(plan.names, map(Counter(models).get, models), strict=True) if count != 1]:
        log(f"WARNING: {', '.join(repeated)} have the same weights: their answers count as one model's")
    token = secrets.token_hex(TOKEN_BYTES)
    Ledger(rules.ledger).reserve(token, rules.client, asked)
    return token, cap


def invite(
    request_folder: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path, private: Path, log: Log = silent
) -> Invitation:
    """Model owner: answer a request with an invitation; `private` keeps the plan and the nonce until the reply."""
    request = prs_messages.read_request(request_folder)
    plan, (match,), size = plan_private(request, inputs, log)
    weights = score_weights(plan)
    parameters, blinding = choose_blinded(
        size, samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid, cap=rules.cap or 0,
    )  # fmt: skip
    nonce = secrets.token_bytes(NONCE_BYTES)
    return finish_invitation(parameters, blinding, nonce, plan, match, size, inputs, rules, folder, private, log)


def finish_invitation(
    parameters: Parameters, blinding: Blinding, nonce: bytes, plan: ScorePlan, match: Match, size: ModelSize,
    inputs: ScoreInputs, rules: PrivacyRules, folder: Path, private: Path, log: Log,
) -> Invitation:  # fmt: skip
    """Reserve the answers, then write the invitation, and the model owner's own copy of it and of the plan."""
    token, cap = promise(
        plan, match, size, inputs, rules, people=parameters.samples, bits=blinding.bits(parameters.ring), log=log
    )
    invitation = Invitation(
        plan.variant, second_rows(plan), plan.names, plan.exponent, plan.imputation, inputs.digits, size.sum_bound, cap,
        parameters, blinding, nonce,
    )  # fmt: skip
    keep_plan(plan, token, match, private)
    prs_messages.write_invitation(invitation, private / "invitation")
    prs_messages.write_invitation(invitation, folder)
    log(describe(invitation))
    return invitation


def spend(private: Path, inputs: ScoreInputs, rules: PrivacyRules) -> None:
    """Charge what an invitation or an offer reserved, which is answered once, however many copies of it there are.

    Raises ArtefactError when it was answered or withdrawn, or belongs to another ledger or scoring file.
    """
    kept = _kept(private)
    (scoring,) = read_scorings(inputs.score, inputs.columns, genome_build=inputs.genome_build)
    if model_names(scoring) != kept["models"]:
        raise ArtefactError(f"{private} is not of the model in {scoring.path}: give the scoring file it was made with")
    Ledger(rules.ledger).charge(kept["token"])


def withdraw(private: Path, ledger: Path) -> None:
    """Model owner: give the answers of an invitation back, all but the one that inviting costs; it is never answered."""
    Ledger(ledger).withdraw(_kept(private)["token"])


def use_once(path: Path) -> None:
    """Remove a file that may be used once. Raises ArtefactError when another process was faster."""
    try:
        path.unlink()
    except FileNotFoundError:
        raise ArtefactError(f"{path} was used already: what it is for happens once") from None


def describe(invitation: Invitation) -> str:
    """One line for the log: what differs from the plain engine, and by how much."""
    b, p = invitation.blinding, invitation.parameters
    differ = (
        "integers equal to the plain engine's" if not b.blur
        else f"integers within {b.blur} of the plain engine's, so that digits not released are not in the reply"
    )  # fmt: skip
    return (
        f"ring dimension {p.ring.n}, {len(p.ring.primes)} primes, {p.pack} people a reply; {differ}; "
        f"at most {invitation.cap} replies in the model's life"
    )


def keep_plan(plan: ScorePlan, token: str, match: Match, private: Path) -> None:
    """The model owner's copy of a plan, and what the ledger calls its models and its invitation, in a folder of its own."""
    make_folder(private, PRIVATE_FOLDER)
    for name, array in prs_model.plan_arrays(plan).items():
        keep_array(private / f"{name}.npy", array, mode=0o600)
    kept = {"plan": prs_model.plan_header(plan), "token": token, "models": model_names(match.scoring)}
    write_json(private / "plan.json", kept, mode=0o600)


def kept_plan(private: Path) -> ScorePlan:
    """Raises ArtefactError when the folder holds no plan."""
    header = _kept(private)["plan"]
    names = [*prs_model.PLAN_ARRAYS, *(["second_weight"] if (private / "second_weight.npy").exists() else [])]
    return prs_model.restore_plan(header, {name: kept_array(private / f"{name}.npy") for name in names})


def _kept(private: Path) -> dict:
    try:
        return read_json(private / "plan.json", "a plan of an invitation", KEPT)
    except FileNotFoundError:
        raise ArtefactError(f"{private} holds no plan of an invitation") from None


def encrypt_for(
    invitation: Invitation,
    reader: SelectableReader,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    progress: Progress = no_progress,
) -> SecretKey:
    """Genotype owner: a fresh key, the variants of the invitation encrypted into PREFIX.cohort, and PREFIX.publickey.

    Raises ArtefactError when the invitation is not for these genotypes, or has parameters that no plan for them has.
    """
    prs_messages.check_parameters(invitation, len(reader.samples), reader.dosage_grid, RINGS)
    prs_messages.check_variants(invitation, len(reader.variants))
    key = generate(invitation.parameters)
    stored = ScoreReader(reader.select(variants=invitation.variant), invitation.second)
    state = OwnerState(Path(f"{os.fspath(prefix)}.owner"), key)
    encrypt_cohort(
        stored, key, Path(f"{os.fspath(prefix)}.cohort"), state, encryptor=make_encryptor(encryptor, key),
        progress=progress,
    )  # fmt: skip
    prs_open.write_encryption_key(publish(key, invitation.nonce), Path(f"{os.fspath(prefix)}.publickey"), key)
    return key


def checked_cohort(folder: Path, invitation: Invitation) -> EncryptedCohort:
    """The encrypted genotypes of an invitation. Raises ArtefactError when they are for other parameters or people."""
    cohort = open_cohort(folder)
    if cohort.parameters.to_json() != invitation.parameters.to_json():
        raise ArtefactError(f"{folder} was not encrypted with the parameters of this invitation")
    return cohort


def reply(
    cohort_folder: Path,
    publickey: Path,
    private: Path,
    inputs: ScoreInputs,
    rules: PrivacyRules,
    folder: Path,
    *,
    progress: Progress = no_progress,
) -> None:
    """Model owner: charge the replies, then compute and write them. An invitation is answered once.

    Raises ArtefactError when the genotypes or the key are not those of the invitation, or it is not outstanding.
    """
    invitation = prs_messages.read_invitation(private / "invitation")
    plan = kept_plan(private)
    cohort = checked_cohort(cohort_folder, invitation)
    key = prs_reply.read_encryption_key(publickey, cohort.public, invitation.nonce)
    weights = score_weights(plan)
    spend(private, inputs, rules)
    prs_reply.write_replies(cohort, weights, key, invitation.blinding, folder, progress=progress)


def open_scores_for(
    invitation: Invitation, folder: Path, key: SecretKey, owner: Path, reader: SelectableReader
) -> ScoreTable:
    """Genotype owner: its scores. Directions of the weights are not known, so no dosage of named alleles.

    Raises ArtefactError and VerificationError as `prs_open.open_replies`.
    """
    info = read_info(OwnerState(owner, key))
    values = prs_open.open_replies(
        folder, key, columns=len(invitation.names), nonce=invitation.nonce, cohort=info.digest, bound=invitation.bound,
        blinding=invitation.blinding,
    )  # fmt: skip
    sums = invitation.sums(values, missing_calls(reader, invitation.variant), reader.dosage_grid)
    return replace(release(sums, digits=invitation.digits), named_dosage=None)


def missing_calls(reader: SelectableReader, variant: IntArray, block: int = 1024) -> IntArray:
    """(N,) int64: missing calls of each person at these variants."""
    chosen = reader.select(variants=variant)
    out = np.zeros(len(reader.samples), np.int64)
    for start in range(0, len(variant), block):
        part = chosen.read(start, min(start + block, len(variant)))
        if part.missing is not None:
            out += part.missing.sum(axis=0)
    return out
