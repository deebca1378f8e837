"""Signed envelopes: the vector of their specification, and every way in which one may be altered."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from securegen.errors import ArtefactError
from securegen.governance.dsse import MOST_SIGNATURES, Envelope, EnvelopeSignature, pae
from securegen.governance.signing import fingerprint, generate

# protocol.md of github.com/secure-systems-lab/dsse, "Test Vectors": ECDSA over P-256 and SHA-256, r and s in a row.
X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
SIGNATURE = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
ANNA, BERT = generate(), generate()
SIGNED = Envelope("a/b", b"payload").signed_by(ANNA)


def test_the_specification_signed_what_we_encode():
    raw = base64.b64decode(SIGNATURE)
    der = utils.encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key = ec.EllipticCurvePublicNumbers(X, Y, ec.SECP256R1()).public_key()
    key.verify(der, pae("http://example.com/HelloWorld", b"hello world"), ec.ECDSA(SHA256()))


def test_lengths_are_of_bytes():
    assert pae("é", "é€".encode()) == b"DSSEv1 2 \xc3\xa9 5 \xc3\xa9\xe2\x82\xac"
    assert pae("", b"") == b"DSSEv1 0  0 "


@given(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_two_envelopes_never_encode_to_the_same_bytes(kind, payload, other, other_payload):
    assert (pae(kind, payload) == pae(other, other_payload)) == ((kind, payload) == (other, other_payload))


def test_another_program_reads_it():
    """What a verifier of DSSE does, in its own lines."""
    fields = json.loads(SIGNED.to_bytes())
    payload, (signature,) = base64.b64decode(fields["payload"]), fields["signatures"]
    signed = f"DSSEv1 {len(fields['payloadType'])} {fields['payloadType']} {len(payload)} ".encode() + payload
    Ed25519PublicKey.from_public_bytes(ANNA.verify_key).verify(base64.b64decode(signature["sig"]), signed)
    assert Envelope.from_bytes(SIGNED.to_bytes(), "x") == SIGNED


def test_both_alphabets_of_base64_are_read():
    raw = SIGNED.to_bytes().decode()
    for _ in range(40):  # until a signature has one of the letters that differ
        if "+" in raw or "/" in raw.split('"sig"')[1]:
            break
        raw = Envelope("a/b", b"payload").signed_by(generate()).to_bytes().decode()
    fields = json.loads(raw)
    for s in fields["signatures"]:
        s["sig"] = s["sig"].translate(str.maketrans("+/", "-_"))
    assert Envelope.from_bytes(json.dumps(fields).encode(), "x") == Envelope.from_bytes(raw.encode(), "x")


@pytest.mark.parametrize(
    "changed",
    [
        replace(SIGNED, payload_type="a/c"), replace(SIGNED, payload=b"payloae"), replace(SIGNED, payload=b""),
        replace(SIGNED, payload_type="a/b 7 payload", payload=b""), replace(SIGNED, signatures=()),
        replace(SIGNED, signatures=(EnvelopeSignature(ANNA.verify_key.hex(), bytes(64)),)),
        Envelope("a/b", b"payload").signed_by(BERT),
        replace(SIGNED, signatures=(EnvelopeSignature(ANNA.verify_key.hex(), BERT.sign(pae("a/b", b"payload"))),)),
    ],
)  # fmt: skip
def test_what_a_named_key_did_not_sign_is_refused(changed):
    assert SIGNED.require([ANNA.verify_key], [fingerprint(ANNA.verify_key)], "x") == {ANNA.verify_key}
    for keys, marks in (([ANNA.verify_key], []), ([], [fingerprint(ANNA.verify_key)])):
        with pytest.raises(ArtefactError, match=fingerprint(ANNA.verify_key)):
            changed.require(keys, marks, "x")


def test_a_keyid_is_a_hint():
    """A right signature under another's name is the signer's, and nobody else's."""
    lied = replace(SIGNED, signatures=(replace(SIGNED.signatures[0], keyid=BERT.verify_key.hex()),))
    assert lied.signers([ANNA.verify_key, BERT.verify_key]) == {ANNA.verify_key} and lied.named() == set()
    bare = replace(SIGNED, signatures=(replace(SIGNED.signatures[0], keyid=""),))
    assert bare.require([ANNA.verify_key], [], "x") == {ANNA.verify_key}


def test_two_signatures_of_one_key_are_one():
    """Under another keyid too: of two named keys both must have signed."""
    twice = replace(SIGNED, signatures=(*SIGNED.signatures, replace(SIGNED.signatures[0], keyid=BERT.verify_key.hex())))
    with pytest.raises(ArtefactError, match=fingerprint(BERT.verify_key)):
        twice.require([ANNA.verify_key, BERT.verify_key], [], "x")
    both = SIGNED.signed_by(BERT)
    assert both.require([ANNA.verify_key, BERT.verify_key], [], "x") == {ANNA.verify_key, BERT.verify_key}
    assert len(both.signed_by(ANNA).signatures) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "!!"}, {"payload": 7}, {"payload": "QQ"}, {"signatures": []}, {"signatures": [{"keyid": "a"}]},
        {"signatures": [{"sig": "é"}]}, {"payloadType": ""}, {"payloadType": None}, {"signatures": {"sig": "QQ=="}},
        {"signatures": [{"sig": "QQ=="}] * (MOST_SIGNATURES + 1)},
    ],
)  # fmt: skip
def test_crafted_envelopes_are_refused(change):
    fields = json.loads(SIGNED.to_bytes()) | change
    with pytest.raises(ArtefactError, match="crafted"):
        Envelope.from_bytes(json.dumps(fields).encode(), "crafted")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(raw):
    with pytest.raises(ArtefactError):
        Envelope.from_bytes(raw, "x")


def test_a_signature_of_any_length_is_just_wrong():
    for size in (0, 1, 63, 65, 300):
        odd = replace(SIGNED, signatures=(EnvelopeSignature(ANNA.verify_key.hex(), bytes(size)),))
        assert Envelope.from_bytes(odd.to_bytes(), "x").named() == set()
