"""Data of the site: rows, builds, distributions, nights, devices."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof.farm.alarms import Alarm
from edgeproof.records.columns import StoreLine
from edgeproof.report.grid_marks import DeviceRanking
from edgeproof.report.row import Row, RowKey
from edgeproof.site.links import ArtifactKey
from edgeproof.statistics.change_points import Step
from edgeproof.statistics.comparison import Comparison


@dataclass(frozen=True)
class NightPoint:
    """A cell on one night: natural logarithms of the medians of its processes, in ns."""

    night: str
    logs: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean of the logarithms, which is the logarithm of the geometric mean."""
        return sum(self.logs) / len(self.logs)


@dataclass(frozen=True)
class BuildInfo:
    """Build of an artifact, according to its latest record."""

    sha256: str
    model: str
    model_sha256: str
    method: str
    network: str | None
    seed: int | None
    options: Mapping[str, Any]
    packages: Mapping[str, str]
    lineage: Mapping[str, Any]
    task: str
    data_sha256: str | None
    commit: str | None
    study: str


@dataclass(frozen=True)
class ProfiledOperator:
    """One operator in a profile, with the unit that ran it and its time per inference."""

    name: str
    kind: str
    where: str
    time_ns: float


@dataclass(frozen=True)
class Profile:
    """Time of an inference by operator. `missing` is the reason if there is no profile; then the rest is empty."""

    missing: str | None
    method: str = ""
    inferences: int = 0
    operators: Sequence[ProfiledOperator] = ()


@dataclass(frozen=True)
class RunRecord:
    """One run of a result, with the directory of its record."""

    directory: str
    verdict: str

    @property
    def name(self) -> str:
        """Scenario and number of the process, such as 'single_stream.0'."""
        return self.directory.rpartition("/")[2]


@dataclass(frozen=True)
class DeviceHealth:
    """Runs of a device on one night.

    `waiting_share` is the share of time spent waiting for a processor, `others_cpus` and `steal_cpus` are the numbers
    of processors used by other processes and by the hypervisor. All are means over runs, None if unknown.
    """

    night: str
    runs: int
    refused: int
    repeated: int
    waiting_share: float | None
    steal_cpus: float | None
    others_cpus: float | None


@dataclass(frozen=True)
class Refusal:
    """Runs of a device that were refused for the same reason. `reason` is the text of one of them, with its numbers."""

    device: str
    reason: str
    runs: int


@dataclass(frozen=True)
class DatedFingerprint:
    """A device's fingerprint, without packages, and the first night with it."""

    night: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """All data of the site.

    Attributes:
        rows: one row for each cell, in the study's order.
        builds: build of each artifact.
        quantiles: for each cell the quantiles of each process in ns, at records.summaries.QUANTILE_SHARES.
        profiles: latest profile of each cell.
        quality_lines: line of each cell's accuracy run, which has its quality.
        series: nights of each cell, in order.
        nights: all nights, in order.
        fingerprints: for each device its fingerprints, one for each change.
        health: for each device its nights, in order.
        refusals: for each night the refused runs.
        alarms: for each night the findings of the farm's check.
        changes: for each night the cells that differ from the night before.
        steps: change points in the series of each cell.
        runs: runs of each cell's last session.
        device_titles: titles of the devices whose cards have one.
        records: number of records.
        damaged: reasons of the damaged records, which are skipped.
        older: number of records with an older schema.
    """

    rows: Sequence[Row]
    builds: Mapping[ArtifactKey, BuildInfo]
    quantiles: Mapping[RowKey, Sequence[Sequence[float]]]
    profiles: Mapping[RowKey, Profile]
    quality_lines: Mapping[RowKey, StoreLine]
    series: Mapping[RowKey, Sequence[NightPoint]]
    nights: Sequence[str]
    fingerprints: Mapping[str, Sequence[DatedFingerprint]]
    health: Mapping[str, Sequence[DeviceHealth]]
    refusals: Mapping[str, Sequence[Refusal]]
    alarms: Mapping[str, Sequence[Alarm]]
    changes: Mapping[str, Mapping[RowKey, Comparison]]
    steps: Mapping[RowKey, Sequence[Step]]
    runs: Mapping[RowKey, Sequence[RunRecord]]
    device_titles: Mapping[str, str]
    records: int
    damaged: Sequence[str] = ()
    older: int = 0

    def get_device_title(self, device: str) -> str:
        """Return the title of a device, or its name if its card has none."""
        return self.device_titles.get(device, device)

    @functools.cached_property
    def ranking(self) -> DeviceRanking:
        """The best values and the front of each device, which the marks of every table and plot come from."""
        return DeviceRanking(self.rows)

    @functools.cached_property
    def models(self) -> dict[str, BuildInfo]:
        """The build of one artifact of each model, by the model's sha256."""
        return {build.model_sha256: build for build in self.builds.values() if build.model_sha256}

    @functools.cached_property
    def runtimes(self) -> list[str]:
        """All runtimes with an accuracy run."""
        return list(dict.fromkeys(runtime for _, runtime, _, _ in self.quality_lines))

    @functools.cached_property
    def artifacts(self) -> list[ArtifactKey]:
        """All artifacts, in the order of the rows."""
        return list(dict.fromkeys((row.model, row.runtime, row.scheme) for row in self.rows))

    @functools.cached_property
    def devices(self) -> list[str]:
        """All devices, in the order of the rows."""
        return list(dict.fromkeys(row.device for row in self.rows))
