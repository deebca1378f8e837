"""The steps of scores on ciphertexts, one function a party's step, as Python and the command line take them.

| model | steps, in order |
|---|---|
| public | `generate_key`, `encrypt` (owner), `score` (server), `decrypt` (owner) |
| private | `request` (genotype owner), `invite` (model owner), `accept`, `reply`, `open_replies` |
| encrypted | `challenge` (evaluator), then as private, with `encrypt_model` (model owner) and `evaluate` in place of `reply` |
| a vendor's | `request`, `challenge` (hospital), `offer` (vendor), `blind`, `answer`, `unmask` |

`withdraw` takes an invitation or an offer back. docs/explanation/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from securegen.engines.ckks import artefact
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.scores import encrypted_model, messages, private, promises, public, vendor_model
from securegen.engines.ckks.scores.counted import pass_counts, tells_means
from securegen.engines.ckks.scores.messages import Invitation, ScoreRequest
from securegen.engines.ckks.scores.promises import PrivacyRules
from securegen.engines.ckks.scores.public import (
    EncryptedScores,
    add_model,
    begun,
    check_means,
    decrypt_scores,
    encrypt_scores,
    gate_of_key,
    generate_score_key,
    pin_beside,
    score_encrypted,
)
from securegen.engines.ckks.scores.vendor import VendorParameters
from securegen.errors import PolicyError, StorageError
from securegen.governance.gate import Asking, Gate, gate_of
from securegen.model import Progress, SelectableReader, no_progress
from securegen.scores.release import ScoreTable
from securegen.scores.study import ScoreInputs, ScoreStudy
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

Name = str | os.PathLike[str]
ACCEPTED = "accepted"  # the owner's record of what it has sent to its end

encrypt, score, decrypt = encrypt_scores, score_encrypted, decrypt_scores


def generate_key(study: ScoreStudy) -> SecretKey:
    """Owner, public model: a fresh key for the scores of a study. It stays with the owner."""
    return generate_score_key(study.plan, len(study.reader.samples))


def request(
    genotypes: SelectableReader, folder: Name, *, imputation: str = "cohort", inputs: Inputs | None = None, log: Log = silent
) -> ScoreRequest:  # fmt: skip
    """Genotype owner or hospital: the variants of the cohort, for the model's owner, into `folder`.

    inputs: what names the genotypes, and who asks, needed where allele counts are sent: calls are missing and `imputation` is by
    the cohort. Raises UsageError and PolicyError as `counted.pass_counts`."""
    made = pass_counts(messages.make_request(genotypes, imputation), genotypes, inputs, folder, log)
    messages.write_request(made, Path(folder))
    return made


def challenge(path: Name) -> None:
    """Evaluator, or hospital of a vendor's model: a nonce for the other party; keep it."""
    encrypted_model.challenge(Path(path))


def invite(
    request: Name, inputs: ScoreInputs, rules: PrivacyRules, folder: Name, private_folder: Name, *,
    challenge: Name | None = None, log: Log = silent,
) -> Invitation:  # fmt: skip
    """Model owner: an invitation for the genotype owner; `private_folder` stays. challenge: the evaluator's, where the
    model is to be encrypted. Raises PolicyError by the rules."""
    folders = (Path(folder), Path(private_folder))
    if challenge is None:
        return private.invite(Path(request), inputs, rules, *folders, log)
    return encrypted_model.invite_product(Path(request), Path(challenge), inputs, rules, *folders, log)


def key_for(invitation: Name, genotypes: SelectableReader) -> SecretKey:
    """Genotype owner: a fresh key for what an invitation asks for. Raises ArtefactError where it asks for other genotypes."""
    return private.key_for(messages.read_invitation(Path(invitation)), genotypes)


