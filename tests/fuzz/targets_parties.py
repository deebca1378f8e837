"""What parties and sites send each other: frames, objects, parties.toml, certificates, messages, study.toml, a site's memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mutator import BYTES, HEAD, JSON, TEXT
from target import Target, changed, private

from securegen.engines.federated import message_folder, study_toml
from securegen.engines.federated.messages import DOMAIN, read_head, read_message, write_message
from securegen.engines.federated.state import open_memory, study_folder
from securegen.engines.federated.studyfile import Site, StudyFile, TraitColumn
from securegen.engines.mpc.crypten import objects
from securegen.engines.mpc.net import certs, pem
from securegen.engines.mpc.net.frames import ARRAY, encode_json, header, read_frame
from securegen.engines.mpc.net.frames import JSON as JSON_FRAME
from securegen.engines.mpc.net.parties import Parties, PartyEntry, read_parties, write_parties
from securegen.errors import ProtocolError
from securegen.governance.signing import canonical, generate
from securegen.inspection import inspect
from securegen.io.schema import has

KEYS = {name: generate() for name in ("anna", "bert", "cora")}
COORDINATOR = generate()


def targets(folder: Path) -> list[Target]:
    return [*_net(folder), *_sites(folder)]


def _fill(data: bytes) -> Callable[[memoryview], None]:
    """A connection that ends with these bytes."""
    at = 0

    def fill(buffer: memoryview) -> None:
        nonlocal at
        if at + len(buffer) > len(data):
            raise ProtocolError("the connection ended")
        buffer[:] = data[at : at + len(buffer)]
        at += len(buffer)

    return fill


def _net(folder: Path) -> Iterator[Target]:
    numbers = np.arange(24, dtype=np.uint64).reshape(4, 6)
    frame = header(ARRAY, bytes(16), 3, "step/1", numbers) + numbers.tobytes()
    yield Target("frame-array", frame, lambda data: read_frame(_fill(data), max_payload=1 << 20), BYTES)
    said = encode_json({"terms": {"samples": 3}, "nonce": "0" * 32, "sizes": [1, 2, [3]]})
    head = header(JSON_FRAME, bytes(16), 3, "step/1", said)
    yield Target("frame-json", head + said.tobytes(), lambda data: read_frame(_fill(data)).json(), BYTES)

    def of_text(data: bytes) -> None:
        payload = np.frombuffer(data, np.uint8)
        read_frame(_fill(header(JSON_FRAME, bytes(16), 3, "step/1", payload) + data)).json()

    yield Target("frame-text", said.tobytes(), of_text, JSON)
    made = objects.encode({"a": [1, 2.5, None, "x"], "b": np.arange(6).reshape(2, 3), "c": (True, float("inf"))})

    def decoded(data: bytes) -> None:
        payload = np.frombuffer(data, np.uint8)
        objects.decode(read_frame(_fill(header(JSON_FRAME, bytes(16), 3, "o", payload) + data)).json())

    yield Target("objects", json.dumps(made).encode(), decoded, JSON)
    ca = folder / "ca"
    certs.init_ca(ca)
    request = certs.request(folder, "ada")
    certificate = certs.issue(ca, request, name="ada", rank=0)
    pin = pem.pin(certificate)
    entries = (
        PartyEntry("ada", "genotypes", "127.0.0.1:7000", pin),
        PartyEntry("bob", "phenotypes", "127.0.0.1:7001", "sha256:" + "0" * 64),
        PartyEntry("cyd", "dealer", "127.0.0.1:7002", "sha256:" + "1" * 64),
    )
    toml = folder / "parties.toml"
    write_parties(toml, Parties("s", entries, 30.0))
    yield changed("parties", toml, TEXT, lambda: (read_parties(toml).digest(), inspect(toml)))
    yield changed("certificate", certificate, TEXT, lambda: (pem.pin(certificate), inspect(certificate)))
    yield changed("certificate-request", request, TEXT, lambda: (pem.load_request(request), inspect(request)))
    own = folder / "ada.key"
    yield changed("party-key", own, TEXT, lambda: pem.load_key(pem.private_pem(own, None), own))


def _study(**changes: object) -> StudyFile:
    values = {
        "digest": "", "name": "test", "study_id": "ab" * 16, "sites": tuple(Site(n, k.verify_key) for n, k in KEYS.items()),
        "coordinator": COORDINATOR.verify_key, "phenotypes": (TraitColumn("QT", "quantitative"),), "covariates": ("AGE",),
        "model": None, "missing": "mean", "bits": None, "site_indicators": False, "loadings_pcs": 0, "qc": False,
        "smallest_cohort": 1, "two_sites_learn_each_other": False, "variants": 1, "variants_digest": "0" * 64,
        "loadings_digest": "", "openings": "all", "common_samples": False,
    }  # fmt: skip
    return StudyFile(**(values | changes))


def _sites(folder: Path) -> Iterator[Target]:
    study = study_toml.write_study(folder, _study(), COORDINATOR)
    toml, seal = folder / study_toml.STUDY, folder / study_toml.SIGNATURE
    text = toml.read_bytes()
    (folder / "signed").mkdir()
    another, anothers_seal = folder / "signed" / study_toml.STUDY, folder / "signed" / study_toml.SIGNATURE

    def signed(data: bytes) -> None:
        """By a coordinator that signs anything."""
        another.write_bytes(data)
        digest = study_toml.parse(data.decode("utf-8", "replace"), "study.toml").digest
        signature = COORDINATOR.sign(b"securegen study " + digest.encode()).hex()
        anothers_seal.write_text(json.dumps({"study": digest, "signature": signature}))
        study_toml.read_study(another)

    yield changed("study-signature", seal, JSON, lambda: study_toml.read_study(toml))
    yield changed("study", toml, TEXT, lambda: study_toml.read_study(toml))
    yield Target("study-signed", text, signed, TEXT)
    anna = study.site("anna")
    value = {"columns": [1, 2, 3], "names": ["QT"], "nested": {"a": [None, True]}}
    raw = write_message(study.digest, "anna", "hello", "0" * 64, value, b"payload", KEYS["anna"])
    shared = folder / "shared"
    (shared / "anna").mkdir(parents=True)
    box = message_folder.MessageFolder(shared, study, "bert")
    path = box.path("anna", "hello")
    path.write_bytes(raw)
    yield Target("message", raw, lambda data: (read_head(data, "it"), read_message(data, study, anna, "hello")), HEAD)
    yield changed("message-file", path, HEAD, lambda: (box.read(anna, "hello"), inspect(path)))

    def of_anna(data: bytes) -> None:
        """Anna signs anything."""
        body = json.loads(data)
        line = json.dumps({"body": body, "signature": KEYS["anna"].sign(DOMAIN + canonical(body)).hex()})
        read_message(line.encode() + b"\npayload", study, anna, "hello")

    yield Target(
        "message-signed", json.dumps(json.loads(raw.partition(b"\n")[0])["body"]).encode(), _json(of_anna), JSON
    )
    with open_memory(folder / "state", study.digest) as memory:
        memory.put("entry", json.dumps({"a": 1}).encode())
        kept = study_folder(folder / "state", study.digest) / "entry"

        def remembered(data: bytes) -> None:
            private(kept, memory._mac("entry", data) + data)
            memory.recall("entry", has("a"))

        yield Target("memory", json.dumps({"a": 1}).encode(), remembered, JSON)


def _json(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Of what is no JSON, nobody makes a signature."""

    def both(data: bytes) -> None:
        try:
            json.dumps(json.loads(data)).encode()
        except (ValueError, RecursionError):
            return
        run(data)

    return both
