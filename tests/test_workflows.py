"""The workflows: Slurm's scripts run here as Slurm runs them, the others are checked by their own engines where these are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support import Cohort, program, securegen

from securegen.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
SLURM = ROOT / "workflows" / "slurm"
# What Slurm does with an array: every index, the last first, in the folder where it was submitted; then what depends on it.
SBATCH = """#!/bin/bash
set -eu
array=
while [[ $1 == -* ]]; do [[ $1 == --array=* ]] && array=${1#--array=}; echo "$1" >> options; shift; done
script=$1; shift
tasks=${array//,/ }
[[ $array == 1-* ]] && tasks=$(seq "${array#1-}" -1 1)
if [[ -n $array ]]; then
    for i in $tasks; do
        [[ $i == "${KILLED:-}" ]] && continue
        SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$(wc -w <<< "$tasks") SLURM_CPUS_PER_TASK=1 bash "$script" "$@" 2>> said
    done
else
    SLURM_CPUS_PER_TASK=1 bash "$script" "$@" 2>> said || echo "code $?" >> said
fi
echo 7
"""
TOOLS = {name: program(name) for name in ("miniwdl", "nextflow")}


@pytest.fixture
def submit(tmp_path):
    """Run submit.sh where sbatch runs what it is given at once."""
    commands = tmp_path / "bin"
    commands.mkdir()
    python = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m securegen "$@"'
    for name, text in (("sbatch", SBATCH), ("securegen", f"#!/bin/sh\n{python}\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        path = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(
            [SLURM / "submit.sh", *map(str, arguments)], cwd=work, env=os.environ | path | environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    run.folder = work
    return run


def test_an_array_of_slurm_makes_the_table_of_one_run(submit, small: Cohort, tmp_path):
    done = submit(2, "gwas", *small.options(), "--out", "study", SBATCH="--partition=short --mem=8G")
    assert done.returncode == 0 and done.stdout == "7 7\n", done.stderr
    assert securegen("gwas", *small.options(), "--out", tmp_path / "one").code == 0
    assert (submit.folder / "study.QT.glm.linear").read_bytes() == (tmp_path / "one.QT.glm.linear").read_bytes()
    options = (submit.folder / "options").read_text().splitlines()
    assert options.count("--partition=short") == 2 and "--dependency=afterany:7" in options


def test_a_part_that_was_killed_is_named_and_submitted_alone(submit, small: Cohort, tmp_path):
    """What joins the parts comes after all of them, however they ended, and says which are not there."""
    words = (2, "gwas", *small.options(), "--out", "study")
    assert submit(*words, KILLED="2").returncode == 0
    said = (submit.folder / "said").read_text()
    assert "1 of 2 parts are not there, or did not end: 2/2; run these again" in said and said.endswith("code 3\n")
    assert not (submit.folder / "study.QT.glm.linear").exists()
    kept = (submit.folder / "study.1of2.run.json").stat().st_mtime_ns
    (submit.folder / "options").unlink()
    assert submit(*words, ONLY="2").returncode == 0
    assert "--array=2" in (submit.folder / "options").read_text().splitlines()
    assert (submit.folder / "study.1of2.run.json").stat().st_mtime_ns == kept
    assert securegen("gwas", *small.options(), "--out", tmp_path / "one").code == 0
    assert (submit.folder / "study.QT.glm.linear").read_bytes() == (tmp_path / "one.QT.glm.linear").read_bytes()


@pytest.fixture(scope="module")
def planned(small: Cohort, tmp_path_factory) -> Path:
    """What `securegen plan --json` printed."""
    folder = tmp_path_factory.mktemp("planned")
    done = securegen("plan", *small.options(), "--threads", 2, "--json", "--out", folder / "p")
    assert done.code == 0, done.err
    (folder / "plan.json").write_text(done.out)
    return folder / "plan.json"


def asked_of_slurm(step: dict) -> set[str]:
    request = step["request"]
    return {f"--cpus-per-task={step['cores']}", f"--mem={request['memory_mb']}M", f"--time={request['minutes']}"}


def test_slurm_is_asked_for_what_the_plan_says(submit, small: Cohort, planned, tmp_path):
    """One of the numbers is changed in the plan: it is what is asked for, and as many parts are run."""
    plan = json.loads(planned.read_text())
    plan["steps"]["gwas"] |= {"blocks": 3, "cores": 1}
    plan["steps"]["gwas"]["request"] |= {"memory_mb": 1792, "minutes": 17}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = submit(tmp_path / "plan.json", "gwas", *small.options(), "--out", "study")
    assert done.returncode == 0, done.stderr
    options = (submit.folder / "options").read_text().splitlines()
    assert "--array=1-3" in options and options.count("--mem=1792M") == options.count("--time=17") == 2
    assert asked_of_slurm(plan["steps"]["gwas"]) <= set(options)
    assert json.loads((submit.folder / "study.run.json").read_text())["parts"] == 3


def test_the_step_is_that_of_the_command(submit, planned, tmp_path):
    (submit.folder.parent / "bin" / "securegen").write_text("#!/bin/sh\n")
    steps = json.loads(planned.read_text())["steps"]
    assert set(steps) == {"gwas", "qc", "prs", "site", "encrypt", "server", "decrypt"}
    for told, step in (
        (("gwas", "--cohort", "c"), "server"),
        (("encrypt", "--bfile", "c"), "encrypt"),
        (("qc",), "qc"),
    ):
        submit(planned, *told, "--out", "x")
        options = (submit.folder / "options").read_text().splitlines()
        (submit.folder / "options").unlink()
        assert asked_of_slurm(steps[step]) <= set(options), step
    for told, what in ((("meta",), "meta"), (("prs", "--cohort", "c"), "prs --cohort")):
        done = submit(planned, *told, "--out", "x")
        assert done.returncode == 2 and f"{what} is no step of it" in done.stderr
    (tmp_path / "no.json").write_text("{}")
    assert "is not what securegen plan --json printed" in submit(tmp_path / "no.json", "gwas", "--out", "x").stderr


def test_numbers_of_the_others_are_those_of_the_plan_too():
    """No memory or time is written in a workflow but for jobs that join tables, and where there is no plan."""
    nextflow = (ROOT / "workflows/nextflow/nextflow.config").read_text()
    for line in ("memory = { params.steps.gwas.request.memory_mb.MB", "time = { params.steps.gwas.request.minutes.m"):
        assert line in nextflow
    wdl = (ROOT / "workflows/wdl/gwas.wdl").read_text()
    assert (
        "read_json(plan)" in wdl and 'memory: "~{memory_mb} MiB"' in wdl and "memory_mb = step.request.memory_mb" in wdl
    )
    snakemake = (ROOT / "workflows/snakemake/Snakefile").read_text()
    for step in ("encrypt", "server", "decrypt", "gwas"):
        assert f'mem_mb=asked("{step}", "memory_mb"), runtime=asked("{step}", "minutes")' in snakemake


@pytest.mark.parametrize("arguments", [(), ("gwas",), ("0", "gwas"), ("x", "gwas", "--out", "a")])
def test_what_cannot_be_submitted_is_refused(submit, arguments):
    done = submit(*arguments)
    assert done.returncode == 2 and "usage: submit.sh" in done.stderr and not (submit.folder / "options").exists()


def test_a_job_that_is_no_part_says_so():
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    done = subprocess.run(
        ["bash", SLURM / "part.sbatch", "gwas"], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode and "submit this as an array" in done.stderr
    done = subprocess.run(
        ["bash", SLURM / "finish.sbatch", "gwas", "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "has no --out" in done.stderr


def test_parts_behind_links_are_joined(small: Cohort, tmp_path):
    """As engines of workflows lay files of other jobs into a folder."""
    for i in (1, 2):
        assert securegen("gwas", *small.options(), "--blocks", f"{i}/2", "--out", tmp_path / f"{i}" / "s").code == 0
    here = tmp_path / "here"
    here.mkdir()
    for path in (p for i in (1, 2) for p in (tmp_path / f"{i}").iterdir()):
        (here / path.name).symlink_to(path)
    assert securegen("merge", here / "s").code == 0
    assert (here / "s.QT.glm.linear").is_file()


WORKFLOWS = {
    "nextflow/main.nf": ("nextflow", ["lint"]),
    "wdl/gwas.wdl": (
        "miniwdl",
        ["check", "--strict", "--suppress", "CommandShellCheck,UnverifiedStruct,UnknownRuntimeKey"],
    ),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_of_other_engines_call_what_there_is(name):
    """Their flags are those of the commands; their own engine accepts them where it is installed."""
    path = ROOT / "workflows" / name
    calls = re.findall(r"securegen (\w+) ([^\n]*)", re.sub(r"(?m)^//.*$", "", path.read_text()).replace("\\\n", " "))
    assert {command for command, _ in calls if command in ("gwas", "merge")} == {"gwas", "merge"}
    for command, rest in calls:
        known = {f for p in main.get_command(click.Context(main), command).params for f in p.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= known, rest
    tool, arguments = WORKFLOWS[name]
    if TOOLS[tool]:
        done = subprocess.run([TOOLS[tool], *arguments, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def faults_of_nextflow(script: str, config: str) -> list[str]:
    """What Nextflow's parsers do not take, as far as it was ever written here."""
    escapes = set(re.findall(r"\\([^\n])", script)) - set("$\\ntr\"'")
    out = [f"\\{c} in a string of Groovy" for c in sorted(escapes)]
    code = re.sub(r"(?m)//.*$", "", config)
    return out + ["; in a block of settings"] * (";" in code) + ["the implicit `it`"] * bool(re.search(r"\bit\b", code))


@pytest.mark.parametrize(
    "of, old, new, said",
    [
        (0, "", "", []), (0, "[.][0-9]", r"\.[0-9]", [r"\. in a string of Groovy"]),
        (1, "docker.enabled = true\n", "docker.enabled = true;", ["; in a block of settings"]),
    ],
    ids=["as it is", "escape", "semicolon"],
)  # fmt: skip
def test_nextflow_reads_its_files(of, old, new, said):
    """Its own linter is not there; both were errors before any job began."""
    texts = [(ROOT / "workflows/nextflow" / name).read_text() for name in ("main.nf", "nextflow.config")]
    assert old in texts[of]
    texts[of] = texts[of].replace(old, new, 1)
    assert faults_of_nextflow(*texts) == said


# What a container engine does, without an image: the files of a task at the paths that it was told, in a namespace of its own.
CONTAINER = """#!{python}
import os, sys
words = sys.argv[1:]
if words.pop(0) != "run":
    sys.exit(print("podman version 4.3.1"))
folder, lines = "/", ["set -e", "mount -t tmpfs none /mnt"]
while words[0].startswith("-"):
    flag = words.pop(0)
    value = "" if flag == "--rm" else words.pop(0)
    if flag == "-v":
        begin, place = value.removesuffix(":ro").split(":")
        make = f"mkdir -p {{place}}" if os.path.isdir(begin) else f"mkdir -p {{os.path.dirname(place)}} && touch -a {{place}}"
        lines += [make, f"mount --bind {{begin}} {{place}}"]
    folder = value if flag == "--workdir" else folder
lines += [f"cd {{folder}}", 'exec "$@"']
os.execvp("unshare", ["unshare", "--mount", "sh", "-c", "; ".join(lines), "task", *words[1:]])
"""


@pytest.mark.skipif(
    not TOOLS["miniwdl"] or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="needs miniwdl, and root for mounts",
)
def test_the_wdl_workflow_makes_the_tables_of_one_run(submit, small: Cohort, planned, tmp_path):
    commands, plan = tmp_path / "bin", json.loads(planned.read_text())
    (commands / "podman").write_text(CONTAINER.format(python=sys.executable))
    (commands / "podman").chmod(0o755)
    plan["steps"]["gwas"]["blocks"] = 2
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    settings = tmp_path / "miniwdl.cfg"
    # One task at a time: miniwdl's count of cores in use is set to nought again where two begin at once.
    settings.write_text(
        f'[scheduler]\ncontainer_backend = podman\ntask_concurrency = 1\n[podman]\nexe = ["{commands}/podman"]\n'
        f"[call_cache]\nput = false\nget = false\n"
    )
    files = {s: f"{small.bfile}.{s}" for s in ("bed", "bim", "fam")} | {"pheno": small.pheno, "covar": small.covar}
    told = [f"{name}={path}" for name, path in (files | {"plan": tmp_path / "plan.json"}).items()]
    workflow = ROOT / "workflows/wdl/gwas.wdl"
    done = subprocess.run(
        [TOOLS["miniwdl"], "run", "--cfg", settings, "--dir", f"{tmp_path}/run/.", workflow, *told],
        env=os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}, capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert securegen("gwas", "--bfile", small.bfile, "--pheno", small.pheno, "--covar", small.covar, "--out",
                     tmp_path / "one").code == 0  # fmt: skip
    tables = {Path(p).name.removeprefix("study."): Path(p) for p in json.loads(done.stdout)["outputs"]["gwas.tables"]}
    wanted = {p.name.removeprefix("one."): p for p in tmp_path.glob("one.*.glm.*")}
    assert tables.keys() == wanted.keys() and len(tables) >= 2
    assert all(tables[name].read_bytes() == wanted[name].read_bytes() for name in wanted)
