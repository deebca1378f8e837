"""Scores of a vendor's encrypted model on a hospital's plain genotypes, step by step: offer, blind, answer, unmask.

The vendor runs `offer` and `answer`, the hospital `request` (see `messages`), `blind_scores` and
`unmask_scores`. docs/explanation/prs-protocols.md lists every message and who learns what.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.ciphertexts import read_ciphertexts, write_ciphertexts
from securegen.engines.ckks.codec import ciphertext_shape
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.encryption import make_encryptor
from securegen.engines.ckks.scores import messages
from securegen.engines.ckks.scores import vendor as vendor_side
from securegen.engines.ckks.scores.encrypted_model import read_challenge
from securegen.engines.ckks.scores.key_holder import write_encryption_key
from securegen.engines.ckks.scores.messages import Announcement
from securegen.engines.ckks.scores.modeller import read_encryption_key
from securegen.engines.ckks.scores.parameters import SUM_LIMIT
from securegen.engines.ckks.scores.private import missing_calls, plan_private, score_weights, use_once
from securegen.engines.ckks.scores.promises import PLAN, PrivacyRules, keeping_plan, kept_plan, promise, spend
from securegen.engines.ckks.scores.schema import MAXIMUM_SAMPLES, read_message, refuse_residues, whole
from securegen.engines.ckks.scores.vendor import VendorParameters
from securegen.engines.ckks.scores.weights import ScoreReader, second_rows
from securegen.errors import ArtefactError, PlanError, ProtocolError, VerificationError
from securegen.governance.gate import Asking
from securegen.governance.pin import Pin, pinned
from securegen.governance.policy import PIN
from securegen.io.envelope import DRAWN_COST, canonical, read_drawn, write_drawn
from securegen.io.kept_arrays import keep_array, keep_json, kept_array, kept_json
from securegen.io.locks import only_one
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder, private_folder
from securegen.io.schema import hex_text, integer, record, text
from securegen.model import SelectableReader
from securegen.scores.release import ScoreTable, release
from securegen.scores.study import ScoreInputs
from securegen.study.inputs import Log, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

BATCHES, DRAWN, PEOPLE = "batches.json", "batches.secret", "people.json"
_PEOPLE = record(
    sha256=hex_text(32),
    may_have={
        "asked": record(purpose=text(400), register=text(1 << 12), may_have={"mondo": text(1 << 12)}),
        "policy": PIN,
    },
)
_BATCHES = record(
    people=integer(1, MAXIMUM_SAMPLES), dosage_max=integer(2, 1 << 15), bound=whole(1, SUM_LIMIT - 1),
    blur=whole(0, SUM_LIMIT - 1),
)  # fmt: skip


def _people(reader: SelectableReader) -> str:
    names = [[*map(str, pair)] for pair in zip(reader.samples.fid, reader.samples.iid, strict=True)]
    return hashlib.sha256(canonical(names)).hexdigest()


def _batches(samples: int, vendor: VendorParameters) -> list[range]:
    return [range(i, min(i + vendor.batch, samples)) for i in range(0, samples, vendor.batch)]


@dataclass(frozen=True)
class Offer(Announcement):
    """A vendor's model, encrypted in `folder`. blur: H; rows: of the encrypted model; batches: its files, key by key."""

    folder: Path
    blur: int
    rows: int
    batches: list[Any]

    def parameters(self, samples: int, grid: int) -> VendorParameters:
        """What a hospital computes from its own counts; raises ArtefactError when the offer is not for them."""
        try:
            own = vendor_side.choose_vendor(
                bound=self.bound + self.blur, samples=samples, rows=len(self.variant) + len(self.second),
                columns=len(self.names), dosage_max=2 * grid,
            )  # fmt: skip
        except PlanError as error:
            raise ArtefactError(f"{self.folder} offers what no plan holds: {error}") from None
        if self.rows != len(self.variant) + len(self.second):
            raise ArtefactError(f"{self.folder} has weights for {self.rows} rows, not for those that it names")
        if len(self.batches) != len(_batches(samples, own)):
            raise ArtefactError(
                f"{self.folder} has {len(self.batches)} keys, {samples} people with {own.batch} a key need "
                f"{len(_batches(samples, own))}"
            )
        return own


