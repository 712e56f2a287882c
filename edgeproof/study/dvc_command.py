"""Run `dvc repro` and add progress to its output: the stage's number, the time passed and an estimate of the rest."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgeproof import entry
from edgeproof.core import launcher
from edgeproof.study import durations

_RUNNING = re.compile(r"^Running stage '([^']+)'")
_SKIPPED = re.compile(r"^Stage '([^']+)' (didn't change|is cached)")
# DVC and a stage that are interrupted end in this time.
GRACE_PERIOD_S = 30.0
# Lines of DVC that say nothing about the study.
_HIDDEN = ("> ", "Updating lock", "Generating lock", "Use `dvc push`", "\n")


def run_dvc_repro(directory: Path, stages: Sequence[str]) -> int:
    """Run `dvc repro` in `directory`, which has these stages, and return its exit code."""
    progress = StageProgress(stages)
    command = launcher.build_command([sys.executable, "-m", "dvc", "repro"])
    with subprocess.Popen(
        command,
        cwd=directory,
        env=entry.build_environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                progress.show(line)
        except KeyboardInterrupt:
            _wait_for_interrupted(process)
            raise
        except BaseException:
            process.terminate()
            process.wait()
            raise
    progress.finish(has_failed=process.returncode != 0)
    return process.returncode


def _wait_for_interrupted(process: subprocess.Popen[str]) -> None:
    """Wait for DVC, which the terminal interrupts too. End it if it was not interrupted."""
    try:
        process.wait(GRACE_PERIOD_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


class StageProgress:
    """Prints the lines of DVC, and for each stage that runs its number, the time passed and the time left."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._total = len(stages)
        self._left = dict.fromkeys(stages)
        self._durations_s = durations.read_durations()
        self._running: str | None = None
        self._begin_s = self._stage_begin_s = time.monotonic()

    def show(self, line: str) -> None:
        """Print one line of DVC's output, or the progress that it tells."""
        running, skipped = _RUNNING.match(line), _SKIPPED.match(line)
        if running:
            self._start(running.group(1))
        elif skipped:
            self._end_stage()
            self._left.pop(skipped.group(1), None)
        elif not line.startswith(_HIDDEN):
            print(line, end="", flush=True)

    def finish(self, *, has_failed: bool = False) -> None:
        """Record the durations of the stages that ran, for later estimates. The last one may have failed."""
        if not has_failed:
            self._end_stage()
        durations.write_durations(self._durations_s)

    def _start(self, stage: str) -> None:
        self._end_stage()
        self._running, self._stage_begin_s = stage, time.monotonic()
        self._left.pop(stage, None)
        left_s = sum(durations.estimate_s(self._durations_s, other) for other in [*self._left, stage])
        passed = durations.format_duration(time.monotonic() - self._begin_s)
        print(
            f"[{self._total - len(self._left)}/{self._total}] {stage}  "
            f"({passed} passed, about {durations.format_duration(left_s)} left)",
            flush=True,
        )

    def _end_stage(self) -> None:
        if self._running is not None:
            self._durations_s[self._running] = round(time.monotonic() - self._stage_begin_s, 1)
        self._running = None
