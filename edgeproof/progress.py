"""Progress with a time estimate: a bar on a terminal, a line a note elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

import rich.console
import rich.progress


class Progress:
    """A bar over `total` steps on stderr, with notes printed above it."""

    def __init__(self, title: str, total: int) -> None:
        self._console = rich.console.Console(file=sys.stderr)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("  {task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One step is done."""
        self._bar.advance(self._task)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(f"  {text}", highlight=False)