def accepted(prefix: Name) -> bool:
    """Whether an invitation was accepted to the end under this PREFIX: what went to the model owner may have been moved."""
    owner, sent = Path(f"{os.fspath(prefix)}.owner"), Path(f"{os.fspath(prefix)}.publickey")
    return (owner / f"{ACCEPTED}.box").exists() or (sent / artefact.MANIFEST).exists()


def refuse_accepted(prefix: Name) -> None:
    """Raise StorageError where an invitation was accepted under this PREFIX: before a key is made."""
    if accepted(prefix):
        raise StorageError(
            f"{os.fspath(prefix)}.owner is of an accepted invitation and is not overwritten: choose another name"
        )


def accept(
    invitation: Name, genotypes: SelectableReader, prefix: Name, *, key: SecretKey | None = None,
    encryptor: str = DEFAULT_ENCRYPTOR, progress: Progress = no_progress, asking: Asking | None = None,
) -> SecretKey:  # fmt: skip
    """Genotype owner: PREFIX.cohort and PREFIX.publickey go to who computes, PREFIX.owner stays. Returns the key.

    key: that of `key_for`, None for a fresh one; asking: the purpose and the register of consent, by which the scores are opened
    later. Raises StorageError where an invitation was accepted here: its genotypes are not replaced."""
    refuse_accepted(prefix)
    found = messages.read_invitation(Path(invitation))
    key = private.encrypt_for(found, genotypes, prefix, key=key, encryptor=encryptor, progress=progress, asking=asking)
    OwnerState(Path(f"{os.fspath(prefix)}.owner"), key).write(ACCEPTED, {"nonce": found.nonce.hex()})
    return key


def reply(
    cohort: Name, publickey: Name, private_folder: Name, inputs: ScoreInputs, rules: PrivacyRules, folder: Name, *,
    progress: Progress = no_progress,
) -> None:  # fmt: skip
    """Model owner, private model: charge the replies, then write them for the genotype owner."""
    private.reply(Path(cohort), Path(publickey), Path(private_folder), inputs, rules, Path(folder), progress=progress)


def encrypt_model(
    publickey: Name, private_folder: Name, inputs: ScoreInputs, rules: PrivacyRules, folder: Name
) -> None:
    """Model owner, encrypted model: charge the replies, then write the weights under the genotype owner's key."""
    encrypted_model.encrypt_model_for(Path(publickey), Path(private_folder), inputs, rules, Path(folder))


def evaluate(
    cohort: Name, publickey: Name, model: Name, challenge: Name, folder: Name, *, progress: Progress = no_progress
) -> None:
    """Evaluator, encrypted model: multiply, blind, and write the replies for the genotype owner."""
    encrypted_model.evaluate(
        Path(cohort), Path(publickey), Path(model), Path(challenge), Path(folder), progress=progress
    )


def open_replies(
    invitation: Name, replies: Name, key: SecretKey, owner: Name, genotypes: SelectableReader, *, gate: Gate | None = None
) -> ScoreTable:  # fmt: skip
    """Genotype owner: its scores. gate: the door, by default that of the key. Raises VerificationError, and retires the key,
    where a reply is not what was promised; PolicyError where the policy refuses."""
    found = messages.read_invitation(Path(invitation))
    gate = for_invitation(gate or gate_of_key(key, owner), invitation)
    gate = private.gate_of_accepted(gate, key, Path(owner), genotypes)
    public.pass_scores(gate, found.names, genotypes.samples)
    return private.open_scores_for(found, Path(replies), key, Path(owner), genotypes)


def offer(
    request: Name, challenge: Name, inputs: ScoreInputs, rules: PrivacyRules, folder: Name, private_folder: Name, *,
    passphrase: bytes, encryptor: str = DEFAULT_ENCRYPTOR, log: Log = silent,
) -> VendorParameters:  # fmt: skip
    """Vendor: the model encrypted under a fresh key for every batch of people; `private_folder` stays."""
    return vendor_model.offer(
        Path(request), Path(challenge), inputs, rules, Path(folder), Path(private_folder), passphrase=passphrase,
        encryptor=encryptor, log=log,
    )  # fmt: skip


