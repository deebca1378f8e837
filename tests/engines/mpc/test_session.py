"""Sessions over real TLS: arrays arrive exactly, traffic is counted, disagreement is named by both sides."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.errors import PeerError, ProtocolError, SecuregenError

from .conftest import results

TRIO = ("ada", "bob", "cyd")


def test_arrays_of_every_dtype_and_shape_arrive(study):
    arrays = [np.arange(6, dtype=d).reshape(2, 3) for d in ("u1", "i1", "i2", "i4", "i8", "u4", "u8", "f4", "f8")] + [
        np.array([True, False]),
        np.empty((0, 4), np.int64),
        np.array(5, np.uint64),
        np.asfortranarray(np.eye(3)),
    ]

    def ada(s):
        for number, array in enumerate(arrays):
            s.send("bob", f"a/{number}", array)

    def bob(s):
        return [s.receive("ada", f"a/{number}", shape=a.shape, dtype=a.dtype) for number, a in enumerate(arrays)]

    got = results(study(("ada", "bob")).run({"ada": ada, "bob": bob}))["bob"]
    for sent, received in zip(arrays, got, strict=True):
        np.testing.assert_array_equal(sent, received)


def test_traffic_counts_payload_and_rounds(study):
    def party(s):
        for step in range(3):
            for other in s.others:
                s.send(other, f"s/{step}", np.zeros(1000, np.uint64))
            for other in s.others:
                s.receive(other, f"s/{step}")
        return s.traffic

    s = study(TRIO)
    traffic = results(s.run(dict.fromkeys(TRIO, party)))
    for name in TRIO:
        assert traffic[name].rounds == 3 + 1  # and one to agree
        for other in set(TRIO) - {name}:
            assert 3 * 8000 < traffic[name].sent[other] < 3 * 8000 + 1500


def test_more_than_the_buffers_hold_flows_while_the_other_side_sends_too(study):
    big = np.arange(9 << 20, dtype=np.uint64)  # 72 MiB, above the buffer of one direction

    def party(other):
        def program(s):
            s.send(other, "x", big)
            s.send(other, "y", big[:10])
            total = s.receive(other, "x").sum()
            s.receive(other, "y")
            return total

        return program

    out = results(study(("ada", "bob")).run({"ada": party("bob"), "bob": party("ada")}))
    assert out["ada"] == out["bob"] == big.sum()


def test_other_dimensions_are_named_on_both_sides(study):
    s = study(("ada", "bob"))
    out = {}

    def body(name, samples):
        try:
            with s.open(name, dimensions={"samples": samples}):
                out[name] = "agreed"
        except SecuregenError as error:
            out[name] = error

    s.threads({"ada": lambda: body("ada", 500), "bob": lambda: body("bob", 499)}, out)
    assert all(isinstance(e, ProtocolError | PeerError) for e in out.values()), out
    assert all("dimension samples" in str(e) and "499" in str(e) and "500" in str(e) for e in out.values())


def test_other_protocol_is_refused(study):
    s = study(("ada", "bob"))
    out = {}

    def body(name, protocol):
        try:
            with s.open(name, protocol=protocol):
                out[name] = "agreed"
        except SecuregenError as error:
            out[name] = error

    s.threads({"ada": lambda: body("ada", "sum/1"), "bob": lambda: body("bob", "sum/2")}, out)
    assert all("sum/1" in str(e) and "sum/2" in str(e) for e in out.values()), out


def test_the_reason_of_a_local_error_stays_local(study):
    def ada(s):
        raise ValueError("the phenotype of person 17 is 42")

    def bob(s):
        s.receive("ada", "x")

    out = study(("ada", "bob")).run({"ada": ada, "bob": bob})
    assert isinstance(out["bob"], PeerError) and "ValueError" in str(out["bob"])
    assert "42" not in str(out["bob"]) and "17" not in str(out["bob"])


@pytest.mark.parametrize("wrong", ["step", "shape", "dtype"])
def test_desynchronised_frame_ends_every_party(study, wrong):
    def ada(s):
        s.send("bob", "other" if wrong == "step" else "x", np.zeros(3 if wrong == "shape" else 2, np.int64))
        s.receive("cyd", "never")

    def bob(s):
        s.receive("ada", "x", shape=(2,), dtype=np.int32 if wrong == "dtype" else np.int64)

    def cyd(s):
        s.receive("bob", "never")

    out = study(TRIO).run({"ada": ada, "bob": bob, "cyd": cyd})
    assert isinstance(out["bob"], ProtocolError) and "desynchronised" in str(out["bob"])
    for name in ("ada", "cyd"):
        assert isinstance(out[name], PeerError) and "party 'ada'" in str(out[name]), out
