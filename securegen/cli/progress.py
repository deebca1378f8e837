"""Progress on stderr with rate and time left; silent when stderr is not a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(label: str, *, unit: str = "blocks", quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback (done, total); it may be called from several threads."""
    if quiet or sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps a second since the start."""

        def render(self, task: Task) -> Text:
            speed = task.completed / task.elapsed if task.elapsed else 0.0
            return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")

    columns = (
        TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(unit), Rate(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
