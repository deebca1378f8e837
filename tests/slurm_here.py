"""Slurm on this machine: controller and node in one, from Debian's packages, in a folder of its own, until the block ends."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
MISSING = "apt-get install -y slurmctld slurmd slurm-client munge, as root"
SETTINGS = """
ClusterName=here
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName={node} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def absent() -> str | None:
    """Why there is no Slurm here."""
    if not os.environ.get("SECUREGEN_SLURM"):
        return "daemons of Slurm start only when they are asked for: set SECUREGEN_SLURM=1"
    here = all(shutil.which(name, path="/usr/sbin:/sbin:/usr/bin") for name in (*DAEMONS, "sbatch"))
    return None if here and os.geteuid() == 0 else f"Slurm runs where it is installed: {MISSING}"


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in free]


def told(*call: str, environment: dict[str, str]) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def slurm(folder: Path, patience: float = 60.0) -> Iterator[dict[str, str]]:
    """The environment in which `sbatch` answers. Its daemons are children of this process, and end with the block."""
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o700)
    settings, key = folder / "slurm.conf", folder / "munge.key"
    settings.write_text(SETTINGS.format(node=platform.node().split(".")[0], ports=_ports(2), folder=folder))
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(64))
    environment = os.environ | {"SLURM_CONF": str(settings)}
    calls = {
        "munged": ["--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
                   *(f"--{name}-file={folder}/munged.{name}" for name in ("log", "pid", "seed"))],
        "slurmctld": ["-D", "-c"], "slurmd": ["-D"],
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, call in calls.items():
            said = stack.enter_context(open(folder / f"{name}.said", "w"))
            program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin")
            daemon = subprocess.Popen([program, *call], env=environment, stdout=said, stderr=said, cwd=folder)
            stack.callback(_end, daemon)
            if name == "munged":
                until((folder / "munge.socket").exists, patience)
        until(lambda: "idle" in told("sinfo", "-h", "-o", "%T", environment=environment), patience)
        yield environment
        told("scancel", "--user=root", environment=environment)
        with contextlib.suppress(TimeoutError):
            until(lambda: not told("squeue", "-h", environment=environment), 10)


def _end(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.wait(10)
    daemon.kill()
    daemon.wait()


def until(true, patience: float) -> None:
    """Return when it is. Raises TimeoutError."""
    end = time.monotonic() + patience
    while True:
        with contextlib.suppress(subprocess.CalledProcessError):  # the controller does not answer yet
            if true():
                return
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)
