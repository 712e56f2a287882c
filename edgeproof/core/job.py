"""A job for the runner: the content of job.json, which the host writes and the device reads.

Host and device share this module, so it needs nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "job.json"
# The runtime that does nothing: it measures the harness itself.
NULL_RUNTIME = "null"
# A job's modes. The first two are LoadGen's own names.
PERFORMANCE_MODE = "PerformanceOnly"
ACCURACY_MODE = "AccuracyOnly"
PROFILE_MODE = "Profile"
# Written in job.json under this name since the first release, so it stays although the method is called interleaved.
INTERLEAVED_MODE = "InTurns"
# The duration of an MLPerf run, which LoadGen uses when a scenario's settings name none.
MLPERF_DURATION_MS = 600_000
# The most pairs of blocks that one interleaved run measures.
MAX_PAIRS = 10_000
# The most raw inputs whose preprocessing one job times.
MAX_PREPROCESSED = 2_000


@dataclass(frozen=True)
class InterleavedPartner:
    """The second artifact of an interleaved job. Paths are relative to the job's directory.

    `against_samples` has a path for each input, as RunnerJob.samples. `order_seed` decides which artifact is loaded
    first and which one begins each pair of blocks.
    """

    against: str
    against_samples: tuple[str, ...]
    order_seed: int
    duration_ms: int


@dataclass(frozen=True)
class RunnerJob:
    """One job for the runner. Paths are relative to the job's directory.

    Attributes:
        samples: a .npy file for each input of the artifact, with one row a sample.
        mode: PERFORMANCE_MODE, ACCURACY_MODE, PROFILE_MODE or INTERLEAVED_MODE.
        scenario: the LoadGen scenario.
        settings: LoadGen's settings under its own names.
        warm_up_s: the longest time that the warm-up may take.
        packages: the packages whose versions the runner reports.
        samples_sha256: the sha256 of each file in `samples`, checked before accuracy is measured.
        task: the task whose postprocess() runs after each inference, or None.
        preprocessing: the task whose raw inputs a job in PROFILE_MODE preprocesses and times, or None.
        audit: the text of an audit.config for a compliance run.
        energy_counter: a file on the device that counts microjoules.
        cores, memory_bytes: the limits that the runner sets for itself.
        partner: the second artifact of an interleaved job.
    """

    runtime: str
    artifact: str
    samples: tuple[str, ...]
    threads: int
    mode: str
    scenario: str
    settings: Mapping[str, int | float]
    warm_up_s: float
    packages: Mapping[str, str]
    samples_sha256: tuple[str, ...] | None = None
    task: str | None = None
    preprocessing: str | None = None
    audit: str | None = None
    energy_counter: str | None = None
    cores: Sequence[int] | None = None
    memory_bytes: int | None = None
    partner: InterleavedPartner | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of job.json. The partner's fields stand beside the job's own."""
        content = {field: getattr(self, field) for field in _JOB_FIELDS}
        return content if self.partner is None else {**content, **dataclasses.asdict(self.partner)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunnerJob:
        """Return the job in the content of a job.json. Raises ValueError that lists unknown and missing keys."""
        partner = any(key in content for key in _PARTNER_FIELDS)
        allowed = {*_JOB_FIELDS, *(_PARTNER_FIELDS if partner else ())}
        required = {*_REQUIRED_FIELDS, *(_PARTNER_FIELDS if partner else ())}
        problems = [f"unknown key '{key}'" for key in sorted(set(content) - allowed)]
        problems += [f"missing key '{key}'" for key in sorted(required - set(content))]
        if problems:
            raise ValueError(f"{FILE} does not describe a job: {', '.join(problems)}")
        values: dict[str, Any] = {
            key: _to_tuple(value) if key in _TUPLE_FIELDS else value for key, value in content.items()
        }
        return cls(
            **{key: values[key] for key in _JOB_FIELDS if key in values},
            partner=InterleavedPartner(**{key: values[key] for key in _PARTNER_FIELDS}) if partner else None,
        )


# Fields with an entry for each input. Jobs had a single input once, and a string in these places.
_TUPLE_FIELDS = ("samples", "samples_sha256", "against_samples")
_PARTNER_FIELDS = tuple(field.name for field in dataclasses.fields(InterleavedPartner))
_JOB_FIELDS = tuple(field.name for field in dataclasses.fields(RunnerJob) if field.name != "partner")
_REQUIRED_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(RunnerJob)
    if field.name != "partner" and field.default is dataclasses.MISSING
)


def _to_tuple(value: Any) -> tuple[str, ...] | None:
    return (value,) if isinstance(value, str) else None if value is None else tuple(value)


def read(directory: Path) -> RunnerJob:
    """Read the job.json of a job's directory. Raises ValueError for a file that does not describe a job."""
    content = json.loads((directory / FILE).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{FILE} does not describe a job: not a JSON object")
    return RunnerJob.from_json(content)
