"""Attacks on keys, masks and memory: each works with its protection off and fails with it on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.federated import pair_keys, rounds
from securegen.engines.federated import state as state_module
from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.fields import Layout
from securegen.engines.federated.message_folder import MessageFolder
from securegen.engines.federated.messages import Message
from securegen.engines.federated.pair_keys import PairKeys, agree_on_keys
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.federated.state import SiteState, open_state
from securegen.errors import ArtefactError, PeerError, PolicyError, ProtocolError

from .conftest import Trio, make_trio, secure_sum

ROWS, WIDTHS = 200, (40, 24)
LAYOUT = Layout(ROWS, WIDTHS)
OWN = {
    site: np.random.default_rng(seed).integers(-1000, 1000, (ROWS, 2))
    for seed, site in enumerate(("anna", "bert", "cora"))
}
STEP = "variants-00000"


def honest(session: Conversation, own: dict[str, np.ndarray] = OWN) -> np.ndarray:
    return secure_sum(session).rows(STEP, ROWS, WIDTHS, lambda: own[session.site])


def keys_of(trio: Trio, site: str) -> PairKeys:
    with open_state(trio.private / site, trio.study) as memory:
        kept = memory.recall("pairs", pair_keys._PAIRS)
    return PairKeys(kept["pairs"], kept["senders"])


def until(
    trio: Trio, act: Callable, done: Callable[[], bool], sites: tuple[str, ...] = ("anna", "bert", "cora")
) -> None:
    """Let sites take turns until something is there."""
    for _ in range(30):
        for site in sites:
            if done():
                return
            with contextlib.suppress(PeerError):
                trio.act_once(site, act)
    raise AssertionError("it never came")


def rows_in(message: Message, keys: PairKeys, step: str = STEP, layout: Layout = LAYOUT) -> np.ndarray:
    """What every site can read of a message: its masked rows."""
    context = rounds.mask_context(step, message.after, layout)
    key = rounds.derive(keys.senders[message.site], "array", context)
    return layout.unpack(rounds.AESGCM(key).decrypt(bytes(12), message.payload, context))


def masks_of(site: str, keys: PairKeys, after: str, step: str = STEP, layout: Layout = LAYOUT) -> np.ndarray:
    """All that a site adds beside its own numbers."""
    words = layout.encode(np.zeros((layout.rows, len(layout.widths)), np.int64))
    context = rounds.mask_context(step, after, layout)
    for other, key in keys.pairs.items():
        mask = layout.unpack(rounds.keystream(rounds.derive(key, "mask", context), 0, layout.size))
        words = (layout.add if site < other else layout.subtract)(words, mask)
    return words


def added(*parts: np.ndarray, layout: Layout = LAYOUT) -> np.ndarray:
    total = parts[0]
    for part in parts[1:]:
        total = layout.add(total, part)
    return total


def no_masks(monkeypatch) -> None:
    """The protection off: what is added to the rows is zero."""
    monkeypatch.setattr(rounds, "keystream", lambda key, nonce, size: np.zeros(size, np.uint8))


def looks_uniform(words: np.ndarray) -> bool:
    """Whether half of the bits of (words, rows) are set, within 7.5 standard deviations: wrong once in 10^13."""
    bits = np.unpackbits(np.frombuffer(LAYOUT.pack(words), np.uint8))
    return abs(bits.mean() - 0.5) < 7.5 * 0.5 / len(bits) ** 0.5


# --- one site, at the end of the protocol or beside it


@pytest.mark.parametrize("protected", [False, True])
def test_a_crafted_message_opens_nothing(trio, monkeypatch, protected):
    """cora sends what it likes and has all totals and keys of its own: another site's rows stay under the pair's mask."""
    if not protected:
        no_masks(monkeypatch)

    class Crafted(SecureSum):
        def _masked(self, step, layout, after):
            crafted = replace(step, make=lambda: np.full((ROWS, 2), 1 << 20))
            return super()._masked(crafted, layout, after)

    def act(session: Conversation) -> np.ndarray:
        secure = SecureSum(session, agree_on_keys(session, "ab" * 32))
        if session.site == "cora":
            secure = Crafted(session, secure._keys)
        return secure.rows(STEP, ROWS, WIDTHS, lambda: OWN[session.site])

    until(trio, act, lambda: all((trio.folder / s / f"{STEP}.msg").is_file() for s in ("anna", "bert")))
    keys = keys_of(trio, "cora")
    anna, bert = (trio.message_folder().read(trio.study.site(s), STEP) for s in ("anna", "bert"))
    seen = LAYOUT.subtract(
        rows_in(anna, keys), masks_of("anna", PairKeys({"cora": keys.pairs["anna"]}, {}), anna.after)
    )
    assert np.array_equal(LAYOUT.decode(seen), OWN["anna"]) == (not protected)
    assert looks_uniform(seen) == protected
    both = added(rows_in(anna, keys), rows_in(bert, keys), masks_of("cora", keys, anna.after))
    assert np.array_equal(LAYOUT.decode(both), OWN["anna"] + OWN["bert"]), "all but one know the rest, in any scheme"


@pytest.mark.parametrize("protected", [False, True])
def test_another_sites_earlier_message_opens_nothing_when_it_is_added_again(trio, monkeypatch, protected):
    """cora adds anna's rows of one step to its own of the next: the total is anna's numbers, or noise."""
    if not protected:
        no_masks(monkeypatch)

    class Replay(SecureSum):
        def _masked(self, step, layout, after):
            if step.name == "variants-00001" and self._session.site == "cora":
                anna = self._session.transport.read(self._session.study.site("anna"), STEP)
                old = layout.decode(rows_in(anna, self._keys))
                step = replace(step, make=lambda: np.clip(old, -(1 << 22), 1 << 22) if protected else old)
            return super()._masked(step, layout, after)

    def act(session: Conversation) -> np.ndarray:
        secure = Replay(session, agree_on_keys(session, "ab" * 32))
        secure.rows(STEP, ROWS, WIDTHS, lambda: OWN[session.site])
        return secure.rows("variants-00001", ROWS, WIDTHS, lambda: np.zeros((ROWS, 2), np.int64))

    total = trio.drive(act)["cora"]
    assert np.array_equal(total, OWN["anna"]) == (not protected)
    assert (abs(np.corrcoef(total[:, 0], OWN["anna"][:, 0])[0, 1]) < 0.4) == protected


@pytest.mark.parametrize("commit", [False, True])
def test_the_last_site_sets_the_total_unless_all_commit(tmp_path, commit):
    trio = make_trio(tmp_path, commit=commit)
    wanted = np.full((ROWS, 2), 777)

    class Last(SecureSum):
        """Reads the others' messages before it makes its own."""

        def _masked(self, step, layout, after):
            messages, keys = self._session.transport, self._keys
            others = [messages.read(self._session.study.site(s), STEP) for s in ("anna", "bert")]
            if None in others:
                if commit:
                    return super()._masked(step, layout, after)  # it has to show something first
                raise PeerError("the others have not sent yet")
            known = added(*(rows_in(m, keys) for m in others), masks_of("cora", keys, after))
            return super()._masked(replace(step, make=lambda: wanted - layout.decode(known)), layout, after)

        def _commit(self, steps, own, after):
            super()._commit(steps, own, after)
            if not all((trio.folder / s / f"{STEP}.msg").is_file() for s in ("anna", "bert")):
                raise PeerError("the others have not opened yet")
            (self._session.state.folder / f"sent.{STEP}").unlink()  # forgets what it committed to
            own[STEP] = self._session.made(STEP, lambda: self._masked(steps[0], LAYOUT, after), after)

    def act(session: Conversation) -> np.ndarray:
        secure = SecureSum(session, agree_on_keys(session, "ab" * 32))
        if session.site == "cora":
            secure = Last(session, secure._keys)
        return secure.rows(STEP, ROWS, WIDTHS, lambda: OWN[session.site])

    if commit:
        with pytest.raises(
            ProtocolError, match="site cora opened something else in variants-00000 than it had committed"
        ):
            trio.drive(act)
    else:
        assert np.array_equal(trio.drive(act)["anna"], wanted)


