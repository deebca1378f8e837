"""Scores of an encrypted model, step by step: challenge, invite, encrypt the model, evaluate.

The evaluator runs `challenge` and `evaluate`, the model owner `invite_product` and `encrypt_model_for`; the genotype
owner's steps are those of `private_scores`. docs/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from securegen.ckks import artefact, prs_encrypted, prs_messages, prs_reply
from securegen.ckks.cohort import Progress, no_progress, open_cohort
from securegen.ckks.keys import PublicKey
from securegen.ckks.prs_messages import Invitation
from securegen.ckks.publickey import NONCE_BYTES
from securegen.errors import ArtefactError
from securegen.io.output import FOR_OTHERS, write_json
from securegen.private_scores import (
    PrivacyRules,
    finish_invitation,
    kept_plan,
    plan_private,
    replace_cap,
    score_weights,
    spend,
    use_once,
)
from securegen.score_study import ScoreInputs
from securegen.study import Log, silent

CHALLENGE = "securegen score challenge 1"
SECRETS = "product.json"


def challenge(path: Path) -> None:
    """Evaluator: a fresh nonce for one run; the file goes to the model owner and stays for `evaluate`."""
    write_json(path, {"magic": CHALLENGE, "nonce": secrets.token_hex(NONCE_BYTES)}, mode=FOR_OTHERS)


def read_challenge(path: Path) -> bytes:
    """Raises ArtefactError when the file is not a challenge."""
    try:
        content = json.loads(path.read_text())
        nonce = bytes.fromhex(content["nonce"])
        if content["magic"] != CHALLENGE or len(nonce) != NONCE_BYTES:
            raise ValueError("not a nonce")
        return nonce
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} is not an evaluator's challenge: {error}") from None


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
    request = prs_messages.read_request(request_folder)
    plan, _, size, cap = plan_private(request, inputs, rules, log)
    weights = score_weights(plan)
    parameters, weight_scale, blinding = prs_encrypted.choose_product(
        replace_cap(size, cap), samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid,
    )  # fmt: skip
    own = secrets.token_bytes(NONCE_BYTES)
    nonce = prs_encrypted.joint_nonce(own, read_challenge(challenge_file))
    made = finish_invitation(parameters, blinding, nonce, plan, size, cap, inputs.digits, folder, private, log)
    write_json(private / SECRETS, {"own_nonce": own.hex(), "weight_scale": weight_scale}, mode=0o600)
    return made


def encrypt_model_for(
    publickey: Path, private: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path
) -> None:  # fmt: skip
    """Model owner: charge the replies, then write the weights under the genotype owner's key, for the evaluator.

    Raises PolicyError at the cap, ArtefactError when the key is not for this invitation.
    """
    invitation, plan = prs_messages.read_invitation(private / "invitation"), kept_plan(private)
    kept = json.loads((private / SECRETS).read_text())
    public = PublicKey.from_json(artefact.read_manifest(publickey, "encryption key", None).get("public"))
    if public.parameters.to_json() != invitation.parameters.to_json():
        raise ArtefactError(f"{publickey} was not made with the parameters of this invitation")
    key = prs_reply.read_encryption_key(publickey, public, invitation.nonce)
    spend(private, invitation, plan, inputs, rules)
    prs_encrypted.write_encrypted_model(
        score_weights(plan), key, invitation.parameters, folder, weight_scale=int(kept["weight_scale"]),
        blinding=invitation.blinding, own_nonce=bytes.fromhex(kept["own_nonce"]),
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
    model = prs_encrypted.read_encrypted_model(model_folder, cohort, read_challenge(challenge_file))
    key = prs_reply.read_encryption_key(publickey, cohort.public, model.nonce)
    use_once(challenge_file)
    prs_encrypted.write_product_replies(cohort, model, key, folder, progress=progress)
