"""A signed receipt stands for the files of one run: whatever is changed afterwards, there or in the receipt, is named."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.errors import ArtefactError, InputError, KeyFileError, UsageError
from securegen.governance.dsse import Envelope
from securegen.governance.signing import fingerprint, generate, write_identity, write_verify_key
from securegen.record import receipt_steps as steps
from securegen.record.statement import PAYLOAD, STATEMENT, RunStatement

ANNA, BERT = generate(), generate()


@pytest.fixture(scope="module")
def study():
    return sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=300_000)


@pytest.fixture(scope="module")
def done(study, tmp_path_factory):
    """A run, and another one of the same names in another folder: fewer variants, other digits."""
    folder = tmp_path_factory.mktemp("runs")
    for name, digits in (("one", 17), ("two", 6)):
        (folder / name).mkdir()
        sg.run(study, out=folder / name / "a", digits=digits, sign=ANNA)
    return folder


@pytest.fixture
def run(done, tmp_path):
    """The run's prefix, in a folder of the test's own."""
    shutil.copytree(done / "one", tmp_path / "one")
    return tmp_path / "one" / "a"


def verify(prefix):
    return sg.receipt.verify(prefix, key=ANNA.verify_key)


def resign(prefix, payload, kind=PAYLOAD, identity=ANNA) -> None:
    (prefix.parent / "a.receipt.json").write_bytes(Envelope(kind, payload).signed_by(identity).to_bytes())


def test_it_is_a_statement_of_in_toto_and_says_what_the_run_did(run):
    found = verify(run)
    said = found.statement.to_json()
    table = (run.parent / "a.QT.glm.linear").read_bytes()
    assert (said["_type"], len(said["subject"])) == (STATEMENT, 1)
    assert said["subject"][0] == {"name": "a.QT.glm.linear", "digest": {"sha256": hashlib.sha256(table).hexdigest()}}
    record = json.loads((run.parent / "a.run.json").read_text())
    predicate = said["predicate"]
    for name in ("engine", "parameters", "samples", "variants", "phenotypes", "version"):
        assert predicate[name] == record[name]
    assert {(i["name"], *i["digest"].values()) for i in predicate["inputs"]} == set(record["inputs"].items())
    assert found.statement.learned.scenario == "in the clear" and predicate["learned"]["released"] == [
        "a.QT.glm.linear"
    ]
    assert found.signers == (fingerprint(ANNA.verify_key),) and found.beside == ()


def test_files_edited_after_the_release_are_named(run):
    table, record = run.parent / "a.QT.glm.linear", run.parent / "a.run.json"
    text = table.read_text()
    table.write_text(text.replace("\t", " ", 1))
    with pytest.raises(ArtefactError, match="changed since they were signed: a.QT.glm.linear$"):
        verify(run)
    table.unlink()
    with pytest.raises(ArtefactError, match="not there: a.QT.glm.linear$"):
        verify(run)
    table.write_text(text)
    record.write_text(record.read_text().replace('"samples": 491', '"samples": 490'))
    with pytest.raises(ArtefactError, match="a.run.json has no record of the run that was signed"):
        verify(run)
    record.unlink()
    with pytest.raises(ArtefactError, match="no record"):
        verify(run)


def test_a_receipt_of_another_run_with_the_same_names_is_refused(done, run):
    verify(done / "two" / "a")
    shutil.copy(done / "two" / "a.receipt.json", run.parent)
    with pytest.raises(
        ArtefactError, match="changed since they were signed: a.QT.glm.linear; a.run.json has no record"
    ):
        verify(run)


def test_equal_tables_of_another_run_are_told_by_the_record(study, run):
    """Engines write the same bytes: which of them ran is in the record alone."""
    shutil.copy(f"{run}.receipt.json", other := run.parent / "kept.json")
    sg.run(study, out=run)
    with pytest.raises(ArtefactError, match=r"beside it: a.run.json has no record"):
        verify(run)
    sg.run(study, out=run, sign=ANNA)
    assert verify(run) and other.read_bytes() != (run.parent / "a.receipt.json").read_bytes()


def test_a_receipt_under_another_prefix_is_refused(run):
    for ending in ("receipt.json", "run.json", "QT.glm.linear"):
        shutil.copy(f"{run}.{ending}", f"{run.parent}/b.{ending}")
    with pytest.raises(ArtefactError, match="is the receipt of run 'a', not of 'b'"):
        verify(run.parent / "b")


def test_other_commands_under_the_prefix_leave_it_valid(run):
    path = run.parent / "a.run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"command": "other", "version": "1", "earlier": [record]}))
    assert verify(run)


@pytest.mark.parametrize("identity, named", [(BERT, ANNA), (ANNA, BERT)])
def test_whoever_is_named_must_have_signed(run, identity, named):
    resign(run, steps.show(run).statement.to_bytes(), identity=identity)
    for who in ({"key": named.verify_key}, {"fingerprint": fingerprint(named.verify_key)}):
        with pytest.raises(ArtefactError, match=fingerprint(named.verify_key)):
            sg.receipt.verify(run, **who)
    with pytest.raises(UsageError, match="name who must have signed"):
        sg.receipt.verify(run)


def test_a_second_signature_is_added_to_what_still_holds(run):
    sg.receipt.sign(run, BERT)
    assert len(sg.receipt.verify(run, key=[ANNA.verify_key, BERT.verify_key]).signers) == 2
    (run.parent / "a.QT.glm.linear").write_text("")
    with pytest.raises(ArtefactError, match="changed"):
        sg.receipt.sign(run, generate())


def test_other_types_of_payload_are_refused(run):
    payload = steps.show(run).statement.to_bytes()
    resign(run, payload, "application/json")
    with pytest.raises(ArtefactError, match="its payload is 'application/json'"):
        verify(run)
    for change in ({"_type": "https://in-toto.io/Statement/v0.1"}, {"predicateType": "https://slsa.dev/provenance/v1"}):
        resign(run, json.dumps(json.loads(payload) | change).encode())
        with pytest.raises(ArtefactError, match="expected one of"):
            verify(run)


@pytest.mark.parametrize("name", ["../a.run.json", "/etc/passwd", "x/../../y", "", ".", "a//b", "a\\b", "a\nb"])
def test_names_that_leave_the_folder_are_refused(run, name):
    statement = steps.show(run).statement
    resign(run, RunStatement({name: "00" * 32}, statement.predicate).to_bytes())
    with pytest.raises(ArtefactError, match="damaged"):
        verify(run)


def test_a_name_twice_or_another_form_is_refused(run):
    fields = steps.show(run).statement.to_json()
    said = fields["predicate"]
    wrong = [{"subject": fields["subject"] * 2}, {"predicate": []}, {"subject": [{"name": "a"}]}]
    inside = ({"run": 7}, {"record": {}}, {"samples": -1}, {"learned": {"scenario": "x"}}, {"inputs": {}})
    for change in (*wrong, *({"predicate": {**said, **change}} for change in inside)):
        resign(run, json.dumps(fields | change).encode())
        with pytest.raises(ArtefactError, match="damaged"):
            verify(run)


def test_what_is_no_regular_file_is_refused_and_does_not_wait(run):
    table = run.parent / "a.QT.glm.linear"
    table.unlink()
    os.mkfifo(table)
    with pytest.raises(ArtefactError, match="not a regular file"):
        verify(run)


def test_there_is_something_to_sign(study, tmp_path):
    with pytest.raises(InputError, match="run.json"):
        sg.receipt.sign(tmp_path / "none", ANNA)
    with pytest.raises(InputError, match="there is no"):
        sg.receipt.show(tmp_path / "none")
    with pytest.raises(UsageError, match="`sign`"):
        sg.run(study, sign=ANNA)
    with pytest.raises(KeyFileError):
        sg.run(study, out=tmp_path / "a", sign=tmp_path / "no.secret")
    assert not list(tmp_path.iterdir()), "the key is read before anything runs"


# By command


@pytest.fixture
def keys(tmp_path):
    for name, identity in (("anna", ANNA), ("bert", BERT)):
        write_identity(tmp_path / f"{name}.secret", identity)
        write_verify_key(tmp_path / f"{name}.pub", identity)
    return tmp_path


def gwas(small, keys, *more):
    return securegen("gwas", *small.options(), "--chr", "2", "--out", keys / "r", "--quiet", *more)


def test_a_run_is_signed_shown_and_verified_by_command(small, keys):
    assert gwas(small, keys, "--sign", keys / "anna.secret", "--format", "regenie").code == 0
    shown = securegen("receipt", "show", keys / "r")
    assert "wrote r_QT.regenie" in shown.out and "not verified" in shown.out and "who learned what" in shown.out
    assert str(keys) not in shown.out, "folders are nobody's business"
    done = securegen("receipt", "verify", f"{keys}/r.receipt.json", "--key", keys / "anna.pub")
    assert done.code == 0 and "1 file and the record are as signed" in done.out
    wrong = securegen("receipt", "verify", keys / "r", "--key", keys / "bert.pub")
    assert wrong.code == 7 and fingerprint(BERT.verify_key) in wrong.err
    assert securegen("receipt", "verify", keys / "r").code == 2
    secret = securegen("receipt", "verify", keys / "r", "--key", keys / "anna.secret")
    assert secret.code == 6 and "is a secret key: give the public key" in secret.err
    assert securegen("receipt", "sign", keys / "r", "--key", keys / "bert.secret").code == 0
    both = securegen("receipt", "verify", keys / "r", "--key", keys / "anna.pub", "--key", keys / "bert.pub", "--json")
    found = json.loads(both.out)
    assert found["verified"] and len(found["signers"]) == 2
    with (keys / "r_QT.regenie").open("a") as stream:
        stream.write("\n")
    edited = securegen("receipt", "verify", keys / "r", "--key", keys / "anna.pub")
    assert edited.code == 7 and "changed since they were signed: r_QT.regenie" in edited.err


def test_no_id_of_a_person_is_in_it(small, keys):
    assert gwas(small, keys, "--sign", keys / "anna.secret").code == 0
    raw = steps.show(keys / "r").statement.to_bytes().decode()
    ids = {word for line in Path(small.pheno).read_text().splitlines()[1:] for word in line.split("\t")[:2]}
    assert len(ids) > 50 and not [i for i in ids if re.search(rf"\b{i}\b", raw)]


def test_under_a_policy_it_is_a_witness_of_the_audit_log(study, run):
    """The record of a run under a policy says how far the log was; the receipt says it again, signed."""
    log = sg.audit.make_log(run.parent / "audit", generate())
    log.append("run", {"command": "gwas", "phase": "start"})
    path = run.parent / "a.run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"audit": [log.witness().to_json()]}))
    (run.parent / "a.receipt.json").unlink()
    sg.receipt.sign(run, ANNA)
    assert "audit log of 1 entries" in "\n".join(verify(run).statement.lines())
    assert sg.audit.verify(run.parent, seen=[f"{run}.receipt.json"]).witnesses == 1


def test_nothing_is_signed_and_nothing_run_without_the_key(small, keys):
    done = gwas(small, keys, "--sign", keys / "nobody.secret")
    assert done.code == 6 and "nobody.secret" in done.err
    assert not (keys / "r.run.json").exists() and not (keys / "r.receipt.json").exists()
    rehearsed = gwas(small, keys, "--sign", keys / "anna.secret", "--dry-run")
    assert f"would write {keys}/r.receipt.json" in rehearsed.out and not (keys / "r.receipt.json").exists()
