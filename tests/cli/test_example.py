"""`securegen` alone says what to type, and `securegen example` writes what those lines need."""

import shlex
from pathlib import Path

from support import securegen

from securegen.cli.main import WELCOME

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_securegen_alone_shows_three_lines_to_copy(tmp_path, monkeypatch):
    done = securegen()
    assert done.code == 2 and done.err == WELCOME and not done.out
    lines = [line.strip() for line in WELCOME.splitlines() if line.startswith("  ")]
    assert len(lines) == 3
    monkeypatch.chdir(tmp_path)
    assert securegen(*shlex.split(lines[0].split(" && ")[0])[1:]).code == 0
    monkeypatch.chdir("study")
    for line in lines[1:]:
        done = securegen(*shlex.split(line)[1:], "--dry-run") if "report" not in line else securegen("report", "--help")
        assert done.code == 0, done.err


def test_the_example_is_that_of_the_repository_and_is_written_once(tmp_path):
    folder = tmp_path / "new" / "study"
    first = securegen("example", str(folder))
    assert first.code == 0 and f"wrote {folder}/cohort.bed" in first.out
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in EXAMPLES.glob("cohort.*")
    }
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert securegen("example", str(folder)).code == 0
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_a_file_of_somebody_else_is_kept(tmp_path):
    (tmp_path / "cohort.fam").write_text("1 1 0 0 1 1\n")
    done = securegen("example", str(tmp_path))
    assert done.code == 9 and "exists and is not the example's" in done.err, done
    assert [p.name for p in tmp_path.iterdir()] == ["cohort.fam"]