def offer(
    request_folder: Path, challenge_file: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path, private: Path, *,
    passphrase: bytes, encryptor: str = DEFAULT_ENCRYPTOR, log: Log = silent,
) -> VendorParameters:  # fmt: skip
    """Vendor: for every batch of people a fresh key and the model encrypted under it. `private` keeps keys and plan."""
    request = messages.read_request(request_folder)
    nonce = read_challenge(challenge_file)
    plan, (match,), size = plan_private(request, inputs, log)
    weights = score_weights(plan)
    bound, blur = size.sum_bound, size.blur
    vendor = vendor_side.choose_vendor(
        bound=bound + blur, samples=request.samples, rows=len(weights.dosage), columns=weights.columns,
        dosage_max=2 * request.dosage_grid,
    )  # fmt: skip
    with promise(
        plan, match, size, inputs, rules, people=request.samples, bits=vendor.bits(blur), log=log
    ) as (token, cap):  # fmt: skip
        make_folder(folder, FOLDER_FOR_OTHERS)
        batches = _batches(request.samples, vendor)
        log(f"{len(batches)} keys, each for {vendor.batch} people; at most {cap} replies in the model's life")
        entries: list[Any] = []
        private_folder(private)
        with only_one(private / ".offer.lock", str(private)):
            _forget_begun(private)
            drawn = write_drawn(private / DRAWN, passphrase)  # refused where an offer is outstanding
            with keeping_plan(plan, token, match, private):
                for i in range(len(batches)):
                    key = secret_key.generate(vendor.key)
                    name = f"batch-{i:04d}"
                    secret_key.write_secret(private / f"{name}.secret", key, passphrase=drawn, cost=DRAWN_COST)
                    model = vendor_side.encrypt_weights(weights, vendor, make_encryptor(encryptor, key))
                    entries.append(write_ciphertexts(folder, name, model))
                    publickey = key.encryption_key(vendor_side.batch_nonce(nonce, i))
                    write_encryption_key(publickey, folder / f"{name}.publickey", key)
                kept = {
                    "people": request.samples, "dosage_max": 2 * request.dosage_grid, "bound": str(bound), "blur": str(blur),
                }  # fmt: skip
                keep_json(private / BATCHES, kept, mode=0o600)
                about = Announcement(
                    plan.variant,
                    second_rows(plan),
                    plan.names,
                    plan.exponent,
                    plan.imputation,
                    inputs.digits,
                    bound,
                    cap,
                )
                body = about.about(folder) | {"blur": str(blur), "rows": len(weights.dosage), "batches": entries}
                artefact.write_manifest(folder, "score offer", body, None)
    return vendor


def _forget_begun(private: Path) -> None:
    """Delete the keys of an offer that was killed before its plan was kept: nobody has its ciphertexts."""
    for path in () if (private / PLAN).exists() else (private / DRAWN, *private.glob("batch-*.secret")):
        path.unlink(missing_ok=True)


def read_offer(folder: Path) -> Offer:
    """Hospital: what the vendor tells of the model, and where its ciphertexts are. Raises ArtefactError."""
    body = read_message(folder, "score offer")
    if body["bound"] + body["blur"] >= SUM_LIMIT or body["blur"] > body["bound"]:
        raise ArtefactError(f"{folder} is not a score offer: its bounds are out of range")
    about = messages.announced(folder, body)
    return Offer(**about, folder=folder, blur=body["blur"], rows=body["rows"], batches=body["batches"])


