"""Scores of a vendor's encrypted model on a hospital's plain genotypes, step by step: offer, blind, answer, unmask.

The vendor runs `offer` and `answer`, the hospital `request` (see `ckks.prs_messages`), `blind_scores` and
`unmask_scores`. docs/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks import artefact, keys, prs_messages, prs_vendor
from securegen.ckks.cohort import _make_folder, ciphertext_shape, read_ciphertexts, write_ciphertexts
from securegen.ckks.encryption import make_encryptor
from securegen.ckks.prs_blinding import Blinding
from securegen.ckks.prs_ledger import Ledger
from securegen.ckks.prs_messages import Invitation
from securegen.ckks.prs_open import write_encryption_key
from securegen.ckks.prs_reply import read_encryption_key
from securegen.ckks.prs_vendor import VendorParameters
from securegen.ckks.prs_weights import ScoreReader, second_rows
from securegen.ckks.publickey import publish
from securegen.encrypted_model_scores import read_challenge
from securegen.errors import ArtefactError, ProtocolError, VerificationError
from securegen.io.kept_arrays import keep_array, kept_array
from securegen.io.output import PRIVATE_FOLDER, make_folder, write_json
from securegen.model import SelectableReader
from securegen.private_scores import (
    PrivacyRules,
    keep_plan,
    kept_plan,
    missing_calls,
    model_names,
    plan_private,
    score_weights,
    use_once,
)
from securegen.score_release import ScoreTable, release
from securegen.score_study import ScoreInputs
from securegen.study import Log, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

BATCHES = "batches.json"


def _batches(samples: int, vendor: VendorParameters) -> list[range]:
    return [range(i, min(i + vendor.batch, samples)) for i in range(0, samples, vendor.batch)]


def offer(
    request_folder: Path,
    challenge_file: Path,
    inputs: ScoreInputs,
    rules: PrivacyRules,
    folder: Path,
    private: Path,
    *,
    passphrase: bytes,
    encryptor: str = DEFAULT_ENCRYPTOR,
    log: Log = silent,
) -> VendorParameters:
    """Vendor: for every batch of people a fresh key and the model encrypted under it. `private` keeps keys and plan."""
    request = prs_messages.read_request(request_folder)
    nonce = read_challenge(challenge_file)
    plan, _, size, cap = plan_private(request, inputs, rules, log)
    weights = score_weights(plan)
    vendor = prs_vendor.choose_vendor(
        size, samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid,
    )  # fmt: skip
    _make_folder(folder, 0o755)
    keep_plan(plan, private)
    batches = _batches(request.samples, vendor)
    log(f"{len(batches)} keys, each for {vendor.batch} people; at most {cap} replies in the model's life")
    entries = []
    for i in range(len(batches)):
        key = keys.generate(vendor.key)
        keys.write_secret(private / f"batch-{i:04d}.secret", key, passphrase=passphrase)
        model = prs_vendor.encrypt_weights(weights, key, vendor, make_encryptor(encryptor, key))
        name = f"batch-{i:04d}"
        entries.append(write_ciphertexts(folder, name, model))
        publickey = publish(key, prs_vendor.batch_nonce(nonce, i))
        write_encryption_key(publickey, folder / f"{name}.publickey", key)
        keys.write_public(folder / f"{name}.public", key.public)
    write_json(private / BATCHES, {"vendor": vendor.to_json(), "people": request.samples, "cap": cap}, mode=0o600)
    arrays = {"variant": plan.variant, "second": second_rows(plan)}
    body: dict[str, Any] = {
        "vendor": vendor.to_json(), "batches": entries, "names": list(plan.names), "exponent": list(plan.exponent),
        "imputation": plan.imputation, "digits": inputs.digits, "bound": str(size.sum_bound), "cap": cap,
        "rows": len(weights.dosage),
        "files": {
            name: {**vars(artefact.write_entry(folder, f"{name}.npy", a.astype("<i8"))), "shape": [len(a)]}
            for name, a in arrays.items()
        },
    }  # fmt: skip
    artefact.write_manifest(folder, "score offer", body, None)
    return vendor


def read_offer(folder: Path) -> tuple[dict[str, Any], VendorParameters, Invitation]:
    """Hospital: the manifest of an offer, its parameters, and what the vendor tells of the model."""
    body = artefact.read_manifest(folder, "score offer", None)
    try:
        vendor = VendorParameters.from_json(body["vendor"])
        arrays = {
            name: artefact.load_array(folder, body["files"][name], tuple(body["files"][name]["shape"]), "<i8")
            for name in ("variant", "second")
        }
        blinding = Blinding(vendor.delta.bit_length() - 1, vendor.flooding, vendor.blur, vendor.noise)
        about = Invitation(
            vendor.key, blinding, b"", arrays["variant"], arrays["second"], tuple(body["names"]),
            tuple(int(e) for e in body["exponent"]), body["imputation"], int(body["digits"]), int(body["bound"]),
            int(body["cap"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder} is not a score offer: {error}") from None
    if len(body["batches"]) != len(_batches(vendor.key.samples, vendor)):
        raise ArtefactError(f"{folder} does not have a key for every {vendor.batch} people")
    return body, vendor, about


def blind_scores(
    offer_folder: Path, challenge_file: Path, reader: SelectableReader, folder: Path, private: Path
) -> None:
    """Hospital: multiply, blind, write the messages to the vendor; the masks stay in `private`.

    Raises ArtefactError when the offer is for other genotypes, or a key was not made for this hospital's challenge.
    """
    body, vendor, about = read_offer(offer_folder)
    nonce, columns, ring = read_challenge(challenge_file), len(about.names), vendor.key.ring
    prs_messages.check_people(reader.samples, about)
    prs_messages.check_variants(about, len(reader.variants))
    if 2 * reader.dosage_grid != vendor.key.dosage_max:
        raise ArtefactError("the offer does not fit these genotypes")
    stored = ScoreReader(reader.select(variants=about.variant), about.second)
    if len(stored.variants) != int(body["rows"]):
        raise ArtefactError(f"the offer has weights for {body['rows']} rows, not {len(stored.variants)}")
    blocks = -(-len(stored.variants) // ring.n) * len(prs_vendor.STREAMS)
    _make_folder(folder, 0o755)
    make_folder(private, PRIVATE_FOLDER)
    entries, masks = [], []
    use_once(challenge_file)
    for i, people in enumerate(_batches(len(reader.samples), vendor)):
        public = keys.read_public(offer_folder / f"batch-{i:04d}.public")
        if public.parameters.to_json() != vendor.key.to_json():
            raise ArtefactError(f"{offer_folder}: the key of batch {i} has other parameters")
        key = read_encryption_key(
            offer_folder / f"batch-{i:04d}.publickey", public, prs_vendor.batch_nonce(nonce, i)
        )  # fmt: skip
        c0, c1_model = (np.empty(ciphertext_shape(vendor.key, blocks * columns), np.uint32) for _ in range(2))
        read_ciphertexts(offer_folder, body["batches"][i], ring, c0, c1_model, threads=None)
        polynomials = prs_vendor.people_polynomials(stored, np.array(people), ring)
        sums = prs_vendor.multiply((c0, c1_model), polynomials, columns, ring)
        top, c1, kept = prs_vendor.blind(sums, key, vendor)
        masks.append(kept.astype(np.int64))
        parts = {"top": top, "c1": c1}
        entries.append({n: vars(artefact.write_entry(folder, f"batch-{i:04d}.{n}.npy", a)) for n, a in parts.items()})
    keep_array(private / "masks.npy", np.concatenate(masks), mode=0o600)
    artefact.write_manifest(folder, "blinded scores", {"batches": entries}, None)


def answer(
    blinded: Path, private: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path, *, passphrase: bytes
) -> None:  # fmt: skip
    """Vendor: charge the other replies, round one coefficient a person and score, forget the keys.

    Raises PolicyError at the cap, ProtocolError when the hospital sent more than was offered.
    """
    body = artefact.read_manifest(blinded, "blinded scores", None)
    plan, kept = kept_plan(private), json.loads((private / BATCHES).read_text())
    vendor, weights = VendorParameters.from_json(kept["vendor"]), score_weights(plan)
    batches = _batches(int(kept["people"]), vendor)
    if len(body["batches"]) != len(batches):
        raise ProtocolError(f"{blinded} has {len(body['batches'])} batches, {len(batches)} were offered")
    paths = [private / f"batch-{i:04d}.secret" for i in range(len(batches))]
    opened = [keys.read_secret(path, passphrase=passphrase) for path in paths]
    for path in paths:
        use_once(path)  # a key answers once
    caps = dict.fromkeys(model_names(inputs, plan), int(kept["cap"]))
    Ledger(rules.ledger).charge(caps, rules.client, int(kept["people"]) - 1)
    ring, rounded = vendor.key.ring, []
    for entry, key, people in zip(body["batches"], opened, batches, strict=True):
        k, count = len(ring.primes), len(people)
        top = artefact.load_array(blinded, entry["top"], (k, count, weights.columns))
        c1 = artefact.load_array(blinded, entry["c1"], (count * weights.columns, k, ring.n))
        rounded.append(prs_vendor.round_reply(top, c1, key, vendor, weights.constant))
    _make_folder(folder, 0o755)
    whole = np.concatenate(rounded)
    entry = vars(artefact.write_entry(folder, "rounded.npy", whole.astype("<i8")))
    artefact.write_manifest(folder, "rounded scores", {"rounded": entry, "shape": list(whole.shape)}, None)


def unmask_scores(
    folder: Path, offer_folder: Path, private: Path, reader: SelectableReader
) -> ScoreTable:  # fmt: skip
    """Hospital: its scores. Raises VerificationError for a score beyond the bound that the vendor announced."""
    _, vendor, about = read_offer(offer_folder)
    body = artefact.read_manifest(folder, "rounded scores", None)
    shape = (len(reader.samples), len(about.names))
    y = artefact.load_array(folder, body["rounded"], shape, "<i8")
    masks = kept_array(private / "masks.npy")
    values = prs_vendor.unmask(y, masks.astype(object), vendor)
    if (np.abs(values) > about.bound + vendor.blur).any():
        raise VerificationError
    sums = about.sums(values, missing_calls(reader, about.variant))
    return replace(release(sums, digits=about.digits), named_dosage=None)
