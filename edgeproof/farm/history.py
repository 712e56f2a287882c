"""What the nights of a farm say of every cell: its value, why it was refused, and whether it is missing.

    results/history/<run>/<session>    a night's records; the run is the night

A cell is an artifact on a device in a scenario. Its nights are those of its study; a night on which it was measured has
a value, and of one on which it was not it is known whether it was refused, missing, or not asked for.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.config import params_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.farm import engines, journal
from edgeproof.records import kinds, store
from edgeproof.records.kinds import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.statistics import cusum, percentiles
from edgeproof.statistics.cusum import MonitoredSeries
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.percentiles import LogPercentile

# What a scenario is followed by; all are durations, so that more is slower.
FIGURE_NAMES = {
    SINGLE_STREAM: "median inference",
    MULTI_STREAM: "99% of queries",
    OFFLINE: "time a sample",
    SERVER: "time a completed sample",
}


@dataclass(frozen=True, order=True)
class HistoryCell:
    """What is followed from night to night."""

    study: str
    device: str
    runtime: str
    model: str
    scheme: str
    scenario: str

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}/{self.model}/{self.scheme} {self.scenario}"


@dataclass(frozen=True)
class NightResult:
    """A cell on one night on which it has records.

    Attributes:
        logs: natural logarithms of ns, one a process whose last attempt was valid; none where all were refused.
        processes: how many there were, valid or not.
        under: the conditions and the runtime's versions, which nights of one segment share.
        runner, commit: of the harness that measured.
    """

    run: str
    log_durations: Sequence[LogPercentile]
    processes: int
    reasons: Sequence[str]
    artifact: str
    conditions: Mapping[str, Any]
    runner: str | None
    commit: str | None
    loadgen: str | None

    @property
    def value(self) -> float:
        """The night in one number, a logarithm of ns. Raises ValueError where all was refused."""
        return cusum.summarize_night([log.value for log in self.log_durations])

    @property
    def estimate(self) -> Estimate | None:
        """The geometric mean of the processes in ns, with its interval."""
        return percentiles.combine_processes(self.log_durations)


@dataclass(frozen=True)
class HistoryRun:
    """A night of the farm: when it began, and of which study it was."""

    name: str
    began: str
    study: str


@dataclass(frozen=True)
class History:
    """All nights, the oldest first; `fingerprints` is of (device, runtime) by run."""

    runs: Sequence[HistoryRun]
    cells: Mapping[HistoryCell, Mapping[str, NightResult]]
    fingerprints: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]]
    damaged: Sequence[str]

    def list_runs(self, study: str, *, until: str | None = None) -> list[str]:
        """The runs of a study in order, to that of `until` at most."""
        found = [run.name for run in self.runs if run.study == study]
        return found[: found.index(until) + 1] if until in found else found

    def split_segments(self, cell: HistoryCell, *, until: str | None = None) -> list[list[NightResult]]:
        """The nights on which a cell was measured, cut where its conditions change."""
        found = self.cells[cell]
        measured = [found[run] for run in self.list_runs(cell.study, until=until) if run in found and found[run].log_durations]
        return [list(group) for _, group in itertools.groupby(measured, key=lambda night: night.conditions)]

    @functools.cached_property
    def cells_per_device(self) -> Counter[str]:
        """How many cells of each device are followed together."""
        return Counter(cell.device for cell in self.cells)

    def find_changes(self, cell: HistoryCell, segment: Sequence[NightResult]) -> MonitoredSeries:
        """The changes within a segment."""
        return cusum.monitor_series([night.value for night in segment], cells=self.cells_per_device[cell.device])


def read(root: Path | None = None) -> History:
    """All nights below `root`, results/history where it is left out. Damaged records are named and left out.

    Raises EdgeproofError where there is no history at all, or the disk can't take what is derived from it.
    """
    root = engines.HISTORY if root is None else root
    state = store.refresh(root)
    runs = {name: HistoryRun(name, began, study) for name, began, study in _query(root, _RUNS_SQL)}
    runs |= {run.name: run for run in _find_runs_without_records(runs)}
    if not runs:
        damaged = f" {len(state.damaged)} damaged record(s): {'; '.join(state.damaged)}" if state.damaged else ""
        raise EdgeproofError(f"{root} holds no night. 'edgeproof farm run' measures one.{damaged}")
    fingerprints: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for device, runtime, run, text in _query(root, _FINGERPRINTS_SQL):
        fingerprints[device, runtime][run] = json.loads(text)
    ordered = sorted(runs.values(), key=lambda run: (run.began, run.name))
    return History(ordered, _read_cells(root), fingerprints, state.damaged)


def read_expected_cells(run: str) -> frozenset[HistoryCell] | None:
    """The cells that a run was to measure, as its parameters tell; None where they are gone."""
    path = (engines.FARM / run / engines.PARAMS).resolve()
    return _load_expected_cells(path) if path.is_file() else None


@functools.cache
def _load_expected_cells(path: Path) -> frozenset[HistoryCell] | None:
    try:
        study = params_file.read_params(path)
    except EdgeproofError:
        return None
    return frozenset(
        HistoryCell(study.study, item.device, item.runtime, model, scheme, scenario)
        for item in study.bench.values()
        for model, schemes in item.artifacts.items()
        for scheme in schemes
        for scenario in (item.all if scheme in item.final.get(model, []) else item.every)
    )


def was_requested(run: str, cell: HistoryCell) -> bool:
    """Whether a run was to measure a cell; where nobody knows, it was."""
    asked = read_expected_cells(run)
    return asked is None or cell in asked


def _find_runs_without_records(known: Mapping[str, HistoryRun]) -> list[HistoryRun]:
    """Runs that began and left no record at all."""
    found = []
    for path in sorted(engines.FARM.glob(f"*/{engines.JOURNAL}")):
        name = path.parent.name
        if name in known or not (events := journal.read(path)):
            continue
        asked = read_expected_cells(name)
        if asked:
            found.append(HistoryRun(name, events[0].at, next(iter(asked)).study))
    return found


def _query(root: Path, sql: str) -> list[tuple[Any, ...]]:
    return store.connect(store.locate(root)).execute(sql).fetchall()


_RUNS_SQL = "SELECT session_key, min(measured_at), arg_min(study, measured_at) FROM records GROUP BY ALL ORDER BY ALL"
_FINGERPRINTS_SQL = """
    SELECT device, runtime, session_key, arg_max(fingerprint, measured_at) FROM records
    WHERE fingerprint IS NOT NULL AND runtime <> 'null' GROUP BY ALL ORDER BY ALL"""
_PROCESS_COLUMNS = (
    *("process", "verdict", "reasons", "artifact_sha256", "conditions", "versions", "runner", "commit_id"),
    *("loadgen_scenario", "p50_log", "p50_log_low", "p50_log_high", "multi_stream_p99_ns", "offline_samples_per_s"),
    "server_samples_per_s",
)
_CELLS_SQL = f"""
    WITH last AS (
        SELECT *, row_number() OVER (
            PARTITION BY session_key, study, device, runtime, model, scheme, scenario, session_id, process
            ORDER BY attempt DESC) AS nth
        FROM records
        WHERE runtime <> 'null' AND compliance IS NULL AND NOT list_contains({list(kinds.UNTIMED)!r}, scenario))
    SELECT session_key, study, device, runtime, model, scheme, scenario, session_id, max(measured_at) AS ended,
           list({{{", ".join(f"'{name}': {name}" for name in _PROCESS_COLUMNS)}}} ORDER BY process)
    FROM last WHERE nth = 1 GROUP BY ALL ORDER BY ended, session_id, session_key"""  # noqa: S608 - names of this package alone


def _read_cells(root: Path) -> dict[HistoryCell, dict[str, NightResult]]:
    """Every cell's nights; of several sittings on a night the last."""
    found: dict[HistoryCell, dict[str, NightResult]] = defaultdict(dict)
    for run, *parts, _, _, processes in _query(root, _CELLS_SQL):
        found[HistoryCell(*parts)][run] = _make_night(run, processes)
    return dict(sorted(found.items()))


