"""Scores of a model that stays with its owner, step by step: request, invite, encrypt, reply, open.

The genotype owner runs `request`, `encrypt_for` and `open_scores_for`, the model owner `invite` and `reply`; only
folders travel. docs/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.ckks import artefact, prs_messages, prs_model, prs_open, prs_reply
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
from securegen.ckks.prs_blinding import Blinding, ModelSize, choose_blinded, refuse_few_weights, rounded_up
from securegen.ckks.prs_ledger import Ledger
from securegen.ckks.prs_messages import Invitation, Request
from securegen.ckks.prs_weights import ScoreReader, StoredWeights, second_rows, stored_weights
from securegen.ckks.publickey import NONCE_BYTES, publish
from securegen.errors import ArtefactError, UsageError
from securegen.io.kept_arrays import keep_array, kept_array
from securegen.io.output import PRIVATE_FOLDER, make_folder, write_json
from securegen.io.tables import read_text
from securegen.match import Match
from securegen.model import IntArray, SelectableReader
from securegen.score_plan import ScorePlan, used_variants
from securegen.score_release import ScoreTable, release
from securegen.score_study import ScoreInputs, make_plan, match_scores
from securegen.study import Log, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

INVITED = "invited"


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
    bound = min(math.ceil(rounded_up(weights.sum_bound)), (1 << 63) - 1)
    return ModelSize(rounded_up(weights.norm), bound, nonzero, inputs.bits, inputs.digits)


def score_weights(plan: ScorePlan) -> StoredWeights:
    """The scores alone: allele counts and dosages of named alleles would give directions away."""
    return stored_weights(plan, slice(0, len(plan.names)))


def model_names(inputs: ScoreInputs, plan: ScorePlan) -> list[str]:
    """What the ledger calls each score: a digest of its file's rows, compressed or not, and its name."""
    rows = [line for line in read_text(inputs.score[0]).splitlines() if not line.startswith("#")]
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return [f"{digest}:{name}" for name in plan.names]


def plan_private(
    request: Request, inputs: ScoreInputs, rules: PrivacyRules, log: Log = silent
) -> tuple[ScorePlan, tuple[Match, ...], ModelSize, int]:
    """Match and plan on a request; the plan, the matches, its size and the cap. Raises PolicyError by the rules.

    Charges one of the replies: an invitation tells sizes of the model on these variants, so it is not free.
    """
    if len(inputs.score) != 1:
        raise UsageError("a model that stays private is one scoring file (it may hold several scores)")
    matches = match_scores(inputs, request.variants, log)
    counts = request.counts_of(used_variants(matches))
    plan = make_plan(inputs, matches, counts, grid=request.dosage_grid, log=log)
    size = model_size(plan, score_weights(plan), inputs)
    ledger = Ledger(rules.ledger)
    for s, (model, name) in enumerate(zip(model_names(inputs, plan), plan.names, strict=True)):
        people = request.samples + ledger.used(model, rules.client)
        refuse_few_weights(name, nonzero=plan.score_variants(s), people=people, allow=rules.allow)
    cap = size.cap if rules.cap is None else rules.cap
    if cap > size.cap:
        log(f"WARNING: --reply-cap {cap} is above {size.cap}: so many replies give the weights away")
    caps = dict.fromkeys(model_names(inputs, plan), cap)
    ledger.check(caps, rules.client, request.samples)
    ledger.charge(caps, rules.client, 1)
    return plan, matches, size, cap


def invite(
    request_folder: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path, private: Path, log: Log = silent
) -> Invitation:
    """Model owner: answer a request with an invitation; `private` keeps the plan and the nonce until the reply."""
    request = prs_messages.read_request(request_folder)
    plan, _, size, cap = plan_private(request, inputs, rules, log)
    weights = score_weights(plan)
    parameters, blinding = choose_blinded(
        replace_cap(size, cap), samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid,
    )  # fmt: skip
    nonce = secrets.token_bytes(NONCE_BYTES)
    return finish_invitation(parameters, blinding, nonce, plan, size, cap, inputs.digits, folder, private, log)


