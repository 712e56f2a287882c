"""Look up the metric that a task's quality is measured by."""

from __future__ import annotations

from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError
from edgeproof.statistics.metric import Metric


def load_task_metric(task: str) -> tuple[str, Metric]:
    """Return the name and the description of a task's first metric.

    Raises UnknownNameError for an unknown task or metric, and ConfigError for a task without metrics.
    """
    metrics = getattr(plugins.load("tasks", task), "METRICS", ())
    if not metrics:
        raise ConfigError(f"task '{task}' names no metric. Add METRICS = (\"accuracy\",) to {task}.py.")
    name = str(metrics[0])
    return name, load_metric(name)


def load_metric(name: str) -> Metric:
    """Return the description of a metric. Raises UnknownNameError."""
    metric: Metric = plugins.load("metrics", name).METRIC
    return metric
