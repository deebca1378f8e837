"""Numbers that every site computes by itself from opened totals, such as loadings: all have the same, or nothing is opened."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.fields import Layout
from securegen.engines.federated.pair_keys import agree_on_keys
from securegen.engines.federated.rounds import SecureSum
from securegen.errors import ArtefactError, PeerError, ProtocolError

from .conftest import make_trio, secure_sum
from .test_attacks import added, keys_of, rows_in

SITES = ("anna", "bert", "cora")
OWN = np.arange(12).reshape(6, 2)


def sums_after(loadings: dict[str, np.ndarray], protected: bool = True):
    """What a site does: loadings of its own, and a sum that depends on them."""

    def act(session: Conversation) -> np.ndarray:
        secure = secure_sum(session)
        secure.total([1])
        mine = loadings[session.site]
        if protected:
            secure.agree("loadings-01", mine, mine[:1])
        products = secure.rows("products", 6, (30, 30), lambda: OWN * int(mine.sum()))
        secure.total([2])
        return products

    return act


@pytest.mark.parametrize("commit", [False, True])
def test_the_same_numbers_change_nothing(tmp_path, commit):
    trio = make_trio(tmp_path, commit=commit)
    act = sums_after(dict.fromkeys(SITES, np.arange(5)))
    for _ in range(2):  # the second time when the keys of the study may be gone
        for total in trio.drive(act).values():
            np.testing.assert_array_equal(total, 3 * 10 * OWN)


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("commit", [False, True])
def test_a_site_with_other_numbers_is_named_and_opens_nothing(tmp_path, commit, protected):
    """One unit in one loading of one machine: a total that is nobody's, without a word."""
    trio = make_trio(tmp_path, commit=commit)
    act = sums_after({"anna": np.arange(5), "bert": np.arange(5), "cora": np.array([0, 1, 2, 3, 5])}, protected)
    if not protected:
        np.testing.assert_array_equal(trio.drive(act)["anna"], 31 * OWN)
        return
    with pytest.raises(ProtocolError, match="computed loadings-01 otherwise"):
        trio.drive(act)
    for site, others in (("anna", "cora"), ("cora", "anna, bert")):
        with pytest.raises(ProtocolError, match=f"site {others} computed loadings-01 otherwise"):
            trio.act_once(site, act)
    assert not list(trio.private.rglob("total.products"))


def test_masks_do_not_cancel_between_other_numbers(trio):
    """Nor for whoever adds the messages without a look at the marks: they are noise, and not a sum of what is not alike."""
    act = sums_after({"anna": np.arange(5), "bert": np.arange(5), "cora": np.array([0, 1, 2, 3, 5])})
    with pytest.raises(ProtocolError):
        trio.drive(act)
    keys, layout = keys_of(trio, "anna"), Layout(6, (30, 30))
    messages = [trio.message_folder().read(trio.study.site(s), "products") for s in SITES]
    total = layout.decode(added(*(rows_in(m, keys, "products", layout) for m in messages), layout=layout))
    assert np.abs(total).max() > 1 << 20


def test_who_carries_messages_cannot_check_a_guess(tmp_path):
    """Marks of two studies on the same numbers have nothing in common: they are under a key of the sites."""
    marks = set()
    for name in ("a", "b"):
        trio = make_trio(tmp_path / name)
        trio.drive(sums_after(dict.fromkeys(SITES, np.arange(5))))
        message = trio.message_folder("bert").read(trio.study.site("anna"), "products")
        marks.add(message.value["computed"]["loadings-01"])
        later = trio.message_folder("bert").read(trio.study.site("anna"), "design-0002")
        assert "computed" not in later.value
    assert len(marks) == 2


def test_numbers_that_come_out_otherwise_after_a_stop_are_an_error(trio):
    """A machine, or a library, was changed between two starts of a site."""
    loadings = dict.fromkeys(SITES, np.arange(5))
    with pytest.raises(PeerError):
        for _ in range(9):
            with contextlib.suppress(PeerError):
                trio.act_once("anna", sums_after(loadings))
            trio.act_once("bert", sums_after(loadings))

    def once_more(session):
        SecureSum(session, agree_on_keys(session, "ab" * 32)).agree("loadings-01", np.arange(6))

    trio.drive(sums_after(loadings))
    with pytest.raises(ArtefactError, match="loadings-01 came out otherwise than before"):
        trio.act_once("anna", once_more)
