"""A party with the right key that sends what no honest one does: every frame is bounded and checked before it is used."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest

from securegen.engines.mpc.net import transport
from securegen.engines.mpc.net.frames import ABORT, ARRAY, JSON, MAX_TEXT, Frame, header, read_frame
from securegen.errors import PeerError, ProtocolError
from securegen.io.schema import printable
from securegen.io.strict_json import MOST_CONTAINERS

PAIR = ("ada", "bob")


def raw(s, kind, payload, head=None):
    """Send a frame of ours below the API."""
    payload = np.frombuffer(payload, np.uint8) if isinstance(payload, bytes) else payload
    head = head or header(kind, s.id, 1, "x", payload)
    s.mesh.flush()  # what the mesh writes itself must be out
    with contextlib.suppress(OSError):
        s.mesh._links.outgoing["bob"].sendall(head + payload.tobytes())
    s.receive("bob", "never")


def frame(text):
    return Frame(JSON, bytes(16), 0, "x", np.frombuffer(text, np.uint8))


BOMBS = {
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "digits": b"[" + b"9" * 5000 + b"]",
    "not a number": b'{"a":NaN}',
    "infinite": b'{"a":1e999}',
    "a key twice": b'{"a":1,"a":2}',
    "no text": b"\xff\xfe[",
    "lists": b"[" + b"[]," * MOST_CONTAINERS + b"[]]",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_json_that_no_party_writes_is_a_protocol_error(bomb):
    with pytest.raises(ProtocolError, match="is damaged"):
        frame(BOMBS[bomb]).json()


def test_what_the_parser_does_without_these_rules():
    """The control: other exceptions than a protocol error, or values that later code does not expect."""
    with pytest.raises(RecursionError):
        json.loads(BOMBS["deep"])
    with pytest.raises(ValueError, match="digits"):
        json.loads(BOMBS["digits"])
    assert json.loads(BOMBS["infinite"]) == {"a": float("inf")} and json.loads(BOMBS["a key twice"]) == {"a": 2}
    with pytest.raises(OverflowError):
        int(json.loads(BOMBS["infinite"])["a"])


def test_brackets_in_texts_are_no_lists():
    assert frame(b'{"a":["<INS:ME>","]1:5]A",1.5,-3]}').json() == {"a": ["<INS:ME>", "]1:5]A", 1.5, -3]}


@pytest.mark.parametrize("bomb", ["deep", "digits"])
def test_such_a_message_ends_the_session_as_a_protocol_error(study, bomb):
    out = study(PAIR).run({"ada": lambda s: raw(s, JSON, BOMBS[bomb]), "bob": lambda s: s.receive_json("ada", "x")})
    assert isinstance(out["bob"], ProtocolError) and "party 'ada'" in str(out["bob"]), out
    assert isinstance(out["ada"], PeerError)


def bytes_of(shape, code, size=0, kind=ARRAY):
    head = bytearray(header(kind, bytes(16), 1, "x", np.zeros((0,) * len(shape), np.uint8)))
    head[5] = code
    head[32:40] = size.to_bytes(8, "little")
    for i, axis in enumerate(shape):
        head[40 + 8 * i : 48 + 8 * i] = axis.to_bytes(8, "little")
    return bytes(head)


def reader(data):
    view = memoryview(data)

    def fill(target):
        nonlocal view
        assert len(target) <= len(view), "memory was taken for bytes that nobody sent"
        target[:], view = view[: len(target)], view[len(target) :]

    return fill


@pytest.mark.parametrize(
    "head",
    [
        bytes_of((0, (1 << 63) + 1), 7),  # no bytes, and no array either
        bytes_of((1 << 62, 0), 1),
        bytes_of((1 << 30, 1 << 30, 0), 1),
        bytes_of((1 << 32, 1 << 32), 7),  # 2^64 elements: 0 in 64 bits
        bytes_of((1 << 31,), 1, 1 << 31),
        bytes_of((2,), 7, 15),
        bytes_of((3,), 11, 3),  # no such dtype
        bytes_of((MAX_TEXT + 1,), 1, MAX_TEXT + 1, kind=ABORT),
    ],
)
def test_shapes_that_are_none_are_refused_before_memory_is_taken(head):
    with pytest.raises(ProtocolError):
        read_frame(reader(head))


def test_an_axis_of_zero_would_hide_one_that_numpy_refuses():
    with pytest.raises(ValueError, match="(?i)dimension|too big"):
        np.empty((0, (1 << 63) + 1), np.uint64)


def test_truth_values_are_zero_or_one():
    def sent(byte):
        return header(ARRAY, bytes(16), 0, "x", np.zeros(1, np.bool_)) + byte

    assert read_frame(reader(sent(b"\1"))).payload.tolist() == [True]
    with pytest.raises(ProtocolError, match="neither 0 nor 1"):
        read_frame(reader(sent(b"\2")))


def test_whatever_a_frame_provokes_in_the_reader_ends_the_session_at_once(study, monkeypatch):
    """Else the reader is gone, and bob calls ada stalled when the timeout is over."""
    take = transport.Mesh._take

    def broken(mesh, name, peer, frame):
        if frame.step == "bad":
            raise OverflowError("as numpy raises")
        take(mesh, name, peer, frame)

    monkeypatch.setattr(transport.Mesh, "_take", broken)

    def ada(s):
        s.send("bob", "bad", np.zeros(1, np.uint8))
        s.receive("bob", "never")

    start = time.monotonic()
    out = study(PAIR).run({"ada": ada, "bob": lambda s: s.receive("ada", "bad")})
    assert isinstance(out["bob"], ProtocolError) and "OverflowError" in str(out["bob"]), out
    assert time.monotonic() - start < 30


def test_the_reason_of_an_abort_cannot_forge_a_log(study):
    evil = "over\nresult: chr1 1 A G 1e-300\x1b[2J\r"

    def ada(s):
        raw(s, ABORT, json.dumps({"party": "ada", "reason": evil}).encode())

    out = study(PAIR).run({"ada": ada, "bob": lambda s: s.receive("ada", "x")})
    assert isinstance(out["bob"], PeerError) and "ended the session: over?result" in str(out["bob"])
    assert str(out["bob"]).isprintable() and not evil.isprintable()
    assert printable("é\x85", 9) == "é?"


@pytest.mark.parametrize("protected", [False, True])
def test_empty_frames_take_a_bounded_place_too(study, monkeypatch, protected):
    """A frame without payload still costs its receiver half a kilobyte."""
    monkeypatch.setattr(transport, "_BUFFER", 1 << 20)
    if not protected:
        monkeypatch.setattr(transport, "_FRAME", 0)
    count, waiting = 5000, []

    def ada(s):
        for _ in range(count):
            s.send("bob", "x", np.empty(0, np.uint8))
        s.receive("bob", "done")

    def bob(s):
        deadline, peer = time.monotonic() + 50, s.mesh._peers["ada"]
        while time.monotonic() < deadline and len(peer.inbox) < count and peer.inbox_bytes <= transport._BUFFER:
            time.sleep(0.05)
        time.sleep(0.2)  # a reader that does not stop would go on
        waiting.append(len(peer.inbox))
        for _ in range(count):
            s.receive("ada", "x")
        s.send("ada", "done", np.empty(0, np.uint8))

    out = study(PAIR).run({"ada": ada, "bob": bob})
    assert out == {"ada": None, "bob": None} or out["ada"] is None, out
    assert (waiting[0] == count) != protected and (not protected or waiting[0] <= 1100), waiting


def test_terms_are_small(study):
    def terms(s):
        s.send_json("bob", "x", "a" * MAX_TEXT)
        s.receive("bob", "never")

    out = study(PAIR).run({"ada": terms, "bob": lambda s: s.receive_json("ada", "x", limit=1000)})
    assert isinstance(out["bob"], ProtocolError) and "at most 1000" in str(out["bob"])
