"""Policies and what signs them, alerts, audit logs, witnesses, receipts, records of runs, registers, ledgers of people."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mutator import BYTES, HEAD, JSON, TEXT
from target import Target, changed, forgetful, private

from securegen.cli import rerun
from securegen.engines.mpc import state_file
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import ArtefactError
from securegen.governance import (
    audit_steps,
    audit_witness,
    consent_steps,
    jwk,
    ledger_format,
    policy_file,
    second_signature,
    visa,
    visa_roles,
)
from securegen.governance.audit_alerts import read_rules
from securegen.governance.audit_beside import make_log
from securegen.governance.audit_entry import read_entry
from securegen.governance.audit_folder import bundle_path, tile_path
from securegen.governance.audit_log import AuditLog, _State
from securegen.governance.audit_note import LogKey, read_checkpoint
from securegen.governance.dsse import Envelope
from securegen.governance.label_noise import LabelNoise
from securegen.governance.ledger_file import open_ledger
from securegen.governance.mondo import diseases
from securegen.governance.noise_ledger import NoiseEntries, NoisyTrait
from securegen.governance.noise_store import _content, _write, open_draws
from securegen.governance.policy_draft import draft
from securegen.governance.signing import generate
from securegen.inspection import inspect
from securegen.local.answers import read_answer
from securegen.model import Samples
from securegen.plot.run import costs
from securegen.record import receipt_steps
from securegen.record.parts import joined_record, read_parts
from securegen.record.run_log import records_in
from securegen.record.statement import PAYLOAD, RunStatement, statement_of
from securegen.report.cost import parameter_section
from securegen.report.gather import open_run
from securegen.report.privacy import privacy_section
from securegen.report.scores import match_table

STEWARD = generate()
FORMER = "securegen ledger 2"
RECORD = {
    "command": "gwas", "version": "0.2", "engine": "ckks", "samples": 90, "variants": 3, "phenotypes": ["QT"],
    "seconds": {"gwas": 1.0, "total": 2.0}, "bytes": {"sent": {"a": 5}, "rounds": 3}, "peak_rss_bytes": 9,
    "machine": {"python": "3"}, "promise": {"QT": {"dt_promised": 0.1}}, "inputs": {"bed": "sha256:0"},
    "match": {"a.tsv": {"used": 3}}, "parameters": {"bits": 16, "ring": {"n": 4096, "primes": [3], "special": 5, "lanes": 16}},
    "receipt": {"scenario": "s", "parties": [{"name": "a"}], "released": ["a/b"], "assumptions": [], "warnings": ["w"]},
    "call": {"command": "gwas", "options": {"out": "x"}, "digests": {"a": "sha256:0"}}, "outputs": ["x.QT.glm.linear"],
    "earlier": [{"command": "plan", "seconds": {}}],
}  # fmt: skip


def targets(folder: Path) -> list[Target]:
    out: list[Target] = []
    for make in (_policies, _logs, _records, _ledgers, _registers, _states):
        own = folder / make.__name__.strip("_")
        own.mkdir()
        out += make(own)
    return out


def _policies(folder: Path) -> Iterator[Target]:
    path = folder / "policy.toml"
    people = [{"name": "anna", "key": generate().verify_key.hex(), "role": "analyst", "purposes": ["HMB"]}]
    path.write_text(draft("Test", STEWARD.verify_key.hex(), people, {"limits.minor_alleles": 5}))
    text = path.read_bytes()
    policy_file.sign_policy(path, STEWARD)

    (folder / "signed").mkdir()
    another = folder / "signed" / "policy.toml"

    def steward_signs(data: bytes) -> None:
        another.write_bytes(data)
        policy_file.sign_policy(another, STEWARD)
        policy_file.read_policy(another)

    seal = policy_file.signature_path(path)
    yield changed("policy-seal", seal, JSON, lambda: policy_file.read_policy(path))
    yield Target("policy", text, lambda data: policy_file.parse(data, "policy.toml"), TEXT)
    yield forgetful(Target("policy-signed", text, steward_signs, TEXT), folder / "signed")
    rules = folder / "alerts.toml"
    rules.write_text("[alerts.burst]\nlimit = 3\nhours = 24\n[alerts.odd_hours]\nfrom_hour = 6\nweekend = true\n")
    yield changed("alerts", rules, TEXT, lambda: read_rules(rules))
    second = folder / "second.json"
    second_signature.countersign(second, "ab" * 32, STEWARD)
    policy = policy_file.parse(text, "policy.toml")
    asked = _Asked(policy, "ab" * 32)
    yield changed("second-signature", second, JSON, lambda: second_signature.who_signed(asked, [str(second)]))
    yield from _visas(folder)
    links = folder / "mondo.tsv"
    links.write_text("child\tparent\nMONDO:0005148\tMONDO:0005015\nMONDO:0005015\tMONDO:0000001\n")
    yield changed("mondo", links, TEXT, lambda: diseases(links))


def _visas(folder: Path) -> Iterator[Target]:
    """Tokens whose signature holds, whatever is in them; files of them; the keys that a policy pins."""
    public = {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": _packed(STEWARD.verify_key)}
    issuer = {"name": "broker", "iss": "https://b", "algorithms": ["EdDSA"], "keys": [json.dumps(public)]}
    gives = {"name": "grant", "issuer": "broker", "type": "ResearcherStatus", "value": "v", "role": "analyst"}
    anna = {
        "name": "anna",
        "key": generate().verify_key.hex(),
        "role": "none",
        "subjects": [visa.subject_of("https://b", "a")],
    }
    text = draft("Test", STEWARD.verify_key.hex(), [anna], issuers=[issuer], visas=[gives])
    policy = policy_file.parse(text.encode(), "policy.toml")
    said = {
        "iss": "https://b", "sub": "a", "exp": 1 << 39, "iat": 5, "nbf": 5,
        "ga4gh_visa_v1": {
            "type": "LinkedIdentities", "value": "b,https%3A%2F%2Fb;c,https%3A%2F%2Fc", "source": "https://s", "by": "so",
            "asserted": 5,
            "conditions": [[{"type": "ResearcherStatus", "value": "split_pattern:v*?", "by": "const:so"}]],
        },
    }  # fmt: skip
    header = b'{"alg": "EdDSA", "kid": "k1", "typ": "JWT"}'
    file = folder / "visas"

    def shown(data: bytes) -> None:
        file.write_bytes(data)
        found = visa.read_visas(policy, [file])
        who = policy.identities[0]
        visa_roles.best_role(policy, who, found, 1 << 38)
        list(visa_roles.reasons(policy, who, "analyst", found, 1 << 38)), list(visa_roles.visa_lines(policy, found, 9))

    def signed(head: bytes, payload: bytes) -> bytes:
        text = f"{_packed(head)}.{_packed(payload)}"
        return f"{text}.{_packed(STEWARD.sign(text.encode()))}".encode()

    whole = signed(header, json.dumps(said).encode())
    yield Target("visa-payload", json.dumps(said).encode(), lambda data: shown(signed(header, data)), JSON)
    yield Target("visa-header", header, lambda data: shown(signed(data, json.dumps(said).encode())), JSON)
    yield Target("visa-file", whole + b"\n" + whole, shown, TEXT)
    yield Target("passport", json.dumps({"ga4gh_passport_v1": [whole.decode()]}).encode(), shown, JSON)
    keys = folder / "keys.jwks"
    keys.write_text(json.dumps({"keys": [public, {**public, "kid": "k2"}]}))
    yield changed("jwks", keys, JSON, lambda: jwk.keys_of_set(keys))


def _packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class _Asked:
    """Of a request, what a second signature is held against."""

    def __init__(self, policy: object, digest: str) -> None:
        self.policy, self.digest = policy, digest


def _logs(folder: Path) -> Iterator[Target]:
    log = make_log(folder / "audit", STEWARD)
    log.append_all([("key", {"action": "unlocked", "key": f"{i:064x}"}) for i in range(5)])
    own = log.folder
    (folder / "proof").touch()
    audit_steps.prove(own, 2, folder / "proof", sizes=[3])
    key = log.key
    line = (own / bundle_path(0)).read_bytes().split(b"\n")[0]
    yield Target("audit-line", line, lambda data: read_entry(data, "an entry"), JSON)
    yield Target("audit-key", key.to_text().encode(), lambda d: LogKey.from_text(d.decode(errors="replace")), TEXT)
    note = (own / "checkpoint").read_bytes()
    yield Target(
        "audit-checkpoint",
        note,
        lambda data: (read_checkpoint(data, key, "it"), read_checkpoint(data, None, "it")),
        TEXT,
    )
    for name, path, kind in (
        ("entries", own / bundle_path(0), TEXT), ("tile", own / tile_path(0, 0, 5), BYTES), ("note", own / "checkpoint", TEXT),
        ("name", own / "key", TEXT),
    ):  # fmt: skip
        yield changed(f"audit-{name}", path, kind, lambda: (audit_steps.verify(own), audit_steps.alerts(own)))

    def appended(data: bytes) -> None:
        """What is written beyond the checkpoint, by a process that was killed."""
        again = folder / "again"
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(own, again)
        with (again / bundle_path(0)).open("ab") as stream:
            stream.write(data)
        AuditLog.open(again, STEWARD).append("key", {"action": "unlocked", "key": "0" * 64})

    last = log._signed(_State(log._folder, key), "key", {"action": "unlocked", "key": "0" * 64}).line
    yield Target("audit-beyond", last + b"\n", appended, HEAD)
    proof = folder / "proof"
    yield changed("audit-proof", proof, TEXT, lambda: audit_steps.verify_proof(proof, key=own / "key"))
    witness = folder / "witness.json"
    inside = base64.b64encode(json.dumps({"audit": [log.witness().to_json()]}).encode()).decode()
    witness.write_text(json.dumps({"audit": [log.witness().to_json()], "payload": inside, "payloadType": "x"}))
    yield changed("audit-witness", witness, JSON, lambda: audit_steps.verify(own, seen=[witness]))
    auditor = folder / "auditor.json"
    audit_steps.verify(own, auditor=auditor)
    yield changed("auditor", auditor, JSON, lambda: audit_witness.of_log(audit_witness.remembered(auditor), key))


def _records(folder: Path) -> Iterator[Target]:
    record = json.dumps(RECORD).encode()
    path = folder / "x.run.json"
    path.write_bytes(record)

    def shown() -> None:
        records_in(path)
        inspect(path).lines()
        rerun._call(str(path), None)
        found = open_run(str(folder / "x")).record
        costs(found), privacy_section(found), match_table(found), parameter_section(found)

    yield changed("run-json", path, JSON, shown)
    yield changed("run-signed", path, JSON, lambda: receipt_steps.records_as_signed(str(folder / "x")))
    part = folder / "p.1of1.run.json"
    part.write_text(json.dumps(RECORD | {"part": {"number": 1, "of": 1, "first": 0, "variants": 3, "tables": {}}}))
    yield changed("part", part, JSON, lambda: joined_record(read_parts(folder / "p"), []))
    answer = folder / "a.run.json"
    answer.write_text(
        json.dumps(
            {
                "command": "gwas",
                "files": ["a.x"],
                "seconds": {"total": 1.0},
                "peak_rss_bytes": 9,
                "bytes": {"sent": {"b": 5}},
            }
        )
    )
    yield changed("answer", answer, JSON, lambda: read_answer(folder / "a", "site"))
    statement = statement_of(str(folder / "x"), RECORD, {"x.QT.glm.linear": "0" * 64})
    signed = Envelope(PAYLOAD, statement.to_bytes()).signed_by(STEWARD)
    receipt = folder / "x.receipt.json"
    receipt.write_bytes(signed.to_bytes())

    def seen(data: bytes) -> None:
        receipt.write_bytes(Envelope(PAYLOAD, data).signed_by(STEWARD).to_bytes())
        RunStatement.from_bytes(data, "it").lines()
        receipt_steps.show(receipt)
        with contextlib.suppress(ArtefactError):  # it is of a run that never was
            receipt_steps.verify(receipt, key=STEWARD.verify_key)

    yield Target("envelope", signed.to_bytes(), lambda data: Envelope.from_bytes(data, "it").named(), JSON)
    yield changed("receipt", receipt, JSON, lambda: receipt_steps.show(receipt).statement.lines())
    yield Target("statement", statement.to_bytes(), seen, JSON)


def _people(count: int) -> Samples:
    ids = np.array([f"P{i}" for i in range(count)], object)
    return Samples(ids, ids, np.ones(count, bool))


def _ledgers(folder: Path) -> Iterator[Target]:
    path = folder / "ledger"
    with open_ledger(path) as ledger:
        rows = ledger.rows(_people(12))
        ledger.add_set("one", rows, np.arange(12) > 0)
        ledger.charge(rows, np.arange(24).reshape(12, 2), share=1.0)
        ledger.releases.append(("ab" * 32, "2025-01-01"))
    raw, key = path.read_bytes(), bytes.fromhex((folder / "ledger.key").read_text())

    def looked(data: bytes) -> None:
        (folder / "ledger.lock").unlink(missing_ok=True)
        private(path, data)
        with open_ledger(path, kept=False):
            pass

    start = len(ledger_format.MAGIC) + 8

    def authentic(data: bytes) -> None:
        looked(b"".join(ledger_format.framed(key, [data], 1)))

    yield Target("ledger", raw, looked, BYTES)
    yield Target("ledger-signed", raw[start:-32], authentic, BYTES)
    size = int.from_bytes(raw[start : start + 4], "little")
    head, rest = raw[start + 4 : start + 4 + size], raw[start + 4 + size : -32]

    def headed(data: bytes) -> None:
        authentic(len(data).to_bytes(4, "little") + data + rest)

    yield Target("ledger-head", head, headed, JSON)
    former = {
        "format": FORMER, "people": ["ab" * 16, "cd" * 16], "spent": [1, 2], "charged": ["0" * 64],
        "sets": [{"what": "one", "members": "03"}], "studies": [],
        "columns": [{"members": [0, 1], "bits": 32, "values": "0100000002000000"}],
    }  # fmt: skip

    def old(data: bytes) -> None:
        said = data.decode(errors="replace")
        told = hmac.digest(key, b"ledger\0" + said.encode(), "sha256").hex()
        looked(json.dumps({"content": said, "hmac": told}).encode())

    yield Target("ledger-former", json.dumps(former).encode(), old, JSON)


def _states(folder: Path) -> Iterator[Target]:
    noise = folder / "noise"
    noise.mkdir()
    trait = NoisyTrait("CC", True, LabelNoise(1.0), [0, 1], ["ab" * 12, "cd" * 12], [0, 1])
    entries = NoiseEntries(bytes(32), {"ab" * 12: 0, "cd" * 12: 1}, [trait], [])

    def drawn(data: bytes) -> None:
        for file in noise.iterdir():
            file.unlink()
        _write(noise, data.decode("utf-8", "replace"), 1)
        with open_draws(noise) as found:
            found.spent(0)

    yield Target("draws", _content(entries).encode(), drawn, JSON)
    state = folder / "mpc.state"
    owner = StateFile(state)
    owner.mask_key("c", "g/0", "d"), owner.spend("c", 3, limit=9)
    said = json.loads(state.read_bytes())
    del said["digest"]

    def masked(data: bytes) -> None:
        (folder / "mpc.state.lock").unlink(missing_ok=True)
        try:
            value = json.loads(data)
            value["digest"] = state_file._digest(value)
            data = json.dumps(value).encode()
        except (ValueError, TypeError, RecursionError):
            pass
        private(state, data)
        StateFile(state).spend("c", 1, limit=9)

    yield Target("mpc-state", json.dumps(said).encode(), masked, JSON)


def _registers(folder: Path) -> Iterator[Target]:
    register, table = folder / "register.tsv", folder / "consents.tsv"
    rows = "".join(f"F{i}\tI{i}\tGRU\t2025-01-01\n" for i in range(6))
    table.write_text("FID\tIID\tDUO\tDATE\n" + rows)
    consent_steps.import_table(register, table)
    yield forgetful(changed("register", register, TEXT, lambda: consent_steps.listing(register)), folder)
    leaving = folder / "leaving.txt"
    leaving.write_text("F0 I0\n")
    yield forgetful(changed("withdrawals", leaving, TEXT, lambda: consent_steps.withdraw(register, leaving)), folder)