def finish_invitation(
    parameters: Parameters, blinding: Blinding, nonce: bytes, plan: ScorePlan, size: ModelSize, cap: int, digits: int,
    folder: Path, private: Path, log: Log,
) -> Invitation:  # fmt: skip
    """Write the invitation, and the model owner's own copy of it and of the plan."""
    invitation = Invitation(
        parameters, blinding, nonce, plan.variant, second_rows(plan), plan.names, plan.exponent, plan.imputation, digits,
        size.sum_bound, cap,
    )  # fmt: skip
    prs_messages.write_invitation(invitation, folder)
    log(describe(invitation))
    keep_plan(plan, private)
    prs_messages.write_invitation(invitation, private / "invitation")
    return invitation


def spend(private: Path, invitation: Invitation, plan: ScorePlan, inputs: ScoreInputs, rules: PrivacyRules) -> None:
    """Charge the other replies of an invitation, which is answered once: its nonce is spent.

    Raises PolicyError at the cap, ArtefactError when it was answered.
    """
    use_once(private / "invitation" / artefact.MANIFEST)
    caps = dict.fromkeys(model_names(inputs, plan), invitation.cap)
    Ledger(rules.ledger).charge(caps, rules.client, invitation.parameters.samples - 1)


def use_once(path: Path) -> None:
    """Remove a file that may be used once. Raises ArtefactError when another process was faster."""
    try:
        path.unlink()
    except FileNotFoundError:
        raise ArtefactError(f"{path} was used already: what it is for happens once") from None


def replace_cap(size: ModelSize, cap: int) -> ModelSize:
    """The size whose life is `cap` replies, for flooding."""
    return size if cap <= size.cap else replace(size, nonzero=-(-size.nonzero * cap // max(size.cap, 1)))


def describe(invitation: Invitation) -> str:
    """One line for the log: what differs from the plain engine, and by how much."""
    b, p = invitation.blinding, invitation.parameters
    differ = (
        "integers equal to the plain engine's" if not b.deviation
        else f"integers within {b.deviation} of the plain engine's, so that digits not released are not in the reply"
    )  # fmt: skip
    return (
        f"ring dimension {p.ring.n}, {len(p.ring.primes)} primes, {p.pack} people a reply; {differ}; "
        f"at most {invitation.cap} replies in the model's life"
    )


def keep_plan(plan: ScorePlan, private: Path) -> None:
    """The model owner's copy of a plan, in a folder of its own."""
    make_folder(private, PRIVATE_FOLDER)
    for name, array in prs_model.plan_arrays(plan).items():
        keep_array(private / f"{name}.npy", array, mode=0o600)
    write_json(private / "plan.json", prs_model.plan_header(plan), mode=0o600)


def kept_plan(private: Path) -> ScorePlan:
    """Raises ArtefactError when the folder holds no plan."""
    try:
        arrays = {path.stem: kept_array(path) for path in private.glob("*.npy")}
        return prs_model.restore_plan(json.loads((private / "plan.json").read_text()), arrays)
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{private} holds no plan of an invitation: {error}") from None


def encrypt_for(
    invitation: Invitation,
    reader: SelectableReader,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    progress: Progress = no_progress,
) -> SecretKey:
    """Genotype owner: a fresh key, the variants of the invitation encrypted into PREFIX.cohort, and PREFIX.publickey."""
    prs_messages.check_people(reader.samples, invitation)
    if 2 * reader.dosage_grid != invitation.parameters.dosage_max or len(invitation.nonce) != NONCE_BYTES:
        raise ArtefactError("the invitation does not fit these genotypes")
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

    Raises PolicyError at the cap, ArtefactError when the genotypes or the key are not those of the invitation.
    """
    invitation = prs_messages.read_invitation(private / "invitation")
    plan = kept_plan(private)
    cohort = checked_cohort(cohort_folder, invitation)
    key = prs_reply.read_encryption_key(publickey, cohort.public, invitation.nonce)
    weights = score_weights(plan)
    spend(private, invitation, plan, inputs, rules)
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
    sums = invitation.sums(values, missing_calls(reader, invitation.variant))
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
