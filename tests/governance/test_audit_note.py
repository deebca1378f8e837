"""Signed notes against notes that others signed; forged ones are refused."""

from __future__ import annotations

import pytest

from securegen.errors import ArtefactError
from securegen.governance.audit_note import Checkpoint, LogKey, LogProof, read_checkpoint, read_note, sign_checkpoint
from securegen.governance.signing import generate, verifies

# From the C2SP specification of notes, and from the tests of Go's sumdb/note.
SIGNED = [
    (
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "This is an example message.\n\n"
        "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
    ),
    (
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
    ),
]


@pytest.mark.parametrize("line, note", SIGNED)
def test_notes_that_others_signed(line, note):
    key = LogKey.from_text(line)
    assert key.to_text() == line
    body, ((name, signature),) = read_note(note.encode(), "a note")
    assert name == key.name and signature[:4] == key.mark
    assert verifies(key.verify_key, body.encode(), signature[4:])
    assert not verifies(key.verify_key, body.upper().encode(), signature[4:])


def test_a_checkpoint_round_trip():
    identity = generate()
    made = sign_checkpoint(7, bytes(range(32)), identity)
    assert read_checkpoint(made.note.encode(), made.key, "x") == made
    assert Checkpoint.from_json(made.to_json()) == made
    assert made.note.split("\n")[:2] == [made.key.name, "7"]
    bare = Checkpoint(7, bytes(32))
    assert Checkpoint.from_json({"size": 7, "root": "00" * 32}) == bare


def test_other_signatures_are_passed_over():
    """A witness of another log signs beside the log's own signature."""
    made = sign_checkpoint(7, bytes(32), generate())
    both = made.note + SIGNED[0][1].split("\n\n")[1]
    assert read_checkpoint(both.encode(), made.key, "x").size == 7
    with pytest.raises(ArtefactError, match="no valid signature"):
        read_checkpoint((made.note.split("\n\n")[0] + "\n\n" + SIGNED[0][1].split("\n\n")[1]).encode(), made.key, "x")


def forged(note: str) -> dict[str, str]:
    body, _, rest = note.partition("\n\n")
    lines = body.split("\n")
    mark = rest.split(" ")[2]
    return {
        "a smaller size": "\n".join([lines[0], "6", lines[2]]) + "\n\n" + rest,
        "another root": "\n".join([lines[0], "7", "B" + lines[2][1:]]) + "\n\n" + rest,
        "an extension line": body + "\nmore\n\n" + rest,
        "a second, bad signature": note + rest.replace(mark[8:12], "AAAA"),
        "no signature": body + "\n\n",
        "another log": note.replace("securegen-audit/", "securegen-audit/0"),
        "leading zeroes": "\n".join([lines[0], "07", lines[2]]) + "\n\n" + rest,
        "a carriage return": note.replace("\n7\n", "\r\n7\r\n"),
        "NUL": note.replace("\n7\n", "\n7\x00\n"),
        "no line's end": note[:-1],
        "no text": rest,
        "huge": note + rest * 1000,
        "Base 64 in another form": note[:-2] + "\n",
    }


@pytest.mark.parametrize("what", list(forged(sign_checkpoint(7, bytes(32), generate()).note)))
def test_forged_checkpoints(what):
    identity = generate()
    made = sign_checkpoint(7, bytes(32), identity)
    note = forged(made.note)[what]
    assert note != made.note
    with pytest.raises(ArtefactError):
        read_checkpoint(note.encode(), made.key, "x")


def test_a_signature_of_another_key_is_refused():
    made = sign_checkpoint(7, bytes(32), generate())
    other = LogKey.of(generate().verify_key)
    with pytest.raises(ArtefactError, match="another log"):
        read_checkpoint(made.note.encode(), other, "x")
    with pytest.raises(ArtefactError, match="no valid signature"):
        read_checkpoint(made.note.encode(), LogKey(made.key.name, other.verify_key), "x")


@pytest.mark.parametrize(
    "change", [{"size": 8}, {"root": "11" * 32}, {"root": "x"}, {"note": "x"}, {"key": "x"}, {"more": 1}]
)
def test_a_witness_that_lies_about_its_note(change):
    made = sign_checkpoint(7, bytes(32), generate())
    with pytest.raises(ArtefactError):
        Checkpoint.from_json(made.to_json() | change)


def test_keys_that_are_none():
    good = LogKey.of(generate().verify_key).to_text()
    for bad in (
        good[:-4],
        good.replace("+", "-"),
        good.replace("securegen", "other"),
        "",
        "a b+00000000+" + good[-44:],
        "\0",
    ):
        with pytest.raises(ArtefactError):
            LogKey.from_text(bad)


def test_proofs_as_text():
    note = sign_checkpoint(9, bytes(32), generate()).note
    for made in (LogProof(3, (bytes(32), bytes(range(32))), note, b"more"), LogProof(0, (), note)):
        assert LogProof.from_bytes(made.to_text().encode(), "x") == made
    text = LogProof(3, (bytes(32),), note, b"more").to_text()
    for bad in (text.replace("proof@v1", "proof@v2"), text.replace("index 3", "index 03"), text.replace("extra ", "extra !"),
                text.replace("AAAAA", "AAAA", 1), text.split("\n\n")[0], text.replace("index 3\n", "")):  # fmt: skip
        with pytest.raises(ArtefactError):
            LogProof.from_bytes(bad.encode(), "x")
