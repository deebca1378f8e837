"""The audit log of a command's run: that it began, ended or failed, in the log of every policy beside its files.

Without a policy nothing is logged, and nothing is read. What cannot be logged is not run.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from securegen.cli.config import command_words, path_options
from securegen.errors import SecuregenError

_COUNTS = ("samples", "variants", "covariates")
_UNNAMED = {"out", "parties"}


class RunAudit:
    """The logs of one run. Nothing where no policy stands beside a file that the command names."""

    def __init__(self, ctx: click.Context) -> None:
        from securegen.governance.audit_beside import log_of
        from securegen.governance.policy_file import beside

        named = [path for name, path in path_options(ctx) if name not in _UNNAMED]
        policies = beside(named)
        if ctx.params.get("policy"):
            policies.append(Path(ctx.params["policy"]))
        folders = {os.path.realpath(policy.parent): policy for policy in policies}
        self.logs = [log_of(policy) for policy in folders.values()]
        self._run, self._command = secrets.token_hex(8), " ".join(command_words(ctx))
        self._tell({"phase": "start"})

    def end(self, record: dict[str, Any], read: Iterable[str], written: Iterable[str | None]) -> list[dict[str, Any]]:
        """That the run ended; returns the witnesses for its record. read, written: digests."""
        if not self.logs:
            return []
        from securegen.governance.signing import canonical, sha256

        found = {name: record[name] for name in _COUNTS if isinstance(record.get(name), int)}
        told = sorted(digest for digest in written if digest)
        engine = record.get("engine")
        found |= {"engine": engine} if engine in ("plain", "ckks", "federated", "mpc") else {}
        self._tell(
            {"phase": "end", "inputs": sha256(canonical(sorted(read))), "outputs": sha256(canonical(told))} | found
        )
        return [log.witness().to_json() for log in self.logs]

    def failed(self, code: int) -> None:
        """That the run failed. The error itself says more than one of the log."""
        with contextlib.suppress(SecuregenError):
            self._tell({"phase": "failed", "exit_code": min(max(code, 0), 255)})

    def _tell(self, facts: dict[str, Any]) -> None:
        for log in self.logs:
            account = log.pseudonym(f"{os.getuid()}@{platform.node()}")
            log.append("run", {"command": self._command, "run": self._run, "account": account} | facts)
