"""A role reads its options from a private file, through the declarations of its own command, and its error is its own."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from securegen.errors import SecuregenError
from securegen.local import processes
from securegen.local.launcher import Role, given, launch, run_inside, toml_text
from securegen.study.inputs import Inputs

COHORT = Inputs(str(Path("examples/cohort").absolute()), chr=("1",), to_bp=400_000)


def test_options_are_written_by_field_and_read_by_the_command(tmp_path):
    private = tmp_path / "a"
    private.mkdir(mode=0o700)
    role = Role("counter", ("qc",), given(COHORT) | {"out": tmp_path / "a" / "made", "threads": 1}, private)
    record = launch([role])["counter"]
    assert record["call"]["options"]["to-bp"] == 400_000 and record["variants"] == 73
    (written,) = private.glob("*.toml")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert tomllib.loads(written.read_text())["chr"] == ["1"]


def test_what_a_role_is_told_is_a_file_and_no_words(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(processes, "run_together", lambda calls, **options: seen.update(calls))
    monkeypatch.setattr(Role, "record", lambda self: {})
    run_inside(tmp_path, "gwas", cohort="study.cohort", design="study.design", out="study", memory=None)
    (call,) = seen.values()
    assert call[1:6] == ["-P", "-m", "securegen", "gwas", "--config"] and len(call) == 7
    assert tomllib.loads(Path(call[6]).read_text()) == {
        "quiet": True, "cohort": "study.cohort", "design": "study.design", "out": "study",
    }  # fmt: skip


def test_a_role_that_fails_is_named_with_its_own_error_and_code(tmp_path):
    with pytest.raises(SecuregenError, match=r"^the \w+ process: there is no cohort") as caught:
        run_inside(tmp_path, "gwas", cohort="none", design="none", out="study")
    assert caught.value.exit_code == 7


def test_any_text_comes_back_from_the_file():
    values = {
        "a": 'quote " and \\ \x7f \x01 é',
        "b": ["x,y", "z"],
        "c": 5e-8,
        "d": True,
        "e": "bytes \udcff",
        "f": None,
    }
    assert tomllib.loads(toml_text(values)) == {n: v for n, v in values.items() if v is not None}
    assert tomllib.loads(toml_text({"p": Path("x")})) == {"p": str(Path("x").absolute())}


@pytest.mark.parametrize("safe", [True, False])
def test_a_role_imports_nothing_from_the_folder_where_it_works(safe, tmp_path, monkeypatch):
    """Data that somebody sent lie there; a file named as a module would run with everything that the role may do."""
    (tmp_path / "click.py").write_text("raise SystemExit(99)")
    write = Role.write
    if not safe:
        monkeypatch.setattr(Role, "write", lambda role: [word for word in write(role) if word != "-P"])
    with pytest.raises(SecuregenError) as caught:
        run_inside(tmp_path, "gwas", cohort="none", design="none", out="study")
    assert caught.value.exit_code == (7 if safe else 99)