# --- different messages to different sites


def two_views(trio: Trio, tmp_path: Path) -> tuple[Trio, Trio]:
    """anna and bert are shown two messages of cora for one step: each in a folder of its own, cora's key signed both."""

    def first(session: Conversation) -> list[int]:
        secure = secure_sum(session)
        if session.site == "cora" and not switch:
            raise PeerError("cora bides its time")
        return secure.total([{"anna": 1, "bert": 1, "cora": switch}[session.site]])

    switch = 0
    until(trio, first, lambda: all((trio.folder / s / "design-0001.msg").is_file() for s in ("anna", "bert")),
          ("anna", "bert", "cora"))  # fmt: skip
    views = []
    for name in ("one", "two"):
        view = replace(trio, folder=tmp_path / name / "shared", private=tmp_path / name / "private")
        shutil.copytree(trio.folder, view.folder)
        shutil.copytree(trio.private, view.private)
        (view.folder / "cora" / "design-0001.msg").unlink(missing_ok=True)
        for kept in (view.private / "cora").glob("study-*/*.design-0001"):
            kept.unlink()
        views.append(view)
    for switch, view in ((-1, views[0]), (-2, views[1])):  # noqa: B007
        with contextlib.suppress(PeerError):
            view.act_once("cora", first)
    return views[0], views[1]


