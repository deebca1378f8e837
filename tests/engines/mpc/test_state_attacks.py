"""Attacks on an owner's state: links, other users, names that would fit two entries, dealers that change sides."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bed_reader import to_bed

from securegen.engines.mpc import deployment, vertical
from securegen.engines.mpc.dealer import LEFT_MASK, block_dealer
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.prg import words
from securegen.engines.mpc.state_file import StateFile, check_cohort
from securegen.engines.mpc.vertical import Block, Roles
from securegen.errors import PolicyError, StorageError, UsageError
from securegen.study.inputs import Inputs

from .conftest import Study, results


def test_a_link_put_where_the_new_state_is_written_is_not_followed(tmp_path):
    """The attack: whoever may write in the folder has the owner overwrite a file, or write its secrets into one of theirs."""
    victim, readable = tmp_path / "victim", tmp_path / "state.part"
    victim.write_text("precious")
    readable.symlink_to(victim)
    StateFile(tmp_path / "state").mask_key("c", "g/0", "d")
    assert victim.read_text() == "precious" and (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    with open(readable, "w") as theirs:
        readable.chmod(0o666)
        StateFile(tmp_path / "state").mask_key("c", "g/0", "d")
        assert os.fstat(theirs.fileno()).st_size == 0
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "state.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="cannot keep"):
        StateFile(tmp_path / "state").claim("x", "d")
    assert not (tmp_path / "elsewhere").exists()


def test_two_links_to_one_state_count_together(tmp_path):
    """Else the first to write replaces the link, and the other file starts to count for itself."""
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(tmp_path / "state")
        StateFile(tmp_path / name).spend("columns", 3, limit=7)
    assert StateFile(tmp_path / "state").spend("columns", 1, limit=7) == 7
    with pytest.raises(PolicyError, match="7 of at most 7"):
        StateFile(tmp_path / "one").spend("columns", 1, limit=7)


def test_a_state_that_others_may_write_is_refused(tmp_path):
    StateFile(tmp_path / "state").spend("columns", 3, limit=3)
    (tmp_path / "state").chmod(0o666)
    with pytest.raises(StorageError, match="others may write"):
        StateFile(tmp_path / "state").spend("columns", 1, limit=9)
    (tmp_path / "state").chmod(0o644)  # as a backup may have it
    assert StateFile(tmp_path / "state").spend("columns", 1, limit=9) == 4
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [{"claims": None}, {"spent": []}, {"spent": {"columns": -99}}, {"spent": {"columns": "3"}}, {"secrets": 1}],
)
def test_a_state_with_parts_missing_is_an_error_not_a_fresh_start(tmp_path, change):
    StateFile(tmp_path / "state").spend("columns", 3, limit=3)
    text = json.dumps(json.loads((tmp_path / "state").read_text()) | change)
    (tmp_path / "state").write_text(text)
    for ask in (lambda s: s.spend("columns", 1, limit=3), lambda s: s.mask_key("c", "g/0", "d")):
        with pytest.raises(StorageError, match="damaged"):
            ask(StateFile(tmp_path / "state"))
    assert (tmp_path / "state").read_text() == text


@pytest.mark.parametrize("name", ["a/b", "threshold of c", "", "..", "a\n", "a\x1b[2J", "x" * 65, "-c", "é"])
def test_names_that_would_fit_two_entries_are_refused(tmp_path, name):
    """`a/b` at place `c` and `a` at place `b/c` would be one entry; so would a cohort called `threshold of c`."""
    with pytest.raises(UsageError, match="cohort name"):
        StateFile(tmp_path / "state").mask_key(name, "g/0", "d")
    assert not (tmp_path / "state").exists()
    with pytest.raises(UsageError, match="cohort name"):
        deployment._refuse(
            deployment.Task(Inputs(""), "o", StateFile(tmp_path / "s"), cohort=name), "vertical", "genotypes"
        )
    assert check_cohort("Biobank_1.2-b") == "Biobank_1.2-b"


def test_a_phenotypes_name_cannot_move_the_cursor_of_the_genotype_owner(tmp_path):
    state = StateFile(tmp_path / "state")
    for threshold in ("1", "2"):
        try:
            state.bind("threshold of c/\x1b[2Jheight\n", threshold, "one a phenotype")
        except PolicyError as error:
            assert str(error).isprintable()
            return
    raise AssertionError("a second threshold was taken")


N, M = 60, 8
STUDIES = (
    {"gen": "genotypes", "amy": "phenotypes", "eve": "dealer"},
    {"gen": "genotypes", "eve": "phenotypes", "amy": "dealer"},
)


@pytest.mark.parametrize("protected", [False, True])
def test_who_deals_in_one_study_and_receives_in_the_next_cannot_unmask(tmp_path, monkeypatch, protected):
    """eve deals first, and so is told the keys of the genotypes' masks; then she is sent masked genotypes."""
    draw = np.random.default_rng(5)
    g, y = draw.integers(0, 3, (M, N)).astype(np.int8), draw.integers(-9, 9, (N, 1))
    heard: dict[str, list] = {"keys": [], "masked": []}
    receive_key, receive = Session.receive_key, Session.receive

    def key_heard(session, source, step):
        key = receive_key(session, source, step)
        if session.me == "eve" and step.startswith("dealer/block key"):
            heard["keys"].append(key)
        return key

    def array_heard(session, source, step, **kind):
        array = receive(session, source, step, **kind)
        if session.me == "eve" and step.startswith("vertical/epsilon"):
            heard["masked"].append(array.copy())
        return array

    monkeypatch.setattr(Session, "receive_key", key_heard)
    monkeypatch.setattr(Session, "receive", array_heard)
    for number, parties in enumerate(STUDIES):
        s = Study(tmp_path / str(number), parties, 10)
        right, dealer = (next(n for n in parties if parties[n] == role) for role in ("phenotypes", "dealer"))
        roles = Roles("gen", right, dealer)
        state = StateFile(tmp_path / "gen.state", s.parties.digest() if protected else "")

        def gen(session, roles=roles, state=state):
            sides = vertical.genotype_side(
                session, roles, [Block(0, {"g": g})], samples=N, columns=1, cohort="c", state=state, column_limit=9
            )
            return len(list(sides))

        def phe(session, roles=roles, number=number):
            own = StateFile(tmp_path / f"phe{number}")
            return len(list(vertical.phenotype_side(session, roles, y, state=own)))

        def deal(session, roles=roles):
            return block_dealer(session, left=roles.left, right=roles.right)

        results(s.run({"gen": gen, right: phe, dealer: deal}))
    (key,), (epsilon,) = heard["keys"], heard["masked"]
    found = (epsilon + words(key, LEFT_MASK, number=0, shape=epsilon.shape)).view(np.int64).T
    assert np.array_equal(found, g) != protected
    if protected:
        assert np.abs(found).min() > 2


