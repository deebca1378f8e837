"""Help texts teach: every one has an example, and the examples are a walk that runs; names are suggested and completed."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from example_walk import BEFORE, NEEDS, PARSED, begin, walked
from support import securegen

from securegen.cli.command import example
from securegen.cli.examples import EXAMPLES
from securegen.cli.main import COMMANDS, main

pytestmark = pytest.mark.usefixtures("forked_roles")

ROOT = Path(__file__).resolve().parents[2]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group, by its words."""

    def below(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield words, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(f"{words} {name}", inner)

    context = click.Context(main, **main.context_settings)
    yield "", main
    for name in main.list_commands(context):
        yield from below(name, main.get_command(context, name))


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL)
def test_every_help_has_an_example_that_parses(words):
    done = securegen(*words.split(), "--help")
    assert done.code == 0 and "Example:" in done.out, words
    shown = done.out.split("Example:")[1].replace("\\\n", " ").split()
    assert shown[0] == "securegen"
    command, arguments = main, shown[1:]
    context = click.Context(main, **main.context_settings)
    while isinstance(command, click.Group):
        command = command.get_command(context, arguments.pop(0))
    assert words == "" or shlex.join(shown[1:]).startswith(words)
    command.make_context("x", arguments, parent=context)  # UsageError for an option that is none


@pytest.mark.parametrize("words", ALL)
def test_no_line_of_help_is_wider_than_a_terminal(words):
    done = securegen(*words.split(), "--help", environment={"COLUMNS": "80"})
    shown = done.out.replace("0" * 64, "DIGEST")  # which no terminal breaks
    assert max(map(len, shown.splitlines())) <= 80


def test_the_table_of_examples_names_commands_only():
    assert set(EXAMPLES) <= set(ALL)


def test_an_example_can_be_pasted_into_a_shell():
    line = "securegen gwas --bfile a --pheno 'my file.tsv' --pheno-name QT --covar some/covariates.tsv --out result"
    text = example(line).split("Example:\n")[1]
    assert max(map(len, text.splitlines())) <= 80
    pasted = subprocess.run(["sh", "-c", f'printf "%s\\n" {text}'], capture_output=True, text=True, check=True)
    assert pasted.stdout.splitlines() == shlex.split(line)


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    begin(folder)
    return folder


def run(folder: Path, line: str) -> None:
    here = os.getcwd()
    os.chdir(folder)
    try:
        done = securegen(*shlex.split(line))
    finally:
        os.chdir(here)
    assert done.code == 0, f"{line}\n{done.err}"


SINGLE = {words for words, command in ALL.items() if not isinstance(command, click.Group)}


def test_the_examples_run_one_after_the_other(walk):
    """Every example but those of parties that need each other at the same time, as a new user would copy them."""
    ran = set()
    for words in walked(SINGLE):
        ran.add(words)
        if words in NEEDS and importlib.util.find_spec(NEEDS[words]) is None:
            continue
        for line in BEFORE.get(words, []):
            run(walk, line)
        run(walk, EXAMPLES[words])
    assert ran | PARSED == SINGLE
    tables = [walk / f"{name}.QT.glm.linear" for name in ("result", "again")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_the_nearest_name_is_suggested(small):
    for call, hint in (
        (["gwass"], "Did you mean 'gwas'?"),
        (["run-local", "gwsa"], "Did you mean 'gwas'?"),
        (["prs-step", "acept"], "Did you mean 'accept'"),
        (["glm"], "Here: the command is gwas"),
        (["blorb"], "There are: example, run-local, plan, keygen"),
        (["gwas", "--phenoname", "QT"], "--pheno-name"),
        (["plan", *small.options(), "--modle", "linear"], "--model"),
    ):
        done = securegen(*call)
        assert done.code == 2 and hint in done.err, done.err


def complete(line: str, folder: Path) -> list[str]:
    words = line.split(" ")
    environment = os.environ | {
        "_SECUREGEN_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "securegen"], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_commands_options_and_files_are_completed(tmp_path):
    assert complete("securegen run", tmp_path) == ["plain,run-local"]
    assert set(complete("securegen gwas --pheno", tmp_path)) == {"plain,--pheno", "plain,--pheno-name"}
    assert complete("securegen gwas --pheno co", tmp_path) == ["file,co"]
    assert complete("securegen gwas --cohort st", tmp_path) == ["dir,st"]
    assert set(complete("securegen gwas --model t", tmp_path)) == {"plain,trend"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_scripts(shell, tmp_path):
    done = securegen("completion", shell)
    assert done.code == 0 and f"_SECUREGEN_COMPLETE={shell}_complete" in done.out
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.out)
        subprocess.run([shell, "-n", str(script)], check=True, capture_output=True)


def test_commands_are_listed_in_groups():
    listed = securegen("--help").out
    position = [listed.index(f"\n  {name} ") for name in COMMANDS]
    assert position == sorted(position)
    assert listed.index("Everything on this machine:") < listed.index("A server that sees ciphertexts alone:")
