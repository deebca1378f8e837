"""Signed messages: every alteration is caught and named; sums over sites; a site that is silent or stopped; bad folders."""

from __future__ import annotations

import contextlib
import json
import os

import numpy as np
import pytest

from securegen.engines.federated import hub, rounds
from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.messages import write_message
from securegen.engines.federated.state import open_state
from securegen.errors import PeerError, PlanError, ProtocolError, StorageError

from .conftest import make_trio, secure_sum

SITES = ("anna", "bert", "cora")
LARGE = (1 << 180) + 12345
STEPS = ("hello", "keys", "confirm", "ready", "design-0001", "variants-00000")


def own_rows(site: str) -> np.ndarray:
    rng = np.random.default_rng(SITES.index(site))
    return np.stack([rng.integers(-500, 500, 900), rng.integers(-(2**40), 2**40, 900)], 1)


def act(session: Conversation) -> tuple[list[int], np.ndarray, list[str]]:
    secure = secure_sum(session)
    index = SITES.index(session.site)
    exact = secure.total([index, -LARGE * index])
    rows = secure.rows("variants-00000", 900, (field_bits(1500), field_bits(3 << 40)), lambda: own_rows(session.site))
    return exact, rows, list(secure.opened)


@pytest.mark.parametrize("commit", [False, True])
def test_sums_are_exact_and_the_same_at_every_site(tmp_path, commit):
    trio = make_trio(tmp_path, commit=commit)
    for exact, rows, opened in trio.drive(act).values():
        assert exact == [3, -3 * LARGE] and rows.dtype == np.int64
        assert np.array_equal(rows, sum(own_rows(s) for s in SITES))
        assert opened == ["design-0001", "variants-00000"]
    steps = [p.name for p in (trio.folder / "anna").glob("*.commit.msg")]
    assert len(steps) == (2 if commit else 0)


@pytest.mark.parametrize("commit", [False, True])
def test_a_sum_that_no_message_holds_is_several(tmp_path, monkeypatch, commit):
    """Components of many variants: 100 columns of a million are 600 MB a site."""
    monkeypatch.setattr(rounds, "PIECE", 1000)
    trio = make_trio(tmp_path, commit=commit)
    for exact, rows, opened in trio.drive(act).values():
        assert exact == [3, -3 * LARGE] and np.array_equal(rows, sum(own_rows(s) for s in SITES))
        assert opened[0] == "design-0001" and opened[1:] == [f"variants-00000-{i:04d}" for i in range(7)]
    assert max(p.stat().st_size for p in trio.folder.glob("anna/variants-*")) < 1900, "a line of JSON and a tag beside"