@pytest.mark.parametrize("protected", [False, True])
def test_a_site_that_tells_two_stories_reads_noise(trio, monkeypatch, tmp_path, protected):
    """What a step sums depends on an opened total; cora makes bert's part of it zero, so that the sum is anna's alone."""
    if not protected:
        whole = rounds.mask_context
        monkeypatch.setattr(rounds, "mask_context", lambda step, after, layout: whole(step, "00" * 32, layout))
    one, two = two_views(trio, tmp_path)

    def second(session: Conversation) -> np.ndarray:
        secure = secure_sum(session)
        (factor,) = secure.total([1])
        return secure.rows(STEP, ROWS, WIDTHS, lambda: factor * OWN[session.site])

    for site, view in (("anna", one), ("bert", two)):
        with contextlib.suppress(PeerError):
            view.act_once(site, second)
    anna, bert = (
        one.message_folder().read(trio.study.site("anna"), STEP),
        two.message_folder().read(trio.study.site("bert"), STEP),
    )
    assert anna.after != bert.after
    keys = keys_of(one, "cora")
    for after in (anna.after, bert.after):
        total = added(rows_in(anna, keys), rows_in(bert, keys), masks_of("cora", keys, after))
        assert np.array_equal(LAYOUT.decode(total), OWN["anna"]) == (not protected)
        assert looks_uniform(total) == protected


def test_two_sender_keys_of_a_site_are_named(trio, monkeypatch):
    """Under two keys one array could be read in two ways, and the same messages would say two things."""
    honest_confirm = pair_keys._confirm

    def two_keys(session, pairs, sender):
        if session.site != "cora":
            return honest_confirm(session, pairs, sender)
        monkeypatch.setattr(pair_keys, "_digest", lambda key, digest=pair_keys._digest: digest(sender))
        return honest_confirm(session, pairs, bytes(32))

    monkeypatch.setattr(pair_keys, "_confirm", two_keys)
    digest = pair_keys._digest

    def act(session: Conversation) -> None:
        monkeypatch.setattr(pair_keys, "_digest", digest)
        agree_on_keys(session, "ab" * 32)

    with pytest.raises(ProtocolError, match="site cora sent site (anna|bert) another sender key than it announced"):
        trio.drive(act)


# --- keys


def altered_keys(monkeypatch) -> None:
    """anna's ciphertext for bert has one bit of another: ML-KEM gives another secret, without an error."""
    genuine = pair_keys._encapsulate

    def flipped(name: str, public: bytes) -> dict[str, str]:
        made = genuine(name, public)
        if name == "bert":
            made["ciphertext"] = f"{int(made['ciphertext'][:2], 16) ^ 1:02x}" + made["ciphertext"][2:]
        return made

    monkeypatch.setattr(pair_keys, "_encapsulate", flipped)


def test_an_altered_kem_ciphertext_is_found_before_anything_masked_leaves(trio, monkeypatch):
    altered_keys(monkeypatch)
    for _ in range(10):
        for site in trio.identities:
            with contextlib.suppress(PeerError, ProtocolError):
                trio.act_once(site, honest)
    with pytest.raises(ProtocolError, match="sites anna and bert do not have the same key"):
        trio.act_once("anna", honest)
    assert not list(trio.folder.glob("*/variants*"))


def test_without_proofs_an_altered_kem_ciphertext_opens_noise(trio, monkeypatch):
    altered_keys(monkeypatch)
    monkeypatch.setattr(pair_keys, "_proof", lambda *_: bytes(32))
    monkeypatch.setattr(pair_keys, "_digest", lambda *_: "00" * 32)
    genuine = pair_keys._confirm

    def with_known_senders(session, pairs, sender):
        genuine(session, pairs, bytes(32))
        return dict.fromkeys(trio.identities, bytes(32))

    monkeypatch.setattr(pair_keys, "_confirm", with_known_senders)
    assert not np.array_equal(trio.drive(honest)["anna"], sum(OWN.values()))


LOW_ORDER = [bytes(32), bytes([1]) + bytes(31)]
NOT_CANONICAL = [(2**255 - 19 + 2).to_bytes(32, "little"), (2**255 + 9).to_bytes(32, "little")]


