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
from bed_reader import open_bed, to_bed
from support import securegen, write_tsv

from securegen.cli.command import example
from securegen.cli.examples import EXAMPLES
from securegen.cli.main import COMMANDS, main
from securegen.governance import audit_steps as audit
from securegen.governance import policy_file
from securegen.governance.policy_draft import draft
from securegen.governance.signing import generate, write_identity, write_verify_key

pytestmark = pytest.mark.usefixtures("forked_roles")

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = slice(0, None, 9)  # of the example cohort, beside those of its scoring file
# needs other parties that run at the same time; the line is parsed, tests/engines run them
PARSED = {"site run", "study join", "party", "dealer"}


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
    """A folder with the example cohort, thinned, and what the examples of other parties would have left."""
    folder = tmp_path_factory.mktemp("walk")
    for name in ("pheno", "covar", "score"):
        shutil.copy(ROOT / "examples" / f"cohort.{name}.tsv", folder)
    scored = {line.split("\t")[0] for line in (folder / "cohort.score.tsv").read_text().splitlines()}
    with open_bed(ROOT / "examples" / "cohort.bed", count_A1=True) as bed:
        keep = sorted({j for j, name in enumerate(bed.sid) if name in scored} | {*range(bed.sid_count)[VARIANTS]})
        properties = {
            "fid": bed.fid, "iid": bed.iid, "sid": bed.sid[keep], "chromosome": bed.chromosome[keep],
            "bp_position": bed.bp_position[keep], "allele_1": bed.allele_1[keep], "allele_2": bed.allele_2[keep],
        }  # fmt: skip
        to_bed(folder / "cohort.bed", bed.read(dtype="int8")[:, keep], properties=properties)
    ids = [line.split()[:2] for line in (folder / "cohort.fam").read_text().splitlines()]
    for name in ("patients.txt", "leaving.txt"):  # the model of 119 weights answers 5 in its life
        (folder / name).write_text(" ".join(ids[0]) + "\n")
    consents = [[*own, "HMB", "2025-01-01"] for own in ids]
    write_tsv(folder / "consents.tsv", ("FID", "IID", "DUO", "DATE"), consents)
    for name in ("pass.txt", "new.txt", "safe.txt"):
        (folder / name).touch(0o600)
        (folder / name).write_text(f"correct horse battery {name}\n")
    analyst = generate()
    write_identity(folder / "analyst.secret", analyst)
    write_verify_key(folder / "analyst.pub", analyst)
    (folder / "governed").mkdir()
    (folder / "governed" / "policy.toml").write_text(draft("Test", analyst.verify_key.hex(), [], {}))
    policy_file.sign_policy(folder / "governed" / "policy.toml", analyst)
    audit.record(folder / "governed" / "key.secret", "key", {"action": "unlocked", "key": "00" * 32})
    return folder


def run(folder: Path, line: str) -> None:
    here = os.getcwd()
    os.chdir(folder)
    try:
        done = securegen(*shlex.split(line))
    finally:
        os.chdir(here)
    assert done.code == 0, f"{line}\n{done.err}"


# before the example of a command: what another party, or an earlier example, has done
BEFORE = {
    "prs-step decrypt": ["prs --cohort enc.cohort --model enc.model --out enc"],
    "prs-step encrypt-model": [
        "prs-step invite --request mine.request --challenge evaluator.challenge --score cohort.score.tsv "
        "--ledger ledger.json --out hidden",
        "prs-step accept --invitation hidden.invitation --bfile cohort --keep patients.txt --passphrase-file pass.txt "
        "--out person",
    ],
    "prs-step withdraw": [
        "prs-step invite --request mine.request --score cohort.score.tsv --ledger ledger.json --out unwanted"
    ],
    "prs-step offer": ["prs-step challenge --out hospital"],
    "check": ["gwas --bfile cohort --pheno cohort.pheno.tsv --pheno-name QT --covar cohort.covar.tsv --out plain"],
    "merge": [
        f"gwas --bfile cohort --pheno cohort.pheno.tsv --pheno-name QT --blocks {i}/2 --out array" for i in (2, 1)
    ],
    "site variants": ["site variants --bfile cohort --out oslo.variants.tsv",
                      "site variants --bfile cohort --out turku.variants.tsv"],
    "study init": ["site keygen --state oslo --out oslo.public", "site keygen --state turku --out turku.public"],
}  # fmt: skip
ORDER = [w for w in EXAMPLES if w not in PARSED and not isinstance(ALL[w], click.Group)]
# a study is joined before its state is asked for, but after it was set up
STUDY_WALK = [
    "site keygen",
    "site variants",
    "study init",
    "study join",
    "study status",
    "study continue",
    "study leave",
]
ORDER.sort(key=lambda w: STUDY_WALK.index(w)
           if w.startswith(("site", "study")) else -1)  # fmt: skip


def test_the_examples_run_one_after_the_other(walk):
    """Every example but those of parties that need each other at the same time, as a new user would copy them."""
    ran = set()
    for words in ORDER:
        ran.add(words)
        needs = {"twin": "msprime", "crate": "rocrate"}.get(words)  # of the extras [twin] and [gov]
        if needs and importlib.util.find_spec(needs) is None:
            continue
        for line in BEFORE.get(words, []):
            run(walk, line)
        run(walk, EXAMPLES[words])
    assert ran | PARSED == {w for w in ALL if not isinstance(ALL[w], click.Group)}
    tables = [walk / f"{name}.QT.glm.linear" for name in ("result", "again")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_the_nearest_name_is_suggested(small, tmp_path):
    for call, hint in (
        (["gwass"], "Did you mean 'gwas'?"),
        (["run-local", "gwsa"], "Did you mean 'gwas'?"),
        (["prs-step", "acept"], "Did you mean 'accept'"),
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
    assert listed.index("Everything on this machine:") < listed.index("A server that sees nothing:")
