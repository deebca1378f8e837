"""The tables of an engine beside those of the plain engine, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from securegen.engines.plain.engine import Plain
from securegen.engines.protocol import Engine, EngineRun
from securegen.errors import SecuregenError, UsageError
from securegen.local.folders import PARTIES, working_folder
from securegen.record.run_log import RunLog
from securegen.results.forms import TableForm
from securegen.results.sets import SUFFIX
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs
from securegen.study.opening import Study


class _WithoutFew(Plain):
    """The plain engine, which leaves rows of few carriers as an engine leaves them that does not correct these."""

    corrects_few: ClassVar[bool] = False


def check_comparison(engine: Engine, members: Sequence[Inputs]) -> None:
    """Raise UsageError for cohorts of sites: the plain engine reads one."""
    if len(members) > 1:
        raise UsageError(f"engine {engine.name} is compared with the plain engine on the pooled cohort, as one file")


def _sets(run: EngineRun, prefix: str) -> dict[str, str]:
    """Tables of set tests, by what follows the prefix."""
    return {p.removeprefix(prefix): p for p in run.files if p.removesuffix(".gz").endswith(f".{SUFFIX}")}


def compare_with_plain(
    engine: Engine, run: EngineRun, study: Study, form: TableForm, log: RunLog, filters: Filters | None = None
) -> None:
    """Run the plain engine beside and compare the tables. Raises SecuregenError when they differ."""
    with working_folder(log.out, PARTIES, keep=False, log=log) as folder:
        quiet = RunLog(f"{folder}/p", "compare", quiet=True)
        beside = Plain if engine.corrects_few else _WithoutFew
        plain = beside(reveal=engine.opened).run(study, f"{folder}/p", form, quiet, filters=filters)
        sets = [_sets(of, prefix) for of, prefix in ((run, log.out), (plain, f"{folder}/p"))]
        alone = bool(sets[0]) and not run.tables  # set tests of sites are in place of the tables of masks
        pairs = [] if alone else [(a.path, b.path) for a, b in zip(run.tables, plain.tables, strict=True)]
        pairs += [(path, sets[1][name]) for name, path in sets[0].items()]
        same = all(Path(a).read_bytes() == Path(b).read_bytes() for a, b in pairs)
    log(f"identical to the plain engine: {'yes' if same else 'no'}")
    if not same:
        raise SecuregenError("the encrypted and the plain table differ: this must never happen, please report it")
