"""A simulated NPU: what Arm's compiler for Ethos-U estimates of a model. An estimate is never a measurement.

Vela places the operators of an int8 TFLite file on the accelerator and adds up their cycles, with the memories and the
clock of a reference system of Arm's (its 'system configuration' and 'memory mode', which the record names). What it
leaves to a processor takes a time that it does not estimate, so such an estimate is refused.
"""

from __future__ import annotations

import csv
import math
import secrets
import tempfile
from pathlib import Path
from typing import Any

from edgeproof.core.errors import DeviceError, Unsupported

RUNTIME = "tflite"
VERSION = "5.2.0"
INSTALL = "{python} -m pip install ethos-u-vela==" + VERSION
TIMEOUT_S = 60.0
SHOWN_LINES = 3
KIB = 1024


def version(device: Any, python: str) -> str:
    """The version of Vela there. Raises Unsupported where there is none."""
    code, printed = device.run([python, "-m", "ethosu.vela", "--version"], TIMEOUT_S)
    if code != 0:
        missing = "No module named" in printed
        why = "is not installed" if missing else f"fails: {_last(printed)}"
        raise Unsupported(f"Vela, which estimates Ethos-U's cycles, {why}; {INSTALL.format(python=python)}")
    return str(printed.strip().splitlines()[-1])


def judged(device: Any, python: str, model: str, *, npu: str, timeout_s: float) -> dict[str, Any]:
    """A record's verdict, reasons and estimate of the TFLite file `model` on the device that has Vela.

    Raises Unsupported and DeviceError.
    """
    tool = version(device, python)
    name = f"jobs/{secrets.token_hex(8)}"
    argv = [python, "-m", "ethosu.vela", model, "--accelerator-config", npu, "--output-dir", name]
    try:
        code, printed = device.run(argv, timeout_s)
        if code != 0:
            raise DeviceError(f"Vela failed (exit code {code}): {_last(printed)}")
        with tempfile.TemporaryDirectory() as scratch:
            device.pull(name, Path(scratch))
            found = estimate(Path(scratch), printed, npu=npu)
    finally:
        device.remove(name)
    left = found["cpu_operators"]
    reasons = [f"Vela leaves {left} operator(s) to a processor, whose time it does not estimate"] if left else []
    described = {**found, "tool": f"ethos-u-vela {tool}"}
    return {"verdict": "invalid" if reasons else "valid", "reasons": reasons, "estimate": described}


def estimate(directory: Path, printed: str, *, npu: str) -> dict[str, Any]:
    """What Vela left in `directory` and printed, as a record's 'estimate': sizes in bytes, times in ns.

    Raises Unsupported for a model of which nothing runs on the accelerator, DeviceError for what is no estimate.
    """
    on_npu, on_cpu = _operators(printed, "NPU"), _operators(printed, "CPU")
    if on_npu == 0:
        raise Unsupported(
            "Vela places none of its operators on the NPU, which computes in 8- and 16-bit integers alone"
        )
    line = _summary(directory)
    try:
        figures = {
            "cycles": round(_number(line, "cycles_total")),
            "npu_cycles": round(_number(line, "cycles_npu")),
            "inference_ns": round(_number(line, "inference_time") * 1e9),
            "clock_hz": round(_number(line, "core_clock")),
            "sram_bytes": round(_number(line, "sram_memory_used") * KIB),
            "dram_bytes": round(_number(line, "dram_memory_used") * KIB),
            "flash_bytes": round(
                (_number(line, "on_chip_flash_memory_used") + _number(line, "off_chip_flash_memory_used")) * KIB
            ),
        }
        about = {key: line[key][:100] for key in ("system_config", "memory_mode")}
    except (KeyError, ValueError) as error:
        raise DeviceError(f"Vela's summary is not what it was: {error}") from None
    if not figures["cycles"] or not figures["inference_ns"]:
        raise DeviceError("Vela estimates no time at all")
    return {**figures, **about, "npu": npu, "npu_operators": on_npu, "cpu_operators": on_cpu}


def _summary(directory: Path) -> dict[str, str]:
    """The one line of Vela's summary."""
    paths = sorted(directory.glob("*_summary_*.csv"))
    if len(paths) != 1:
        raise DeviceError(f"Vela left {len(paths)} summaries instead of one")
    with paths[0].open(newline="", encoding="utf-8", errors="replace") as file:
        lines = [line for line in csv.DictReader(file) if None not in (*line, *line.values())]
    if len(lines) != 1:
        raise DeviceError(f"Vela's summary has {len(lines)} lines instead of one")
    return lines[0]


def _number(line: dict[str, str], name: str) -> float:
    value = float(line[name])
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {line[name]}")
    return value


def _operators(printed: str, unit: str) -> int:
    """How many operators Vela says it placed on the NPU or left on the CPU."""
    for line in printed.splitlines():
        words = line.split()
        if words[:3] == [unit, "operators", "="] and len(words) > 3 and words[3].isdigit():
            return int(words[3])
    raise DeviceError(f"Vela does not say how many operators run on the {unit}: {_last(printed)}")


def _last(text: str) -> str:
    return " | ".join(text.splitlines()[-SHOWN_LINES:])
