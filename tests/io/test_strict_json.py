"""JSON from files and other parties: one reader, one schema pass, one error."""

from __future__ import annotations

import os

import pytest

from securegen.errors import ArtefactError, KeyFileError
from securegen.io import schema, strict_json


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000, b"{", b"", b"\xff", b"NaN", b"[1e999]", b"[Infinity]", b'{"a": 1, "a": 2}', b"1" * 5000,
        b'["\\ud800"]', b'{"\\uDfff": 1}',
        b"[" + b"[]," * strict_json.MOST_CONTAINERS + b"[]]",
    ],
)  # fmt: skip
def test_whatever_is_not_strict_json_is_one_error(text):
    with pytest.raises(ArtefactError, match="^x is damaged: it"):
        strict_json.parse_json(text, "x")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * 100)
    (tmp_path / "good").write_text("[1]")
    for name, match in (("pipe", "not a regular file"), (".", "not a regular file|directory"), ("large", "too large")):
        with pytest.raises(KeyFileError, match=match):
            strict_json.read_json(tmp_path / name, "a key", error=KeyFileError, most=50)
    with pytest.raises(FileNotFoundError):
        strict_json.read_json(tmp_path / "absent", "a key")
    assert strict_json.read_json(tmp_path / "good", "a list", schema.list_of(schema.integer(0, 1), 1, 1)) == [1]


def test_a_lack_of_memory_is_not_the_files_fault(tmp_path):
    (tmp_path / "good").write_text("[1]")
    with pytest.raises(MemoryError), strict_json.open_regular(tmp_path / "good", "a list"):
        raise OSError(12, "Cannot allocate memory")
    with (
        pytest.raises(ArtefactError, match="good cannot be read: Input/output error"),
        strict_json.open_regular(tmp_path / "good", "a list"),
    ):
        raise OSError(5, "Input/output error")


CHECK = schema.record(
    n=schema.integer(1, 9),
    x=schema.number(0, 1),
    on=schema.boolean,
    seed=schema.hex_bytes(2),
    kind=schema.one_of("own", "seal"),
    names=schema.list_of(schema.text(5), 1, 2),
    sizes=schema.map_of(schema.integer(0, 5), 2),
    may_have={"note": schema.optional(schema.text(3, printable=False))},
)
GOOD = {"n": 1, "x": 0.5, "on": True, "seed": "00ff", "kind": "own", "names": ["a"], "sizes": {"b": 5}}


def test_a_schema_returns_what_it_allows():
    assert CHECK(GOOD, "") == {**GOOD, "seed": b"\0\xff"}
    assert CHECK({**GOOD, "note": None, "x": 1}, "")["x"] == 1.0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n": True}, "n is True, expected an integer from 1 to 9"), ({"n": 1.0}, "n is 1.0"), ({"n": 10**400}, "n is 1000"),
        ({"x": float("nan")}, "x is nan"), ({"x": "0"}, "x is '0'"), ({"on": 1}, "on is 1"), ({"seed": "00FF"}, "2 bytes"),
        ({"kind": 1}, "one of own, seal"), ({"names": []}, "a list of 0"), ({"names": "a"}, "names is"),
        ({"names": ["a\tb"]}, r"names\[0\] is 'a\?b'"), ({"sizes": {"a": 6}}, "sizes.'a' is 6"),
        ({"sizes": {"\n": 1}}, "a key of"),
        ({"more": 1}, "unknown field 'more'"), ({"note": "four"}, "note is"), ({"names": {}}, "names is an object"),
    ],
)  # fmt: skip
def test_a_schema_says_what_is_wrong_and_where(change, match):
    with pytest.raises(schema.Refused, match=match):
        CHECK({**GOOD, **change}, "")
    with pytest.raises(schema.Refused, match="lacks n"):
        CHECK({k: v for k, v in GOOD.items() if k != "n"}, "")