@pytest.mark.parametrize(("field", "value", "match"), [
    *(("x25519", k, "site bert sent an X25519 key that gives everybody the same secret") for k in LOW_ORDER),
    *(("x25519", k, "site bert sent an X25519 key in another form") for k in NOT_CANONICAL),
    ("x25519", None, "sites anna and bert sent the same x25519 key"),
    ("mlkem", None, "sites anna and bert sent the same mlkem key"),
    ("mlkem", b"\xff" * 1184, "site bert sent a ML-KEM key that is not one"),
])  # fmt: skip
def test_keys_that_are_none_or_anothers_are_refused(trio, monkeypatch, field, value, match):
    genuine = Conversation.exchange

    def deviate(session, step, make):
        if (step, session.site) != ("hello", "bert"):
            return genuine(session, step, make)
        said = (
            trio.message_folder().read(trio.study.site("anna"), "hello").value[field] if value is None else value.hex()
        )
        return genuine(session, step, lambda: (make()[0] | {field: said}, None))

    monkeypatch.setattr(Conversation, "exchange", deviate)
    with contextlib.suppress(PeerError):
        trio.act_once("anna", honest)
    for site in ("bert", "cora"):
        with contextlib.suppress(PeerError, ProtocolError):
            trio.act_once(site, honest)
    with pytest.raises(ProtocolError, match=match):
        trio.act_once("anna", honest)


def test_private_halves_go_after_the_proofs_and_pair_keys_at_the_end(trio):
    trio.drive(honest)
    folder = next((trio.private / "anna").glob("study-*"))
    assert not {"private", "sealed"} & {p.name for p in folder.iterdir()} and (folder / "pairs").is_file()
    with open_state(trio.private / "anna", trio.study) as memory:
        pair_keys.forget_keys(memory)
    assert not (folder / "pairs").exists()
    assert np.array_equal(trio.act_once("anna", honest), sum(OWN.values())), "opened totals stay"
    with pytest.raises(PolicyError, match="has finished the study and deleted its keys"):
        trio.act_once("anna", lambda s: secure_sum(s).total([1]))


# --- the same step twice


@pytest.mark.parametrize("protected", [False, True])
def test_a_step_is_never_made_a_second_time(trio, monkeypatch, protected):
    """anna's memory is an old copy and one person of hers has gone: the difference of two messages is that person."""
    person = np.random.default_rng(9).integers(0, 3, (ROWS, 2))
    fewer = {**OWN, "anna": OWN["anna"] - person}
    path = trio.folder / "anna" / f"{STEP}.msg"
    until(trio, honest, path.is_file)
    before = trio.message_folder().read(trio.study.site("anna"), STEP)
    next((trio.private / "anna").glob(f"study-*/sent.{STEP}")).unlink()
    if not protected:
        monkeypatch.setattr(MessageFolder, "own", lambda *_: None)
        with contextlib.suppress(PeerError):
            trio.act_once("anna", lambda s: honest(s, fewer))
        after, keys = trio.message_folder().read(trio.study.site("anna"), STEP), keys_of(trio, "cora")
        difference = LAYOUT.subtract(rows_in(before, keys), rows_in(after, keys))
        assert np.array_equal(LAYOUT.decode(difference), person)
        return
    raw = path.read_bytes()
    for _ in range(2):
        with pytest.raises(PolicyError, match="the memory is an old copy.*Its part in the study has ended"):
            trio.act_once("anna", lambda s: honest(s, fewer))
    assert path.read_bytes() == raw


def test_a_memory_of_before_the_keys_has_ended(trio):
    """The whole private folder is lost, or on another machine."""
    until(trio, honest, (trio.folder / "anna" / "keys.msg").is_file)
    shutil.rmtree(trio.private / "anna")
    with pytest.raises(PolicyError, match="Its part in the study has ended"):
        trio.act_once("anna", honest)


def test_what_was_made_and_not_sent_is_sent_as_it_was_made(trio, monkeypatch):
    """Killed between disk and folder: the bytes on disk leave, and nothing is summed again."""
    monkeypatch.setattr(MessageFolder, "post", lambda self, step, raw: (_ for _ in ()).throw(PeerError("killed")))
    with pytest.raises(PeerError):
        trio.act_once("anna", honest)
    raw = next((trio.private / "anna").glob("study-*/sent.hello")).read_bytes()[32:]
    monkeypatch.undo()
    with contextlib.suppress(PeerError):
        trio.act_once("anna", honest)
    assert (trio.folder / "anna" / "hello.msg").read_bytes() == raw


# --- whoever reads the folder, whoever damages the memory


