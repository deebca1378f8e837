"""Signed messages in a folder: every alteration is caught and named; sums over sites; a site that is silent or stopped."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from securegen.errors import PeerError, ProtocolError, StorageError
from securegen.federated import hub, identity
from securegen.federated.board import sign_message
from securegen.federated.packing import field_bits
from securegen.federated.rounds import SecureSum, Session, agree_on_key
from securegen.federated.state import open_state

SITES = ("anna", "bert", "cora")
LARGE = (1 << 180) + 12345


def own_rows(site: str) -> np.ndarray:
    rng = np.random.default_rng(SITES.index(site))
    return np.stack([rng.integers(-500, 500, 9000), rng.integers(-(2**40), 2**40, 9000)], 1)


def act(session: Session) -> tuple[list[int], np.ndarray, list[str]]:
    secure = SecureSum(session, agree_on_key(session))
    index = SITES.index(session.site)
    exact = secure.total([index, -LARGE * index])
    rows = secure.rows("variants-00000", 9000, (field_bits(1500), field_bits(3 << 40)), lambda: own_rows(session.site))
    return exact, rows, list(secure.opened)


def test_sums_are_exact_and_the_same_at_every_site(trio):
    results = trio.drive(act)
    for exact, rows, opened in results.values():
        assert exact == [3, -3 * LARGE]
        assert np.array_equal(rows, sum(own_rows(s) for s in SITES))
        assert opened == ["design-0001", "variants-00000"]


def test_a_finished_site_repeats_nothing(trio):
    first = trio.drive(act)
    before = {p: p.read_bytes() for p in trio.folder.rglob("*") if p.is_file()}
    again = trio.drive(act, turns=1)
    assert again["bert"][0] == first["bert"][0] and np.array_equal(again["bert"][1], first["bert"][1])
    assert {p: p.read_bytes() for p in trio.folder.rglob("*") if p.is_file()} == before


STEPS = ("key-nonce.commit", "key-nonce.open", "key-share.commit", "key-share.open", "design-0001.commit",
         "design-0001.open", "design-0001.partial")  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_every_altered_message_is_caught_and_named(trio, step):
    """One changed byte of bert's message, or of the array beside it, stops the others; put back, they go on."""
    target = trio.folder / "bert" / f"{step}.json"
    _advance_to(trio, target)
    files = [target, *target.parent.glob(f"{step}.*.npy")]
    assert len(files) == (2 if step in ("key-share.open", "design-0001.open", "design-0001.partial") else 1)
    for path in files:
        raw = path.read_bytes()
        path.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])
        with pytest.raises(ProtocolError, match="site bert"):
            _only(trio, ("anna", "cora"))
        path.write_bytes(raw)
    assert trio.drive(act)["anna"][0] == [3, -3 * LARGE]


def _advance_to(trio, target) -> None:
    """Let bert run ahead of the others until its message is there."""
    for _ in range(20):
        for site in ("bert", "anna", "cora"):
            if target.is_file():
                return
            with pytest.raises(PeerError):
                trio.act_once(site, act)
    raise AssertionError(f"{target} never came")


def _only(trio, sites, turns: int = 3) -> None:
    for _ in range(turns):
        for site in sites:
            try:
                trio.act_once(site, act)
            except PeerError:
                continue


def _replace(trio, site: str, step: str, signer: str, **body) -> None:
    text = sign_message(trio.study, site, step, body, trio.identities[signer])
    path = trio.folder / site / f"{step}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_a_message_signed_by_another_site_is_refused(trio):
    _replace(trio, "bert", "key-nonce.commit", "cora", commitment="00" * 32)
    with pytest.raises(ProtocolError, match="site bert: .* is not signed by that site"):
        trio.act_once("anna", act)


