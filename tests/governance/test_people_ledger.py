"""What these people have been in: found again under new names of cohorts, files and studies, and across processes."""

from __future__ import annotations

import os
from typing import NoReturn

import numpy as np
import pytest
from policy_tools import write_former

from securegen.errors import PolicyError, StorageError
from securegen.governance import ledger_file, leverage, openings
from securegen.governance.guard import SiteGuard
from securegen.governance.ledger_file import begin_ledger, open_ledger
from securegen.model import Samples


def people(names) -> Samples:
    ids = np.array([str(n) for n in names], object)
    return Samples(ids, ids, np.ones(len(ids), bool))


def everybody(n: int) -> np.ndarray:
    return np.ones(n, bool)


def test_sets_that_differ_by_a_few_people_are_found_in_later_studies(tmp_path):
    path = tmp_path / "ledger"
    first, again = people(range(200)), people(reversed(range(200)))
    with open_ledger(path) as ledger:
        rows = ledger.rows(first)
        assert ledger.set_fault(rows, everybody(200)) is None
        ledger.add_set("study 1", rows, everybody(200))
    without_one = np.arange(200) != 17
    with open_ledger(path) as ledger:  # the same people in another order, and one without a phenotype
        rows = ledger.rows(again)
        assert "study 1" in ledger.set_fault(rows, without_one)
        assert ledger.set_fault(rows, everybody(200)) is None
        assert ledger.set_fault(rows, np.arange(200) >= 10) is None
    with open_ledger(path) as ledger:  # a person more
        more = people(range(201))
        assert ledger.set_fault(ledger.rows(more), everybody(201)) is not None
        others = people(range(1000, 1100))
        assert ledger.set_fault(ledger.rows(others), everybody(100)) is None
        few_shared = people([*range(5), *range(1000, 1100)])
        assert "in both" in ledger.set_fault(ledger.rows(few_shared), everybody(105))


def test_a_new_ledger_says_that_it_knows_nothing(tmp_path):
    said: list[str] = []
    for _ in range(2):
        with open_ledger(tmp_path / "ledger", said.append) as ledger:
            ledger.add_set("study 1", ledger.rows(people(range(20))), everybody(20))
    assert len(said) == 1 and "is new: what these people have been in before is not known" in said[0]


def test_columns_are_counted_a_person_and_once(tmp_path):
    path, rng = tmp_path / "ledger", np.random.default_rng(1)
    columns = rng.integers(1, 9, (100, 10))
    with open_ledger(path) as ledger:
        assert ledger.charge(ledger.rows(people(range(100))), columns) is None
    order = rng.permutation(100)
    with open_ledger(path) as ledger:
        rows = ledger.rows(people(order))
        assert ledger.charge(rows, columns[order]) is None, "the same columns again"
        assert set(ledger.spent) == {10}
        assert ledger.charge(rows, rng.integers(1, 9, (100, 6))) is None
        # a subset, under any name, has spent what its people have
        some = ledger.rows(people(range(50)))
        assert "17 columns" in ledger.charge(some, rng.integers(1, 9, (50, 1)))
        assert ledger.charge(some, rng.integers(1, 9, (50, 1)), share=1.0) is None
        assert sorted(set(ledger.spent)) == [16, 17]


def test_an_error_enters_nothing(tmp_path):
    with pytest.raises(ValueError), open_ledger(tmp_path / "ledger") as ledger:
        ledger.add_set("no", ledger.rows(people(range(20))), everybody(20))
        raise ValueError
    with open_ledger(tmp_path / "ledger") as ledger:
        assert ledger.sets == [] and ledger.people == {}


