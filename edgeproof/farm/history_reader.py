"""Read the history of a farm from its records.

results/history/<run>/<session>    the records of a session on the night <run>
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.farm import engines, expected_cells, journal
from edgeproof.farm.history import History, HistoryCell, HistoryRun, NightResult
from edgeproof.records import kinds, queries, store
from edgeproof.records.conditions import add_versions
from edgeproof.records.kinds import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.statistics.percentiles import LogPercentile


@dataclass(frozen=True)
class ProcessFigures:
    """One process of a cell, as the columns of the same names in the store describe its last attempt."""

    process: int
    verdict: str
    reasons: Sequence[str]
    artifact_sha256: str
    conditions: str | None
    versions: str | None
    runner: str | None
    commit_id: str | None
    loadgen_scenario: str | None
    p50_log: float | None
    p50_log_low: float | None
    p50_log_high: float | None
    multi_stream_p99_ns: float | None
    offline_samples_per_s: float | None
    server_samples_per_s: float | None

    @property
    def log_duration(self) -> LogPercentile | None:
        """The scenario's figure as a natural logarithm of ns, or None if the process is not valid or has no figure."""
        if self.verdict != "valid":
            return None
        if self.loadgen_scenario == SINGLE_STREAM:
            if self.p50_log is None or self.p50_log_low is None or self.p50_log_high is None:
                return None
            return (
                LogPercentile(self.p50_log, self.p50_log_low, self.p50_log_high)
                if math.isfinite(self.p50_log)
                else None
            )
        duration_ns = self._duration_ns
        if not duration_ns or duration_ns < 0 or not math.isfinite(duration_ns):
            return None
        return LogPercentile(math.log(duration_ns), math.log(duration_ns), math.log(duration_ns))

    @property
    def _duration_ns(self) -> float | None:
        if self.loadgen_scenario == MULTI_STREAM:
            return self.multi_stream_p99_ns
        rates = {OFFLINE: self.offline_samples_per_s, SERVER: self.server_samples_per_s}
        samples_per_s = rates.get(self.loadgen_scenario or "")
        return 1e9 / samples_per_s if samples_per_s else None


_RUNS_SQL = "SELECT session_key, min(measured_at), arg_min(study, measured_at) FROM records GROUP BY ALL ORDER BY ALL"
_FINGERPRINTS_SQL = """
    SELECT device, runtime, session_key, arg_max(fingerprint, measured_at) FROM records
    WHERE fingerprint IS NOT NULL AND runtime <> 'null' GROUP BY ALL ORDER BY ALL"""
_PROCESS_COLUMNS = tuple(field.name for field in fields(ProcessFigures))
# The last attempt of every process, grouped by session. All interpolated names come from this package.
_CELLS_SQL = f"""
    WITH last AS (
        SELECT *, row_number() OVER (
            PARTITION BY session_key, study, device, runtime, model, scheme, scenario, session_id, process
            ORDER BY attempt DESC) AS nth
        FROM records
        WHERE runtime <> 'null' AND compliance IS NULL AND NOT list_contains({list(kinds.UNTIMED)!r}, scenario))
    SELECT session_key, study, device, runtime, model, scheme, scenario, session_id, max(measured_at) AS ended,
           list({{{", ".join(f"'{name}': {name}" for name in _PROCESS_COLUMNS)}}} ORDER BY process)
    FROM last WHERE nth = 1 GROUP BY ALL ORDER BY ended, session_id, session_key"""  # noqa: S608


def read_history(root: Path | None = None) -> History:
    """Read all nights below `root`, results/history by default. Damaged records are skipped and listed.

    Raises EdgeproofError when there is no night, or the records' store cannot be written.
    """
    root = engines.HISTORY if root is None else root
    state = store.refresh(root)
    runs = {
        name: HistoryRun(name, started_at, study) for name, started_at, study in queries.fetch_rows(root, _RUNS_SQL)
    }
    damaged = list(state.damaged)
    runs |= {run.name: run for run in _find_runs_without_records(runs, damaged)}
    if not runs:
        listing = f" Damaged: {'; '.join(damaged)}" if damaged else ""
        raise EdgeproofError(f"{root} holds no night. Measure one with 'edgeproof farm run'.{listing}")
    fingerprints: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for device, runtime, run, text in queries.fetch_rows(root, _FINGERPRINTS_SQL):
        fingerprints[device, runtime][run] = json.loads(text)
    ordered = sorted(runs.values(), key=lambda run: (run.started_at, run.name))
    return History(ordered, _read_cells(root), fingerprints, damaged)


def _find_runs_without_records(with_records: Mapping[str, HistoryRun], damaged: list[str]) -> list[HistoryRun]:
    """Return runs that have started but left no record. Damaged lines of their journals are added to `damaged`."""
    runs = []
    for path in sorted(engines.FARM.glob(f"*/{engines.JOURNAL}")):
        name = path.parent.name
        if name in with_records or not (events := journal.read(path, damaged)):
            continue
        expected = expected_cells.read_expected_cells(name)
        if expected:
            runs.append(HistoryRun(name, events[0].at, next(iter(expected)).study))
    return runs


def _read_cells(root: Path) -> dict[HistoryCell, dict[str, NightResult]]:
    """Read every cell's nights. Of several sessions on one night the last one counts."""
    cells: dict[HistoryCell, dict[str, NightResult]] = defaultdict(dict)
    for run, *parts, _, _, processes in queries.fetch_rows(root, _CELLS_SQL):
        cells[HistoryCell(*parts)][run] = _make_night(run, [ProcessFigures(**process) for process in processes])
    return dict(sorted(cells.items()))


def _make_night(run: str, processes: Sequence[ProcessFigures]) -> NightResult:
    measured = [process for process in processes if process.log_duration is not None]
    refused = [process for process in processes if process.log_duration is None]
    representative = (measured or processes)[-1]
    return NightResult(
        run=run,
        log_durations=[log for process in measured if (log := process.log_duration) is not None],
        processes=len(processes),
        reasons=list(dict.fromkeys(reason for process in refused for reason in process.reasons)),
        artifact=representative.artifact_sha256,
        conditions=add_versions(
            json.loads(representative.conditions or "{}"), json.loads(representative.versions or "{}")
        ),
        runner=representative.runner,
        commit=representative.commit_id,
        loadgen_scenario=next((process.loadgen_scenario for process in processes if process.loadgen_scenario), None),
    )
