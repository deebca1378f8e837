"""Pages and pictures of the documentation are those of the results that are kept beside the benchmarks."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import encrypted_prs
import page
import pictures
import pytest
import record

matplotlib = pytest.importorskip("matplotlib", reason="needs securegen[plot]")


@pytest.fixture(scope="module")
def made() -> dict[str, record.Made]:
    return page.all_made()


def test_pages_say_what_was_kept(made):
    """After a change of either: python benchmarks/page.py"""
    assert len(made) == sum(map(len, page.PAGES.values()))
    for one in made.values():
        text = one.path.read_text()
        assert one.written(text) == text, one.page
        for mark in one.sections:
            with pytest.raises(ValueError, match=f"not one <!-- {mark} -->"):
                one.written(text.replace(f"<!-- {mark} -->", ""))


def test_every_result_says_where_it_was_measured():
    sources = []
    for file in record.RESULTS.glob("*.json"):
        told = json.loads(file.read_text())
        sources += [told["measured"]] if "measured" in told else [part["measured"] for part in told.values()]
    assert len(sources) > 4
    for about in sources:
        assert {"processor", "cores", "commit"} <= about.keys() and "None" not in record.source(about)
    assert {"system", "python", "date", "load", "versions"} <= record.measured().keys()


def drawn(made: dict[str, record.Made]) -> dict[str, pictures.Picture]:
    return {name: picture for one in made.values() for name, picture in one.pictures.items()}


def old(picture: pictures.Picture, svg: str) -> bool:
    """Whether a file shows other numbers; with the version of matplotlib that drew it, other bytes."""
    told = pictures.numbers_of(svg)
    if told["data"] != json.loads(json.dumps(picture.data)):
        return True
    return told["matplotlib"] == matplotlib.__version__ and svg != picture.svg()


def test_no_picture_is_older_than_its_results(made):
    """After a change of results or of how they are drawn: python benchmarks/page.py"""
    files = {f.stem: f.read_text() for f in page.PICTURES.glob("*.svg")}
    wanted = drawn(made)
    assert files.keys() == wanted.keys() and len(files) > 8
    assert not [name for name, picture in wanted.items() if old(picture, files[name])]
    picture = wanted["seconds-people"]
    changed = json.loads(json.dumps(picture.data))
    changed["encrypt"]["measured"][0][1] *= 1.01
    assert old(replace(picture, data=changed), files["seconds-people"])


def test_pictures_are_small_and_have_a_colour_by_night(made):
    for file in page.PICTURES.glob("*.svg"):
        text = file.read_text()
        colours = set(re.findall(r"(?:fill|stroke): (#\w+)", text))
        assert colours and colours <= pictures.BY_NIGHT.keys(), file.name
        assert "prefers-color-scheme:dark" in text and len(text) < 40_000
    for one in made.values():
        text = "".join(one.sections.values())
        assert all(text.count(p.link) == 1 and len(p.alt) > 60 for p in one.pictures.values())


def test_what_is_computed_goes_on_where_measuring_ended():
    curve = pictures.Curve("encrypt", ((1e3, 2.0), (1e4, 11.0)), lambda x: 1 + x / 1000)
    shown = pictures.curves("n", "Title", "below", "people", "seconds", [curve], until=5e5)
    found = shown.data["encrypt"]
    assert found["measured"] == [[1e3, 2.0], [1e4, 11.0]] and found["computed"] == [[5e5, 501.0]]
    assert "2 s at 1k, 11 s at 10k, computed 8 min at 500k" in shown.alt
    assert shown.svg() == shown.svg() and ">computed<" in shown.svg()
    within = pictures.curves("n", "Title", "below", "people", "seconds", [curve])
    assert not within.data["encrypt"]["computed"] and ">computed<" not in within.svg()


def test_messages_are_those_of_the_protocols():
    results = record.read("messages")
    assert (results["samples"], results["variants"]) == (page.messages.SAMPLES, page.messages.VARIANTS)
    for setting, steps in encrypted_prs.SETTINGS.items():
        sent = [(name.removeprefix("x."), s.party, to) for s in steps for name, to in s.sends]
        assert [(m["message"], m["from"], m["to"]) for m in results["settings"][setting]] == sent
    assert results["settings"].keys() == encrypted_prs.SETTINGS.keys()
