"""The CPU quota of a container, in the files of both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.runner.cgroups import read_quota_cpus

# The line of /proc/self/cgroup, the files below /sys/fs/cgroup, and the quota in processors. The formats are those of
# the kernel's documentation (cgroup-v2.rst and sched-bwc.rst).
CASES = {
    "version 2, no quota": ("0::/", {"cpu.max": "max 100000\n"}, None),
    "version 2, half a processor": ("0::/", {"cpu.max": "50000 100000\n"}, 0.5),
    "version 2, a group above": (
        "0::/a/b",
        {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "cpu.max": "max 100000\n"},
        1.5,
    ),
    "version 2, the smallest counts": (
        "0::/a/b",
        {"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "30000 50000\n"},
        0.6,
    ),
    "version 2, the host's path in a container": ("0::/docker/123", {"cpu.max": "200000 100000\n"}, 2.0),
    "version 1, no quota": (
        "4:cpu,cpuacct:/",
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "version 1, a quarter": (
        "4:cpu,cpuacct:/docker/123",
        {"cpu,cpuacct/docker/123/cpu.cfs_quota_us": "25000\n", "cpu,cpuacct/docker/123/cpu.cfs_period_us": "100000\n"},
        0.25,
    ),
    "version 1, mounted under its own name": (
        "4:cpuacct,cpu:/docker/123",
        {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        0.25,
    ),
    "both versions": (
        "1:cpu:/\n0::/",
        {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        3.0,
    ),
    "another controller": ("3:memory:/a", {"memory/a/cpu.cfs_quota_us": "1\n"}, None),
    "damaged files": ("0::/", {"cpu.max": "half\n"}, None),
    "a period of zero": ("0::/", {"cpu.max": "50000 0\n"}, None),
    "no control groups": ("", {}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_quota_is_read_in_processors(case: str, tmp_path: Path) -> None:
    membership, files, quota_cpus = CASES[case]
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    assert read_quota_cpus(tmp_path / "cgroup", tmp_path / "membership") == quota_cpus


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert read_quota_cpus(tmp_path / "nowhere", tmp_path / "nowhere") is None
