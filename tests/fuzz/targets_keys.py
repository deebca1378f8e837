"""Keys, plans, manifests and arrays of encrypted folders, messages of scores, ledgers of replies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mutator import BYTES, HEAD, JSON, TEXT
from support import simulate
from target import Target, changed, private

import securegen as sg
from securegen.cli.keygen import read_plan
from securegen.engines.ckks import artefact, bodies, keys
from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner import retirement, secret_key
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.scores import messages
from securegen.engines.ckks.scores.encrypted_model import challenge, read_challenge
from securegen.engines.ckks.scores.modeller import read_encryption_key
from securegen.engines.ckks.scores.private import encrypt_for, invite
from securegen.engines.ckks.scores.promises import PrivacyRules, kept_plan
from securegen.engines.ckks.scores.public_model import read_model, write_model
from securegen.engines.ckks.studydesign import open_design
from securegen.governance import pseudonyms, signing
from securegen.inspection import inspect
from securegen.io import envelope
from securegen.io.digests import blake3_of
from securegen.io.kept_arrays import keep_json, kept_json
from securegen.io.schema import has
from securegen.scores.ledger import Ledger
from securegen.scores.study import ScoreInputs, open_scores
from securegen.study.inputs import Inputs

SECRET = b"correct horse battery staple"


def targets(folder: Path) -> list[Target]:
    cohort = simulate(folder, samples=90, variants=60)
    return [*_encrypted(folder, cohort), *_scores(folder, cohort), *_keys(folder)]


def _encrypted(folder: Path, cohort: object) -> Iterator[Target]:
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("QT",), covar=cohort.covar)
    plan = sg.ckks.plan(study)
    key = sg.ckks.generate_key(plan)
    made = sg.ckks.encrypt(study, key, folder / "x")
    results = sg.ckks.associate(made.cohort, made.design, folder / "results")
    (folder / "plan.json").write_text(json.dumps(plan.to_json()))
    yield changed(
        "plan", folder / "plan.json", JSON, lambda: (read_plan(folder / "plan.json"), inspect(folder / "plan.json"))
    )
    keys.write_public(folder / "key.public", key.public)
    public = folder / "key.public"
    yield changed("key-public", public, JSON, lambda: (keys.read_public(public), inspect(public)))
    yield from _secret(folder / "key.secret", key)

    def both() -> None:
        found = open_cohort(made.cohort)
        design = open_design(made.design, found.public)
        bodies.check_pair(found.body, design.body, found.parameters)

    for role, path in (("cohort", made.cohort), ("design", made.design)):
        manifest = path / artefact.MANIFEST
        body = artefact.open_manifest(path).body
        yield changed(f"manifest-{role}", manifest, JSON, lambda path=path: (both(), inspect(path)))

        def signed(data: bytes, role: str = role, manifest: Path = manifest) -> None:
            """Signed by an owner that signs anything, with the key that it shows."""
            said = json.loads(data)
            if role == "cohort" and isinstance(said, dict) and isinstance(said.get("public"), dict):
                said["key"] = hashlib.sha256(envelope.canonical(said["public"])).hexdigest()
            _write_signed(manifest, said, key)
            both()

        yield Target(f"manifest-{role}-signed", json.dumps(body).encode(), _of_json(signed, manifest), JSON)
    manifest = results / artefact.MANIFEST
    body = artefact.open_manifest(results).body

    def decrypted() -> None:
        """What fails verification retires the key, which the next change needs."""
        try:
            sg.ckks.decrypt_tables(results, key, made.owner, str(folder / "table"))
        finally:
            for mark in (*retirement.marks(key, made.owner), retirement.user_mark(key)):
                if mark is not None:
                    mark.unlink(missing_ok=True)
            retirement._here.clear()

    def opened(data: bytes) -> None:
        manifest.write_bytes(b'{"body": ' + data + b', "signature": ""}')
        decrypted()

    yield Target("manifest-results", json.dumps(body).encode(), _kept(opened, manifest), JSON)
    yield changed("results-array", next(iter(sorted(results.glob("*.npy")))), BYTES, decrypted)
    array = next(iter(sorted(made.cohort.glob("*.npy"))))
    yield changed("cohort-array", array, BYTES, lambda: inspect(made.cohort))
    box = next(iter(sorted(made.owner.glob("cohort.box"))))
    state = OwnerState(made.owner, key)
    yield changed("owner-box", box, BYTES, lambda: state.read("cohort"))
    header, arrays = state.read("cohort")
    inside = key.open_box(state._label("cohort"), box.read_bytes())

    def sealed(data: bytes) -> None:
        box.write_bytes(key.seal_box(state._label("cohort"), data))
        state.read("cohort")

    yield Target("owner-box-inside", inside, _kept(sealed, box), BYTES)


def _write_signed(manifest: Path, said: object, key: secret_key.SecretKey) -> None:
    manifest.write_text(json.dumps({"body": said, "signature": key.sign(envelope.canonical(said)).hex()}))


def _kept(run: Callable[[bytes], None], path: Path) -> Callable[[bytes], None]:
    """The file has its bytes again afterwards, which other targets read."""
    before = path.read_bytes()

    def both(data: bytes) -> None:
        try:
            run(data)
        finally:
            path.write_bytes(before)

    return both


def _of_json(run: Callable[[bytes], None], path: Path) -> Callable[[bytes], None]:
    """Of what is no JSON, nobody makes a signature."""

    def both(data: bytes) -> None:
        try:
            envelope.canonical(json.loads(data))
        except (ValueError, RecursionError):
            return
        run(data)

    return _kept(both, path)


def _secret(path: Path, key: secret_key.SecretKey) -> Iterator[Target]:
    secret_key.write_secret(path, key, passphrase=None)
    header, inside = envelope.read(path, secret_key.SECRET_MAGIC, "secret key")
    yield changed("key-secret", path, HEAD, lambda: secret_key.read_secret(path))

    def sealed(data: bytes) -> None:
        path.write_bytes(envelope.sealed(secret_key.SECRET_MAGIC, {"public": header["public"]}, data, None))
        secret_key.read_secret(path)

    yield Target("key-secret-inside", inside, _kept(sealed, path), JSON)


def _keys(folder: Path) -> Iterator[Target]:
    identity = signing.generate()
    verify, secret, renaming = folder / "anna.pub", folder / "anna.secret", folder / "names.key"
    signing.write_verify_key(verify, identity)
    signing.write_identity(secret, identity)
    pseudonyms.make_key(renaming)
    locked = folder / "locked.secret"
    envelope.write(locked, "securegen test 1", {}, b"secret", passphrase=SECRET, cost=envelope.DRAWN_COST)
    yield changed("verify-key", verify, JSON, lambda: (signing.read_verify_key(verify), inspect(verify)))
    yield changed("signing-key", secret, HEAD, lambda: (signing.read_identity(secret), inspect(secret)))
    yield changed("pseudonym-key", renaming, HEAD, lambda: pseudonyms.read_key(renaming))
    yield changed(
        "key-locked", locked, HEAD, lambda: envelope.read(locked, "securegen test 1", "key", passphrase=SECRET)
    )
    passphrase = folder / "passphrase"
    passphrase.write_bytes(SECRET + b"\n")
    passphrase.chmod(0o600)
    yield changed("passphrase", passphrase, TEXT, lambda: envelope.passphrase_in(passphrase))
    kept = folder / "kept.json"
    keep_json(kept, {"a": [1, 2]})

    def digested(data: bytes) -> None:
        kept.write_bytes(data)
        kept.with_name("kept.json.blake3").write_text(blake3_of(kept))
        kept_json(kept, "an example", has("a"))

    yield Target("kept-json", kept.read_bytes(), digested, JSON)


def _scores(folder: Path, cohort: object) -> Iterator[Target]:
    score = folder / "score.tsv"
    rows = [f"rs{j}\tA\tG\t0.0{j}1\n" for j in range(3, 60)]
    score.write_text("ID\teffect_allele\tother_allele\teffect_weight\n" + "".join(rows))
    study = open_scores(Inputs(cohort.bfile), ScoreInputs((str(score),)))
    rules = PrivacyRules(folder / "ledger.json", "clinic", ("SCORE1",), 10**6)
    request, invitation, own = folder / "request", folder / "invitation", folder / "private"
    messages.write_request(messages.make_request(study.reader, "cohort"), request)
    invite(request, study.inputs, rules, invitation, own)
    found = messages.read_invitation(invitation)
    key = encrypt_for(found, study.reader, folder / "p")
    write_model(study.plan, folder / "model", key)
    readers: dict[str, tuple[Path, Callable[[], object]]] = {
        "score-request": (request, lambda: messages.read_request(request)),
        "score-invitation": (invitation, lambda: messages.read_invitation(invitation)),
        "score-key": (folder / "p.publickey", lambda: read_encryption_key(folder / "p.publickey", key.public, found.nonce)),
        "score-model": (folder / "model", lambda: read_model(folder / "model", key.public)),
    }  # fmt: skip
    for name, (path, read) in readers.items():
        manifest = path / artefact.MANIFEST

        def signed(data: bytes, manifest: Path = manifest, read: Callable[[], object] = read) -> None:
            _write_signed(manifest, json.loads(data), key)
            read()

        body = artefact.open_manifest(path).body
        yield Target(name, json.dumps(body).encode(), _of_json(signed, manifest), JSON)
    array = request / "id.npy"
    raw, entry = array.read_bytes(), artefact.open_manifest(request)

    def array_of(data: bytes) -> None:
        """With the digest and size that fit."""
        array.write_bytes(data)
        body = json.loads(json.dumps(entry.body))
        body["files"]["id"] |= {"size": len(data), "blake3": blake3_of(array)}
        _write_signed(request / artefact.MANIFEST, body, key)
        messages.read_request(request)

    yield Target("score-array", raw, _kept(_kept(array_of, array), request / artefact.MANIFEST), BYTES)
    path = folder / "challenge.json"
    challenge(path)
    yield changed("challenge", path, JSON, lambda: (read_challenge(path), inspect(path)))
    plan = own / "plan.json"

    digest = plan.with_name("plan.json.blake3")

    def kept(data: bytes) -> None:
        plan.write_bytes(data)
        digest.write_text(blake3_of(plan))
        kept_plan(own)

    yield Target("score-plan", plan.read_bytes(), _kept(_kept(kept, plan), digest), JSON)
    weights = own / "variant.npy"

    def kept_weights(data: bytes) -> None:
        weights.write_bytes(data)
        weights.with_name("variant.npy.blake3").write_text(blake3_of(weights))
        kept_plan(own)

    yield Target(
        "score-weights",
        weights.read_bytes(),
        _kept(_kept(kept_weights, weights), weights.with_name("variant.npy.blake3")),
        BYTES,
    )
    ledger = Ledger(folder / "ledger.json")
    content = json.loads(ledger.path.read_bytes())["ledger"]

    def counted(data: bytes) -> None:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            said = None
        value = {"ledger": said, "sha256": hashlib.sha256(envelope.canonical(said)).hexdigest()}
        private(ledger.path, json.dumps(value).encode() if said is not None else data)
        ledger.used("x", "clinic")

    yield Target("replies", json.dumps(content).encode(), counted, JSON)
