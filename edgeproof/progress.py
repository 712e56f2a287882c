"""Show progress on stderr: a bar with a time estimate on a terminal, only the notes elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

import rich.console
import rich.progress


class Progress:
    """A progress bar over `total` steps. Notes are printed above it."""

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
        """Count one step as done."""
        self._bar.advance(self._task)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"  {text}", highlight=False, markup=False)
