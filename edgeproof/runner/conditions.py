"""What the machine is and how busy it is. What it cannot tell is None, never a guess."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import time
from collections.abc import Collection, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
CPU = Path("/sys/devices/system/cpu")
POWERCAP = Path("/sys/class/powercap")
THERMAL = Path("/sys/class/thermal")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def fingerprint(packages: Iterable[str] = ()) -> dict[str, Any]:
    """The device and what runs on it. Two measurements compare only where these agree."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "architecture": platform.machine(),
        "cpu": _cpu_field("model name") or _cpu_field("Model") or platform.processor() or None,
        "cpu_flags": _cpu_field("flags") or _cpu_field("Features"),
        "microcode": _cpu_field("microcode"),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "caches": _caches(),
        "memory_bytes": _meminfo_bytes("MemTotal"),
        "kernel": platform.release(),
        "libc": "-".join(platform.libc_ver()) or None,
        "governor": _text(CPU / "cpu0/cpufreq/scaling_governor"),
        "turbo": _turbo(),
        "smt": _text(CPU / "smt/active"),
        "virtualization": _virtualization(),
        "python": platform.python_version(),
        "packages": {name: {"version": version(name), "wheel_sha256": wheel_sha256(name)} for name in sorted(packages)},
        **({} if (limit := _limit(resource.RLIMIT_DATA)) is None else {"memory_limit_bytes": limit}),
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def counters() -> dict[str, Any]:
    """Counters to be read before and after a run: clocks, this process's share, and everybody's."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **machine_counters(),
        "own_cpu_ns": time.process_time_ns(),
        "run_delay_ns": _run_delay_ns(),
        "involuntary_switches": usage.ru_nivcsw,
        "voluntary_switches": usage.ru_nvcsw,
        "processors": len(_usable()),
        "major_faults": usage.ru_majflt,
        "ticks_per_s": TICKS_PER_S,
        "load_1min": os.getloadavg()[0],
    }


def machine_counters() -> dict[str, int | None]:
    """Clocks and everybody's counters since boot; a tick is TICKS_PER_S of a second."""
    ticks = cpu_ticks()
    return {
        "monotonic_ns": time.monotonic_ns(),
        "realtime_ns": time.time_ns(),
        "cpu_pressure_us": pressure_us(),
        "steal_ticks": ticks["steal"],
        "busy_ticks": ticks["busy"],
        "frequency_khz": frequency_khz(),
        "temperature_millic": temperature_millic(),
    }


