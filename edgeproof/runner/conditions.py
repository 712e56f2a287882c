"""Read what the machine is and how busy it is. A value that the machine does not report is None, never a guess."""

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

from edgeproof.runner import cgroups

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
CPU = Path("/sys/devices/system/cpu")
POWERCAP = Path("/sys/class/powercap")
THERMAL = Path("/sys/class/thermal")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def read_fingerprint(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return the fingerprint of the device and of the software on it.

    Two measurements are comparable only if their fingerprints agree.
    """
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "architecture": platform.machine(),
        "cpu": _read_cpu_field("model name") or _read_cpu_field("Model") or platform.processor() or None,
        "cpu_flags": _read_cpu_field("flags") or _read_cpu_field("Features"),
        "microcode": _read_cpu_field("microcode"),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "caches": _read_caches(),
        "memory_bytes": _read_meminfo_bytes("MemTotal"),
        "kernel": platform.release(),
        "libc": "-".join(platform.libc_ver()) or None,
        "governor": _read_text(CPU / "cpu0/cpufreq/scaling_governor"),
        "turbo": _read_turbo(),
        "smt": _read_text(CPU / "smt/active"),
        "virtualization": _read_virtualization(),
        "python": platform.python_version(),
        "packages": {
            name: {"version": read_version(name), "wheel_sha256": compute_wheel_sha256(name)}
            for name in sorted(packages)
        },
        **({} if (limit := _read_limit_bytes(resource.RLIMIT_DATA)) is None else {"memory_limit_bytes": limit}),
        **({} if (quota := cgroups.read_quota_cpus()) is None else {"quota_cpus": quota}),
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def read_counters() -> dict[str, Any]:
    """Return the counters that are read before and after a run: clocks, this process's and the machine's."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **read_machine_counters(),
        "own_cpu_ns": time.process_time_ns(),
        "run_delay_ns": _read_run_delay_ns(),
        "involuntary_switches": usage.ru_nivcsw,
        "voluntary_switches": usage.ru_nvcsw,
        "processors": len(_list_usable_processors()),
        "major_faults": usage.ru_majflt,
        "ticks_per_s": TICKS_PER_S,
        "load_1min": os.getloadavg()[0],
    }


def read_machine_counters() -> dict[str, int | None]:
    """Return the clocks and the machine's counters since boot. A tick is 1 / TICKS_PER_S seconds."""
    ticks = read_cpu_ticks()
    return {
        "monotonic_ns": time.monotonic_ns(),
        "realtime_ns": time.time_ns(),
        "cpu_pressure_us": read_pressure_us(),
        "steal_ticks": ticks["steal"],
        "busy_ticks": ticks["busy"],
        "frequency_khz": read_frequency_khz(),
        "temperature_millic": read_temperature_millic(),
    }


