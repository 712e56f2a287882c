"""Log a study's figures and files to an experiment tracker that the user has installed: DVCLive or MLflow."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.config import compose, params_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.report import table_json
from edgeproof.report.row import Row
from edgeproof.report.row_data import flatten_estimate
from edgeproof.statistics.estimates import Estimate
from edgeproof.study import repro

DVCLIVE_DIRECTORY = "dvclive"
MLFLOW_BATCH = 1000  # the most metrics that MLflow takes at once


@dataclass(frozen=True)
class ExperimentLog:
    """The content of one run of a tracker.

    Attributes:
        study: the name of the study.
        params: the task, the presets and the commits that measured.
        metrics: the valid figures by <device>/<runtime>/<model>/<scheme>/<figure>.
        files: tables, plots and parameters.
    """

    study: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    files: Sequence[Path]


def collect_log(study: str | None) -> ExperimentLog:
    """Return what is logged of a study's last run (None: of the committed study). Raises EdgeproofError without one."""
    name = study or compose.read_default_study()
    in_place = repro.is_committed_study(study)
    results = Path("results") if in_place else repro.RESULTS / name
    table = results / "tables/table.json"
    if not table.is_file():
        raise EdgeproofError(f"{table} does not exist. Run the study first: edgeproof repro {name}")
    rows = table_json.read_table_rows(table)
    params = params_file.PARAMS if in_place else results / params_file.PARAMS
    files = [params, *sorted((results / "tables").iterdir()), *sorted((results / "plots").glob("*"))]
    facts = {
        "study": name,
        "task": _join((row.conditions or {}).get("task") for row in rows),
        "preset": _join(row.preset for row in rows),
        "commit": _join(row.commit for row in rows),
    }
    metrics = {key: value for row in rows for key, value in _list_metrics(row)}
    return ExperimentLog(name, facts, metrics, [path for path in files if path.is_file()])


def write_log(log: ExperimentLog, tracker: str) -> str:
    """Write a log to a tracker and return where it is. Raises EdgeproofError with the tracker's own message."""
    module = _import_tracker(tracker)
    try:
        return TRACKERS[tracker](log, module)
    except Exception as error:  # each tracker and each server has errors of its own
        raise EdgeproofError(f"{tracker} did not take the log: {type(error).__name__}: {error}") from None


def _log_to_dvclive(log: ExperimentLog, dvclive: Any) -> str:
    """Write a log to the directory of DVCLive and return where it is. dvc.yaml and git stay as they are."""
    with dvclive.Live(dir=DVCLIVE_DIRECTORY, dvcyaml=None, save_dvc_exp=False) as live:
        live.log_params(dict(log.params))
        for name, value in log.metrics.items():
            live.log_metric(name, value, plot=False)
        for path in log.files:
            live.log_artifact(path, copy=True, cache=False)
    return f"{DVCLIVE_DIRECTORY}/"


def _log_to_mlflow(log: ExperimentLog, mlflow: Any) -> str:
    """Log one run to MLflow, at the server that MLFLOW_TRACKING_URI names, and return the id of the run."""
    with mlflow.start_run(run_name=log.study) as run:
        mlflow.log_params(dict(log.params))
        metrics = list(log.metrics.items())
        for begin in range(0, len(metrics), MLFLOW_BATCH):
            mlflow.log_metrics(dict(metrics[begin : begin + MLFLOW_BATCH]))
        for path in log.files:
            mlflow.log_artifact(str(path), artifact_path=path.parent.name or None)
    return f"run {run.info.run_id} at {mlflow.get_tracking_uri()}"


TRACKERS: Mapping[str, Callable[[ExperimentLog, Any], str]] = {"dvclive": _log_to_dvclive, "mlflow": _log_to_mlflow}


def _list_metrics(row: Row) -> Iterator[tuple[str, float]]:
    """Yield the valid figures of a row with the ends of their intervals, under names that all trackers accept."""
    estimates: dict[str, Estimate | None] = {row.metric_name or "quality": row.quality, "p50_ns": row.p50_ns}
    values: dict[str, float | None] = {"size_bytes": row.size_bytes, "peak_rss_bytes": row.peak_rss_bytes}
    for name, estimate in {**estimates, "p99_ns": row.p99_ns, "energy_uj": row.energy_uj}.items():
        values |= flatten_estimate(name, estimate)
    yield from (("/".join([*row.key, name]), float(value)) for name, value in values.items() if value is not None)


def _join(values: Iterator[str | None]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"


def _import_tracker(name: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EdgeproofError(
            f"the package '{error.name}' is not installed. Install the tracker: python -m pip install {name}"
        ) from None
