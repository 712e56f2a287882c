"""What the machine is and how busy it is. What it cannot tell is None, never a guess."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path
from typing import Any


def fingerprint() -> dict[str, Any]:
    """The device: processor, memory, kernel, interpreter. Two measurements compare only where these agree."""
    return {
        "architecture": platform.machine(),
        "cpu": _cpu_field("model name") or _cpu_field("Model") or platform.processor() or None,
        "cpu_flags": _cpu_field("flags") or _cpu_field("Features"),
        "microcode": _cpu_field("microcode"),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "kernel": platform.release(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "python": platform.python_version(),
    }


def busyness() -> dict[str, Any]:
    """Counters to be read before and after: pressure, steal time, context switches, load."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_pressure_us": _pressure_us(),
        "steal_ticks": _steal_ticks(),
        "involuntary_switches": usage.ru_nivcsw,
        "load_1min": os.getloadavg()[0],
    }


def peak_rss_bytes() -> int:
    """The most memory that this process has held.

    VmHWM where there is one: ru_maxrss survives exec, so it would report the parent's memory.
    """
    for line in (_text("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _cpu_field(name: str) -> str | None:
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _memory_bytes() -> int | None:
    for line in (_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _pressure_us() -> int | None:
    line = (_text("/proc/pressure/cpu") or "").partition("\n")[0]
    total = line.rpartition("total=")[2]
    return int(total) if total.isdigit() else None


def _steal_ticks() -> int | None:
    fields = (_text("/proc/stat") or "").partition("\n")[0].split()
    return int(fields[8]) if len(fields) > 8 else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
