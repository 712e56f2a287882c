"""Choose the metric that scores a user's model files, and check the labels against it before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.bench.quality import list_output_ports
from edgeproof.core import plugins
from edgeproof.core.directories import META, read_meta
from edgeproof.core.errors import ConfigError, DataError
from edgeproof.core.ports import Port
from edgeproof.data.task_quality import TaskQuality, load_metric_quality
from edgeproof.statistics.metric import Evidence

DEFAULT_METRIC = "accuracy"
ADVICE = "Without labels, everything except the quality is measured."

Array = np.ndarray[Any, Any]


def choose_quality(
    metric: str | None, targets: Array | None, artifacts: Sequence[Path], *, scores_first: bool = False
) -> TaskQuality | None:
    """Return the metric by which the outputs of some files' artifacts are scored, or None without targets.

    `artifacts` are the directories of the files. Each contains one directory for each scheme. With `scores_first`, only
    the first output is scored: the one that the user has chosen. Raises ConfigError if the metric does not fit the
    targets and outputs, or if it is not given and can't be derived from them.
    """
    if targets is None:
        if metric is not None:
            raise ConfigError("--metric needs labels: y in --data, or --labels.")
        return None
    count = 1 if scores_first else None
    answers = {str(path): list_output_ports(meta, None)[:count] for path, meta in _read_metas(artifacts)}
    quality = load_metric_quality(metric or _choose_metric(targets, answers))
    if scores_first:
        quality = _score_first(quality)
    for path, ports in answers.items():
        _check_targets(quality, targets, ports, path)
    return quality


def _score_first(quality: TaskQuality) -> TaskQuality:
    def collect(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> Evidence:
        return quality.collect(inputs, outputs[:1], targets)

    return replace(quality, collect=collect)


def list_scorers(quality: TaskQuality | None) -> tuple[Path, ...]:
    """Return the Python files that define how outputs are scored."""
    return (Path(__file__),) if quality is None else (Path(__file__), plugins.find_source("metrics", quality.name))


def _read_metas(artifacts: Sequence[Path]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the directory and the meta.json of every artifact that the runtime supports."""
    for directory in artifacts:
        for path in sorted(directory.glob(f"*/{META}")):
            meta = read_meta(path.parent, verify=False)
            if "unsupported" not in meta:
                yield path.parent, meta


def _choose_metric(targets: Array, answers: Mapping[str, Sequence[Port]]) -> str:
    """Return accuracy for class numbers and one output with a row of scores. Raises ConfigError for anything else."""
    is_classes = targets.dtype.kind in "iu" and targets.ndim == 1
    if is_classes and all(len(ports) == 1 and _has_one_row(ports[0]) for ports in answers.values()):
        return DEFAULT_METRIC
    names = ", ".join(plugins.list_names("metrics"))
    shown = next(iter(answers.values()), ())
    outputs = ", ".join(f"'{port.name}' {port.dtype} {list(port.shape)}" for port in shown) or "of an unknown shape"
    raise ConfigError(
        f"the labels are {targets.dtype} of shape {targets.shape} and the outputs {outputs}. Name their metric with "
        f"--metric: {names}, or one output with --output. {ADVICE}"
    )


def _has_one_row(port: Port) -> bool:
    return sum(size > 1 for size in port.shape) == 1


def _check_targets(quality: TaskQuality, targets: Array, ports: Sequence[Port], path: str) -> None:
    """Check the targets by scoring outputs of zeros: targets that do not fit fail as they would with real outputs.

    Raises ConfigError with the metric's reason.
    """
    if not ports:
        raise ConfigError(f"{path} has outputs whose size depends on the data, which no metric can score. {ADVICE}")
    outputs = tuple(np.broadcast_to(np.zeros((), port.dtype), (len(targets), *port.shape)) for port in ports)
    try:
        quality.compute(quality.collect((), outputs, targets))
    except DataError as error:
        raise ConfigError(f"{path}: {error} Change the labels, or name another --metric. {ADVICE}") from None
