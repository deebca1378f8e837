"""What a run leaves at one party, its session's time and traffic among it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType

from securegen.design.strata import AUTOSOMES
from securegen.engines.mpc.net.queues import Traffic
from securegen.engines.mpc.net.session import Session
from securegen.governance.gate import Gate, ungoverned
from securegen.results.write import Summary
from securegen.study.opening import Study


@dataclass
class Outcome:
    """What a run leaves at one party: its tables, seconds by stage, bytes sent and rounds; study: of the phenotype
    owner of an association; several: designs, of which one has X, Y, MT or a chromosome alone;
    gate: this party's door."""

    tables: list[Summary] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    samples_stored: int = 0
    variants_stored: int = 0
    study: Study | None = None
    several: bool = False
    gate: Gate = field(default_factory=ungoverned)

    def open(self, study: Study) -> None:
        self.study, self.several = study, [s.name for s in study.strata] != [AUTOSOMES]


class TimedSession:
    """A session that leaves its online seconds and traffic in an Outcome, also when it fails."""

    def __init__(self, session: Session, outcome: Outcome) -> None:
        self.session, self.outcome, self.started = session, outcome, time.perf_counter()

    def __enter__(self) -> Session:
        return self.session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.session.__exit__(kind, error, traceback)
        self.outcome.seconds["online"] = time.perf_counter() - self.started
        self.outcome.traffic = self.session.traffic
