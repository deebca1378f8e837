"""A run that is ended, hung up on or killed leaves no process running and no key behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from securegen.cli.signals import Ended, orderly_end
from securegen.errors import SecuregenError, UsageError
from securegen.local import folders, processes

ROOT = Path(__file__).resolve().parents[2]
# In every role: at the first opening of a certain file, tell the test and go no further.
PAUSE = """
import os, sys, time
if "_SECUREGEN_PARENT" in os.environ:
    def hook(event, args, told=[]):
        if event == "open" and str(args[0]).endswith({name!r}) and not told:
            told.append(True)
            with open({fifo!r}, "w") as pipe:
                pipe.write(f"{{os.getpid()}}\\n")
            while True:
                time.sleep(0.1)
    sys.addaudithook(hook)
"""
ENGINES = {  # options, the file at whose opening roles pause, how many roles
    "ckks": ([], "manifest.json", 1),
    "mpc": (["--split", "vertical", "--reveal", "aggregates", "--consent-aggregates"], "parties.toml", 3),
    "threshold": ([], "study.toml", 3),
}


class Paused:
    """run-local in a process of its own, whose roles have all been started and stand still."""

    def __init__(self, engine: str, cohort, work: Path, run: str = "") -> None:
        """run: code at the start of the run itself."""
        options, name, roles = ENGINES[engine]
        fifo = work / "fifo"
        os.mkfifo(fifo)
        (work / "site").mkdir()
        (work / "site" / "sitecustomize.py").write_text(PAUSE.format(name=name, fifo=str(fifo)) + run)
        self.out = work / "out" / "run"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(work / "site"), str(ROOT)])}
        self.run = subprocess.Popen(
            [sys.executable, "-m", "securegen", "run-local", "gwas", "--engine", engine, *options, *cohort.options(), "--quiet",
             "--out", str(self.out)], env=environment, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # these tests may run under nohup
        )  # fmt: skip
        reading = os.open(fifo, os.O_RDWR)  # its own writer too: it does not end between two roles
        pids = [self._line(reading) for _ in range(roles)]
        os.close(reading)
        self.roles = [os.pidfd_open(pid) for pid in pids]

    def _line(self, reading: int) -> int:
        text = b""
        while not text.endswith(b"\n"):
            assert select.select([reading], [], [], 600)[0], self.run.poll()
            text += os.read(reading, 1)
        return int(text)

    def end(self, number: int) -> tuple[int, str]:
        self.run.send_signal(number)
        _, said = self.run.communicate(timeout=600)
        for role in self.roles:
            assert select.select([role], [], [], 600)[0], "a role lives on"
            os.close(role)
        return self.run.returncode, said

    def left(self) -> list[str]:
        return sorted(p.name for p in self.out.parent.rglob("*"))


@pytest.mark.parametrize(
    ("engine", "number"),
    [("ckks", signal.SIGTERM), ("mpc", signal.SIGHUP), ("threshold", signal.SIGTERM)],
)
def test_an_ended_run_leaves_nothing(engine, number, small, tmp_path):
    code, said = Paused(engine, small, tmp_path).end(number)
    assert code == 128 + number and said.count("\n") == 1, said
    assert said.startswith(f"Ended by {signal.Signals(number).name}; ")
    (log,) = (tmp_path / "out").iterdir()
    assert log.name == "run.log" and signal.Signals(number).name in log.read_text().splitlines()[-1]


def test_a_killed_run_leaves_no_process_and_its_folder_goes_at_the_next_start(small, tmp_path):
    paused = Paused("mpc", small, tmp_path)
    assert paused.end(signal.SIGKILL)[0] == -signal.SIGKILL
    (left,) = (tmp_path / "out").iterdir()
    assert "ca.key" in paused.left() and left.stat().st_mode & 0o777 == 0o700
    said: list[str] = []
    with folders.working_folder(str(paused.out), folders.PARTIES, keep=False, log=said.append) as work:
        assert list((tmp_path / "out").iterdir()) == [work]
    assert said == [f"deleted {left}, which a killed run had left"] and paused.left() == []


def test_without_these_handlers_keys_stay(small, tmp_path):
    """The attack: the signal as Python leaves it."""
    paused = Paused("mpc", small, tmp_path, "else:\n    import signal\n    signal.signal = lambda *_: None\n")
    assert paused.end(signal.SIGTERM)[0] == -signal.SIGTERM
    assert "ca.key" in paused.left()


def test_living_runs_and_kept_folders_are_not_taken_for_abandoned(tmp_path):
    out, said = str(tmp_path / "run"), []
    with folders.working_folder(out, folders.PARTIES, keep=True, log=said.append) as first:
        (first / "a.key").touch()
        (first / "results").touch()
        with folders.working_folder(out, folders.SITES, keep=False, log=said.append) as second:
            assert first.is_dir() and second.is_dir()
    with folders.working_folder(out, folders.SITES, keep=False, log=said.append):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == [first.name, "results"] and said == [f"kept {first}"]
    (tmp_path / "run.parties.settings").mkdir()  # not of this program: it has no lock
    folders.delete_abandoned(out, said.append)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_is_not_an_abandoned_folder(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / ".lock").touch()
    (tmp_path / "run.parties.00000000").symlink_to("precious")
    folders.delete_abandoned(str(tmp_path / "run"), print)
    assert (tmp_path / "precious" / ".lock").exists()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


WAIT = "import signal; signal.pause()"
FAIL = "import sys; print('noise', file=sys.stderr); print('Error: {0}', file=sys.stderr); sys.exit({1})"


def test_the_first_failure_of_its_own_is_raised_and_the_others_are_ended():
    heard = "import sys; sys.stdin.read(); " + FAIL.format("a peer went away", 10)
    with pytest.raises(SecuregenError, match="^no such file$") as error:
        processes.run_together({"a": python(heard), "b": python(WAIT), "c": python(FAIL.format("no such file", 3))})
    assert error.value.exit_code == 3


def test_a_failure_that_all_heard_of_is_raised_after_a_while(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    with pytest.raises(SecuregenError, match="^gone$") as error:
        processes.run_together({"a": python(WAIT), "b": python(FAIL.format("gone", 10))})
    assert error.value.exit_code == 10


def test_a_role_that_will_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.0)
    deaf = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', file=sys.stderr, flush=True);"
        + WAIT
    )
    running = {"a": processes.start(python(deaf))}
    with pytest.raises(UsageError), processes.ended_together(running):
        assert running["a"].stderr is not None and running["a"].stderr.readline() == "deaf\n"
        raise UsageError("stop")
    assert running["a"].returncode == -signal.SIGKILL


def test_a_role_killed_by_the_system_is_named():
    with pytest.raises(SecuregenError, match=r"server was ended by SIGKILL \(out of memory\?\)") as error:
        processes.run_together({"server": python("import os; os.kill(os.getpid(), 9)")})
    assert error.value.exit_code == 1
    with pytest.raises(SecuregenError, match="server ended with exit code 7 and said nothing"):
        processes.run_together({"server": python("raise SystemExit(7)")})


def test_a_role_gets_nothing_of_this_environment_and_no_input(monkeypatch, tmp_path):
    monkeypatch.setenv("SECUREGEN_PASSPHRASE", "secret")
    code = (
        "import os, sys; from pathlib import Path;"
        "Path('seen').write_text(repr([sys.stdin.read(), [k for k in os.environ if k.startswith('SECUREGEN_')]]))"
    )
    processes.run_together({"a": python(code)}, folder=tmp_path, more={"SECUREGEN_X": "given"})
    assert (tmp_path / "seen").read_text() == "['', ['SECUREGEN_X']]"


def test_a_role_whose_parent_died_before_it_looked_ends_at_once():
    code = "from securegen.local.processes import end_with_parent; end_with_parent(); print('on')"
    done = subprocess.run(python(code), env=os.environ | {processes.PARENT: "4194305"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (137, "")


def test_a_second_signal_does_not_disturb_the_end_and_an_ignored_one_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(Ended) as error, orderly_end():
            signal.raise_signal(signal.SIGHUP)
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
        assert (error.value.code, str(error.value)) == (143, "ended by SIGTERM")
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
