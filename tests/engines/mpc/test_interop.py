"""Shares go to CrypTen and back without a bit changed; what would not be a secret is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.mpc.crypten import interop
from securegen.engines.mpc.crypten.importing import import_crypten
from securegen.engines.mpc.loopback import free_ports
from securegen.engines.mpc.shares.additive import combine, split
from securegen.engines.mpc.shares.prg import words
from securegen.errors import PolicyError, UsageError

from .crypten_party import run

pytest.importorskip("torch", reason="needs securegen[mpc]")
import_crypten()

HERE = Path(__file__).parent
KEY = bytes(range(16))
NUMBERS = np.array([[-(1 << 62), -3, 0], [1, 5, (1 << 62) - 1]])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two parties and a dealer, each a process, run `interop` of crypten_party.py."""
    roles = {"a": "compute", "b": "compute", "dealer": "dealer"}
    found = run(tmp_path_factory.mktemp("interop"), {"interop": roles})["interop"]
    return [found[name] for name in ("a", "b")]


def together(found, name):
    return combine([np.array(one[name], np.uint64) for one in found])


def test_a_share_is_the_same_words_in_crypten(found):
    own = split(NUMBERS, [KEY], domain="interop"), words(KEY, "interop", number=0, shape=NUMBERS.shape)
    for one, share in zip(found, own, strict=True):
        np.testing.assert_array_equal(np.array(one["there and back"], np.uint64), share)
        assert one["precision"] == 0
    np.testing.assert_array_equal(together(found, "there and back"), NUMBERS)


def test_crypten_opens_our_shares_and_computes_on_them(found):
    for one in found:
        np.testing.assert_array_equal(one["opened"], NUMBERS)
        np.testing.assert_array_equal(one["product"], [[9, -15], [-15, 25]])  # (−3, 5)ᵀ (−3, 5)


def test_a_crypten_tensor_becomes_our_shares(found):
    np.testing.assert_array_equal(together(found, "theirs"), np.array([1.5, -2.25, 2.0**-16]) * 2**16)
    assert [one["their precision"] for one in found] == [16, 16]
    np.testing.assert_array_equal(together(found, "their product"), [-12])


def test_fixed_point_goes_there_and_is_read_at_its_precision(found):
    for one in found:
        assert one["fixed"] == [-2.5, 0.75]


def test_binary_sharings_and_other_things_are_refused(found):
    for one in found:
        assert "binary sharing" in one["binary"] and "not an MPCTensor" in one["plain"]


def test_unhardened_crypten_is_refused_and_taken_by_name_only():
    with pytest.raises(PolicyError, match="predictable randomness"):
        interop.share_from_crypten(object())
    call = (
        "import sys; from securegen.engines.mpc.crypten import interop\n"
        "from securegen.engines.mpc.crypten.insecure import insecure_crypten\n"
        "with insecure_crypten(rank=0, world_size=1, port=int(sys.argv[1])) as crypten:\n"
        "    t = crypten.cryptensor([1.0])\n"
        "    for f in (interop.share_from_crypten, interop.insecure_share_of_shipped_crypten):\n"
        "        try: f(t)\n"
        "        except Exception as e: print(type(e).__name__, e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", call, str(free_ports(1)[0])], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-1500:]
    assert "PolicyError this CrypTen runs on predictable" in done.stdout
    assert "PolicyError with one party its share is the plaintext" in done.stdout
    assert "insecure: shares of CrypTen as shipped" in done.stderr


def test_other_rings_and_precisions_are_refused():
    with pytest.raises(UsageError, match="mod 2\\^64, this share is uint32"):
        interop.share_to_crypten(np.zeros(3, np.uint32))
    with pytest.raises(UsageError, match="precision 40"):
        interop.share_to_crypten(np.zeros(3, np.uint64), precision=40)
