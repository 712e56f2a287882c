"""The quality of a task: evidence from inputs, outputs and targets, and the metric that is computed from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.described_tasks import load_task
from edgeproof.data.task_checks import as_tuple
from edgeproof.paths import DATA
from edgeproof.statistics.metric import Compute, Evidence, Metric

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TaskQuality:
    """A task's metric.

    Attributes:
        name: the metric's file in edgeproof/metrics.
        metric: its description.
        collect: maps the inputs, the outputs (each an array for every port) and the targets to evidence.
        compute: maps evidence to the quality.
    """

    name: str
    metric: Metric
    collect: Callable[[tuple[Array, ...], tuple[Array, ...], Array], Evidence]
    compute: Compute

    def measure(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> float:
        """Return the quality. Raises DataError for outputs and targets that do not fit the metric."""
        return self.compute(self.collect(inputs, outputs, targets))


def load_task_quality(task: str, metric: str | None = None) -> TaskQuality:
    """Return a task's quality by its first metric, or by the given one."""
    plugin = load_task(task, DATA / task)
    name = metric or plugin.METRICS[0]
    metric_plugin = plugins.load("metrics", name)

    def collect(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> Evidence:
        if hasattr(plugin, "collect_evidence") and name == plugin.METRICS[0]:
            evidence: Evidence = plugin.collect_evidence(inputs, outputs, targets)
        else:
            evidence = metric_plugin.collect(outputs, targets)
        return evidence

    return TaskQuality(name, metric_plugin.METRIC, collect, metric_plugin.compute)


def load_metric_quality(metric: str) -> TaskQuality:
    """Return a metric for samples of no task, whose inputs it does not use. Raises UnknownNameError."""
    plugin = plugins.load("metrics", metric)

    def collect(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> Evidence:
        evidence: Evidence = plugin.collect(outputs, targets)
        return evidence

    return TaskQuality(metric, plugin.METRIC, collect, plugin.compute)


def postprocess_all(plugin: Any, outputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the outputs of all samples as the application sees them: each sample is postprocessed by itself."""
    if not hasattr(plugin, "postprocess"):
        return outputs
    count = len(outputs[0])
    samples = [as_tuple(plugin.postprocess(*(array[n : n + 1] for array in outputs))) for n in range(count)]
    return tuple(np.concatenate(parts) for parts in zip(*samples, strict=True))