def test_a_step_is_one_message_of_the_fields_own_width(trio):
    trio.drive(act)
    bits = field_bits(1500) + field_bits(3 << 40)
    size = (trio.folder / "bert" / "variants-00000.msg").stat().st_size
    assert size - 900 * -(-bits // 8) < 800, "a line of JSON and a tag beside the rows"
    assert sorted(p.name for p in (trio.folder / "bert").iterdir()) == sorted(f"{s}.msg" for s in STEPS)


def test_steps_that_do_not_depend_on_each_other_are_posted_together(trio):
    from securegen.engines.federated.rounds import Step

    def own(site: str, i: int) -> np.ndarray:
        return np.full((4, 1), i * (1 + SITES.index(site)))

    def several(session: Conversation) -> list[np.ndarray]:
        secure = secure_sum(session)
        steps = [Step(f"variants-{i}", 4 * (i > 0), (20,), lambda i=i: own(session.site, i)) for i in range(4)]
        return list(secure.together(steps))

    for _ in range(6):
        for site in SITES:
            if len(list(trio.folder.glob("anna/variants-*"))) == 0:
                with pytest.raises(PeerError):
                    trio.act_once(site, several)
    assert len(list(trio.folder.glob("anna/variants-*"))) == 3, "before anybody else's first"
    for totals in trio.drive(several).values():
        assert [t.shape for t in totals] == [(0, 1), (4, 1), (4, 1), (4, 1)] and totals[3].tolist() == [[18]] * 4


def test_a_finished_site_repeats_nothing(trio):
    first = trio.drive(act)
    before = {p: p.read_bytes() for p in trio.folder.rglob("*") if p.is_file()}
    again = trio.drive(act, turns=1)
    assert again["bert"][0] == first["bert"][0] and np.array_equal(again["bert"][1], first["bert"][1])
    assert {p: p.read_bytes() for p in trio.folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("step", STEPS)
def test_every_altered_message_is_caught_and_named(trio, step):
    """One changed byte of bert's message stops the others; bert, run again, puts its own back, and they go on."""
    path = trio.folder / "bert" / f"{step}.msg"
    advance_to(trio, path)
    raw = path.read_bytes()
    line = raw.index(b"\n")
    for at in {5, line // 2, line - 9, len(raw) - 9}:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(ProtocolError, match="site bert"):
            only(trio, ("anna", "cora"))
    for planted in (b"", raw[:-1], raw + b"x", raw.partition(b"\n")[0]):
        path.write_bytes(planted)
        if planted != raw.partition(b"\n")[0] or step in STEPS[-2:]:
            with pytest.raises(ProtocolError, match=f"site bert: .*bert/{step}.msg"):
                only(trio, ("anna", "cora"))
    only(trio, ("bert",), turns=1)
    assert trio.drive(act)["anna"][0] == [3, -3 * LARGE]


def advance_to(trio, target, act=act) -> None:
    """Let bert run ahead of the others until its message is there."""
    for _ in range(20):
        for site in ("bert", "anna", "cora"):
            if target.is_file():
                return
            with contextlib.suppress(PeerError):
                trio.act_once(site, act)
    raise AssertionError(f"{target} never came")


def only(trio, sites, turns: int = 3) -> None:
    for _ in range(turns):
        for site in sites:
            try:
                trio.act_once(site, act)
            except PeerError:
                continue


def replace(trio, site: str, step: str, signer: str, *, study=None, named=None, after=None, **value) -> None:
    """A message under a site's name, signed by `signer`."""
    digest = study or trio.study.digest
    raw = write_message(digest, named or site, step, after or digest, value, None, trio.identities[signer])
    path = trio.folder / site / f"{step}.msg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)


def test_a_message_signed_by_another_site_is_refused(trio):
    replace(trio, "bert", "hello", "cora")
    with pytest.raises(ProtocolError, match="site bert: .* is not signed by that site"):
        trio.act_once("anna", act)


def test_a_message_of_another_step_study_or_site_is_refused(trio):
    replace(trio, "bert", "keys", "bert")
    (trio.folder / "bert" / "keys.msg").rename(trio.folder / "bert" / "hello.msg")
    with pytest.raises(ProtocolError, match="site bert: .* another study, site or step"):
        trio.act_once("anna", act)
    for change in ({"study": "00" * 32}, {"named": "cora"}):
        replace(trio, "bert", "hello", "bert", **change)
        with pytest.raises(ProtocolError, match="site bert: .* another study, site or step"):
            trio.act_once("anna", act)


def test_a_second_message_of_a_site_is_refused(trio):
    """bert signs two different messages: whoever has seen the first does not take the second."""
    advance_to(trio, trio.folder / "anna" / "keys.msg")
    hello = trio.message_folder().read(trio.study.site("bert"), "hello").value
    replace(trio, "bert", "hello", "bert", **{**hello, "inputs": "22" * 32})
    with pytest.raises(ProtocolError, match="site bert sent a second message for hello"):
        trio.act_once("anna", act)


def test_a_site_that_answers_to_other_messages_is_named(trio):
    advance_to(trio, trio.folder / "bert" / "ready.msg")
    replace(trio, "bert", "ready", "bert", after="33" * 32)
    with pytest.raises(ProtocolError, match="site bert answered in ready to other messages"):
        only(trio, ("anna", "cora"))


@pytest.mark.parametrize("value", [{}, {"x25519": "00" * 32, "mlkem": "zz", "inputs": "00" * 32},
                                   {"x25519": [], "mlkem": 3, "inputs": None}])  # fmt: skip
def test_malformed_contents_are_refused_by_name(trio, value):
    """Properly signed, and still not what the protocol allows."""
    replace(trio, "bert", "hello", "bert", **value)
    replace(trio, "cora", "hello", "cora", **value)
    with pytest.raises(ProtocolError, match="site bert sent something malformed in hello"):
        trio.act_once("anna", act)


HOSTILE = {
    "deep": b"[" * 200_000, "empty": b"", "nul": bytes(1000), "not text": b"\xff\xfe\n", "a number": b"1" * 10_000,
    "no line end": b"{" * 3_000_000, "twice": b'{"body":{},"body":{}}', "infinite": b'{"body":{"study":1e999}}',
}  # fmt: skip


@pytest.mark.parametrize("kind", [*HOSTILE, "fifo", "huge", "folder", "unreadable name"])
@pytest.mark.parametrize("step", ["hello", "stopped"])
def test_what_lies_in_the_folder_ends_in_one_line_that_names_the_site(trio, kind, step):
    path = trio.folder / "bert" / f"{step}.msg"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as stream:
            stream.truncate(1 << 40)
    elif kind == "unreadable name":
        path.symlink_to(path)
    else:
        path.write_bytes(HOSTILE[kind])
    with pytest.raises(ProtocolError, match="site bert: ") as caught:
        trio.act_once("anna", act)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ProtocolError, match="site bert: "):
        hub.progress(trio.folder, trio.study)


def test_what_the_hub_plants_under_a_name_makes_nobody_look_guilty(trio):
    """Before bert posts, the hub puts other bytes of the same size where bert's message will lie: bert replaces them."""
    advance_to(trio, trio.folder / "bert" / "design-0001.msg")
    path = trio.folder / "bert" / "design-0001.msg"
    size = path.stat().st_size
    for planted in (bytes(size), b"{}", bytes(size + 7)):
        path.write_bytes(planted)
        with pytest.raises(PeerError):
            trio.act_once("bert", act)
    assert trio.drive(act)["anna"][0] == [3, -3 * LARGE]


def test_a_silent_site_is_named(trio):
    with pytest.raises(PeerError, match="waiting for hello of site bert, cora"):
        trio.act_once("anna", act)


def test_who_is_waited_for_is_said_while_waiting(trio, monkeypatch):
    monkeypatch.setattr("securegen.engines.federated.message_folder.SAY_SECONDS", 0.0)
    lines: list[str] = []
    message_folder = type(trio.message_folder())(trio.folder, trio.study, "anna", 0.05, lines.append)
    with pytest.raises(PeerError):
        message_folder.collect("hello")
    assert lines and lines[0].startswith("waiting for hello of site bert, cora")


def test_a_site_that_stopped_is_named(trio):
    trio.message_folder("bert").announce_stop("InputError", trio.identities["bert"])
    with pytest.raises(PeerError, match="site bert stopped with InputError"):
        trio.act_once("anna", act)
    progress = {p.site: p for p in hub.progress(trio.folder, trio.study)}
    assert progress["bert"].stopped == "InputError" and not progress["anna"].stopped and progress["cora"].age is None
    trio.message_folder("bert").withdraw_stop()
    assert trio.drive(act)["bert"][0][0] == 3


def test_two_processes_of_one_site_are_refused(trio):
    with open_state(trio.private / "anna", trio.study), pytest.raises(StorageError, match="another process works"):
        trio.act_once("anna", act)


def test_the_private_state_is_private_and_no_secret_is_in_the_shared_folder(trio):
    advance_to(trio, trio.folder / "anna" / "design-0001.msg")
    secrets = []
    for site in SITES:
        for path in (trio.private / site).rglob("*"):
            assert os.stat(path).st_mode & 0o077 == 0, path
        kept = next((trio.private / site).glob("study-*/pairs"), None)
        if kept is not None:
            value = json.loads(kept.read_bytes()[32:])
            secrets += [*value["pairs"].values(), *value["senders"].values()]
    trio.drive(act)
    posted = b"".join(p.read_bytes() for p in trio.folder.rglob("*") if p.is_file())
    assert len(secrets) >= 5
    for value in (*secrets, *(key.signing_key.hex() for key in trio.identities.values())):
        assert value.encode() not in posted and bytes.fromhex(value) not in posted


@pytest.mark.parametrize(("count", "widths"), [(2, (20,)), (3, (21,)), (3, (20, 20))])
def test_sites_that_sum_different_numbers_are_named(trio, count, widths):
    def confused(session: Conversation):
        rows, bits = (count, widths) if session.site == "cora" else (3, (20,))
        return secure_sum(session).rows("variants-00000", rows, bits, lambda: np.zeros((rows, len(bits)), np.int64))

    with pytest.raises(ProtocolError, match="site cora sums other numbers|site anna sums other numbers"):
        trio.drive(confused)


def test_a_number_of_this_site_that_does_not_fit_is_refused_before_anything_leaves(trio):
    def large(session: Conversation):
        return secure_sum(session).rows("variants-00000", 1, (20,), lambda: np.array([[1 << 19]]))

    with pytest.raises(PlanError, match="does not fit its field of 20 bits"):
        trio.drive(large)
    with pytest.raises(PlanError, match="does not fit 256 bits"):
        trio.drive(lambda session: secure_sum(session).total([1 << 255]))
    assert not list(trio.folder.glob("*/variants*"))
