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
RUNS = 20  # of one step


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return growing(tmp_path_factory.mktemp("growing"))


def ends(step: Callable[[], T]) -> T:
    """What a step returns, which is run again where it fails."""
    for _ in range(RUNS):
        try:
            return step()
        except StorageError as problem:
            failed = problem
    raise failed


def test_a_study_ends_right(study, flaky, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store_requests, "TRIES", 2)
    store, losses = flaky
    losses.share = 0.1
    whole, place = study.study("1", "2"), f"{store}/lab+a=b~c,d/s"
    made = ends(lambda: sg.ckks.encrypt(whole, study.key, place))
    for part in ("2/2", "1/2"):
        out = f"{store}/lab/r.{part.replace('/', 'of')}.results"
        ends(lambda part=part, out=out: sg.ckks.associate(made.cohort, made.design, out, blocks=part))
    merged = ends(lambda: sg.merge(f"{store}/lab/r"))
    table = ends(lambda: study.table(folder_of(merged.paths[0]), tmp_path / "s", design=made.design))
    assert table == study.plain(tmp_path, "1", "2")
    ends(lambda: sg.ckks.append_cohort(study.part("3"), study.key, place))
    ends(lambda: study.design(place, "1", "2", "3", overwrite=True))
    results = ends(lambda: sg.ckks.associate(made.cohort, made.design, f"{store}/lab/q"))
    table = ends(lambda: study.table(results, tmp_path / "s"))
    assert table == study.plain(tmp_path, "1", "2", "3")
    assert not any(folder_of(f"{store}/lab/r.{n}of2.results").sizes() for n in (1, 2))
    writes = "PUT" if store.startswith("s3") else "POST"
    assert {(method, done) for method in ("GET", writes) for done in (False, True)} <= losses.lost.keys()
