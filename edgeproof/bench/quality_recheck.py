"""Compute a record's quality again from its evidence, and the evidence from the outputs and the task's targets.

A check is skipped if the metric, the task or the task's test split is not on this machine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeproof.bench import quality
from edgeproof.core import layouts, plugins
from edgeproof.core.described_tasks import find_description
from edgeproof.core.directories import META, content_sha256, read_meta
from edgeproof.core.errors import DataError, EdgeproofError
from edgeproof.data import preparation
from edgeproof.data.samples import Samples
from edgeproof.data.task_quality import load_metric_quality, load_task_quality
from edgeproof.paths import DATA
from edgeproof.records.kinds import OUTPUTS_FILE
from edgeproof.records.record import Record
from edgeproof.records.record_parts import QualityResult
from edgeproof.statistics.metric import Evidence

# A quality is a sum of many numbers, whose order may differ between versions of numpy.
TOLERANCE = 1e-9


def list_problems(record: Record) -> list[str]:
    """Return the differences between a record's quality and the one that its evidence and its outputs give."""
    result = record.quality
    if result is None or result.metric not in plugins.list_names("metrics"):
        return []
    scorer = load_metric_quality(result.metric)
    try:
        evidence = record.load_evidence()
        problems = list(_compare_qualities(result, quality.estimate_quality(scorer, evidence)))
        return problems + list(_compare_evidence(record, result, evidence))
    except DataError as error:
        return [f"its {result.label} can't be computed again: {error}"]


def _compare_qualities(recorded: QualityResult, computed: QualityResult) -> Iterator[str]:
    for name in ("value", "low", "high"):
        own, expected = getattr(recorded, name), getattr(computed, name)
        if not np.isclose(own, expected, rtol=TOLERANCE, atol=TOLERANCE):
            part = {"value": "", "low": "lower end of its ", "high": "upper end of its "}[name]
            yield f"the {part}{recorded.label} is {own:.6f}, but its evidence gives {expected:.6f}"


def _compare_evidence(record: Record, result: QualityResult, evidence: Evidence) -> Iterator[str]:
    """Compare the evidence with that of the outputs, where the task's test split is on this machine."""
    if OUTPUTS_FILE not in record.files:
        return
    task = record.identity.task
    is_known = task in plugins.list_names("tasks") or find_description(DATA / task) is not None
    if not is_known or not _has_same_data(record):
        return
    scorer = load_task_quality(task, result.metric)
    samples = _load_test_split(task, record.content["artifact"].get(layouts.LAYOUT), DATA.resolve())
    if samples is None or samples.targets is None:
        return
    outputs = record.load_outputs()
    if any(len(output) != len(samples) for output in outputs):
        yield f"it has {len(outputs[0])} outputs, and the test split of task '{task}' has {len(samples)} samples"
        return
    computed = scorer.collect(samples.inputs, outputs, samples.targets)
    differing = [
        name
        for name in sorted(evidence.keys() | computed.keys())
        if name not in computed or name not in evidence or not _are_close(evidence[name], computed[name])
    ]
    if differing:
        yield f"its outputs give other evidence ({', '.join(differing)}) with the test split that is prepared here"


def _has_same_data(record: Record) -> bool:
    """Return True if the data that is prepared here is what the model was trained with.

    Other data may have other splits. A record without a hash of its data counts as True.
    """
    recorded = record.artifact.model.data_sha256
    build = DATA / record.identity.task / "build"
    if recorded is None or not (build / META).is_file():
        return recorded is None
    return content_sha256(read_meta(build, verify=False)) == recorded


def _are_close(one: quality.Array, two: quality.Array) -> bool:
    return one.shape == two.shape and bool(np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE))


@functools.cache
def _load_test_split(task: str, layout: str | None, root: Path) -> Samples | None:
    """Return a task's prepared test split, or None if it is not on this machine or no longer fits the task."""
    try:
        inputs, targets = preparation.load_split(task, "test", root)
    except (EdgeproofError, OSError):
        return None
    return Samples(layouts.move_channels_last(inputs) if layout == layouts.CHANNELS_LAST else inputs, targets)
