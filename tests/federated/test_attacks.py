"""Attacks on the joint key and on the sums: each works with its protection off and fails with it on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from securegen.ckks import threshold as th
from securegen.errors import PeerError, PolicyError, ProtocolError
from securegen.federated import rounds
from securegen.federated.identity import sha256_file
from securegen.federated.packing import Layout
from securegen.federated.rounds import SecureSum, Session, agree_on_key
from securegen.federated.state import open_state
from securegen.io.output import write_array
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import inverse

ATTACK_SCALE = 100  # log2 of a multiple of s that stands above the smudging
NUMBERS = {"anna": 5, "bert": -17, "cora": 1000}


def total_of(session: Session) -> list[int]:
    """An honest site: makes the key and sums one number."""
    return SecureSum(session, agree_on_key(session)).total([NUMBERS[session.site]])


def multiple_of_key(parameters: th.ThresholdParameters) -> np.ndarray:
    """(1, 2, k, n) ciphertext (0, 2^100): its partial decryption is 2^100 s_i plus smudging."""
    out = np.zeros((1, 2, *parameters.shape), np.uint32)
    out[0, 1] = np.array([pow(2, ATTACK_SCALE, p) for p in parameters.ring.primes], np.uint32)[:, None]
    return out


def read_key(partial: np.ndarray, parameters: th.ThresholdParameters) -> np.ndarray:
    """(n,) coefficients of s_i from the partial decryption of `multiple_of_key`."""
    residues = partial.astype(np.uint64)
    inverse(residues, th.ring_tables(parameters.ring))
    return round_residues(residues[0], parameters.ring.primes, ATTACK_SCALE)[0]


def own_key(trio, site: str) -> np.ndarray:
    folder = next((trio.private / site).glob("study-*"))
    return np.frombuffer(bytes.fromhex(json.loads((folder / "share.json").read_text())["share"]), np.int8)


class RushingSession(Session):
    """A site that looks at what the others open in one step before it decides on its own.

    craft(session, openings of the others) gives the array it then shows.
    """

    target = ""

    @staticmethod
    def craft(session: Session, others: list) -> tuple[dict, np.ndarray]:
        raise NotImplementedError

    def commit_then_open(self, name, make):
        if name != self.target:
            return super().commit_then_open(name, make)
        self.exchange(f"{name}.commit", {"commitment": "00" * 32})
        others = [self.board.read(s, f"{name}.open") for s in self.study.sites if s.name != self.site]
        if None in others:
            raise PeerError("the others have not opened yet")
        value, array = self.craft(self, others)
        path = self.state.array_path("crafted")
        if not path.is_file():
            write_array(path, array)
        body = {"salt": "00", "value": value, "arrays": [sha256_file(path)]}
        return self.exchange(f"{name}.open", body, ["crafted"])


def believe_every_opening(monkeypatch) -> None:
    """The protection off: openings are not compared with what was committed to."""
    monkeypatch.setattr(rounds, "check_opening", lambda *_: None)


class LastShare(RushingSession):
    """Chooses b_P = b* − Σ b_i, so that the joint key is its own."""

    target = "key-share"

    @staticmethod
    def craft(session, others):
        p = session.study.parameters
        nonces = {s.name: session.board.read(s, "key-nonce.open") for s in session.study.sites}
        a = rounds.common_polynomial(session.study, nonces)
        b = th.public_share(p, session.state.share, a)
        q = np.array(p.ring.primes, np.uint64)[:, None]
        for message in others:
            b = (b + q - message.array(0, p.shape)) % q
        return {}, b.astype(np.uint32)


def test_last_site_that_chooses_its_share_owns_the_key_without_commitments(trio, monkeypatch):
    believe_every_opening(monkeypatch)
    keys = trio.drive(agree_on_key, makers={"cora": LastShare})
    p = trio.study.parameters
    layout = Layout(p, 3, (40,))
    secret = np.array([[12345], [-1], [77]])
    ciphertext = th.encrypt(keys["anna"], layout.encode(secret))
    with open_state(trio.private / "cora", trio.study) as memory:
        alone = th.partial_decrypt(p, memory.share, ciphertext[:, 1], th.fresh_key())
    nothing = [np.zeros_like(alone)] * 2
    assert np.array_equal(layout.decode(th.combine(p, ciphertext[:, 0], [alone, *nothing])), secret)


def test_last_site_that_chooses_its_share_is_named(trio):
    with pytest.raises(ProtocolError, match="site cora opened something else in key-share than it had committed to"):
        trio.drive(agree_on_key, makers={"cora": LastShare})


class RushingCiphertext(RushingSession):
    """Sends (0, 2^100) less the others' ciphertexts, so that the sum asks every site for its key."""

    target = "design-0001"

    @staticmethod
    def craft(session, others):
        p = session.study.parameters
        q = np.array(p.ring.primes, np.uint32)[:, None]
        crafted = multiple_of_key(p)
        for message in others:
            crafted = th.add(crafted, (q - message.array(0, crafted.shape)) % q, p.ring)
        return others[0].body["value"], crafted


