"""A page of the documentation as one walk: its blocks in their order, in a folder that has the example cohort.

Blocks of `sh` and `python` run. One of `toml` or `python` whose first line is a comment with a file's name is written there
instead. The lines of `text` are in what was printed so far. A block under the comment `not run:` or `run by:` is left out.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forked_roles import LINE, Nursery

HERE = Path(__file__).resolve().parent
FENCE = re.compile(r"^(?:<!-- (not run|run by): ([^\n]+) -->\n)?```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# ([\w./-]+\.\w+)\n")
FOLLOWED = {"add-a-format", "add-a-test", "add-an-engine"}  # by test_develop.py
SECONDS = 1800  # for a page on a busy machine
OWN = f"127.{1 + os.getpid() // 32768 % 250}.{os.getpid() // 128 % 256}.{2 * (os.getpid() % 128) + 1}"


@dataclass(frozen=True)
class Block:
    """language and text; not_run: why; run_by: the test that does it in place of a walk."""

    language: str
    text: str
    not_run: str = ""
    run_by: str = ""

    @property
    def walked(self) -> bool:
        return not (self.not_run or self.run_by)


def blocks(page: Path) -> list[Block]:
    """The blocks of a page; 127.0.0.1 is an address of this process alone, so that its ports are nobody else's."""
    found = FENCE.findall(page.read_text().replace("127.0.0.1", OWN))
    return [
        Block(language, text, **({kind.replace(" ", "_"): why} if kind else {})) for kind, why, language, text in found
    ]


def walked(page: Path) -> bool:
    runs = {b.language for b in blocks(page) if b.walked} & {"sh", "python"}
    return bool(runs) and page.stem not in FOLLOWED


def lines_of(at: int, block: Block, folder: Path) -> str:
    """What a shell does for a block."""
    if block.language == "sh":
        return block.text
    file = folder / f"{at}.{block.language}"
    if block.language in ("toml", "python") and (name := NAMED.match(block.text)):
        file.write_text(block.text)
        return f'cp "$_WALK/{file.name}" {name[1]}\n'
    if block.language == "python":
        file.write_text(block.text)
        return f'python "$_WALK/{file.name}"\n'
    return ""


class Walk:
    """Walks pages below a folder; commands are forks of the nursery's process.

    example: a folder with the cohort that `securegen example` writes.
    """

    def __init__(self, nursery: Nursery, example: Path, base: Path) -> None:
        self._nursery, self._example, self._base = nursery, example, base
        self._programs = base / "bin"
        self._programs.mkdir()
        command = (HERE / "forked_command.py").read_text()
        for name, before in (("python", ""), ("securegen", "import sys\n\nsys.argv[1:1] = ['-m', 'securegen']\n")):
            program = self._programs / name
            program.write_text(f"#!{sys.executable} -IS\n{before}{command}")
            program.chmod(0o755)

    def _environment(self, folder: Path, line: int) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SECUREGEN_", "PYTEST_"))}
        home = folder / "home"
        return kept | {
            "PATH": os.pathsep.join([str(self._programs), str(home / "bin"), kept["PATH"]]),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(home), "XDG_STATE_HOME": str(folder / "state"),
            "NUMBA_NUM_THREADS": "1", "MPLBACKEND": "Agg", LINE: str(line), "_WALK": str(folder),
            "_EXAMPLE_COHORT": str(self._example),
        }  # fmt: skip

    def run(self, page: Path, given: Callable[[Path], dict[str, str]] | None = None) -> Path:
        """The folder in which every block of the page did what it says; AssertionError for the first that did not.

        given: puts what others have sent into that folder, or the user's before it, and returns variables of the environment.
        """
        folder = self._base / page.stem
        (folder / "home").mkdir(parents=True)
        here = folder / "here"
        here.mkdir()
        for file in self._example.iterdir():
            (here / file.name).write_bytes(file.read_bytes())
        variables = given(here) if given else {}
        found = blocks(page)
        script = ["set -eu", "exec 7>$_WALK/trace", "BASH_XTRACEFD=7", "set -x"]
        for at, block in enumerate(found):
            if block.walked and (lines := lines_of(at, block, folder)):
                script += [f'exec >"$_WALK/{at}.out" 2>&1', lines]
        (folder / "script").write_text("\n".join(script))
        line = self._nursery.open().fileno()
        process = subprocess.Popen(
            ["bash", str(folder / "script")], cwd=here, env=self._environment(folder, line) | variables,
            stdin=subprocess.DEVNULL, pass_fds=[line], start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        said = {at: file.read_text() for at in range(len(found)) if (file := folder / f"{at}.out").exists()}
        last = f"{found[max(said)].text}\n{said[max(said)][-4000:]}" if said else ""
        assert code == 0, f"{page.name}: {(folder / 'trace').read_text().splitlines()[-1]}\n{last}"
        failed = (folder / "failed").read_text() if (folder / "failed").exists() else ""
        guarded = sum(block.text.count("|| ") for block in found)
        assert failed.count("\n") <= guarded, f"{page.name}: in the background {failed}\n{last}"
        for at, block in enumerate(found):
            if block.language == "text" and block.walked:
                before = "".join(said[i] for i in said if i < at)
                lost = [x for x in block.text.splitlines() if x.strip() and x.strip() not in before]
                assert not lost, f"{page.name} shows what was not printed: {lost}\n{before[-4000:]}"
        return here
