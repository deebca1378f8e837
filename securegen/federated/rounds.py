"""The conversation of the sites: joint key, and sums that are opened only together.

Every value is committed to by all sites before any site shows its own, so nobody can choose a key share or a ciphertext
after seeing the others'. A site adds the opened ciphertexts itself and gives a partial decryption of that sum alone, once
for each step; nothing else that lies in the folder is ever decrypted. The smudging of a partial decryption comes from the
site's secret and the digest of the sum: sent again, it is the same.

Every message names the digest of all messages before it, so sites that were shown different messages stop.

Trust: honest-but-curious sites of which one does not collude, and a hub that may do anything. What a malicious site can do
to the totals (false sums, false partial decryptions) is in docs/threat-model-federated.md.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from securegen.ckks import threshold
from securegen.errors import ProtocolError
from securegen.federated.board import Board, Message, sign_message
from securegen.federated.identity import Identity, canonical, sha256, sha256_file
from securegen.federated.packing import LIMB_BITS, LIMBS, Layout, from_limbs, limbs_of
from securegen.federated.state import SiteState
from securegen.federated.studyfile import Study

BATCH = 32  # ciphertexts an array


def commitment(study: str, site: str, name: str, opening: dict[str, Any]) -> str:
    """SHA-256 of who opens what in which step, with the opening's 256-bit salt."""
    shown = {part: opening.get(part) for part in ("salt", "value", "arrays")}
    return sha256(b"securegen commitment", study.encode(), site.encode(), name.encode(), canonical(shown))


def check_opening(study: str, name: str, committed: Message, opened: Message) -> None:
    """Raise ProtocolError naming the site unless it opened what it had committed to."""
    if committed.body.get("commitment") != commitment(study, opened.site, name, opened.body):
        raise ProtocolError(f"site {opened.site} opened something else in {name} than it had committed to")


class Session:
    """One site's part in the conversation of a study. transcript: digest of everything all sites have said so far."""

    def __init__(self, board: Board, site: str, identity: Identity, state: SiteState) -> None:
        self.board, self.site, self.state, self.study = board, site, state, board.study
        self._identity = identity
        self.transcript = self.study.digest

    def exchange(self, step: str, body: dict[str, Any], arrays: Sequence[str] = ()) -> dict[str, Message]:
        """Post the own message of a step, or post the same again, and wait for everybody's.

        arrays: names of the state's arrays that go with it. Raises ProtocolError naming a site whose message is altered,
        is a second one, or answers to other messages than those here; PeerError naming a silent one.
        """
        paths = [self.state.array_path(a) for a in arrays]
        if "arrays" not in body:
            body = {**body, "arrays": [sha256_file(p) for p in paths]}
        body = {**body, "after": self.transcript}
        text = self.state.remember_text(
            f"sent.{step}.json", lambda: sign_message(self.study, self.site, step, body, self._identity)
        )
        self.board.post(self.site, step, text, paths)
        messages = self.board.collect(step)
        seen = self.state.remember(f"seen.{step}", lambda: {site: m.digest for site, m in messages.items()})
        for site, message in messages.items():
            if seen.get(site) != message.digest:
                raise ProtocolError(f"site {site} sent a second message for {step}, unlike its first")
            if message.body.get("after") != self.transcript:
                raise ProtocolError(
                    f"site {site} answered in {step} to other messages than those here: the sites are shown different folders"
                )
        self.transcript = sha256(self.transcript.encode(), step.encode(), canonical(seen))
        return messages

    def commit_then_open(self, name: str, make: Callable[[], tuple[dict[str, Any], list[str]]]) -> dict[str, Message]:
        """All sites commit, then all open. make() gives the own value and the names of its arrays in the state; it is
        called once, and what it gave is on disk before anything is sent. Returns the checked openings."""

        def opening() -> dict[str, Any]:
            value, names = make()
            digests = [sha256_file(self.state.array_path(a)) for a in names]
            return {"salt": secrets.token_hex(32), "value": value, "arrays": digests, "files": names}

        own = self.state.remember(f"opening.{name}", opening)
        files = own.pop("files")
        sealed = commitment(self.study.digest, self.site, name, own)
        commits = self.exchange(f"{name}.commit", {"commitment": sealed})
        opened = self.exchange(f"{name}.open", own, files)
        for site, message in opened.items():
            check_opening(self.study.digest, name, commits[site], message)
            if not isinstance(message.body.get("value"), dict):
                raise ProtocolError(f"site {site} sent something malformed in {message.step}")
        if opened[self.site].body["arrays"] != own["arrays"]:
            raise ProtocolError(f"the own contribution of site {self.site} to {name} is not in the folder")
        return opened


def common_polynomial(study: Study, nonces: dict[str, Message]) -> np.ndarray:
    """`a` of the joint key, from every site's opened nonce. Raises ProtocolError naming a site without one."""
    said = []
    for site, message in nonces.items():
        nonce = str(message.body["value"].get("nonce"))
        if len(nonce) != 64:
            raise ProtocolError(f"site {site} sent no nonce of 256 bits")
        said.append(f"{site}:{nonce}".encode())
    return threshold.expand_public(bytes.fromhex(sha256(study.digest.encode(), *said)), study.parameters.ring)


def agree_on_key(session: Session) -> threshold.JointKey:
    """The joint key of a study: `a` from everybody's nonce, then the public shares, each committed to before it is shown."""
    parameters = session.study.parameters
    nonces = session.commit_then_open("key-nonce", lambda: ({"nonce": secrets.token_hex(32)}, []))
    a = common_polynomial(session.study, nonces)

    def own_share() -> tuple[dict[str, Any], list[str]]:
        b = threshold.public_share(parameters, session.state.share, a)
        session.state.write_array("key-share", b.astype(np.uint32))
        return {}, ["key-share"]

    shares = session.commit_then_open("key-share", own_share)
    return threshold.joint_key(parameters, a, [_residues(m, 0, parameters.shape, parameters) for m in shares.values()])


