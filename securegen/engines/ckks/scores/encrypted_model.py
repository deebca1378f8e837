"""Scores of an encrypted model, step by step: challenge, invite, encrypt the model, evaluate.

The evaluator runs `challenge` and `evaluate`, the model owner `invite_product` and `encrypt_model_for`; the genotype
owner's steps are those of `private`. docs/explanation/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.scores import evaluator, messages, modeller
from securegen.engines.ckks.scores.messages import Invitation
from securegen.engines.ckks.scores.private import finish_invitation, plan_private, score_weights, use_once
from securegen.engines.ckks.scores.promises import PrivacyRules, kept_plan, spend
from securegen.engines.ckks.scores.schema import read_message
from securegen.errors import ArtefactError
from securegen.io.kept_arrays import kept_json
from securegen.io.output import FOR_OTHERS, write_json
from securegen.io.schema import hex_bytes, integer, one_of, record
from securegen.io.strict_json import read_json
from securegen.model import Progress, no_progress
from securegen.rlwe.publickey import NONCE_BYTES
from securegen.scores.study import ScoreInputs
from securegen.study.inputs import Log, silent

CHALLENGE = "securegen score challenge 1"
SECRETS = "product.json"
_CHALLENGE = record(magic=one_of(CHALLENGE), nonce=hex_bytes(NONCE_BYTES))
_SECRETS = record(own_nonce=hex_bytes(NONCE_BYTES), weight_scale=integer(1, 1 << 10))


def challenge(path: Path) -> None:
    """Evaluator: a fresh nonce for one run; the file goes to the model owner and stays for `evaluate`."""
    write_json(path, {"magic": CHALLENGE, "nonce": secrets.token_hex(NONCE_BYTES)}, mode=FOR_OTHERS)


def read_challenge(path: Path) -> bytes:
    """Raises ArtefactError when the file is not a challenge."""
    try:
        found: bytes = read_json(path, "a challenge", _CHALLENGE, most=1 << 12)["nonce"]
        return found
    except FileNotFoundError:
        raise ArtefactError(f"there is no challenge {path}: it was used already, or never made") from None


def invite_product(
    request_folder: Path,
    challenge_file: Path,
    inputs: ScoreInputs,
    rules: PrivacyRules,
    folder: Path,
    private: Path,
    log: Log = silent,
) -> Invitation:
    """Model owner: an invitation whose parameters hold products of ciphertexts."""
    request = messages.read_request(request_folder)
    plan, (match,), size = plan_private(request, inputs, log)
    weights = score_weights(plan)
    parameters, weight_scale, blinding = evaluator.choose_product(
        size, samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid, cap=rules.reply_cap or 0,
    )  # fmt: skip
    own = secrets.token_bytes(NONCE_BYTES)
    nonce = evaluator.joint_nonce(own, read_challenge(challenge_file))
    kept = {SECRETS: {"own_nonce": own.hex(), "weight_scale": weight_scale}}
    return finish_invitation(parameters, blinding, nonce, plan, match, size, inputs, rules, folder, private, log, kept)


def encrypt_model_for(publickey: Path, private: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path) -> None:
    """Model owner: charge the replies, then write the weights under the genotype owner's key, for the evaluator.

    Raises ArtefactError when the key is not for this invitation, or it is not outstanding.
    """
    invitation, plan = messages.read_invitation(private / "invitation"), kept_plan(private)
    try:
        kept = kept_json(private / SECRETS, "secrets of an invitation", _SECRETS)
    except FileNotFoundError:
        raise ArtefactError(f"{private} is not of an invitation for an encrypted model") from None
    public = read_message(publickey, "encryption key")["public"]
    if public.parameters != invitation.parameters:
        raise ArtefactError(f"{publickey} was not made with the parameters of this invitation")
    key = modeller.read_encryption_key(publickey, public, invitation.nonce)
    spend(private, inputs, rules)
    evaluator.write_encrypted_model(
        score_weights(plan), key, invitation.parameters, folder, weight_scale=kept["weight_scale"],
        blinding=invitation.blinding, own_nonce=kept["own_nonce"],
    )  # fmt: skip


def evaluate(
    cohort_folder: Path,
    publickey: Path,
    model_folder: Path,
    challenge_file: Path,
    folder: Path,
    *,
    progress: Progress = no_progress,
) -> None:
    """Evaluator: multiply, blind and write the replies. The challenge is spent.

    Raises ArtefactError when the model and the genotypes are not for each other, or the key's nonce is not this run's.
    """
    cohort = open_cohort(cohort_folder)
    model = evaluator.read_encrypted_model(model_folder, cohort, read_challenge(challenge_file))
    key = modeller.read_encryption_key(publickey, cohort.public, model.nonce)
    use_once(challenge_file)
    evaluator.write_product_replies(cohort, model, key, folder, progress=progress)