def test_runs_of_two_studies_have_two_sets_of_masks(tmp_path, monkeypatch):
    """The whole run of every party: the keys that the dealers of two studies hear have nothing in common."""
    draw = np.random.default_rng(6)
    ids = [f"p{i}" for i in range(N)]
    to_bed(tmp_path / "all.bed", draw.integers(0, 3, (N, M)).astype(float), properties={"fid": ids, "iid": ids})
    rows = "".join(f"{i}\t{i}\t{v:.3f}\n" for i, v in zip(ids, draw.normal(size=N), strict=True))
    (tmp_path / "p.tsv").write_text("#FID\tIID\tQT\n" + rows)
    heard: list[bytes] = []
    receive_key = Session.receive_key

    def key_heard(session, source, step):
        key = receive_key(session, source, step)
        if step.startswith("dealer/block key"):
            heard.append(key)
        return key

    monkeypatch.setattr(Session, "receive_key", key_heard)
    roles = STUDIES[0]
    for number in (0, 0, 1):
        if number or not heard:
            s = Study(tmp_path / str(number), roles, 20)
        files = {"gen": Inputs(str(tmp_path / "all")), "amy": Inputs("", pheno=str(tmp_path / "p.tsv"))}

        def body(name, s=s, files=files):
            me = PartyIdentity.in_directory(s.directory, name)
            if name == "eve":
                return deployment.run_dealer(s.parties, me)
            own = deployment.Task(
                files[name], str(tmp_path / "o"), StateFile(tmp_path / name), reveal="uv", column_limit=99
            )
            return deployment.run_party(s.parties, me, own)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(body, roles))
    first, again, other = heard[: len(heard) // 3], heard[len(heard) // 3 : -len(heard) // 3], heard[-len(heard) // 3 :]
    assert first and first == again and not set(first) & set(other)