def _residues(message: Message, index: int, shape: tuple[int, ...], parameters) -> np.ndarray:
    """An attached array of canonical residues. Raises ProtocolError naming the site."""
    array = message.array(index, shape)
    if not threshold.canonical_residues(array, parameters.ring):
        raise ProtocolError(f"site {message.site} sent residues in {message.step} that are not below their prime")
    return array.astype(np.uint64) if array.ndim == 2 else array


class SecureSum:
    """Sums over the sites, opened by all of them together.

    opened: name -> (rows, fields) of every sum so far, for the receipt.
    """

    def __init__(self, session: Session, key: threshold.JointKey) -> None:
        self._session, self._key = session, key
        self._steps = 0
        self.opened: dict[str, tuple[int, int]] = {}

    def total(self, values: Sequence[int]) -> list[int]:
        """Exact sums of Python integers (below 2^239) over the sites: the `SumOverSites` of a federated study."""
        self._steps += 1
        width = LIMB_BITS + self._key.parameters.sites.bit_length() + 1
        limbs = self.rows(f"design-{self._steps:04d}", len(values), (width,) * LIMBS, lambda: limbs_of(values))
        return from_limbs(limbs)

    def rows(self, name: str, count: int, widths: tuple[int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """Sum (count, fields) int64 over the sites. widths: bits of each field, public and equal at every site; make():
        the own rows, called only where they were not sent before. Returns the totals, (count, fields) int64.

        Raises ProtocolError (names the site), PeerError (names the silent ones), PolicyError (the study's ciphertexts
        are used up), PlanError (a field is too wide).
        """
        repeated = name in self.opened
        self.opened[name] = (count, len(widths))
        session, state = self._session, self._session.state
        layout = Layout(self._key.parameters, count, tuple(widths))
        known = state.read_array(f"total.{name}")
        if known is not None and known.shape == (count, len(widths)):
            if not repeated:
                session.transcript = state.remember(f"done.{name}", lambda: session.transcript)
            return known
        if not layout.ciphertexts:
            return np.zeros((count, len(widths)), np.int64)
        openings = session.commit_then_open(name, lambda: self._encrypt(name, layout, make))
        sums = self._add(layout, openings)
        digest = sha256(*(hashlib.sha256(s.tobytes()).digest() for s in sums))
        state.claim(name, digest, layout.ciphertexts, self._key.parameters.ciphertexts)
        files = []
        for batch, total in enumerate(sums):
            label = f"{session.study.digest}/{name}/{batch}/{digest}".encode()
            part = threshold.partial_decrypt(
                self._key.parameters, state.share, total[:, 1], state.mac("smudging", label)[:16]
            )
            files.append(f"{name}.partial.{batch:04d}")
            state.write_array(files[-1], part)
        partials = session.exchange(f"{name}.partial", {"sum": digest}, files)
        for site, message in partials.items():
            if message.body.get("sum") != digest:
                raise ProtocolError(f"site {site} added other ciphertexts in {name} than those here")
        totals = self._open(layout, sums, partials)
        state.remember(f"done.{name}", lambda: session.transcript)
        state.write_array(f"total.{name}", totals)
        state.forget_ciphertexts(name)
        return totals

    def _encrypt(self, name: str, layout: Layout, make: Callable[[], np.ndarray]) -> tuple[dict[str, Any], list[str]]:
        messages = layout.encode(make())
        files = []
        for batch, start in enumerate(range(0, layout.ciphertexts, BATCH)):
            files.append(f"{name}.open.{batch:04d}")
            self._session.state.write_array(files[-1], threshold.encrypt(self._key, messages[start : start + BATCH]))
        return {"rows": layout.rows, "widths": list(layout.widths)}, files

    def _batches(self, layout: Layout) -> list[int]:
        return [min(BATCH, layout.ciphertexts - start) for start in range(0, layout.ciphertexts, BATCH)]

    def _add(self, layout: Layout, openings: dict[str, Message]) -> list[np.ndarray]:
        """The sum of every site's ciphertexts, added here: (C, 2, k, n) uint32 a batch."""
        parameters = self._key.parameters
        sizes = self._batches(layout)
        for site, message in openings.items():
            if message.body["value"] != {"rows": layout.rows, "widths": list(layout.widths)}:
                raise ProtocolError(
                    f"site {site} sums other numbers in {message.step} than this site: {message.body['value']}"
                )
            if len(message.body["arrays"]) != len(sizes):
                raise ProtocolError(
                    f"site {site} sent {len(message.body['arrays'])} arrays in {message.step}, not {len(sizes)}"
                )
        out = []
        for batch, size in enumerate(sizes):
            shape = (size, 2, *parameters.shape)
            parts = (_residues(m, batch, shape, parameters) for m in openings.values())
            total = next(parts).copy()
            for part in parts:
                total = threshold.add(total, part, parameters.ring)
            out.append(total)
        return out

    def _open(self, layout: Layout, sums: list[np.ndarray], partials: dict[str, Message]) -> np.ndarray:
        parameters = self._key.parameters
        plain = []
        for batch, total in enumerate(sums):
            shape = (len(total), *parameters.shape)
            parts = [_residues(m, batch, shape, parameters) for m in partials.values()]
            plain.append(threshold.combine(parameters, total[:, 0], parts))
        return layout.decode(np.concatenate(plain))
