"""A policy is read as it was signed, in one way, and every fault names its line. Each attack edits the files."""

from __future__ import annotations

import json
import os

import pytest

from securegen.errors import PolicyError, StorageError
from securegen.governance import policy_file, signing
from securegen.governance.pin import Pin
from securegen.governance.policy import SETTINGS
from securegen.governance.policy_draft import draft
from securegen.governance.policy_file import beside, parse, read_policy, sign_policy

STEWARD = signing.generate()
TEXT = draft("Test", STEWARD.verify_key.hex(), [{"name": "anna", "key": "ab" * 32, "role": "analyst"}])


@pytest.fixture
def signed(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    sign_policy(path, STEWARD)
    return path


def line_of(text: str, start: str) -> int:
    return next(i for i, line in enumerate(text.split("\n"), 1) if line.startswith(start))


def test_a_signed_policy_has_every_setting_and_its_line(signed):
    policy = read_policy(signed)
    assert set(policy.values) == set(SETTINGS) and policy.version == 1
    assert policy.line("limits.smallest_cohort") == line_of(TEXT, "smallest_cohort =")
    assert policy.line("expires") is None and policy.named("anna").role == "analyst"


def test_what_is_left_out_has_its_default():
    short = f'format = 1\nname = "T"\nversion = 1\nsteward = "{"00" * 32}"\n'
    assert parse(short.encode(), "p")["limits.smallest_cohort"] == 10


FAULTS = {
    "an unknown key": ("smallest_cohort = 10", "smallest_cohorts = 10", "not a key of a policy"),
    "a key of another table": ("smallest_cohort = 10", "epsilon = 10", "not a key of a policy"),
    "a key twice": ("smallest_cases = 10", "smallest_cohort = 0", "there twice"),
    "a table twice": ("[budgets]", "[limits]", "there twice"),
    "an unknown table": ("[budgets]", "[budget]", "no table of a policy"),
    "text for a number": ("smallest_cohort = 10", 'smallest_cohort = "10"', "expected an integer"),
    "a float for an integer": ("smallest_cohort = 10", "smallest_cohort = 10.0", "expected an integer"),
    "true for an integer": ("smallest_cohort = 10", "smallest_cohort = true", "expected an integer"),
    "a negative number": ("smallest_cohort = 10", "smallest_cohort = -1", "expected an integer"),
    "not a number": ("columns_share = 0.05", "columns_share = nan", "expected a number"),
    "more than is ever allowed": ("columns_share = 0.05", "columns_share = 0.5", "expected a number"),
    "a purpose in small letters": ('["GRU"]', '["gru"]', "DUO code in capitals"),
    "a purpose that only looks alike": ('["GRU"]', '["\uff27RU"]', "DUO code in capitals"),
    "an unknown reveal": ('reveal = "hits"', 'reveal = "all"', "one of"),
    "a role of another alphabet": ('role = "analyst"', 'role = "\u0430nalyst"', "one of"),
    "a dotted key": ("smallest_cohort = 10", "a.b = 10", "`key = value`"),
    "a quoted key": ("smallest_cohort = 10", '"smallest_cohort" = 10', "`key = value`"),
    "an inline table": ('name = "Test"', 'name = {a = 1}', "text of"),
    "a value over lines": ('allowed = ["GRU"]', 'allowed = [\n"GRU"]', "no TOML value"),
    "a text over lines": ('name = "Test"', 'name = """Test"""', "one line"),
    "a second statement": ("smallest_cohort = 10", "smallest_cohort = 10\\nsmallest_cases = 0", "no TOML value"),
    "a carriage return": ("smallest_cohort = 10", "smallest_cohort = 10\r", "U+000D"),
    "a tab": ("smallest_cohort = 10", "smallest_cohort =\t10", "U+0009"),
    "text that runs backwards": ('name = "Test"', 'name = "\u202eTest"', "U+202E"),
    "a space that takes no room": ("[budgets]", "\u200b[budgets]", "U+200B"),
    "an identity without a key": (f'key = "{"ab" * 32}"\n', "", "lacks key"),
    "a date in quotes": ('role = "analyst"', 'role = "analyst"\nexpires = "2030-01-01"', "date without quotes"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_refused_with_its_line(what):
    old, new, said = FAULTS[what]
    assert old in TEXT
    with pytest.raises(PolicyError, match=r"policy\.file: p, line \d+: ") as refused:
        parse(TEXT.replace(old, new, 1).encode(), "p")
    assert said in str(refused.value)


def test_two_identities_are_two_names_and_two_keys():
    for name, key in (("ANNA", "cd" * 32), ("bert", "ab" * 32)):
        more = f'\n[[identity]]\nname = "{name}"\nkey = "{key}"\nrole = "owner"\n'
        with pytest.raises(PolicyError, match="name or the key of anna"):
            parse((TEXT + more).encode(), "p")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xef\xbb\xbf" + TEXT.encode(), b"\0", b"", b"[" * 50_000])
def test_other_bytes_are_no_policy(raw):
    with pytest.raises(PolicyError, match=r"policy\.file"):
        parse(raw, "p")


def test_an_edited_policy_is_refused_and_signing_it_needs_a_later_version(signed):
    signed.write_text(TEXT.replace("smallest_cohort = 10", "smallest_cohort = 1"))
    assert parse(signed.read_bytes(), "p")["limits.smallest_cohort"] == 1  # it reads well without its signature
    with pytest.raises(PolicyError, match=r"policy\.signature: .* was changed"):
        read_policy(signed)
    with pytest.raises(PolicyError, match=r"policy\.version: version 1 was signed already"):
        sign_policy(signed, STEWARD)
    signed.write_text(signed.read_text().replace("version = 1", "version = 2"))
    assert sign_policy(signed, STEWARD).version == 2 and read_policy(signed)["limits.smallest_cohort"] == 1


def test_a_comment_counts_too(signed):
    signed.write_text(TEXT + "# harmless\n")
    with pytest.raises(PolicyError, match="was changed"):
        read_policy(signed)


def test_a_stranger_neither_signs_nor_becomes_the_steward(signed):
    stranger = signing.generate()
    with pytest.raises(PolicyError, match=r"policy\.steward"):
        sign_policy(signed, stranger)
    seal = json.loads((signed.parent / "policy.toml.sig").read_text())
    seal["key"] = stranger.verify_key.hex()
    (signed.parent / "policy.toml.sig").write_text(json.dumps(seal))
    with pytest.raises(PolicyError, match=r"policy\.signature: .* not signed by the steward"):
        read_policy(signed)


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"signature": "00" * 64}, {"policy": "00" * 32}, {"more": 1}, {"key": 5}]
)
def test_an_altered_signature_is_refused(signed, change):
    place = signed.parent / "policy.toml.sig"
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(PolicyError):
        read_policy(signed)


def test_absent_files_links_pipes_and_large_files_are_refused(signed, tmp_path):
    (signed.parent / "policy.toml.sig").rename(tmp_path / "away")
    with pytest.raises(PolicyError, match="is not signed"):
        read_policy(signed)
    (tmp_path / "away").rename(signed.parent / "policy.toml.sig")
    signed.rename(tmp_path / "real")
    with pytest.raises(PolicyError, match="there is no"):
        read_policy(signed)
    signed.symlink_to(tmp_path / "real")
    with pytest.raises(PolicyError, match="is a link"):
        read_policy(signed)
    signed.unlink()
    os.mkfifo(signed)
    with pytest.raises(PolicyError, match="not a regular file"):
        read_policy(signed)
    signed.unlink()
    signed.write_bytes(b"#" * (policy_file.MOST_BYTES + 1))
    with pytest.raises(PolicyError, match="larger than"):
        read_policy(signed)


def test_it_is_found_beside_files_and_where_links_lead(signed, tmp_path):
    (signed.parent / "cohort.bed").touch()
    away = tmp_path / "away"
    away.mkdir()
    (away / "x.bed").symlink_to(signed.parent / "cohort.bed")
    for file in (signed.parent / "cohort.bed", away / "x.bed", signed.parent):
        assert [p.resolve() for p in beside([file])] == [signed.resolve()]
    assert beside([tmp_path.parent / "elsewhere" / "y.bed"]) == []


@pytest.mark.parametrize("name", ["Policy.toml", "POLICY.TOML", "\uff50olicy.toml", "policy.toml.SIG"])
def test_a_name_that_only_looks_like_it_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(PolicyError, match="looks like"):
        beside([tmp_path / "cohort.bed"])


def test_a_signature_alone_says_that_a_policy_was_taken_away(signed):
    signed.unlink()
    with pytest.raises(PolicyError, match="bring it back"):
        beside([signed.parent / "cohort.bed"])


def test_a_dangling_link_is_a_policy_that_cannot_be_read(tmp_path):
    (tmp_path / "policy.toml").symlink_to(tmp_path / "nothing")
    (found,) = beside([tmp_path / "cohort.bed"])
    with pytest.raises(PolicyError, match="is a link"):
        read_policy(found)


def test_a_pin_takes_later_versions_of_its_steward_and_nothing_else(signed):
    policy = read_policy(signed)
    pin = Pin.of(policy)
    assert Pin.from_text(pin.to_text()) == Pin.from_json(pin.to_json()) == pin
    pin.refuse_other(policy, "the key")
    later = parse(TEXT.replace("version = 1", "version = 2").encode(), "p")
    pin.refuse_other(later, "the key")
    for other, rule in (
        (parse((TEXT + "# x\n").encode(), "p"), r"policy\.version: the key has another"),
        (parse(TEXT.replace(policy.steward, "11" * 32).encode(), "p"), r"policy\.steward"),
    ):
        with pytest.raises(PolicyError, match=rule):
            pin.refuse_other(other, "the key")
    with pytest.raises(PolicyError, match="an earlier one"):
        Pin.of(later).refuse_other(policy, "the key")


def test_a_policy_is_not_written_over(signed):
    with pytest.raises(StorageError, match="exists"):
        policy_file.write_draft(signed, TEXT)
