"""Two real processes that measure on one device at once: the second one says that it waits, and both succeed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.config import params_file
from edgeproof.config.params import Params
from edgeproof.records import kinds, record_files
from tests.support.bench_project import SESSION, build_study, write_project
from tests.support.project import ROOT

pytestmark = pytest.mark.end_to_end


@pytest.mark.timeout(300)
def test_two_processes_on_one_device_both_succeed_and_the_second_names_the_first(
    plugin_root: Path, tmp_path: Path, digits_study: Params
) -> None:
    write_project(tmp_path)
    processes = []
    for number in (1, 2):
        study = build_study(digits_study, session=number, seeds=[4], final={}, transport="fake")
        params_file.write_params(study, "test", tmp_path / f"{number}.yaml")
        command = ["-m", "tests.support.undisturbed_session", SESSION, f"{number}.yaml", f"out_{number}"]
        processes.append(
            subprocess.Popen(
                [sys.executable, *command],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    errors = [process.communicate(timeout=250)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    for number in (1, 2):
        records = list(record_files.read_all(tmp_path / f"out_{number}"))
        assert kinds.ACCURACY in {record.content["scenario"] for record in records}
    # Other tests may hold the lock of a device of this name, so that both processes wait for a while.
    waits = [
        line
        for process, text in zip(processes, errors, strict=True)
        for line in text.splitlines()
        if "waiting for device 'desk'" in line
        and any(f"process {other.pid} on " in line for other in processes if other is not process)
    ]
    assert len(waits) == 1
    assert "undisturbed_session" in waits[0]
    assert "Ctrl-C is safe" in waits[0]
