"""Work shared between threads: everything once, in order, failures raised, kernels alone within a thread."""

import threading

import numba
import pytest

from securegen.kernels.threads import in_threads, over_range


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_results_are_in_the_order_of_the_items(threads):
    assert in_threads(lambda x: x * x, iter(range(50)), threads=threads) == [x * x for x in range(50)]
    assert in_threads(abs, [], threads=threads) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("count", "least"), [(0, 1), (1, 1), (17, 1), (1000, 1), (1000, 300)])
def test_pieces_cover_the_range_once(count, least, threads):
    seen = []
    over_range(count, lambda first, last: seen.append((first, last)), threads=threads, least=least)
    assert [i for first, last in sorted(seen) for i in range(first, last)] == list(range(count))
    assert all(last - first >= least or last == count for first, last in seen)


def test_two_threads_work_at_once():
    meeting = threading.Barrier(2, timeout=120)  # broken, and so raised, if the second piece had to wait for the first
    in_threads(lambda _: meeting.wait(), range(2), threads=2)


def test_a_failure_is_raised_and_stops_the_rest():
    began = []

    def work(item):
        began.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError):
        in_threads(work, range(1000), threads=2)
    assert len(began) <= 2


def test_kernels_work_alone_within_a_thread_and_the_setting_comes_back():
    before = numba.get_num_threads()
    meeting = threading.Barrier(2, timeout=120)
    assert in_threads(lambda _: (meeting.wait(), numba.get_num_threads())[1], range(2), threads=2) == [1, 1]
    assert numba.get_num_threads() == before


def test_where_the_system_gives_no_thread_one_does_the_work(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert in_threads(lambda x: x + 1, range(5), threads=3) == [1, 2, 3, 4, 5]


def test_a_signal_while_waiting_for_the_others_is_raised_when_they_have_ended():
    ended, inside, done = [], threading.Event(), threading.Event()

    def work(item):
        if threading.current_thread() is threading.main_thread():
            inside.wait(120)
        else:
            inside.set()
            done.wait(120)
            ended.append(item)

    join = threading.Thread.join

    def interrupted(self, timeout=None):
        if not done.is_set():
            done.set()
            raise SystemExit(143)
        join(self, timeout)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(threading.Thread, "join", interrupted)
        in_threads(work, range(2), threads=2)
    assert len(ended) == 1
