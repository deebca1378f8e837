"""A person's columns are counted whatever the cohort is called: attacks that a count by name alone lets through."""

import threading

import numpy as np
import pytest

from securegen.engines.mpc.people import admitted, charge
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import PolicyError
from securegen.governance.guard import SiteGuard
from securegen.io.arrays import ArrayReader
from securegen.model import Samples, Variants

N, LIMIT = 40, 5


def cohort(first: int = 0, people: int = N) -> Samples:
    ids = np.array([f"p{i}" for i in range(first, first + people)], object)
    return Samples(ids, ids, np.ones(people, bool))


def ask(state, name: str, columns: int = 3, people: Samples | None = None, places=("",), limit: int = LIMIT) -> None:
    people = cohort() if people is None else people
    everybody = np.ones((len(people), 1), bool)
    charge(state, name, [(set(places), everybody, columns)], people=people, column_limit=limit)


@pytest.fixture
def state(tmp_path):
    return StateFile(tmp_path / "state")


def test_a_count_by_name_alone_is_got_round(state):
    for name in ("a", "b", "c", "d"):
        state.spend(f"columns of cohort {name}", 3, limit=LIMIT)  # 12 columns of the same people


@pytest.mark.parametrize(
    "again",
    [{}, {"people": cohort(7, 12)}, {"people": cohort(N - 1, N)}, {"places": ("X",)}, {"places": ("PAR",)}],
    ids=["another name", "a part of the people", "one person beside others", "X apart", "ends of X apart"],
)
def test_the_same_people_are_charged(state, again):
    ask(state, "first")
    with pytest.raises(PolicyError, match="answered 3 of at most 5; 3 more are refused"):
        ask(StateFile(state.path), "second", **again)
    ask(state, "second", columns=2, **again)  # a refusal counted nothing


def test_other_people_have_their_own(state):
    ask(state, "first")
    ask(state, "second", people=cohort(N))


def test_males_of_y_are_counted_apart_under_any_name(state):
    ask(state, "first", places=("Y",))
    ask(state, "first")
    with pytest.raises(PolicyError, match="cohort second, Y: answered 3"):
        ask(state, "second", places=("Y",))


def test_a_refusal_by_name_counts_nobody(state):
    ask(state, "first")
    with pytest.raises(PolicyError, match="columns of cohort first: answered 3"):
        ask(state, "first", people=cohort(N))
    ask(state, "second", columns=LIMIT, people=cohort(N))


def test_runs_at_once_are_charged_together(state):
    done = []

    def run(name):
        try:
            ask(StateFile(state.path), name)
            done.append(name)
        except PolicyError:
            pass

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1


@pytest.mark.parametrize("protected", [False, True])
def test_one_carrier_between_two_runs(state, monkeypatch, protected):
    """The phenotype owner knows who is in two runs and subtracts their sums: of the thirty in between one carries the variant."""
    dosage = np.zeros((2, 300), np.int8)
    dosage[0, ::4] = 1
    dosage[0, 1:31] = 0
    dosage[1] = dosage[0]
    dosage[0, 7] = 1
    words = [np.array([c, c], object) for c in ("1", "rs", "A", "G")]
    reader = ArrayReader(dosage, cohort(0, 300), Variants(words[0], np.array([1, 600]), *words[1:]))
    everybody, later = np.ones((300, 1), bool), ~np.isin(np.arange(300), np.arange(1, 31))[:, None]
    if not protected:
        monkeypatch.setattr(SiteGuard, "look_between", lambda *_: None)
    said: list[str] = []
    for who, withheld in ((everybody, [False, False]), (later, [protected, False])):
        (rule,) = admitted(reader, [({""}, who)], state, "strict", said.append)
        apart = [rule.vetoed([reader.read(v, v + 1)]).item() for v in range(2)]
        assert apart == withheld
    assert any("30 people here" in line for line in said) == protected
