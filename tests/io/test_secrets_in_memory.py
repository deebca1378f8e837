"""Objects that hold secrets: not pickled, and nothing of them is shown."""

from __future__ import annotations

import copy
import pickle
import pprint
import re
from pathlib import Path

import pytest

import securegen
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.planner import Workload, choose
from securegen.engines.federated.pair_keys import PairKeys
from securegen.engines.federated.state import SiteState
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.governance import signing
from securegen.io.envelope import Unpicklable

PACKAGE = Path(securegen.__file__).parent
SECRET = b"never in a file, never shown ..."


def secret_key():
    key = generate(choose(Workload(20, 10, 2, 16)).parameters)
    return key, [key.master, key.signing_key, key.residues[0, :8].tobytes()]


def made(tmp_path):
    signer = signing.generate()
    return {
        "SecretKey": secret_key(),
        "SigningIdentity": (signer, [signer.signing_key]),
        "PairKeys": (PairKeys({"b": SECRET}, {"b": SECRET}), [SECRET]),
        "SiteState": (SiteState(tmp_path, SECRET), [SECRET]),
        "PartyIdentity": (PartyIdentity("a", tmp_path, tmp_path, tmp_path, SECRET), [SECRET]),
    }


KINDS = ["SecretKey", "SigningIdentity", "PairKeys", "SiteState", "PartyIdentity"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_neither_pickled_nor_shown(kind, tmp_path, monkeypatch):
    value, secrets = made(tmp_path)[kind]
    for given in (value, [value], {"key": value}):
        with pytest.raises(TypeError, match=f"a {kind} holds secrets and is not pickled"):
            pickle.dumps(given)
    assert copy.deepcopy([value])[0] is value and copy.copy(value) is value
    shown = "".join((repr(value), str([value]), pprint.pformat({"key": value})))
    assert not any(repr(secret)[2:10] in shown or secret.hex()[:8] in shown for secret in secrets)
    monkeypatch.delattr(Unpicklable, "__reduce_ex__")
    assert all(secret in pickle.dumps(value) for secret in secrets), "without it the pickle is the key"


def test_every_class_that_hides_a_field_of_bytes_is_here():
    """A field of bytes that `repr` leaves out is a secret, but for a line of the audit log. Those of the ledger and of draws
    of noise are gone with the block that opened them."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for text in path.read_text().split("\nclass ")[1:]:
            if re.search(r"^    \w+: bytes\b.*field\(.*repr=False\)", text, re.MULTILINE):
                found.add(re.match(r"\w+", text)[0])
    assert found == set(KINDS) - {"PairKeys"} | {"Entries", "Entry", "NoiseEntries"}
