"""Witnesses are found in what owners hand out; a proof shows its entry without the log, and nothing else."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace

import pytest

from securegen.errors import ArtefactError, InputError, StorageError, UsageError
from securegen.governance import audit_steps as audit
from securegen.governance.audit_beside import make_log
from securegen.governance.audit_note import LogProof
from securegen.governance.audit_tree import included, leaf_hash
from securegen.governance.audit_witness import witnesses_in
from securegen.governance.signing import canonical, generate


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of 12 entries, and its witness when it had 5."""
    made = make_log(tmp_path_factory.mktemp("w") / "audit", generate())
    made.append_all([("release", {"what": "table", "rows": i}) for i in range(5)])
    early = made.witness()
    made.append_all([("release", {"what": "table", "rows": i}) for i in range(5, 12)])
    return made, early


def receipts(witness) -> dict[str, bytes]:
    inside = json.dumps({"predicate": {"audit": witness.to_json()}}).encode()
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(inside).decode(),
        "signatures": [],
    }
    return {
        "record": json.dumps({"command": "gwas", "earlier": [{"governance": {"audit": witness.to_json()}}]}).encode(),
        "bare": json.dumps([{"size": witness.size, "root": witness.root.hex()}]).encode(),
        "envelope": json.dumps(envelope).encode(), "checkpoint": witness.note.encode(),
    }  # fmt: skip


@pytest.mark.parametrize("form", ["record", "bare", "envelope", "checkpoint"])
def test_a_witness_in_a_file(log, tmp_path, form):
    made, early = log
    path = tmp_path / form
    path.write_bytes(receipts(early)[form])
    (found,) = witnesses_in(path)
    assert (found.size, found.root) == (early.size, early.root)
    assert audit.verify(made.folder, seen=[path]).witnesses == 1


@pytest.mark.parametrize("form", ["record", "bare", "envelope", "checkpoint"])
def test_a_witness_of_another_log_or_root_is_no_witness(log, tmp_path, form):
    other = make_log(tmp_path / "audit", generate())
    other.append("release", {"what": "table", "rows": 1})
    path = tmp_path / form
    path.write_bytes(receipts(other.witness())[form])
    with pytest.raises(ArtefactError, match="another log|other entries were written"):
        audit.verify(log[0].folder, seen=[path])


def test_files_without_a_witness(tmp_path):
    for content in (
        b"{}",
        b"[1]",
        b"{",
        b'{"payloadType": "x", "payload": "***"}',
        b"text\n",
        b'{"size": 1, "root": "x"}',
    ):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises((InputError, ArtefactError)):
            witnesses_in(tmp_path / "x")
    with pytest.raises(InputError, match="no file"):
        witnesses_in(tmp_path / "none")


def test_a_file_with_witnesses_of_two_logs(log, tmp_path):
    other = make_log(tmp_path / "audit", generate())
    path = tmp_path / "both.json"
    path.write_text(json.dumps([log[1].to_json(), other.witness().to_json()]))
    assert audit.verify(log[0].folder, seen=[path]).witnesses == 1
    assert audit.verify(other.folder, seen=[path]).witnesses == 1


def test_the_auditors_file_remembers(tmp_path):
    made = make_log(tmp_path / "audit", generate())
    seen = tmp_path / "seen.json"
    assert audit.verify(tmp_path, auditor=seen).verdict.startswith("consistent, no witness")
    for i in range(3):
        made.append("release", {"what": "table", "rows": i})
        assert audit.verify(tmp_path, auditor=seen).witnesses == i + 1
    assert seen.stat().st_mode & 0o077 == 0 and [w.size for w in witnesses_in(seen)] == [0, 1, 2, 3]
    kept = seen.read_bytes()
    rolled = make_log(tmp_path / "rolled" / "audit", made._identity)
    with pytest.raises(ArtefactError, match="rolled back"):
        audit.verify(rolled.folder, auditor=seen)
    assert seen.read_bytes() == kept, "what was found wanting is not remembered"
    seen.write_text("{}")
    with pytest.raises(InputError):
        audit.verify(tmp_path, auditor=seen)


