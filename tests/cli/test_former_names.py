"""Options that version 0.1 called something else: the old name works, says the new one, and is in no help text."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from support import securegen

from securegen.cli import former
from securegen.cli.config import arguments_of
from securegen.cli.main import main

FORMER = {
    "check": {"match": "match-by"}, "dealer": {"config": "parties"},
    "party": {"config": "parties", "allow-small-score": "allow-small-model", "reply-limit": "reply-cap"},
    "study init": {"components": "pcs", "minimum-cohort": "smallest-cohort"},
}  # fmt: skip


def command_of(words: str) -> click.Command:
    command: click.Command | None = main
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(main), word)
    assert command is not None
    return command


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A file of two equal tables, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    head = "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\n"
    text = head + "1\t10\tv1\tA\tC\tC\tADD\t90\t0.5\t0.25\t2\t0.05\n"
    for name in ("a", "b"):
        Path(name).write_text(text)
    return ["a", "b"]


@pytest.mark.parametrize("words", FORMER)
def test_no_help_text_has_a_former_name(words):
    assert former.former_flags(command_of(words)) == FORMER[words]
    shown = {flag for param in command_of(words).params for flag in param.opts}
    assert not shown & {f"--{old}" for old in FORMER[words]} and {f"--{new}" for new in FORMER[words].values()} <= shown


def test_a_former_name_does_the_same_and_says_the_new_one(tables):
    done, new = securegen("check", *tables, "--match", "id"), securegen("check", *tables, "--match-by", "id")
    assert done.code == new.code == 0 and done.out == new.out
    assert done.err.splitlines() == ["--match is called --match-by now"] and new.err == ""


def test_both_names_together_are_one_option_given_twice(tables):
    done = securegen("check", *tables, "--match", "id", "--match-by", "position")
    assert done.code == 2 and "--match-by is given twice, 'id' and 'position'" in done.err


def test_a_wrong_value_is_answered_with_the_new_name(tables):
    done = securegen("check", *tables, "--match", "place")
    assert done.code == 2 and "'--match-by'" in done.err


def test_a_file_of_options_may_have_former_names(tables):
    Path("o.toml").write_text('match = "place"\n')
    done = securegen("check", *tables, "--config", "o.toml")
    assert done.code == 2 and "'--match-by'" in done.err
    Path("o.toml").write_text('match = "id"\n[check]\n[qc]\n')
    done = securegen("check", *tables, "--config", "o.toml")
    assert done.code == 0 and done.err.splitlines() == ["--match is called --match-by now"]
    Path("o.toml").write_text('match = "id"\nmatch-by = "id"\n')
    done = securegen("check", *tables, "--config", "o.toml")
    assert done.code == 2 and "'match-by' is given twice, by two of its names" in done.err


def test_quiet_commands_do_not_say_it(tables):
    words = ["party", "--config", "absent.toml", "--role", "model", "--reply-limit", "5"]
    loud, quiet = securegen(*words), securegen(*words, "--quiet")
    told = {"--config is called --parties now", "--reply-limit is called --reply-cap now"}
    assert loud.code == quiet.code == 3 and told <= set(loud.err.splitlines())
    assert "is called" not in quiet.err and "absent.toml" in quiet.err


def test_a_record_with_former_names_runs_again():
    assert arguments_of(command_of("party"), {"reply-limit": 5, "config": "p.toml"}) == [
        "--reply-cap=5", "--parties=p.toml",
    ]  # fmt: skip
