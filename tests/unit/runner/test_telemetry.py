"""Telemetry and conditions: samples of another process, unknown values, and the energy of an inference."""

from __future__ import annotations

import csv
import datetime
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeproof.devices import runner_zipapp
from edgeproof.records import energy
from edgeproof.runner import conditions, telemetry

BEGIN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
WINDOW = {"power_begin": "01-02-2026 03:04:05.000", "power_end": "01-02-2026 03:04:07.500"}


def read_samples(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file))


def test_telemetry_samples_until_its_input_closes_and_once_more(tmp_path: Path) -> None:
    runner, path, counter = runner_zipapp.pack("null", tmp_path), tmp_path / "telemetry.csv", tmp_path / "joules"
    counter.write_text("1000\n")
    command = [sys.executable, "-I", "-B", str(runner), telemetry.FLAG, str(path), "0.02", str(counter)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        first = time.monotonic_ns()
        time.sleep(0.1)
        counter.write_text("2000\n")
        last = time.monotonic_ns()
        process.stdin.close()
        assert process.wait(10) == 0
    lines = read_samples(path)
    assert tuple(lines[0]) == telemetry.COLUMNS
    assert len(lines) >= 3
    times = [int(line["monotonic_ns"]) for line in lines]
    assert times == sorted(times)
    assert times[0] <= first
    assert times[-1] >= last
    assert (lines[0]["energy_uj"], lines[-1]["energy_uj"]) == ("1000", "2000")


def test_telemetry_ends_when_the_measured_process_dies(tmp_path: Path) -> None:
    runner, path = runner_zipapp.pack("null", tmp_path), tmp_path / "telemetry.csv"
    watch = [sys.executable, "-I", "-B", str(runner), telemetry.FLAG, str(path), "0.02", ""]
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen({watch!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=False).stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
            break  # a zombie: it has ended, but its new parent has not reaped it yet
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{pid}").exists()


# --- unknown values ------------------------------------------------------------------------------------


def test_a_machine_without_counters_has_unknown_values_and_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "_read_text", lambda path: None)
    counters = conditions.read_counters()
    for name in ("cpu_pressure_us", "steal_ticks", "busy_ticks", "frequency_khz", "temperature_millic"):
        assert counters[name] is None
    assert conditions.read_energy_uj() is None
    assert conditions.read_available_bytes() is None
    fingerprint = conditions.read_fingerprint(["numpy", "no-such-package"])
    assert fingerprint["governor"] is None
    assert fingerprint["virtualization"] is None
    assert fingerprint["packages"]["numpy"]["version"] == np.__version__
    assert fingerprint["packages"]["no-such-package"] == {"version": None, "wheel_sha256": None}


def test_rapl_energy_is_the_sum_of_the_packages_without_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = (
        ("intel-rapl:0", "package-0", 100),
        ("intel-rapl:0:0", "core", 60),
        ("intel-rapl:1", "package-1", 11),
        ("intel-rapl:2", "psys", 300),
    )
    for zone, name, value in zones:
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text(f"{value}\n")
    monkeypatch.setattr(conditions, "POWERCAP", tmp_path)
    assert conditions.read_energy_uj() == 111
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("")
    assert conditions.read_energy_uj() is None


def test_a_wheels_hash_depends_on_its_files_and_not_on_its_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_of(*lines: str) -> str | None:
        where = tmp_path / str(len(list(tmp_path.iterdir())))
        (where / "thing-1.0.dist-info").mkdir(parents=True)
        (where / "thing-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        (where / "thing-1.0.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
        monkeypatch.setattr(sys, "path", [str(where)])
        return conditions.compute_wheel_sha256("thing")

    plain = hash_of("thing/a.py,sha256=1,10", "thing/b.so,sha256=2,20", "thing-1.0.dist-info/RECORD,,")
    assert plain is not None
    installed_elsewhere = hash_of(
        "../../bin/thing,sha256=9,5", "thing-1.0.dist-info/INSTALLER,sha256=8,4", "thing/__pycache__/a.pyc,,",
        "thing/b.so,sha256=2,20", "thing/a.py,sha256=1,10",
    )  # fmt: skip
    assert installed_elsewhere == plain
    assert hash_of("thing/a.py,sha256=1,10", "thing/b.so,sha256=3,20") != plain


# --- energy ----------------------------------------------------------------------------------------------------------


def write_telemetry(path: Path, samples: list[tuple[float, int | None]]) -> Path:
    """Write samples (seconds after BEGIN, microjoules)."""
    start = int(BEGIN.timestamp() * 1e9)
    lines = ["realtime_ns,energy_uj", *(f"{start + int(s * 1e9)},{'' if e is None else e}" for s, e in samples)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_energy_is_the_counters_growth_in_loadgens_window_divided_by_the_inferences(tmp_path: Path) -> None:
    # At 4 W, 2.5 s take 10 J, which are 10 mJ for each of 1000 inferences.
    path = write_telemetry(tmp_path / "t.csv", [(t / 5 - 1, int(4e6 * (t / 5))) for t in range(30)])
    assert energy.integrate_energy_uj(path, WINDOW, inferences=1000) == pytest.approx(10_000, rel=1e-6)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [(0, 5)],
        [(-1, None), (3, None)],
        [(0.1, 0), (3, 100)],
        [(-1, 0), (2, 100)],
        [(-1, 1000), (1, 2000), (3, 10)],
    ],
    ids=["none", "one", "no counter", "starts late", "ends early", "wraps"],
)
def test_energy_is_unknown_if_the_samples_do_not_cover_the_window(
    tmp_path: Path, samples: list[tuple[float, int | None]]
) -> None:
    assert energy.integrate_energy_uj(write_telemetry(tmp_path / "t.csv", samples), WINDOW, inferences=10) is None