def read_peak_rss_bytes() -> int:
    """Return the peak memory of this process.

    VmHWM is preferred, because ru_maxrss survives exec and so may be the parent's memory.
    """
    if peak_bytes := _read_status_bytes("VmHWM"):
        return peak_bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_available_bytes() -> int | None:
    """Return the memory that this process may still take: the least that the machine and all limits allow."""
    free = [_read_meminfo_bytes("MemAvailable")]
    limit, used = _read_text("/sys/fs/cgroup/memory.max"), _read_text("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None and limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    if (limit_bytes := _read_limit_bytes(resource.RLIMIT_AS)) is not None:
        free.append(limit_bytes - _read_address_space_bytes())
    if (limit_bytes := _read_limit_bytes(resource.RLIMIT_DATA)) is not None:
        free.append(limit_bytes - _read_status_bytes("VmData"))
    known = [value for value in free if value is not None]
    return min(known) if known else None


def read_pressure_us() -> int | None:
    """Return the time since boot in which some runnable task waited for a processor (PSI)."""
    line = (_read_text("/proc/pressure/cpu") or "").partition("\n")[0]
    total = line.rpartition("total=")[2]
    return int(total) if total.isdigit() else None


def read_cpu_ticks() -> dict[str, int | None]:
    """Return the ticks of all processors since boot: 'busy' with any work, and 'steal', taken by the hypervisor."""
    fields = (_read_text("/proc/stat") or "").partition("\n")[0].split()
    if len(fields) <= 8 or not all(field.isdigit() for field in fields[1:]):
        return {"busy": None, "steal": None}
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
    return {"busy": user + nice + system + irq + softirq, "steal": steal}


def read_frequency_khz() -> int | None:
    """Return the highest current frequency of the processors that this process may use."""
    return _read_greatest(CPU / f"cpu{core}/cpufreq/scaling_cur_freq" for core in _list_usable_processors())


def read_temperature_millic() -> int | None:
    """Return the highest temperature of all thermal zones, in thousandths of a degree Celsius."""
    return _read_greatest(THERMAL.glob("thermal_zone*/temp")) if THERMAL.is_dir() else None


def read_energy_uj(counter: str | None = None) -> int | None:
    """Return the energy since some fixed start in microjoules.

    It comes from the file `counter`, or if that is None from the RAPL counters of all packages (powercap).
    """
    if counter is not None:
        text = _read_text(counter)
        return int(text) if text is not None and text.isdigit() else None
    zones = sorted(POWERCAP.glob("intel-rapl:[0-9]*")) if POWERCAP.is_dir() else []
    # The zone of a package includes its parts. Laptops also have a zone for the whole platform, which is left out.
    packages = [zone for zone in zones if (_read_text(zone / "name") or "").startswith("package")]
    texts = [_read_text(zone / "energy_uj") for zone in packages]
    if not texts or not all(text and text.isdigit() for text in texts):
        return None
    return sum(map(int, filter(None, texts)))


def read_version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def compute_wheel_sha256(package: str) -> str | None:
    """Return the sha256 of an installed package's RECORD, which lists the sha256 of every file of its wheel."""
    try:
        listing = metadata.distribution(package).read_text("RECORD")
    except metadata.PackageNotFoundError:
        return None
    if listing is None:
        return None
    # Compiled caches and the paths of scripts differ between installations of the same wheel.
    lines = sorted(line for line in listing.splitlines() if "sha256=" in line and not line.startswith("../"))
    own = [line for line in lines if "__pycache__" not in line and ".dist-info/" not in line]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()


def _list_usable_processors() -> Collection[int]:
    """Return the processors that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _read_run_delay_ns() -> int | None:
    """Return the time in which this process's threads were ready but had no processor (schedstat, second field)."""
    delays_ns = []
    for task in Path("/proc/self/task").glob("*/schedstat"):
        fields = (_read_text(task) or "").split()
        if len(fields) == 3:
            delays_ns.append(int(fields[1]))
    return sum(delays_ns) if delays_ns else None


def _read_caches() -> dict[str, str] | None:
    sizes = {}
    for index in sorted((CPU / "cpu0/cache").glob("index*")):
        level, kind, size = (_read_text(index / name) for name in ("level", "type", "size"))
        if level and kind and size:
            sizes[f"L{level} {kind}"] = size
    return sizes or None


def _read_turbo() -> str | None:
    inverted = _read_text(CPU / "intel_pstate/no_turbo")
    if inverted is not None:
        return "off" if inverted == "1" else "on"
    boost = _read_text(CPU / "cpufreq/boost")
    return None if boost is None else ("on" if boost == "1" else "off")


def _read_virtualization() -> str | None:
    """Return 'none', or the name of the hypervisor if it has one, or 'hypervisor'."""
    flags = (_read_cpu_field("flags") or "").split()
    if "hypervisor" in flags:
        return _read_text("/sys/class/dmi/id/sys_vendor") or _read_text("/sys/hypervisor/type") or "hypervisor"
    return "none" if flags else None


def _read_greatest(paths: Iterable[Path]) -> int | None:
    numbers = [int(text) for path in paths if (text := _read_text(path)) and text.lstrip("-").isdigit()]
    return max(numbers) if numbers else None


def _read_limit_bytes(resource_: int) -> int | None:
    soft, _ = resource.getrlimit(resource_)
    return None if soft == resource.RLIM_INFINITY else soft


def _read_status_bytes(name: str) -> int:
    """Return a size in /proc/self/status, or 0 if the kernel does not report it."""
    for line in (_read_text("/proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def _read_address_space_bytes() -> int:
    fields = (_read_text("/proc/self/statm") or "0").split()
    return int(fields[0]) * resource.getpagesize()


def _read_cpu_field(name: str) -> str | None:
    for line in (_read_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _read_meminfo_bytes(name: str) -> int | None:
    for line in (_read_text("/proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None


def _read_text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