def blind(
    offer: Name, challenge: Name, genotypes: SelectableReader, folder: Name, masks: Name, *, asking: Asking | None = None,
    inputs: Inputs | None = None,
) -> None:  # fmt: skip
    """Hospital: multiply and blind, for the vendor; `masks` stays, and remembers the policy beside it, or beside `inputs`.

    asking: as of `accept`, None for that of `inputs`; inputs: what names the genotypes. Raises PolicyError where a policy is
    not as it was signed."""
    asking = asking or (Asking() if inputs is None else inputs.asking)
    beside = [folder, masks, *(() if inputs is None else inputs.files().values())]
    pin = gate_of("vendor-key", asking, beside).pin
    vendor_model.blind_scores(
        Path(offer), Path(challenge), genotypes, Path(folder), Path(masks), asking=asking, pin=pin
    )


def answer(
    blinded: Name, private_folder: Name, inputs: ScoreInputs, rules: PrivacyRules, folder: Name, *, passphrase: bytes
) -> None:
    """Vendor: charge the replies, round one coefficient per person, forget the keys."""
    vendor_model.answer(Path(blinded), Path(private_folder), inputs, rules, Path(folder), passphrase=passphrase)


def unmask(
    rounded: Name, offer: Name, masks: Name, genotypes: SelectableReader, *, gate: Gate | None = None,
    inputs: Inputs | None = None,
) -> ScoreTable:  # fmt: skip
    """Hospital: its scores. gate: the door, by default that of the policy beside `masks` or `inputs`, which name the genotypes.
    Raises VerificationError for a score beyond what the vendor announced, PolicyError where the policy refuses, or is not the one
    that the masks remember."""
    names, pin = vendor_model.read_offer(Path(offer)).names, vendor_model.pin_of(Path(masks))
    if gate is None:
        files, pins = () if inputs is None else inputs.files().values(), [("these masks", pin)]
        gate = gate_of("vendor-key", Asking() if inputs is None else inputs.asking, [masks, *files], pins=pins)
    elif pin is not None:
        if gate.policy is None:
            raise PolicyError("policy.file: these masks are governed by a policy, and none is here: give `inputs`")
        pin.refuse_other(gate.policy, "these masks")
    gate, asked = for_offer(gate, offer, masks), vendor_model.asked_of(Path(masks))
    gate = gate if asked is None else gate.again(asked)
    public.pass_scores(gate, names, genotypes.samples)
    return vendor_model.unmask_scores(Path(rounded), Path(offer), Path(masks), genotypes)


def for_invitation(gate: Gate, invitation: Name) -> Gate:
    """The same door for the scores of an invitation, which names its model's owner's message: no other is let through with it."""
    return replace(gate, inputs={**gate.inputs, "invitation": messages.digest_of_message(Path(invitation))})


def for_offer(gate: Gate, offer: Name, masks: Name) -> Gate:
    """The same door for the scores of an offer, of the people behind these masks."""
    told = {"offer": messages.digest_of_message(Path(offer)), "people": vendor_model.people_behind(Path(masks))}
    return replace(gate, inputs={**gate.inputs, **told})


def withdraw(private_folder: Name, ledger: Name) -> None:
    """Model owner or vendor: never answer an invitation or offer, and give back what it reserved, all but one answer."""
    promises.withdraw(Path(private_folder), Path(ledger))


__all__ = [
    "EncryptedScores", "accept", "add_model", "answer", "begun", "blind", "challenge", "check_means", "decrypt", "encrypt",
    "encrypt_model", "evaluate", "for_invitation", "for_offer", "gate_of_key", "generate_key", "invite", "offer",
    "open_replies", "pin_beside", "reply", "request", "score", "tells_means", "unmask", "withdraw",
]  # fmt: skip
