"""The pages for contributors are followed: their files are written, their lines changed, their commands run, in a copy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PASSING = shutil.ignore_patterns(
    "*.pyc.*", "*.tmp.*"
)  # what Python and Numba rename when it is whole, also while this runs
PAGES = sorted((ROOT / "docs" / "develop").glob("add-*.md"))


def change(folder: Path, block: str) -> None:
    """A diff without line numbers: each run of lines with − is there once, and gives way to the run of lines with + after it."""
    name, *lines = block.splitlines()
    text = (folder / name).read_text()
    old, new = [], []
    for line in [*lines, "-"]:
        if line.startswith("-") and new:
            before, after = ("".join(f"{x}\n" for x in part) for part in (old, new))
            assert text.count(before) == 1, f"{name}: the page expects {before!r} once"
            text, old, new = text.replace(before, after), [], []
        (old if line.startswith("-") else new).append(line[1:])
    (folder / name).write_text(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_page_works_as_it_says(page, tmp_path):
    for name in ("securegen", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=PASSING)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"

    ran = 0
    steps = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for language, block in steps:
        if language == "python":
            first, rest = block.split("\n", 1)
            file = tmp_path / first.removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(rest)
            if file.is_relative_to(tmp_path / "securegen"):
                run("ruff", "check", "-q", str(file))
        elif language == "diff":
            change(tmp_path, block)
        elif language == "sh":
            for line in block.splitlines():
                run(*line.removeprefix("python -m ").split())
                ran += 1
    assert ran, "a page that runs nothing shows nothing"


def test_files_that_go_while_they_are_copied_are_left(tmp_path):
    """Of other processes, which compile meanwhile: a link that leads nowhere is there in the list, and cannot be read."""
    cache = tmp_path / "one" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "a.cpython-311.pyc").touch()
    (cache / "f-1.py311.1.nbc").touch()
    for name in ("a.cpython-311.pyc.139872348", "b-pytest-8.pyc.312", "f-1.py311.nbi.tmp.0a1b2c3d4e5f6071"):
        (cache / name).symlink_to("nowhere")
    with pytest.raises(shutil.Error):
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    kept = shutil.copytree(tmp_path / "one", tmp_path / "three", ignore=PASSING) / "__pycache__"
    assert sorted(p.name for p in kept.iterdir()) == ["a.cpython-311.pyc", "f-1.py311.1.nbc"]