def peak_rss_bytes() -> int:
    """The most memory that this process has held.

    VmHWM where there is one: ru_maxrss survives exec, so it would report the parent's memory.
    """
    if known := _status_bytes("VmHWM"):
        return known
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available_bytes() -> int | None:
    """The memory that a process may still take: the machine's, or its control group's where that is less."""
    free = [_meminfo_bytes("MemAvailable")]
    limit, used = _text("/sys/fs/cgroup/memory.max"), _text("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None and limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    if (limit_bytes := _limit(resource.RLIMIT_AS)) is not None:
        free.append(limit_bytes - _address_space_bytes())
    if (limit_bytes := _limit(resource.RLIMIT_DATA)) is not None:
        free.append(limit_bytes - _status_bytes("VmData"))
    known = [value for value in free if value is not None]
    return min(known) if known else None


def pressure_us() -> int | None:
    """Time in which some runnable task waited for a processor, since boot (PSI)."""
    line = (_text("/proc/pressure/cpu") or "").partition("\n")[0]
    total = line.rpartition("total=")[2]
    return int(total) if total.isdigit() else None


def cpu_ticks() -> dict[str, int | None]:
    """Ticks of all processors since boot: 'busy' with anybody's work, and 'steal', taken by the hypervisor."""
    fields = (_text("/proc/stat") or "").partition("\n")[0].split()
    if len(fields) <= 8 or not all(field.isdigit() for field in fields[1:]):
        return {"busy": None, "steal": None}
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
    return {"busy": user + nice + system + irq + softirq, "steal": steal}


def frequency_khz() -> int | None:
    """The highest current frequency of the processors this process may use."""
    return _greatest(CPU / f"cpu{core}/cpufreq/scaling_cur_freq" for core in _usable())


def temperature_millic() -> int | None:
    """The highest temperature of all thermal zones, in thousandths of a degree Celsius."""
    return _greatest(THERMAL.glob("thermal_zone*/temp")) if THERMAL.is_dir() else None


def energy_uj(counter: str | None = None) -> int | None:
    """Energy since some start, in microjoules: what the file `counter` says, else all packages' RAPL (powercap)."""
    if counter is not None:
        told = _text(counter)
        return int(told) if told is not None and told.isdigit() else None
    zones = sorted(POWERCAP.glob("intel-rapl:[0-9]*")) if POWERCAP.is_dir() else []
    # Zones of a package hold its parts', and on laptops there is one of the whole platform: neither is added.
    found = [_text(zone / "energy_uj") for zone in zones if (_text(zone / "name") or "").startswith("package")]
    return sum(map(int, filter(None, found))) if found and all(text and text.isdigit() for text in found) else None


def version(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def wheel_sha256(package: str) -> str | None:
    """The sha256 of the installed package's RECORD, which lists the sha256 of every file of its wheel."""
    try:
        listing = metadata.distribution(package).read_text("RECORD")
    except metadata.PackageNotFoundError:
        return None
    if listing is None:
        return None
    # Compiled caches and the paths of scripts differ between installations of one wheel.
    lines = sorted(line for line in listing.splitlines() if "sha256=" in line and not line.startswith("../"))
    own = [line for line in lines if "__pycache__" not in line and ".dist-info/" not in line]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()


def _usable() -> Collection[int]:
    """The processors this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _run_delay_ns() -> int | None:
    """Time that this process's threads were ready to run and had no processor (sched_info, second field)."""
    total, found = 0, False
    for task in Path("/proc/self/task").glob("*/schedstat"):
        fields = (_text(task) or "").split()
        if len(fields) == 3:
            total, found = total + int(fields[1]), True
    return total if found else None


def _caches() -> dict[str, str] | None:
    found = {}
    for index in sorted((CPU / "cpu0/cache").glob("index*")):
        level, kind, size = (_text(index / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level} {kind}"] = size
    return found or None


def _turbo() -> str | None:
    inverted = _text(CPU / "intel_pstate/no_turbo")
    if inverted is not None:
        return "off" if inverted == "1" else "on"
    boost = _text(CPU / "cpufreq/boost")
    return None if boost is None else ("on" if boost == "1" else "off")


def _virtualization() -> str | None:
    """'none', 'container', or the hypervisor's product name where it tells."""
    flags = (_cpu_field("flags") or "").split()
    if "hypervisor" in flags:
        return _text("/sys/class/dmi/id/sys_vendor") or _text("/sys/hypervisor/type") or "hypervisor"
    return "none" if flags else None


def _greatest(paths: Iterable[Path]) -> int | None:
    numbers = [int(text) for path in paths if (text := _text(path)) and text.lstrip("-").isdigit()]
    return max(numbers) if numbers else None


def _limit(resource_: int) -> int | None:
    soft, _ = resource.getrlimit(resource_)
    return None if soft == resource.RLIM_INFINITY else soft


def _status_bytes(name: str) -> int:
    """A size that the kernel tells of this process; 0 where it doesn't."""
    for line in (_text("/proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def _address_space_bytes() -> int:
    fields = (_text("/proc/self/statm") or "0").split()
    return int(fields[0]) * resource.getpagesize()


def _cpu_field(name: str) -> str | None:
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _meminfo_bytes(name: str) -> int | None:
    for line in (_text("/proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