def test_a_message_of_another_step_study_or_site_is_refused(trio, tmp_path):
    folder = trio.folder / "bert"
    folder.mkdir()
    for field, value in (("step", "key-share.commit"), ("study", "00" * 32), ("site", "cora")):
        full = {
            "commitment": "00" * 32,
            "study": trio.study.digest,
            "site": "bert",
            "step": "key-nonce.commit",
            field: value,
        }
        signature = trio.identities["bert"].sign(b"securegen federated message " + identity.canonical(full))
        (folder / "key-nonce.commit.json").write_text(json.dumps({"body": full, "signature": signature.hex()}))
        with pytest.raises(ProtocolError, match="site bert: .* another study, site or step"):
            trio.act_once("anna", act)


def test_a_second_message_of_a_site_is_refused(trio):
    """bert signs two different commitments: whoever has seen the first does not take the second."""
    _advance_to(trio, trio.folder / "anna" / "key-nonce.open.json")
    seen = [s for s in ("anna", "cora") if (trio.folder / s / "key-nonce.open.json").is_file()]
    _replace(trio, "bert", "key-nonce.commit", "bert", commitment="22" * 32, arrays=[], after=trio.study.digest)
    for site in seen:
        with pytest.raises(ProtocolError, match="site bert sent a second message for key-nonce.commit"):
            trio.act_once(site, act)


@pytest.mark.parametrize("what", ["no array", "residues above their prime"])
def test_malformed_contents_are_refused_by_name(trio, what):
    """Properly signed and committed to, and still not what the protocol allows."""

    class Malformed(Session):
        def commit_then_open(self, name, make):
            if name != "key-share":
                return super().commit_then_open(name, make)
            if what == "no array":
                return super().commit_then_open(name, lambda: ({}, []))
            path = self.state.write_array("malformed", np.full(self.study.parameters.shape, 2**32 - 1, np.uint32))
            return super().commit_then_open(name, lambda: ({}, [path.stem]))

    with pytest.raises(ProtocolError, match="site bert sent"):
        trio.drive(act, makers={"bert": Malformed})
    assert not list(trio.folder.glob("*/design-0001*"))


def test_a_silent_site_is_named(trio):
    with pytest.raises(PeerError, match="waiting for key-nonce.commit of site bert, cora"):
        trio.act_once("anna", act)


def test_a_site_that_stopped_is_named(trio):
    trio.board().announce_stop("bert", "InputError", trio.identities["bert"])
    with pytest.raises(PeerError, match="site bert stopped with InputError"):
        trio.act_once("anna", act)
    progress = {p.site: p for p in hub.progress(trio.folder, trio.study)}
    assert progress["bert"].stopped == "InputError" and not progress["anna"].stopped
    trio.board().withdraw_stop("bert")
    assert trio.drive(act)["bert"][0][0] == 3


def test_two_processes_of_one_site_are_refused(trio):
    with open_state(trio.private / "anna", trio.study), pytest.raises(StorageError, match="another process works"):
        trio.act_once("anna", act)


def test_the_private_state_is_private(trio):
    trio.drive(agree_on_key)
    for path in (trio.private / "anna").rglob("*"):
        assert os.stat(path).st_mode & 0o077 == 0, path


def test_no_secret_is_in_the_shared_folder(trio):
    trio.drive(act)
    posted = b"".join(p.read_bytes() for p in trio.folder.rglob("*") if p.is_file())
    for site in SITES:
        secret = json.loads(next((trio.private / site).glob("study-*/share.json")).read_text())
        for value in (secret["master"], secret["share"], trio.identities[site].signing_key.hex()):
            assert value.encode() not in posted and bytes.fromhex(value) not in posted


def test_sites_that_sum_different_numbers_are_named(trio):
    def confused(session: Session):
        secure = SecureSum(session, agree_on_key(session))
        count = 2 if session.site == "cora" else 3
        return secure.rows("variants-00000", count, (20,), lambda: np.zeros((count, 1), np.int64))

    with pytest.raises(ProtocolError, match="site cora sums other numbers|site anna sums other numbers"):
        trio.drive(confused)
