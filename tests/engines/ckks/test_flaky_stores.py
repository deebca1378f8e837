"""A whole study through stores that lose a tenth of their requests, and a tenth of their answers: it ends right.

A step that fails says so by its exit code (9), and is run again as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from append_tools import growing

import securegen as sg
from securegen.errors import StorageError
from securegen.io import store_requests
from securegen.io.folders import folder_of

T = TypeVar("T")
RUNS = 12  # of one step
SEEDS = [
    (4, 1),
    (2, 2),
]  # tries of a request, and what is lost: with two tries one request in 25 fails, and steps with it


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return growing(tmp_path_factory.mktemp("growing"))


class Steps:
    def __init__(self) -> None:
        self.failed: list[StorageError] = []

    def ends(self, step: Callable[[], T]) -> T:
        """What a step returns, which is run again where it fails."""
        for _ in range(RUNS):
            try:
                return step()
            except StorageError as problem:
                self.failed.append(problem)
        raise self.failed[-1]


@pytest.mark.parametrize("tries, seed", SEEDS)
def test_a_study_ends_right(study, flaky, tmp_path, monkeypatch, tries, seed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store_requests, "TRIES", tries)
    (store, losses), steps = flaky, Steps()
    losses.seed, losses.share = seed, 0.1
    whole, place = study.study("1", "2"), f"{store}/lab+a=b~c,d/s"
    made = steps.ends(lambda: sg.ckks.encrypt(whole, study.key, place))
    for part in ("2/2", "1/2"):
        out = f"{store}/lab/r.{part.replace('/', 'of')}.results"
        steps.ends(lambda part=part, out=out: sg.ckks.associate(made.cohort, made.design, out, blocks=part))
    merged = steps.ends(lambda: sg.merge(f"{store}/lab/r"))
    table = steps.ends(lambda: study.table(folder_of(merged.paths[0]), tmp_path / "s", design=made.design))
    assert table == study.plain(tmp_path, "1", "2")
    steps.ends(lambda: sg.ckks.append_cohort(study.part("3"), study.key, place))
    steps.ends(lambda: study.design(place, "1", "2", "3", overwrite=True))
    results = steps.ends(lambda: sg.ckks.associate(made.cohort, made.design, f"{store}/lab/q"))
    table = steps.ends(lambda: study.table(results, tmp_path / "s"))
    assert table == study.plain(tmp_path, "1", "2", "3")
    assert {(method, done) for method, done in losses.lost if method != "HEAD"} == {
        (method, done)
        for method in ("GET", "DELETE", *(("PUT",) if store.startswith("s3") else ("POST",)))
        for done in (False, True)
    }
    assert steps.failed or tries > 2
    assert not any(len(folder_of(f"{store}/lab/{name}").sizes()) for name in ("r.1of2.results", "r.2of2.results"))
