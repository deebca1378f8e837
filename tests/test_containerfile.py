"""The Containerfile: every file it copies is here, nothing of it is secret or root's; its steps run in a fresh root of Debian.

The last needs root, debootstrap and minutes: SECUREGEN_CONTAINER=/empty/folder runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KNOWN = {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "CMD"}


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Of a Containerfile without comments in its lines. Raises ValueError for a word that is not KNOWN."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found = [Instruction(*(line.split(maxsplit=1) + [""])[:2]) for line in joined.splitlines() if line.strip()]
    if wrong := {i.word for i in found} - KNOWN:
        raise ValueError(f"instructions that this test does not know: {wrong}")
    return found


def faults(text: str, root: Path = ROOT) -> list[str]:
    """What is wrong with a Containerfile beside a folder of sources."""
    told, out, stages = instructions(text), [], set[str]()
    made: set[str] = set()  # paths in the image, by what was copied or is made by a RUN
    for i in told:
        if re.search(r"(?i)https?://|\bindex-url\b|[a-z0-9-]+\.(io|org|com)/", i.rest):
            out.append(f"an address: {i.rest}")
        if i.word in ("ENV", "RUN") and re.search(r"(?i)pass(word|phrase)|secret|token|api_?key", i.rest):
            out.append(f"a secret: {i.rest}")
        if i.word == "FROM":
            stages |= set(i.rest.split()[2:3])
        if i.word == "COPY":
            *sources, target = [w for w in i.rest.split() if not w.startswith("--")]
            stage = re.search(r"--from=(\S+)", i.rest)
            if stage and stage[1] not in stages:
                out.append(f"no stage {stage[1]}")
            out += [f"not there: {s}" for s in sources if not stage and not (root / s).exists()]
            made |= {f"{target}{s}" if target.endswith("/") else target for s in sources}
        if i.word == "RUN":
            for path in re.findall(r"/(?:src|opt/examples)/\S+", i.rest):
                parent = next((m for m in made if path == m or path.startswith(f"{m}/")), None)
                if parent is None:
                    out.append(f"never copied: {path}")
                elif (
                    parent == "/opt/examples" and not (root / "examples" / path.removeprefix("/opt/examples/")).exists()
                ):
                    out.append(f"not there: {path}")
    last = max(k for k, i in enumerate(told) if i.word == "FROM")
    users = [i.rest for i in told[last:] if i.word == "USER"]
    if not users or users[-1] in ("root", "0"):
        out.append("it runs as root")
    return out


def test_the_containerfile_is_whole():
    assert faults((ROOT / "Containerfile").read_text()) == []


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("COPY requirements.lock", "COPY requirements.txt", "not there: requirements.txt"),
        ("USER securegen\n", "", "it runs as root"), ("--from=build", "--from=made", "no stage made"),
        ("FROM debian:bookworm-slim\n", "FROM registry.example.com/debian\n", "an address"),
        ("ENV PATH", "ENV TOKEN=x PATH", "a secret"), ("compile_kernels.py", "compile.py", "not there: /opt/examples/compile.py"),
        ("COPY pyproject.toml", "COPY README.md", None), ("-r /src/requirements.lock", "-r /src/other.lock", "never copied"),
    ],
)  # fmt: skip
def test_the_check_sees_what_is_wrong(old, new, said):
    text = (ROOT / "Containerfile").read_text()
    assert old in text
    found = faults(text.replace(old, new))
    assert any(said in f for f in found) if said else found == []


PLACE = os.environ.get("SECUREGEN_CONTAINER")
ENCRYPTED = (
    "export HOME=/ && cd $(mktemp -d) && securegen example . && securegen run-local gwas --engine ckks "
    "--bfile cohort --pheno cohort.pheno.tsv --pheno-name QT --covar cohort.covar.tsv --compare-plain --out r"
)
TRUSTED = Path("/usr/local/share/ca-certificates")  # authorities of this machine's own, such as a proxy's


def steps_run_in_a_fresh_root():
    """What podman would do, by chroot: both stages from a root of Debian's packages, then the command as its user."""
    place = Path(str(PLACE))
    base, roots, here, user = place / "base", {}, place, "root"
    if not base.exists():
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base], check=True)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    environment |= {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k.startswith("PIP_")}
    work = "/"

    def run(command: str, who: str) -> None:
        alone = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={here}/proc"]  # as in a container
        inside = ["chroot", *([] if who == "root" else [f"--userspec={who}:{who}"]), here]
        told = ["env", *(f"{k}={v}" for k, v in environment.items()), "sh", "-c", f"cd {work} && {command}"]
        subprocess.run([*alone, *inside, *told], check=True, env={"PATH": os.environ["PATH"]})

    for i in instructions((ROOT / "Containerfile").read_text()):
        words = i.rest.split()
        if i.word == "FROM":
            name, user, work = (words[2] if len(words) > 2 else "last"), "root", "/"
            here = roots[name] = place / name
            subprocess.run(["rm", "-rf", here], check=True)
            subprocess.run(["cp", "-a", base, here], check=True)
            for file in ("/etc/resolv.conf", "/etc/hosts"):
                if Path(file).exists():
                    shutil.copy(file, f"{here}{file}")
            Path(f"{here}/dev/shm").chmod(0o1777)
            if TRUSTED.is_dir():  # podman build --volume, as docs/howto/pipelines.md says
                shutil.copytree(TRUSTED, f"{here}{TRUSTED}", dirs_exist_ok=True)
        elif i.word == "RUN":
            run(i.rest, user)
        elif i.word == "COPY":
            *sources, target = [w for w in words if not w.startswith("--")]
            origin = re.search(r"--from=(\S+)", i.rest)
            into = Path(f"{here}{target}")
            for source in sources:
                begin = Path(f"{roots[origin[1]]}{source}") if origin else ROOT / source
                goal = into / begin.name if target.endswith("/") else into
                goal.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", "-T", begin, goal], check=True)
                if not origin:
                    subprocess.run(["chown", "-R", "0:0", goal], check=True)
        elif i.word == "ENV":
            environment |= dict(w.split("=", 1) for w in shlex.split(i.rest))
        elif i.word == "USER":
            user = i.rest
        elif i.word == "WORKDIR":
            work = i.rest
    run("securegen --version && test $(id -u) = 1000 && test ! -w /opt/securegen", user)
    assert list((here / "var/cache/securegen").rglob("*.nbi")), "kernels were compiled where the image keeps them"
    for who in (user, "1234"):  # whoever starts it, it computes, and compiles nothing
        run(f"{ENCRYPTED} > said 2>&1 || {{ cat said; exit 1; }}; ! grep compiling said", who)


if PLACE and os.geteuid() == 0 and shutil.which("debootstrap"):  # asked for

    def test_its_steps_run_in_a_fresh_root():
        steps_run_in_a_fresh_root()