def blind_scores(
    offer_folder: Path, challenge_file: Path, reader: SelectableReader, folder: Path, private: Path, *,
    asking: Asking | None = None, pin: Pin | None = None,
) -> None:  # fmt: skip
    """Hospital: multiply, blind, write the messages to the vendor; the masks stay in `private`. pin: of the policy that the
    scores are opened under.

    Raises ArtefactError when the offer is for other genotypes, or a key was not made for this hospital's challenge.
    """
    about = read_offer(offer_folder)
    messages.check_variants(about, len(reader.variants))
    vendor = about.parameters(len(reader.samples), reader.dosage_grid)
    nonce, columns, ring = read_challenge(challenge_file), len(about.names), vendor.key.ring
    stored = ScoreReader(reader.select(variants=about.variant), about.second)
    blocks = -(-len(stored.variants) // ring.n) * len(vendor_side.STREAMS)
    opened = []
    for i in range(len(about.batches)):
        publickey = offer_folder / f"batch-{i:04d}.publickey"
        public = read_message(publickey, "encryption key")["public"]
        if public.parameters != vendor.key:
            raise ArtefactError(f"{publickey} has parameters that no plan for this cohort has")
        opened.append(read_encryption_key(publickey, public, vendor_side.batch_nonce(nonce, i)))
    make_folder(folder, FOLDER_FOR_OTHERS)
    private_folder(private)
    entries, masks = [], []
    for i, (people, key) in enumerate(zip(_batches(len(reader.samples), vendor), opened, strict=True)):
        c0, c1_model = (np.empty(ciphertext_shape(vendor.key, blocks * columns), np.uint32) for _ in range(2))
        read_ciphertexts(offer_folder, about.batches[i], ring, c0, c1_model, threads=None)
        for half in (c0, c1_model):
            refuse_residues(half, ring.primes, f"{offer_folder}, batch {i},")
        polynomials = vendor_side.people_polynomials(stored, np.array(people), ring)
        sums = vendor_side.multiply((c0, c1_model), polynomials, columns, ring)
        top, c1, kept = vendor_side.blind(sums, key, vendor)
        masks.append(kept)
        parts = {"top": top, "c1": c1}
        entries.append({n: vars(artefact.write_entry(folder, f"batch-{i:04d}.{n}.npy", a)) for n, a in parts.items()})
    keep_array(private / "masks.npy", np.concatenate(masks), mode=0o600)
    kept_asked = (asking or Asking()).asked()
    kept_pin = None if pin is None else pin.to_json()
    told = {"sha256": _people(reader), "asked": kept_asked, "policy": kept_pin}
    keep_json(private / PEOPLE, {name: value for name, value in told.items() if value}, mode=0o600)
    use_once(challenge_file)
    artefact.write_manifest(folder, "blinded scores", {"batches": entries}, None)


def answer(
    blinded: Path, private: Path, inputs: ScoreInputs, rules: PrivacyRules, folder: Path, *, passphrase: bytes
) -> None:
    """Vendor: charge the other replies, round one coefficient per person and score, forget the keys.

    Raises ArtefactError when the offer is not outstanding, ProtocolError when the hospital sent more than was offered.
    """
    body, plan = read_message(blinded, "blinded scores"), kept_plan(private)
    try:
        kept = kept_json(private / BATCHES, "the batches of an offer", _BATCHES)
    except FileNotFoundError:
        raise ArtefactError(f"{private} is not of an offer") from None
    weights = score_weights(plan)
    vendor = vendor_side.choose_vendor(
        bound=kept["bound"] + kept["blur"], samples=kept["people"], rows=len(weights.dosage), columns=weights.columns,
        dosage_max=kept["dosage_max"],
    )  # fmt: skip
    batches = _batches(kept["people"], vendor)
    if len(body["batches"]) != len(batches):
        raise ProtocolError(f"{blinded} has {len(body['batches'])} batches, {len(batches)} were offered")
    paths = [private / f"batch-{i:04d}.secret" for i in range(len(batches))]
    for path in (*paths, private / DRAWN):
        if not path.exists():  # a run that was killed here has charged the replies
            raise ArtefactError(f"{path} was used already: what it is for happens once")
    drawn = read_drawn(private / DRAWN, passphrase)
    opened = [secret_key.read_secret(path, passphrase=drawn) for path in paths]
    ring, rounded = vendor.key.ring, []
    for entry, key, people in zip(body["batches"], opened, batches, strict=True):
        k, count = len(ring.primes), len(people)
        top = artefact.load_array(blinded, entry["top"], (k, count, weights.columns))
        c1 = artefact.load_array(blinded, entry["c1"], (count * weights.columns, k, ring.n))
        rounded.append(vendor_side.round_reply(top, c1, key, vendor, weights.constant, kept["blur"]))
    spend(private, inputs, rules)  # last: whatever stops the work before costs nothing
    for path in (*paths, private / DRAWN):
        use_once(path)  # a key answers once
    make_folder(folder, FOLDER_FOR_OTHERS)
    whole = np.concatenate(rounded)
    entry = vars(artefact.write_entry(folder, "rounded.npy", whole.astype("<i8")))
    artefact.write_manifest(folder, "rounded scores", {"rounded": entry}, None)


def people_behind(private: Path) -> str:
    """A digest of whose scores are behind these masks. Raises ArtefactError where there are none."""
    people: str = _kept_people(private)["sha256"]
    return people


def asked_of(private: Path) -> dict[str, str] | None:
    """What the scores behind these masks are for, and its register; None where no purpose was named."""
    asked: dict[str, str | None] | None = _kept_people(private).get("asked")
    return None if asked is None else {name: text for name, text in asked.items() if text is not None}


def pin_of(private: Path) -> Pin | None:
    """The policy that these masks remember; None where none governed."""
    return pinned(_kept_people(private).get("policy"))


def _kept_people(private: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = kept_json(private / PEOPLE, "the people of a run", _PEOPLE)
    except FileNotFoundError:
        raise ArtefactError(f"{private} holds no masks") from None
    return kept


def unmask_scores(folder: Path, offer_folder: Path, private: Path, reader: SelectableReader) -> ScoreTable:
    """Hospital: its scores. Raises VerificationError for a score beyond the bound that the vendor announced."""
    about, body = read_offer(offer_folder), read_message(folder, "rounded scores")
    vendor = about.parameters(len(reader.samples), reader.dosage_grid)
    shape = (len(reader.samples), len(about.names))
    y = artefact.load_array(folder, body["rounded"], shape, "<i8")
    masks = kept_array(private / "masks.npy")
    if people_behind(private) != _people(reader):
        raise ArtefactError(f"{private} holds other people than these: give the files and filters of that run")
    if masks.shape != shape or masks.dtype != np.int64:
        raise ArtefactError(f"{private} holds the masks of another run")
    values = vendor_side.unmask(y, masks, vendor)
    if (np.abs(values) > about.bound + about.blur).any():
        raise VerificationError
    sums = about.sums(values, missing_calls(reader, about.variant), reader.dosage_grid)
    return replace(release(sums, digits=about.digits), named_dosage=None)