def test_rushing_ciphertext_reads_every_key_without_commitments(trio, monkeypatch):
    believe_every_opening(monkeypatch)
    trio.drive(total_of, makers={"cora": RushingCiphertext})
    p = trio.study.parameters
    for site in ("anna", "bert"):
        message = trio.board().read(trio.study.site(site), "design-0001.partial")
        assert np.array_equal(read_key(message.array(0, (1, *p.shape)), p), own_key(trio, site))


def test_rushing_ciphertext_is_named_before_anything_is_decrypted(trio):
    with pytest.raises(ProtocolError, match="site cora opened something else in design-0001"):
        trio.drive(total_of, makers={"cora": RushingCiphertext})
    assert not any((trio.folder / site / "design-0001.partial.json").is_file() for site in ("anna", "bert"))


def test_partial_decryption_of_a_crafted_aggregate_is_the_key(trio):
    """Why a site must never decrypt what it is handed: this is the protection off."""
    p = trio.study.parameters
    with open_state(trio.private / "anna", trio.study) as memory:
        d = th.partial_decrypt(p, memory.share, multiple_of_key(p)[:, 1], th.fresh_key())
        assert np.array_equal(read_key(d, p), own_key(trio, "anna"))


def advance(trio, path) -> None:
    """Let the sites take turns until a file is there and somebody still waits."""
    for _ in range(20):
        for site in trio.identities:
            with pytest.raises(PeerError):
                trio.act_once(site, total_of)
            if path.is_file():
                return
    raise AssertionError(f"{path} never came")


@pytest.mark.parametrize("victim", ["anna", "bert", "cora"])
def test_hub_that_puts_a_crafted_ciphertext_into_the_folder_is_caught(trio, victim):
    """Whoever's opening the hub replaces: the site that reads it stops, and gives no partial decryption."""
    advance(trio, trio.folder / victim / "design-0001.open.json")
    write_array(trio.folder / victim / "design-0001.open.0000.npy", multiple_of_key(trio.study.parameters))
    with pytest.raises(ProtocolError, match=f"site {victim}: .* is not the file that the site signed"):
        trio.drive(total_of)
    others = set(trio.identities) - {victim}  # the victim may have opened the genuine sum before
    assert not any((trio.folder / site / "design-0001.partial.json").is_file() for site in others)


def test_a_second_sum_for_a_step_is_refused(trio):
    trio.drive(total_of)
    with open_state(trio.private / "anna", trio.study) as memory:
        used = memory.opened()
        with pytest.raises(ProtocolError, match="one sum a step, and no second"):
            memory.claim("design-0001", "ab" * 32, 1, trio.study.ciphertexts)
        with pytest.raises(PolicyError, match=f"allows 512 opened ciphertexts, {used} are used"):
            memory.claim("design-0002", "ab" * 32, 512, trio.study.ciphertexts)


def test_a_repeated_partial_decryption_is_the_same_to_the_byte(trio, monkeypatch):
    """Fresh smudging at each repetition would average away; a repetition here is no new information."""
    path = trio.folder / "anna" / "design-0001.partial.0000.npy"
    advance(trio, path)

    def repeat() -> bytes:
        """anna loses what it sent, and its memory of having sent it."""
        for stale in (*(trio.private / "anna").glob("study-*/*design-0001.partial*"), *path.parent.glob("*.partial*")):
            stale.unlink()
        with pytest.raises(PeerError):
            trio.act_once("anna", total_of)
        return path.read_bytes()

    first = path.read_bytes()
    assert repeat() == first
    monkeypatch.setattr("securegen.federated.state.SiteState.mac", lambda *_: th.fresh_key() * 2)  # the protection off
    assert repeat() != first


def test_sites_that_are_shown_different_folders_stop(trio):
    """The hub gives bert another commitment of anna's than the others: anna's key signed both."""
    from securegen.federated.board import sign_message

    def until_commit(session: Session) -> None:
        agree_on_key(session)

    for site in ("anna", "bert"):
        with pytest.raises(PeerError):
            trio.act_once(site, until_commit)
    body = {"commitment": "11" * 32, "arrays": [], "after": trio.study.digest}
    other = sign_message(trio.study, "anna", "key-nonce.commit", body, trio.identities["anna"])
    path = trio.folder / "anna" / "key-nonce.commit.json"
    genuine = path.read_text()
    with pytest.raises(PeerError):
        trio.act_once("cora", until_commit)
    path.write_text(other)
    with pytest.raises(PeerError):
        trio.act_once("bert", until_commit)
    path.write_text(genuine)
    with pytest.raises(ProtocolError, match="are shown different folders|committed to"):
        trio.drive(until_commit)
