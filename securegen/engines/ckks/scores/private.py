"""Scores of a model that stays with its owner, step by step: request, invite, encrypt, reply, open.

The genotype owner runs `request`, `encrypt_for` and `open_scores_for`, the model owner `invite` and `reply`; only
folders travel. docs/explanation/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import math
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks.cohort import EncryptedCohort, open_cohort
from securegen.engines.ckks.owner.asked import gate_of_asked
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import make_encryptor
from securegen.engines.ckks.owner.retirement import guarded
from securegen.engines.ckks.owner.secret_key import SecretKey, generate
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores import evaluator, key_holder, messages, modeller
from securegen.engines.ckks.scores.blinding import RINGS as BLINDED_RINGS
from securegen.engines.ckks.scores.blinding import Blinding, ModelSize, choose_blinded, rounded_up, told_bits
from securegen.engines.ckks.scores.messages import Invitation, ScoreRequest
from securegen.engines.ckks.scores.promises import PrivacyRules, keeping_plan, kept_plan, promise, spend
from securegen.engines.ckks.scores.weights import ScoreReader, StoredWeights, second_rows, stored_weights
from securegen.errors import ArtefactError, UsageError
from securegen.governance.gate import Asking, Gate
from securegen.io.kept_arrays import keep_json
from securegen.model import IntArray, Progress, SelectableReader, iterate_blocks, no_progress
from securegen.rlwe.publickey import NONCE_BYTES
from securegen.scores.match import Match
from securegen.scores.plan import ScorePlan, used_variants
from securegen.scores.release import ScoreTable, release
from securegen.scores.study import ScoreInputs, make_plan, match_scores
from securegen.study.inputs import Log, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

RINGS = tuple(dict.fromkeys(BLINDED_RINGS + evaluator.RINGS))


def model_size(plan: ScorePlan, weights: StoredWeights, inputs: ScoreInputs) -> ModelSize:
    """What a reply's parameters are planned from, rounded up: the genotype owner is told what follows from it."""
    nonzero = min(plan.score_variants(s) for s in range(len(plan.names)))
    bound = math.ceil(rounded_up(weights.sum_bound))
    bits = min(told_bits(column, k) for column, k in zip(weights.dosage.T, plan.exponent, strict=True))
    return ModelSize(rounded_up(weights.norm), bound, nonzero, bits, inputs.digits)


def score_weights(plan: ScorePlan) -> StoredWeights:
    """The scores alone: allele counts and dosages of named alleles would give directions away."""
    return stored_weights(plan, slice(0, len(plan.names)))


def refuse_several(inputs: ScoreInputs) -> None:
    """Raise UsageError unless the model is one scoring file."""
    if len(inputs.score) != 1:
        raise UsageError("score: a model that stays private is one scoring file (it may hold several scores)")


def plan_private(
    request: ScoreRequest, inputs: ScoreInputs, log: Log
) -> tuple[ScorePlan, tuple[Match, ...], ModelSize]:
    """Match and plan on a request; the plan, the matches and its size."""
    refuse_several(inputs)
    matches = match_scores(inputs, request.variants, log)
    counts = request.counts_of(used_variants(matches))
    plan = make_plan(inputs, matches, counts, grid=request.dosage_grid, log=log)
    return plan, matches, model_size(plan, score_weights(plan), inputs)


def invite(
    request_folder: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path, private: Path, log: Log = silent
) -> Invitation:
    """Model owner: answer a request with an invitation; `private` keeps the plan and the nonce until the reply."""
    request = messages.read_request(request_folder)
    plan, (match,), size = plan_private(request, inputs, log)
    weights = score_weights(plan)
    parameters, blinding = choose_blinded(
        size, samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid, cap=rules.reply_cap or 0,
    )  # fmt: skip
    nonce = secrets.token_bytes(NONCE_BYTES)
    return finish_invitation(parameters, blinding, nonce, plan, match, size, inputs, rules, folder, private, log)