def _make_night(run: str, processes: Sequence[Mapping[str, Any]]) -> NightResult:
    told = [(process, log) for process in processes if (log := extract_duration(process)) is not None]
    shown = told[-1][0] if told else processes[-1]
    refused = [process for process in processes if extract_duration(process) is None]
    return NightResult(
        run=run,
        log_durations=[log for _, log in told],
        processes=len(processes),
        reasons=list(dict.fromkeys(reason for process in refused for reason in process["reasons"])),
        artifact=shown["artifact_sha256"],
        conditions={**json.loads(shown["conditions"] or "{}"), "versions": json.loads(shown["versions"] or "{}")},
        runner=shown["runner"],
        commit=shown["commit_id"],
        loadgen=next((process["loadgen_scenario"] for process in processes if process["loadgen_scenario"]), None),
    )


def extract_duration(process: Mapping[str, Any]) -> LogPercentile | None:
    """What a valid process took, as a logarithm of ns; None where it was refused or tells nothing."""
    if process["verdict"] != "valid":
        return None
    scenario = process["loadgen_scenario"]
    if scenario == SINGLE_STREAM:
        log = process["p50_log"]
        known = log is not None and math.isfinite(log)
        return LogPercentile(log, process["p50_log_low"], process["p50_log_high"]) if known else None
    rate = {OFFLINE: process["offline_samples_per_s"], SERVER: process["server_samples_per_s"]}.get(scenario)
    duration_ns = process["multi_stream_p99_ns"] if scenario == MULTI_STREAM else 1e9 / rate if rate else None
    if not duration_ns or duration_ns < 0 or not math.isfinite(duration_ns):
        return None
    return LogPercentile(math.log(duration_ns), math.log(duration_ns), math.log(duration_ns))
