"""Estimate a model on a simulated NPU with Vela, Arm's compiler for Ethos-U. An estimate is not a measurement.

Vela places the operators of an int8 TFLite file on the accelerator and adds up their cycles, with the memories and the
clock of one of Arm's reference systems (its 'system configuration' and 'memory mode', which the record names). Vela
does not estimate the time of operators that it leaves to a processor.
"""

from __future__ import annotations

import csv
import math
import secrets
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edgeproof.connection.transport import DeviceTransport
from edgeproof.core.errors import DeviceError, Unsupported

RUNTIME = "tflite"
VERSION = "5.2.0"
INSTALL_COMMAND = "{python} -m pip install ethos-u-vela==" + VERSION
TIMEOUT_S = 60.0
SHOWN_LINES = 3
KIB = 1024


@dataclass(frozen=True)
class NpuEstimate:
    """Vela's estimate of one model: a record's 'estimate'.

    `npu_operators` and `cpu_operators` are the numbers of operators on the accelerator and on a processor. `tool` is
    the name and version of the compiler.
    """

    cycles: int
    npu_cycles: int
    inference_ns: int
    clock_hz: int
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    system_config: str
    memory_mode: str
    npu: str
    npu_operators: int
    cpu_operators: int
    tool: str = "ethos-u-vela"


def read_version(transport: DeviceTransport, python: str) -> str:
    """Return the version of Vela on the device. Raises Unsupported if it is not installed."""
    code, output = transport.run([python, "-m", "ethosu.vela", "--version"], TIMEOUT_S)
    if code != 0:
        missing = "No module named" in output
        reason = "is not installed" if missing else f"fails: {_shorten(output)}"
        raise Unsupported(f"Vela, which estimates Ethos-U's cycles, {reason}; {INSTALL_COMMAND.format(python=python)}")
    return str(output.strip().splitlines()[-1])


def estimate(transport: DeviceTransport, python: str, model: str, *, npu: str, timeout_s: float) -> NpuEstimate:
    """Estimate the TFLite file `model` on the device that has Vela.

    Raises Unsupported for a model that cannot run on the accelerator or if Vela is missing, DeviceError if Vela fails.
    """
    version = read_version(transport, python)
    name = f"jobs/{secrets.token_hex(8)}"
    argv = [python, "-m", "ethosu.vela", model, "--accelerator-config", npu, "--output-dir", name]
    try:
        code, output = transport.run(argv, timeout_s)
        if code != 0:
            raise DeviceError(f"Vela failed (exit code {code}): {_shorten(output)}")
        with tempfile.TemporaryDirectory() as scratch:
            transport.pull(name, Path(scratch))
            parsed = parse_estimate(Path(scratch), output, npu=npu)
    finally:
        transport.remove(name)
    return replace(parsed, tool=f"ethos-u-vela {version}")


def parse_estimate(directory: Path, output: str, *, npu: str) -> NpuEstimate:
    """Return the estimate in the files that Vela wrote into `directory` and in its printed output.

    Raises Unsupported for a model without an operator on the accelerator, DeviceError for an unreadable estimate.
    """
    npu_operators, cpu_operators = _parse_operators(output, "NPU"), _parse_operators(output, "CPU")
    if npu_operators == 0:
        raise Unsupported("Vela places no operator on the NPU, which computes in 8-bit and 16-bit integers only")
    row = _read_summary(directory)
    try:
        on_chip, off_chip = _parse(row, "on_chip_flash_memory_used"), _parse(row, "off_chip_flash_memory_used")
        parsed = NpuEstimate(
            cycles=round(_parse(row, "cycles_total")),
            npu_cycles=round(_parse(row, "cycles_npu")),
            inference_ns=round(_parse(row, "inference_time") * 1e9),
            clock_hz=round(_parse(row, "core_clock")),
            sram_bytes=round(_parse(row, "sram_memory_used") * KIB),
            dram_bytes=round(_parse(row, "dram_memory_used") * KIB),
            flash_bytes=round((on_chip + off_chip) * KIB),
            system_config=row["system_config"][:100],
            memory_mode=row["memory_mode"][:100],
            npu=npu,
            npu_operators=npu_operators,
            cpu_operators=cpu_operators,
        )
    except (KeyError, ValueError) as error:
        raise DeviceError(
            f"Vela's summary can't be read: {error}. edgeproof reads the summary of Vela {VERSION}."
        ) from None
    if not parsed.cycles or not parsed.inference_ns:
        raise DeviceError("Vela's estimate contains no time")
    return parsed


def _read_summary(directory: Path) -> dict[str, str]:
    """Return the only row of Vela's summary."""
    paths = sorted(directory.glob("*_summary_*.csv"))
    if len(paths) != 1:
        raise DeviceError(f"Vela left {len(paths)} summaries instead of one")
    with paths[0].open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [row for row in csv.DictReader(file) if None not in (*row, *row.values())]
    if len(rows) != 1:
        raise DeviceError(f"Vela's summary has {len(rows)} lines instead of one")
    return rows[0]


def _parse(row: dict[str, str], name: str) -> float:
    value = float(row[name])
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {row[name]}")
    return value


def _parse_operators(output: str, unit: str) -> int:
    """Return the number of operators that Vela placed on the NPU or the CPU."""
    for line in output.splitlines():
        words = line.split()
        if words[:3] == [unit, "operators", "="] and len(words) > 3 and words[3].isdigit():
            return int(words[3])
    raise DeviceError(f"Vela does not say how many operators run on the {unit}: {_shorten(output)}")


def _shorten(text: str) -> str:
    return " | ".join(text.splitlines()[-SHOWN_LINES:])