def finish_invitation(
    parameters: Parameters, blinding: Blinding, nonce: bytes, plan: ScorePlan, match: Match, size: ModelSize,
    inputs: ScoreInputs, rules: PrivacyRules, folder: Path, private: Path, log: Log, kept: dict[str, Any] | None = None,
) -> Invitation:  # fmt: skip
    """Reserve the answers, then write the invitation, and the model owner's own copy of it and of the plan.

    kept: further files of the model owner's, by name.
    """
    bits = blinding.bits(parameters.ring)
    with promise(plan, match, size, inputs, rules, people=parameters.samples, bits=bits, log=log) as (token, cap):
        invitation = Invitation(
            plan.variant, second_rows(plan), plan.names, plan.exponent, plan.imputation, inputs.digits, size.sum_bound,
            cap, parameters, blinding, nonce,
        )  # fmt: skip
        with keeping_plan(plan, token, match, private):
            messages.write_invitation(invitation, private / "invitation")
            for name, value in (kept or {}).items():
                keep_json(private / name, value, mode=0o600)
        messages.write_invitation(invitation, folder)
    log(describe(invitation))
    return invitation


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


def key_for(invitation: Invitation, reader: SelectableReader) -> SecretKey:
    """A fresh key. Raises ArtefactError when the invitation is not for these genotypes, or has parameters that no plan for them
    has."""
    messages.check_parameters(invitation, len(reader.samples), reader.dosage_grid, RINGS)
    messages.check_variants(invitation, len(reader.variants))
    return generate(invitation.parameters)


def encrypt_for(
    invitation: Invitation,
    reader: SelectableReader,
    prefix: str | os.PathLike[str],
    *,
    key: SecretKey | None = None,
    encryptor: str = DEFAULT_ENCRYPTOR,
    progress: Progress = no_progress,
    asking: Asking | None = None,
) -> SecretKey:
    """Genotype owner: a fresh key, the variants of the invitation encrypted into PREFIX.cohort, and last PREFIX.publickey.

    key: that of `key_for`, where it is kept already. Raises as `key_for`.
    """
    key = key_for(invitation, reader) if key is None else key
    stored = ScoreReader(reader.select(variants=invitation.variant), invitation.second)
    state = OwnerState(Path(f"{os.fspath(prefix)}.owner"), key)
    encrypt_cohort(
        stored, key, Path(f"{os.fspath(prefix)}.cohort"), state, encryptor=make_encryptor(encryptor, key),
        asking=asking, progress=progress,
    )  # fmt: skip
    key_holder.write_encryption_key(key.encryption_key(invitation.nonce), Path(f"{os.fspath(prefix)}.publickey"), key)
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
    invitation = messages.read_invitation(private / "invitation")
    plan = kept_plan(private)
    cohort = checked_cohort(cohort_folder, invitation)
    key = modeller.read_encryption_key(publickey, cohort.public, invitation.nonce)
    weights = score_weights(plan)
    spend(private, inputs, rules)
    modeller.write_replies(cohort, weights, key, invitation.blinding, folder, progress=progress)


def gate_of_accepted(gate: Gate, key: SecretKey, owner: Path, reader: SelectableReader) -> Gate:
    """The gate for what was encrypted for an invitation. Raises as `asked.gate_of_asked`; ArtefactError for other people."""
    state = OwnerState(owner, key)
    info = read_info(state)
    if not info.same_people(reader.samples):
        raise ArtefactError(f"{owner} holds other people than these: give the files and filters of the encryption")
    return gate_of_asked(state, info.digest, info.samples, gate)


def open_scores_for(
    invitation: Invitation, folder: Path, key: SecretKey, owner: Path, reader: SelectableReader
) -> ScoreTable:
    """Genotype owner: its scores. Directions of the weights are not known, so no dosage of named alleles.

    Raises ArtefactError and VerificationError as `key_holder.open_replies`; the key is then retired, and KeyFileError raised.
    ArtefactError too when `reader` has other people than were encrypted.
    """
    info = read_info(OwnerState(owner, key))
    if not info.same_people(reader.samples):
        raise ArtefactError(f"{owner} holds other people than these: give the files and filters of the encryption")
    with guarded(key, owner, str(folder)):
        values = key_holder.open_replies(
            folder, key, columns=len(invitation.names), nonce=invitation.nonce, cohort=info.digest,
            bound=invitation.bound, blinding=invitation.blinding,
        )  # fmt: skip
    sums = invitation.sums(values, missing_calls(reader, invitation.variant), reader.dosage_grid)
    return replace(release(sums, digits=invitation.digits), named_dosage=None)


def missing_calls(reader: SelectableReader, variant: IntArray) -> IntArray:
    """(N,) int64: missing calls of each person at these variants."""
    out = np.zeros(len(reader.samples), np.int64)
    for part in iterate_blocks(reader.select(variants=variant), 1024):
        if part.missing is not None:
            out += part.missing.sum(axis=0)
    return out
