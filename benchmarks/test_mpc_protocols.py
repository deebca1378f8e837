"""Whole MPC protocols, every party in its own process, beside CrypTen as shipped in the same run.

securegen and hardened speak mutual TLS over loopback; crypten is shipped CrypTen over plaintext gloo with its own
dealer process. Timed is one run of the protocol, offline part (dealer) included; connections are open before.
extra_info: work (products, numbers or elements), bytes sent by each party.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from securegen.engines.mpc.loopback import free_ports, loopback_study

PARTY = str(Path(__file__).with_name("mpc_party.py"))
VERTICAL = {"samples": 10_000, "variants": 2_000}


class Team:
    """The parties of one implementation; `run` lets each do the task once."""

    def __init__(self, directory, names, task, options):
        command = [sys.executable, "-W", "ignore", PARTY, str(directory)]
        self.children = {
            name: subprocess.Popen(
                [*command, name, task, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )
            for name in names
        }  # fmt: skip
        silent = {"deal"} if options["implementation"] == "hardened" else {str(options.get("world"))}
        self.talking = {n: c for n, c in self.children.items() if n not in silent}
        for name, child in self.talking.items():
            assert child.stdout.readline() == "ready\n", f"{name} did not start"

    def run(self):
        for child in self.talking.values():
            child.stdin.write("go\n")
            child.stdin.flush()
        return {name: json.loads(child.stdout.readline())["sent"] for name, child in self.talking.items()}

    def end(self):
        for child in self.talking.values():
            child.stdin.close()
        for child in self.children.values():
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def measure(benchmark, task, options, roles, *, work, rounds=3):
    implementation = options["implementation"]
    with tempfile.TemporaryDirectory() as directory:
        if implementation == "crypten":
            pytest.importorskip("torch", reason="the extra [mpc] is not installed")
            world = sum(role != "dealer" for role in roles.values())
            options = {**options, "world": world, "port": free_ports(1)[0], "provider": "TTP"}
            names = [str(i) for i in range(world + 1)]
        else:
            loopback_study(Path(directory), roles, timeout=120)
            names = list(roles)
        team = Team(directory, names, task, options)
        try:
            sent = benchmark.pedantic(team.run, rounds=rounds, warmup_rounds=1)
        finally:
            team.end()
    benchmark.extra_info["work"] = work
    if implementation != "crypten":  # shipped CrypTen counts elements, not bytes on the wire
        benchmark.extra_info["sent"] = sent


@pytest.mark.parametrize(
    ("implementation", "bits"),
    [("crypten", 64), ("securegen", None), ("securegen", 32), ("securegen", 64)],
    ids=["crypten-K8-t1", "securegen-K8-t1", "securegen_ring32-K8-t1", "securegen_ring64-K8-t1"],
)
def test_vertical(benchmark, implementation, bits):
    """securegen as `--reveal aggregates` runs it, in rings as small as sums allow; and in plain words of 32 and 64 bits."""
    options = {**VERTICAL, "columns": 8, "bits": bits, "implementation": implementation}
    roles = {"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}
    if implementation == "crypten":
        roles = {"gen": "compute", "phe": "compute", "deal": "dealer"}
    work = options["samples"] * options["variants"] * options["columns"]
    measure(benchmark, "sums" if bits is None else "vertical", options, roles, work=work)


@pytest.mark.parametrize("implementation", ["crypten", "securegen"], ids=["crypten-K8-t1", "securegen-K8-t1"])
def test_outsourced_batch(benchmark, implementation):
    options = {**VERTICAL, "columns": 8, "implementation": implementation}
    roles = {"gen": "genotypes", "phe": "phenotypes", "s-one": "server", "s-two": "server", "deal": "dealer"}
    if implementation == "crypten":
        roles = {"s-one": "server", "s-two": "server", "deal": "dealer"}
    work = options["samples"] * options["variants"] * options["columns"]
    measure(benchmark, "outsourced_batch", options, roles, work=work)


@pytest.mark.parametrize("reveal", ["hits", "chi2", "uv"])
@pytest.mark.parametrize("implementation", ["crypten", "securegen"], ids=["crypten-K8-t1", "securegen-K8-t1"])
def test_reveal(benchmark, reveal, implementation):
    """Whole runs from files to tables with all of their precision, beside CrypTen on arrays in 16-bit fixed point."""
    options = {**VERTICAL, "columns": 8, "reveal": reveal, "implementation": implementation}
    options["covariates"] = [f"c{i}" for i in range(7)]
    roles = {"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}
    if implementation == "crypten":
        roles = {"gen": "compute", "phe": "compute", "deal": "dealer"}
    measure(benchmark, "reveal", options, roles, work=options["samples"] * options["variants"])


@pytest.mark.parametrize("implementation", ["crypten", "securegen"], ids=["crypten-t1", "securegen-t1"])
def test_secure_sum(benchmark, implementation):
    roles = dict.fromkeys(("ada", "bob", "cyd"), "site")
    options = {"numbers": 1_000_000, "implementation": implementation}
    measure(benchmark, "secure_sum", options, roles, work=3 * options["numbers"])


@pytest.mark.parametrize("task", ["reciprocal", "comparison"])
@pytest.mark.parametrize("implementation", ["crypten", "hardened"], ids=["crypten-t1", "securegen-t1"])
def test_crypten_operation(benchmark, task, implementation):
    """CrypTen's own operations: shipped over gloo, and on our layer over TLS."""
    roles = {"ada": "compute", "bob": "compute", "deal": "dealer"}
    options = {"numbers": 20_000, "implementation": implementation}
    measure(benchmark, task, options, roles, work=options["numbers"])
