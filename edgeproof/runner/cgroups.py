"""Read the CPU quota that a container's control groups set. Docker's --cpus and Kubernetes' limits set one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def read_quota_cpus(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """Return the number of processors that this process's control groups allow on average, or None without a quota.

    Every group above the process may set a quota, and the smallest one counts.
    """
    quotas = []
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2: one hierarchy, beside those of version 1 on some systems
            quotas += [_read_version_2(group) for top in (root, root / "unified") for group in _list_groups(top, path)]
        elif "cpu" in controllers.split(","):
            quotas += [
                _read_version_1(group)
                for top in (root / controllers, root / "cpu")
                for group in _list_groups(top, path)
            ]
    known = [quota for quota in quotas if quota is not None]
    return min(known) if known else None


def _list_groups(top: Path, path: str) -> list[Path]:
    """Return the directories of a group and of all groups above it, up to the top.

    In a container, `path` may be the host's, of which the container sees only the top.
    """
    relative = PurePosixPath(path.lstrip("/"))
    return [top / parent for parent in (relative, *relative.parents)]


def _read_version_2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    return _divide(quota, period)


def _read_version_1(group: Path) -> float | None:
    return _divide(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _divide(quota_us: str, period_us: str) -> float | None:
    """Return the quota in processors. None for 'max' or -1, which mean no quota, and for missing files."""
    if quota_us.isdigit() and period_us.isdigit() and int(quota_us) > 0 and int(period_us) > 0:
        return round(int(quota_us) / int(period_us), 3)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
