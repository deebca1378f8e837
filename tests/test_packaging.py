"""What leaves the repository and what guards it: the wheel is whole and typed, hooks are those of `make lint`."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in a wheel of the package, built without network."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "securegen", folder / "securegen", ignore=shutil.ignore_patterns("__pycache__", "*.nb[ci]"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_whole_package_and_says_that_it_is_typed(wheel):
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "securegen").rglob("*.py")}
    assert modules | {"securegen/py.typed"} == {name for name in wheel if ".dist-info/" not in name}


def test_hooks_are_the_checks_of_make_lint():
    """Before each commit ruff and mypy, from .venv; nothing is fetched."""
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    checks = re.findall(r"-m (mypy|ruff \w+)", lint)
    hooks = re.findall(r"entry: \.venv/bin/python -m (mypy|ruff \w+)", config)
    assert sorted(set(checks)) == sorted(hooks) == ["mypy", "ruff check", "ruff format"]
    assert re.findall(r"repo: (.*)", config) == ["local"] and set(re.findall(r"language: (.*)", config)) == {"system"}
    for file in re.findall(r"(tests/\w+\.py)", config):
        assert (ROOT / file).is_file()