def test_a_ledger_is_private_and_whole(tmp_path):
    path = tmp_path / "ledger"
    with open_ledger(path) as ledger:
        rows = ledger.rows(people(["NA12878", 2, 3]))
        ledger.add_set("one", rows, np.arange(3) > 0)
        assert ledger.charge(rows, np.array([[1, -300], [0, 7], [1 << 40, 9]]), share=1.0) is None
    assert [oct(p.stat().st_mode & 0o777) for p in (path, tmp_path / "ledger.key")] == ["0o600", "0o600"]
    raw = path.read_bytes()
    assert b"NA12878" not in raw

    def refused(content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(StorageError), open_ledger(path):
            pass

    for at in range(len(raw)):  # cut, or one bit altered, wherever it is
        refused(raw[:at] if at % 2 else raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    for content in (raw + b"0", b"{}", b"", b"securegen ledger 4\n" + raw[19:]):
        refused(content)
    path.write_bytes(raw)
    (tmp_path / ".ledger.0a1b2c3d").write_bytes(raw[:50])  # a writer that was killed
    with open_ledger(path) as ledger:
        assert ledger.spent.tolist() == [2, 2, 2] and ledger.columns[0][1].tolist() == [[1, -300], [0, 7], [1 << 40, 9]]
        ledger.add_set("two", rows, np.arange(3) > 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger", "ledger.key", "ledger.lock"]
    os.chmod(path, 0o644)
    with pytest.raises(StorageError, match="chmod"), open_ledger(path):
        pass
    os.chmod(path, 0o600)
    os.rename(path, tmp_path / "old")
    with pytest.raises(StorageError, match="gone"), open_ledger(path):
        pass
    os.symlink(tmp_path / "old", path)
    with pytest.raises(StorageError, match="link"), open_ledger(path):
        pass


class Killed(Exception):
    pass


def test_a_ledger_whose_first_call_was_killed_is_made_and_one_that_was_taken_away_is_missed(tmp_path, monkeypatch):
    """Its key is written first; its lock tells whether anything was ever kept."""
    path = tmp_path / "ledger"
    with monkeypatch.context() as off:
        off.setattr(ledger_file, "_empty", lambda *_: raise_killed())
        with pytest.raises(Killed), open_ledger(path):
            pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.key", "ledger.lock"]
    key = (tmp_path / "ledger.key").read_bytes()
    begin_ledger(path)
    assert path.exists() and (tmp_path / "ledger.key").read_bytes() == key
    with open_ledger(path) as ledger:
        ledger.add_set("one", ledger.rows(people([1, 2, 3])), np.arange(3) > 0)
    raw = path.read_bytes()
    path.unlink()
    begin_ledger(path)  # not in the place of one that is gone
    assert not path.exists()
    with pytest.raises(StorageError, match="gone"), open_ledger(path):
        pass
    (tmp_path / "ledger.lock").unlink()  # a key without any lock is of a ledger that was there
    begin_ledger(path)
    with pytest.raises(StorageError, match="gone"), open_ledger(path):
        pass
    path.write_bytes(raw)


def test_a_ledger_that_is_gone_is_missed_where_its_lock_is_empty_or_behind(tmp_path, monkeypatch):
    """Earlier versions left the lock empty, and a kill leaves it behind its ledger: neither says that nothing was kept."""
    with monkeypatch.context() as off:
        off.setattr(ledger_file, "raise_mark", lambda *_: None)  # as an earlier version
        earlier = tmp_path / "earlier"
        with open_ledger(earlier) as ledger:
            ledger.add_set("one", ledger.rows(people([1, 2, 3])), np.arange(3) > 0)
    raw = earlier.read_bytes()
    assert (tmp_path / "earlier.lock").stat().st_size == 0
    earlier.unlink()
    begin_ledger(earlier)
    with pytest.raises(StorageError, match="gone"), open_ledger(earlier):
        pass
    path = tmp_path / "ledger"
    with open_ledger(path):
        pass
    with monkeypatch.context() as off:
        off.setattr(ledger_file, "raise_mark", lambda *_: raise_killed())
        with pytest.raises(Killed), open_ledger(path) as ledger:
            ledger.add_set("one", ledger.rows(people([1, 2, 3])), np.arange(3) > 0)
    with open_ledger(path, kept=False) as ledger:  # whoever looks raises the mark
        assert len(ledger.sets) == 1
    path.unlink()
    begin_ledger(path)
    with pytest.raises(StorageError, match="gone"), open_ledger(path):
        pass
    with monkeypatch.context() as off:  # a lock that said so would let it start anew
        off.setattr(ledger_file, "read_mark", lambda *_: 0)
        (tmp_path / "earlier.lock").write_bytes(b"0\n")
        with open_ledger(earlier) as ledger:
            assert not len(ledger.sets)
    earlier.write_bytes(raw)


def raise_killed() -> NoReturn:
    raise Killed


def test_a_combination_of_three_sets(tmp_path):
    """Y1 lacks one clinic, Y2 another, Y3 both and one person more: everybody − Y1 − Y2 + Y3 is that person."""
    everyone = np.ones(200, bool)
    y1, y2 = np.arange(200) >= 20, np.arange(200) < 170
    y3 = y1 & y2
    y3[100] = False
    assert np.flatnonzero(1 - 1 * y1 - y2 + y3).tolist() == [100]
    sets = [everyone, y1, y2]
    with open_ledger(tmp_path / "ledger") as ledger:
        rows = ledger.rows(people(range(200)))
        for i, members in enumerate(sets):
            assert ledger.set_fault(rows, members) is None
            ledger.add_set(str(i), rows, members)
        assert all(openings.set_fault(s, y3) is None for s in sets), "pairs do not show it"
        assert "combination of 4 sets" in ledger.set_fault(rows, y3)
        assert ledger.set_fault(rows, y1 & y2) is None and ledger.set_fault(rows, y1) is None
    guard = SiteGuard(lambda line: None)
    guard.sets([("all", everyone), ("Y1", y1), ("Y2", y2), ("both", y1 & y2)])
    with pytest.raises(PolicyError):
        guard.sets([("all", everyone), ("Y1", y1), ("Y2", y2), ("Y3", y3)])


def test_products_are_opened_once_in_a_lifetime(tmp_path):
    """Two Gram matrices of sets of people that differ by one are, apart, all that person's genotypes in a block."""
    x = np.random.default_rng(1).binomial(2, 0.3, (200, 30))
    difference = x.T @ x - x[1:].T @ x[1:]
    assert np.array_equal(difference, np.outer(x[0], x[0]))
    path, everyone = tmp_path / "ledger", everybody(200)

    def asked(what, ids, variants=b"blocks", block=6, predictors=2, **allowed):
        with open_ledger(path) as ledger:
            samples = people(ids)
            return ledger.charge_products(
                what, ledger.rows(samples), everybody(len(samples)), variants, block, predictors, **allowed
            )

    assert asked("study 1, Y", range(200)) is None
    assert asked("study 1, Y", reversed(range(200))) is None, "resumed"
    assert asked("study 1, Y", range(200), block=99) is None
    assert asked("study 2, Z", range(200)) is None, "the same products, other predictors"
    for ids, variants in ((range(1, 200), b"blocks"), (range(200), b"others"), (range(199, 400), b"blocks")):
        assert "other: study 1, Y" in asked("study 3", ids, variants)
        assert "other: study 1, Y" in asked("study 1, Y", ids, variants)
    assert asked("study 3", range(200, 400)) is None, "nobody shared"
    with open_ledger(path) as ledger:
        assert [ledger.spent[i] for i in (0, 199, 200, 399)] == [10, 10, 8, 8]
        assert len(ledger.products) == 3 and [int(p.members.sum()) for p in ledger.products] == [200] * 3
        assert ledger.charge_products("study 4", ledger.rows(people(range(200))), ~everyone, b"", 1, 1) is None
    assert asked("study 4", range(1, 200), consent=True) is None
    assert "50 columns" in asked("study 5", range(200, 400), b"many", 40, 2, consent=True)
    assert asked("study 5", range(200, 400), b"many", 40, 2, consent=True, share=np.inf) is None
    with open_ledger(path) as ledger:
        assert [ledger.spent[i] for i in (0, 199, 399)] == [10, 18, 50]


def test_products_and_columns_are_one_budget(tmp_path):
    columns = np.random.default_rng(2).integers(1, 9, (100, 10))
    with open_ledger(tmp_path / "ledger") as ledger:
        rows = ledger.rows(people(range(100)))
        assert ledger.charge(rows, columns) is None
        assert "17 columns" in ledger.charge_products("study", rows, everybody(100), b"", 5, 2)
        assert ledger.products == []
        assert ledger.charge_products("study", rows, everybody(100), b"", 5, 1) is None
        assert "17 columns" in ledger.charge(rows, columns[:, :1] + 1)


def test_a_ledger_of_format_2_is_read_and_written_anew(tmp_path):
    path, values = tmp_path / "ledger", np.array([[1, -300], [1 << 40, 9]])
    with open_ledger(path) as ledger:
        rows = ledger.rows(people(range(3)))
        names = [ledger.person(str(i), str(i)) for i in range(3)]
        assert list(ledger.people) == names and rows.tolist() == [0, 1, 2]
        marks, _ = ledger._new(np.array([2, 0]), values)
    former = {
        "format": "securegen ledger 2", "people": names, "spent": [2, 0, 7], "charged": marks, "studies": [],
        "sets": [{"what": "one", "members": "06"}],
        "columns": [{"members": [2, 0], "bits": 64, "values": values.astype("<i8").tobytes().hex()}],
    }  # fmt: skip
    write_former(path, former, changes=1)
    written = path.read_bytes()
    with open_ledger(path) as ledger:
        assert ledger.spent.tolist() == [2, 0, 7] and ledger.sets[0][1].tolist() == [False, True, True]
        assert ledger.columns[0][0].tolist() == [0, 2] and ledger.columns[0][1].tolist() == [[1 << 40, 9], [1, -300]]
        assert ledger.charge(np.array([2, 0]), values, share=1.0) is None, "charged before"
        assert ledger.products == []
    assert path.read_bytes() == written, "nothing was entered"
    with open_ledger(path) as ledger:
        assert ledger.charge(rows, np.array([[5], [6], [8]]), share=9.0, limit=1.1) is None
    assert path.read_bytes().startswith(b"securegen ledger 3\n")
    with open_ledger(path) as ledger:
        assert ledger.spent.tolist() == [3, 1, 8] and len(ledger.columns) == 2
    path.write_bytes(written)
    with pytest.raises(StorageError, match="older than the mark"), open_ledger(path):
        pass
    write_former(path, former | {"spent": [0, 0]}, changes=9)
    with pytest.raises(StorageError, match="not a ledger of this version"), open_ledger(path):
        pass
    path.write_bytes(written.replace(b"one", b"two"))
    with pytest.raises(StorageError, match="altered"), open_ledger(path):
        pass


@pytest.mark.parametrize("step", range(-9, -30, -4))
def test_leverage_of_parts_is_that_of_the_whole_matrix(step, monkeypatch):
    """A person's value that is corrected by 2^step of a column's size: blocks of rows, and the whole matrix where columns are
    nearly dependent, against one factorisation of everything."""
    monkeypatch.setattr(leverage, "_ENTRIES", 64)
    rng, everyone = np.random.default_rng(-step), np.arange(200)
    some = np.sort(rng.permutation(200)[:150])
    parts = [(everyone, rng.integers(-(1 << 30), 1 << 30, (200, 2))), (some, rng.integers(0, 3, (150, 2)))]
    corrected = parts[0][1].copy()
    corrected[17, 0] += 1 << 30 + step
    again = corrected.copy()
    again[18, 0] += 1 << 30 + step
    for before, fresh in ((parts, corrected), ([*parts, (everyone, corrected)], again), (parts, parts[0][1])):
        before_whole, whole = (np.zeros((200, 2 * n), np.int64) for n in (len(before), len(before) + 1))
        for i, (rows, values) in enumerate([*before, (everyone, fresh)]):
            whole[rows, 2 * i : 2 * i + 2] = values
        before_whole[:] = whole[:, :-2]
        now, then = (openings.leverages(x, intercept=False) for x in (whole, before_whole))
        expected = now[now > then + openings.RANK].max(initial=0.0)
        found = leverage.raised_leverage(before, (everyone, fresh), 200)
        assert found == pytest.approx(expected, abs=1e-6) and (found > 0.9 or fresh is parts[0][1])