@pytest.mark.parametrize("number", [0, 4, 11])
def test_a_proof_shows_its_entry_without_the_log(log, tmp_path, number):
    made, early = log
    path = tmp_path / "p.tlog-proof"
    audit.prove(made.folder, number, path, sizes=[2], seen=[early])
    shown = audit.verify_proof(path, key=made.folder / "key", seen=[early])
    assert shown.entry.facts["rows"] == number and shown.witnesses == 1 and shown.checkpoint.size == 12
    assert audit.verify_proof(path, seen=[early]).entry.number == number, "a witness names the key"
    assert audit.verify_proof(path, key=made.key.to_text()).witnesses == 0
    proof = LogProof.from_bytes(path.read_bytes(), "x")
    assert included(leaf_hash(shown.entry.line), number, 12, proof.hashes, shown.checkpoint.root)
    with pytest.raises(UsageError, match="key"):
        audit.verify_proof(path)


def changed(proof: LogProof, **extra) -> bytes:
    held = json.loads(proof.extra)
    return replace(proof, extra=canonical(held | extra)).to_text().encode()


def test_forged_proofs(log, tmp_path):
    """Another entry, another place, another history, another key: none is shown."""
    made, early = log
    path = tmp_path / "p"
    audit.prove(made.folder, 3, path, seen=[early])
    proof = LogProof.from_bytes(path.read_bytes(), "x")
    held = json.loads(proof.extra)
    later = make_log(tmp_path / "audit", made._identity)
    later.append_all([("release", {"what": "table", "rows": 99 - i}) for i in range(12)])
    entry = held["entry"].replace('"rows":3', '"rows":4')
    wrong_root = [held["earlier"][0] | {"root": "00" * 32}]
    wrong_size = [held["earlier"][0] | {"size": 4}]
    for bad, what in [
        (changed(proof, entry=entry), "not in the checkpoint"), (replace(proof, index=4).to_text().encode(), "altered"),
        (changed(proof, earlier=wrong_root), "did not grow"), (changed(proof, earlier=wrong_size), "did not grow"),
        (changed(proof, earlier=[]), "says nothing of 5"),
        (replace(proof, hashes=proof.hashes[:-1]).to_text().encode(), "altered"),
        (replace(proof, note=later.witness().note).to_text().encode(), "not in the checkpoint"),
        (replace(proof, note=early.note).to_text().encode(), "not in the checkpoint"), (changed(proof, more=1), "damaged"),
        (replace(proof, extra=b"").to_text().encode(), "damaged"), (b"c2sp.org/tlog-proof@v1\n" + b"A" * 300_000, "large"),
    ]:  # fmt: skip
        path.write_bytes(bad)
        with pytest.raises(ArtefactError, match=what):
            audit.verify_proof(path, key=made.folder / "key", seen=[early])
    audit.prove(later.folder, 3, path, sizes=[5])
    with pytest.raises(ArtefactError, match="another log than the witness saw"):
        audit.verify_proof(path, key=made.folder / "key", seen=[early])
    with pytest.raises(ArtefactError, match="older than the witness"):
        later.append("release", {"what": "table"})
        audit.verify_proof(path, key=made.folder / "key", seen=[later.witness()])
    with pytest.raises(ArtefactError, match="another log"):
        audit.verify_proof(path, key=make_log(tmp_path / "third", generate()).key.to_text())


def test_what_cannot_be_proved(log, tmp_path):
    made, _ = log
    for number, sizes in ((12, []), (0, [13])):
        with pytest.raises(UsageError):
            audit.prove(made.folder, number, tmp_path / "p", sizes=sizes)
    assert not (tmp_path / "p").exists()


def test_the_exported_folder_is_that_of_the_specification(tmp_path, monkeypatch):
    """Read as a client of C2SP tlog-tiles would, with this test's own parsing: entries hash to the tile, tiles to the root."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    made = make_log(tmp_path / "audit", generate())
    made.append_all([("release", {"what": "table", "rows": i}) for i in range(300)])
    out = tmp_path / "tiles"
    audit.export_tiles(tmp_path, out)
    found = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert found == ["checkpoint", "key", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000",
                     "tile/entries/001.p/44"]  # fmt: skip
    hashes = b""
    for name, tile in (("000", "000"), ("001.p/44", "001.p/44")):
        raw, at, mine = (out / f"tile/entries/{name}").read_bytes(), 0, b""
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 2], "big")
            mine += leaf_hash(raw[at + 2 : at + 2 + size])
            at += 2 + size
        assert mine == (out / f"tile/0/{tile}").read_bytes()
        hashes += mine
    assert len(hashes) == 300 * 32
    assert (out / "checkpoint").read_text().split("\n")[1] == "300"
    with pytest.raises(StorageError, match="exists"):
        audit.export_tiles(tmp_path, out)
