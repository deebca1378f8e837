"""A role's record is another party's word: what is wrong with it is one line, and it fetches no file but the role's own."""

from __future__ import annotations

import json
import os

import pytest

from securegen.engines.mpc import engine
from securegen.errors import ArtefactError
from securegen.local.answers import read_answer
from securegen.local.launcher import Role

GOOD = {"command": "party", "seconds": {"online": 1.5}, "peak_rss_bytes": 1 << 20}


def written(folder, value):
    (folder / "a.run.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return Role("a", ("party",), {"out": folder / "a"}, folder).record


@pytest.mark.parametrize(
    "value",
    ["", "[]", "{}", "[" * 100_000, '{"seconds": {}, "seconds": {}, "peak_rss_bytes": 1}', '{"seconds": {"a": NaN}}',
     GOOD | {"seconds": None}, GOOD | {"seconds": {"online": "x\x1b[2J"}}, GOOD | {"seconds": {"online": -1}},
     GOOD | {"peak_rss_bytes": 10**400}, GOOD | {"peak_rss_bytes": "many"}, GOOD | {"samples_stored": 1.5},
     GOOD | {"summaries": {}}, GOOD | {"summaries": [{}]}, GOOD | {"files": [None]}, GOOD | {"receipt": {"parties": 1}}],
)  # fmt: skip
def test_a_record_that_is_none(value, tmp_path):
    with pytest.raises(ArtefactError, match="the record of a, is damaged"):
        written(tmp_path, value)()


def test_a_record_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(ArtefactError, match="a has ended and left no record"):
        read_answer(tmp_path / "a", "a")
    os.mkfifo(tmp_path / "a.run.json")
    with pytest.raises(ArtefactError, match="not a regular file"):
        read_answer(tmp_path / "a", "a")


def test_what_it_does_not_say_is_named(tmp_path):
    said = written(tmp_path, GOOD | {"bytes": {"sent": {"b": 3}}})()
    assert said["seconds"]["online"] == 1.5 and said.get("variants", 0) == 0
    for ask in (lambda: said["variants"], lambda: said["bytes"]["rounds"], lambda: said["bytes"]["sent"]["a"]):
        with pytest.raises(ArtefactError, match="the record of a role does not say"):
            ask()


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("name", ["../key.secret", "{}/key.secret", "../parties/a.x/../../key.secret", "b.QT.uv"])
def test_no_file_of_another_is_fetched_as_a_table(name, safe, tmp_path):
    """Without the check whatever it names lies beside the tables afterwards."""
    work = tmp_path / "parties"
    (work / "a.x").mkdir(parents=True)
    (tmp_path / "key.secret").write_text("another's")
    (work / "b.QT.uv").write_text("another's")
    path = str(work / name.format(tmp_path))
    lie = {"path": path, "phenotype": "QT", "test": "linear", "samples": 5}
    read = written(work, GOOD | {"summaries": [lie]})
    if safe:
        with pytest.raises(ArtefactError, match="names a file that is not its own"):
            read()
        return
    record = json.loads((work / "a.run.json").read_text())
    with pytest.raises((KeyError, TypeError)):  # of the rest of a summary, when the file is here already
        engine._tables(work, {"phenotypes": record}, str(tmp_path / "out"))
    fetched = [found for found in (*tmp_path.glob("out*"), *(tmp_path / "out").rglob("*")) if found.is_file()]
    assert any(found.read_text() == "another's" for found in fetched)
