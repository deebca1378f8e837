"""Options of one value are given once; prefixes that cannot be written are refused before anything is read."""

from __future__ import annotations

import click
import pytest
from support import securegen

from securegen.cli import command as mechanism
from securegen.cli.main import COMMANDS, main
from securegen.study.inputs import Inputs


def commands(group: click.Group, words: tuple[str, ...] = ()):
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        if isinstance(found, click.Group):
            yield from commands(found, (*words, name))
        else:
            yield (*words, name), found


COMMANDS_OF = dict(commands(main))


def value_of(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[0])
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        return str(getattr(option.type, "min", None) or 0)
    return "x"


@pytest.mark.parametrize("words", COMMANDS_OF, ids=" ".join)
def test_an_option_of_one_value_is_refused_the_second_time(words):
    found = COMMANDS_OF[words]
    options = [p for p in found.params if isinstance(p, click.Option)]
    for option in (o for o in options if not (o.is_flag or o.multiple or o.count)):
        flag, value = option.opts[-1], value_of(option)
        with pytest.raises(click.UsageError, match=f"^{option.opts[0]} is given twice"):
            found.make_parser(click.Context(found, info_name=words[-1])).parse_args([flag, value, flag, value])


def test_every_command_is_under_the_mechanism():
    assert {words[0] for words in COMMANDS_OF} == set(COMMANDS)


def test_the_second_value_would_replace_the_first_without_it(monkeypatch):
    """The attack: two covariate tables, of which one is used."""
    made = click.Command("c", params=[click.Option(["--covar"])])
    assert made.make_parser(click.Context(made)).parse_args(["--covar", "a", "--covar", "b"])[0]["covar"] == "b"
    mechanism.refuse_repeats(made)
    with pytest.raises(click.UsageError, match="--covar is given twice, 'a' and 'b': it takes one value"):
        made.make_parser(click.Context(made)).parse_args(["--covar", "a", "--covar", "b"])


def test_lists_accumulate_and_flags_may_be_repeated(small, tmp_path):
    options = [
        "--bfile",
        small.bfile,
        "--pheno",
        small.pheno,
        "--pheno-name",
        "QT",
        "--pheno-name",
        "QT2",
        "--out",
        tmp_path / "o",
    ]
    done = securegen(
        "run-local", "gwas", "--engine", "plain", *options, "--quiet", "--quiet", "--chr", "1", "--chr", "2"
    )
    assert done.code == 0 and (tmp_path / "o.QT.glm.linear").exists() and (tmp_path / "o.QT2.glm.linear").exists()
    done = securegen("run-local", "gwas", "--engine", "plain", *options, "--pheno", small.covar)
    assert done.code == 2 and "--pheno is given twice" in done.err


@pytest.mark.parametrize(("flags", "message"), [(("--ref-first", "--ref-last"), "contradict each other")])
def test_two_flags_that_contradict_each_other(flags, message):
    done = securegen("gwas", *flags)
    assert done.code == 2 and message in done.err


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("", 2, "a prefix of files is expected"),
        ("folder/", 2, "a prefix of files is expected"),
        (".", 2, "a prefix of files is expected"),
        ("folder/..", 2, "a prefix of files is expected"),
        ("file/r", 9, "a file is in the way"),
        ("file/deeper/r", 9, "a file is in the way"),
        ("/proc/nosuch/r", 9, "cannot write /proc/nosuch/r"),
        ("x" * 300, 9, "File name too long"),
    ],
)
def test_a_prefix_that_cannot_be_written_is_refused_before_anything_is_read(out, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for more in ([], ["--dry-run"]):
        done = securegen(
            "run-local", "gwas", "--engine", "plain", "--bfile", "absent", "--pheno", "p", "--out", out, *more
        )
        assert done.code == code and message in done.err, done
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_passphrase_file_of_a_windows_editor(tmp_path):
    from securegen.io.envelope import passphrase_in

    (tmp_path / "p").write_bytes(b"\xef\xbb\xbfa long passphrase\r\n")
    (tmp_path / "p").chmod(0o600)
    assert passphrase_in(tmp_path / "p") == b"a long passphrase"


@pytest.mark.parametrize("flag", ["--chr", "--pheno-name", "--covar-name", "--covar-categorical"])
@pytest.mark.parametrize("value", ["", " ", ","])
def test_an_empty_list_is_not_all_of_them(flag, value):
    """As an empty variable of a shell gives it."""
    done = securegen("gwas", "--bfile", "absent", "--pheno", "p", flag, value)
    assert done.code == 2 and f"{flag} names nothing: leave it out for all of them" in done.err


@pytest.mark.parametrize(
    "words",
    [("gwas",), ("plan",), ("run-local", "gwas", "--engine", "plain"), ("run-local", "gwas", "--engine", "ckks")],
)
def test_options_are_packed_once(small, tmp_path, monkeypatch, words):
    """From click to `Inputs` and no further: one record of a process, which every room is handed."""
    made = []
    check = Inputs.__post_init__
    monkeypatch.setattr(Inputs, "__post_init__", lambda self: (made.append(self), check(self))[1])
    (tmp_path / "some").write_text("rs5\nrs6\nrs7\n")
    done = securegen(*words, *small.options(), "--extract", tmp_path / "some", "--out", tmp_path / "o")
    assert done.code == 0, done.err
    assert len(made) == 1
    Inputs(bfile="again")
    assert len(made) == 2  # a second packing would be seen
