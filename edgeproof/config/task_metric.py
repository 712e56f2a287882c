"""Look up the metric that a task's quality is measured by."""

from __future__ import annotations

from pathlib import Path

from edgeproof.core import plugins
from edgeproof.core.described_tasks import load_task
from edgeproof.core.errors import ConfigError
from edgeproof.paths import DATA
from edgeproof.statistics.metric import Metric


def load_task_metric(task: str, data: Path | None = None) -> tuple[str, Metric]:
    """Return the name and the description of a task's first metric.

    `data` is the directory of the task's prepared data if it is not in this project, but in a worktree.
    Raises UnknownNameError for an unknown task or metric, and ConfigError for a task without metrics.
    """
    metrics = getattr(load_task(task, data or DATA / task), "METRICS", ())
    if not metrics:
        raise ConfigError(f"task '{task}' names no metric. Add METRICS = (\"accuracy\",) to {task}.py.")
    name = str(metrics[0])
    return name, load_metric(name)


def load_metric(name: str) -> Metric:
    """Return the description of a metric. Raises UnknownNameError."""
    metric: Metric = plugins.load("metrics", name).METRIC
    return metric
