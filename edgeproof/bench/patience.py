"""Wait for a quiet device before a session, and refuse to measure on a busy one, where every run would be refused."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from edgeproof.bench.load import DeviceLoad
from edgeproof.bench.verdict import VerdictLimits
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.core.plain_text import escape_controls

DEFAULT_S = 60.0
# The variables reach the bench stages of a study, whose parameters they are not: DVC hashes neither.
SECONDS_VARIABLE = "EDGEPROOF_PATIENCE_S"
IF_BUSY_VARIABLE = "EDGEPROOF_IF_BUSY"
IF_BUSY = ("stop", "measure")
# Without a terminal, a line appears this often.
NOTE_INTERVAL_S = 20.0


@dataclass(frozen=True)
class Patience:
    """The behaviour of a session on a busy device.

    Attributes:
        seconds: the longest wait for a quiet device, before the session and again for all pauses within it.
        measures_busy: go on where the device stays busy. Verdicts do not change, so most runs will be refused.
    """

    seconds: float = DEFAULT_S
    measures_busy: bool = False

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables that hold this behaviour."""
        return {SECONDS_VARIABLE: f"{self.seconds:g}", IF_BUSY_VARIABLE: IF_BUSY[self.measures_busy]}


def read_patience(environment: Mapping[str, str] | None = None) -> Patience:
    """Return the behaviour that the environment asks for. Raises ConfigError for a value that is not allowed."""
    environment = os.environ if environment is None else environment
    seconds, if_busy = environment.get(SECONDS_VARIABLE), environment.get(IF_BUSY_VARIABLE) or IF_BUSY[0]
    if if_busy not in IF_BUSY:
        raise ConfigError(f"{IF_BUSY_VARIABLE} must be {' or '.join(IF_BUSY)}, not '{if_busy}'.")
    return Patience(DEFAULT_S if not seconds else parse_seconds(seconds, SECONDS_VARIABLE), if_busy == "measure")


def parse_seconds(text: str, name: str) -> float:
    """Return a number of seconds. `name` is what holds it. Raises ConfigError for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{name} must be a number of seconds, 0 or more, not '{text}'.")
    return seconds


def wait_until_quiet(
    device: str,
    look: Callable[[], DeviceLoad],
    limits: VerdictLimits,
    patience: Patience,
    *,
    list_processes: Callable[[], Sequence[str]] = list,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until one look at the device finds it quiet, with a countdown.

    Args:
        device: the name of the device.
        look: measures the device's load, which takes about a second.
        limits: the limits of a valid run. A load within them counts as quiet.
        patience: how long to wait, and what to do then.
        list_processes: returns the processes that use the processors.
        clock: counts seconds.

    Raises DeviceError for a device that stays busy, unless it is to be measured all the same.
    """
    if patience.measures_busy and patience.seconds == 0:
        return
    begin_s = clock()
    excess = look().explain_excess(limits)
    if not excess:
        return
    with Countdown(f"device '{device}' is busy", patience.seconds) as countdown:
        while excess and (left_s := patience.seconds - (clock() - begin_s)) > 0:
            countdown.show(left_s, excess)
            excess = look().explain_excess(limits)
    if not excess:
        _note(f"device '{device}' is quiet after {clock() - begin_s:.0f} s")
        return
    message = f"device '{device}' is busy: {excess}{_name_processes(list_processes())}."
    if patience.measures_busy:
        _note(f"{message} It is measured all the same, and disturbed runs are refused.")
        return
    raise DeviceError(
        f"{message} No run was started. What was measured before is kept, and the same command continues. "
        f"To wait longer: --patience 600, or {SECONDS_VARIABLE}=600. To measure all the same, although most runs would "
        f"be refused: --if-busy measure, or {IF_BUSY_VARIABLE}=measure."
    )


def _name_processes(processes: Sequence[str]) -> str:
    return f". Most are used by {', '.join(processes)}" if processes else ""


def _note(text: str) -> None:
    print(f"  {escape_controls(text)}", file=sys.stderr, flush=True)


class Countdown:
    """The seconds that are left of a wait, on stderr: counted down on a terminal, a line now and then elsewhere."""

    def __init__(self, title: str, total_s: float) -> None:
        import rich.console  # here, so that commands start faster
        import rich.progress

        console = rich.console.Console(file=sys.stderr)
        self._title, self._next_note_s = title, math.inf
        self._is_terminal = console.is_terminal
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("  {task.description}", markup=False),
            console=console,
            disable=not self._is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total_s)

    def __enter__(self) -> Countdown:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, left_s: float, reason: str) -> None:
        """Show the time that is left, and why the wait goes on."""
        text = f"{self._title}, {left_s:.0f} s left to wait: {reason}"
        self._bar.update(self._task, description=escape_controls(text))
        if not self._is_terminal and left_s <= self._next_note_s:
            self._next_note_s = left_s - NOTE_INTERVAL_S
            _note(text)
