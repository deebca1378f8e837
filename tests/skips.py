"""Skipped tests are counted by reason, and a whole run fails when it skips more than it may.

The caps only fall: a test that a clone cannot run belongs to the extras, the reference cohorts or tools of others.
"""

from __future__ import annotations

from collections import Counter

import pytest

ABSENT = "outside of the repository: set SECUREGEN_DATA"
OUTSIDE_CAP = 215  # tests of cohorts that the repository may not hold
OTHER_CAP = 7  # a tool (Slurm, plink2), a processor, or a user that the machine has not


def reasons(reports) -> Counter[str]:
    """How many tests each reason skipped; a module that was skipped whole is one."""
    return Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)


def excess(counted: Counter[str]) -> list[str]:
    """What is over a cap, in words."""
    outside = sum(n for reason, n in counted.items() if reason.endswith(ABSENT))
    rest = counted.total() - outside
    words = []
    if outside > OUTSIDE_CAP:
        words.append(f"{outside} tests skipped for want of outside cohorts, at most {OUTSIDE_CAP} may be")
    if rest > OTHER_CAP:
        words.append(f"{rest} tests skipped for other reasons, at most {OTHER_CAP} may be")
    return words


def is_whole(config: pytest.Config) -> bool:
    """Every test was asked for: no path, expression, marker or earlier failure chooses among them.

    A worker of pytest-xdist has a share of the tests; the run that started it counts them.
    """
    if hasattr(config, "workerinput"):
        return False
    chosen = ("keyword", "markexpr", "deselect", "lf", "ignore", "ignore_glob", "stepwise", "collectonly", "maxfail")
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return whole and not any(config.getoption(name, None) for name in chosen)


def skipped(config: pytest.Config) -> Counter[str]:
    return reasons(config.pluginmanager.get_plugin("terminalreporter").stats.get("skipped", []))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and is_whole(session.config) and excess(skipped(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counted = skipped(config)
    if counted:
        words = ", ".join(f"{reason} ×{n}" for reason, n in counted.most_common())
        terminalreporter.write_line(f"{counted.total()} tests skipped: {words}")
    for line in excess(counted) if is_whole(config) else ():
        terminalreporter.write_line(f"ERROR: {line} (tests/skips.py)", red=True)