@pytest.mark.parametrize("protected", [False, True])
def test_who_reads_the_folder_adds_noise(trio, monkeypatch, protected):
    """The masks of all sites cancel: without encryption to the sites, the folder's owner adds the messages."""
    genuine = rounds.derive
    if not protected:
        monkeypatch.setattr(
            rounds, "derive", lambda k, what, context: bytes(32) if what == "array" else genuine(k, what, context)
        )
    trio.drive(honest)
    total = np.zeros_like(LAYOUT.unpack(bytes(LAYOUT.size)))
    for site in trio.study.sites:
        message = trio.message_folder().read(site, STEP)
        raw = message.payload[:-16]
        if not protected:
            context = rounds.mask_context(STEP, message.after, LAYOUT)
            raw = rounds.AESGCM(bytes(32)).decrypt(bytes(12), message.payload, context)
        total = LAYOUT.add(total, LAYOUT.unpack(raw))
    assert np.array_equal(LAYOUT.decode(total), sum(OWN.values())) == (not protected)
    assert looks_uniform(total) == protected


def test_every_damaged_byte_of_a_memory_is_an_error(trio):
    """Every byte of every small entry, many of the others, and cut ends: an entry is what was written, or one line."""
    trio.drive(honest)
    with open_state(trio.private / "anna", trio.study) as memory:
        checked = 0
        for path in sorted(memory.folder.iterdir()):
            raw = path.read_bytes()
            step = 1 if len(raw) <= 160 else len(raw) // 24
            for at in range(0, len(raw), step) if path.name != "lock" else ():
                for damaged in (raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :], raw[:at]):
                    path.write_bytes(damaged)
                    with pytest.raises(ArtefactError) as caught:
                        state_module._key(memory.folder) if path.name == "memory.key" else memory.get(path.name)
                    assert len(str(caught.value).splitlines()) == 1
                    checked += 1
            path.write_bytes(raw)
    assert checked > 800
    assert np.array_equal(trio.act_once("anna", honest), sum(OWN.values()))


def test_without_the_mac_a_flipped_bit_is_a_wrong_number(trio, monkeypatch):
    trio.drive(honest)
    path = next((trio.private / "anna").glob(f"study-*/total.{STEP}"))
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtefactError, match="memory is damaged"):
        trio.act_once("anna", honest)
    monkeypatch.setattr(SiteState, "_mac", lambda self, name, data: bytes(raw[:32]))
    assert not np.array_equal(SiteState(path.parent, b"").get(path.name), None)
    assert bytes(raw[32:]) == SiteState(path.parent, b"").get(path.name)


def test_entries_of_a_memory_cannot_stand_for_each_other(trio):
    trio.drive(lambda s: [honest(s), secure_sum(s).rows("variants-00001", ROWS, WIDTHS, lambda: 0 * OWN["anna"])])
    folder = next((trio.private / "anna").glob("study-*"))
    shutil.copy(folder / "total.variants-00001", folder / f"total.{STEP}")
    with pytest.raises(ArtefactError, match="memory is damaged"):
        trio.act_once("anna", honest)


# --- totals that people cannot give


@pytest.mark.parametrize("protected", [False, True])
def test_a_total_out_of_bounds_ends_the_study(trio, protected):
    own = {**OWN, "cora": OWN["cora"] + (1 << 30)}

    def act(session: Conversation) -> np.ndarray:
        bounds = (3000, 3000) if protected and session.site != "cora" else None
        return secure_sum(session).rows(STEP, ROWS, (40, 40), lambda: own[session.site], bounds=bounds)

    if not protected:
        assert trio.drive(act)["anna"].min() > 1 << 29
        return
    with pytest.raises(PolicyError, match="a total is not what the people of these sites can give"):
        trio.drive(act)
    site = next(p.parent.parent.name for p in trio.private.glob("*/study-*/ended"))
    for _ in range(2):  # no second try
        with pytest.raises(PolicyError, match="the study has ended"):
            trio.act_once(site, lambda s: secure_sum(s).total([1]))


def test_a_check_that_refuses_ends_the_study_with_its_one_message(trio):
    def refuse(own: np.ndarray, total: np.ndarray) -> None:
        if own.tolist() == [[2]] and total.tolist() == [[6]]:
            raise PolicyError("a rule of this site refuses")

    def act(session: Conversation) -> list[int]:
        checks = [refuse] if session.site == "bert" else []
        secure = SecureSum(session, agree_on_keys(session, "ab" * 32), checks)
        return secure.total([{"anna": 1, "bert": 2, "cora": 3}[session.site]])

    for _ in range(2):
        with pytest.raises(PolicyError, match="a rule of this site refuses"):
            trio.drive(act)
