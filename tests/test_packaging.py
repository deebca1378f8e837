"""What leaves the repository and what guards it: the wheel is whole and typed, hooks are those of `make lint`."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the package, built without network."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__", "*.nb[ci]")
    for name in ("securegen", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder / built("wheel", folder)


def built(what: str, folder: Path) -> str:
    """The name of the wheel or sdist that a folder of sources makes of itself."""
    build = f"from setuptools.build_meta import build_{what}; print(build_{what}('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def run_installed(archive: Path, folder: Path) -> tuple[str, set[str]]:
    """Install a wheel where no checkout is, and run what a new user runs: what was said, and the files written.

    The dependencies are those of the tests; the package that their environment has is not found there.
    """
    python = folder / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(packages) / "dependencies.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")
    with zipfile.ZipFile(archive) as content:
        content.extractall(packages)
    work = folder / "work"
    work.mkdir()
    said = ""
    for words in (
        "example study",
        "gwas --bfile study/cohort --chr 1 --to-bp 300000 --pheno study/cohort.pheno.tsv --pheno-name QT "
        "--covar study/cohort.covar.tsv --out result",
    ):
        done = subprocess.run([python, "-m", "securegen", *words.split()], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stderr}"
        said += done.stdout + done.stderr
    where = [python, "-c", "import securegen; print(securegen.__file__)"]
    done = subprocess.run(where, cwd=work, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(packages)
    return said, {p.name for p in work.iterdir()}


def test_the_wheel_holds_the_whole_package_and_says_that_it_is_typed(wheel):
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "securegen").rglob("*.py")}
    cohort = {f"securegen/example/{p.name}" for p in (ROOT / "examples").glob("cohort.*")}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert modules | cohort | {"securegen/py.typed"} == {name for name in names if ".dist-info/" not in name}


def test_the_example_runs_from_a_wheel_of_the_sdist_without_a_checkout(wheel, tmp_path):
    """What is published is built of the sdist: it holds all that the wheel needs."""
    sources = wheel.parent
    with tarfile.open(sources / built("sdist", sources)) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("securegen-*")
    said, written = run_installed(unpacked / built("wheel", unpacked), tmp_path)
    assert "wrote result.QT.glm.linear: 59 variants" in said
    assert {"result.QT.glm.linear", "result.run.json"} <= written


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
