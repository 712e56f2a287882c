"""The subject of a session: artifacts and samples, whether they come from a study or from a user's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeproof.config.params import BenchParams, Params
from edgeproof.core import directories, layouts, plugins
from edgeproof.core.described_tasks import load_task, locate_definition
from edgeproof.core.directories import read_meta
from edgeproof.data import preparation
from edgeproof.data.samples import Samples
from edgeproof.data.task_quality import TaskQuality, load_task_quality
from edgeproof.paths import ARTIFACTS, DATA


@dataclass(frozen=True)
class Subject:
    """The artifacts and samples that a session measures.

    Attributes:
        study, task: their names in records.
        artifacts: the directory that holds <model>/<scheme>.
        samples: the samples of each model.
        quality: the metric by which outputs are scored, or None if no sample has a target.
        scorers: the files that define it: the task's and the metric's.
        postprocessing: the task whose postprocess() runs on the device after each inference, or None.
        preprocessing: the task whose raw inputs are preprocessed on the device, or None.
    """

    study: str
    task: str
    artifacts: Path
    samples: Mapping[str, Samples]
    quality: TaskQuality | None
    scorers: tuple[Path, ...]
    postprocessing: str | None = None
    preprocessing: str | None = None


def build_subject(item: BenchParams, study: Params) -> Subject:
    """Return the subject of a study's session: its artifacts over the task's test split."""
    task = study.task.name
    artifacts = ARTIFACTS / item.runtime
    metric = study.task.metric
    inputs, targets = preparation.load_split(task, "test")
    by_layout: dict[str | None, Samples] = {None: Samples(inputs, targets)}
    layout = {model: _read_layout(artifacts / model) for model in item.artifacts}
    definition = load_task(task, DATA / task)
    if layouts.CHANNELS_LAST in layout.values():
        by_layout[layouts.CHANNELS_LAST] = Samples(layouts.move_channels_last(inputs), targets)
    return Subject(
        study=study.study,
        task=task,
        artifacts=artifacts,
        samples={model: by_layout[layout[model]] for model in item.artifacts},
        quality=load_task_quality(task, metric),
        scorers=(locate_definition(task, DATA / task), plugins.find_source("metrics", metric)),
        postprocessing=task if hasattr(definition, "postprocess") else None,
        preprocessing=task if hasattr(definition, "RAW_INPUTS") else None,
    )


def _read_layout(model: Path) -> str | None:
    """Return the layout of the samples that a model's artifacts take, or None for the task's own layout."""
    metas = [read_meta(path.parent, verify=False) for path in sorted(model.glob(f"*/{directories.META}"))]
    return next((meta[layouts.LAYOUT] for meta in metas if layouts.LAYOUT in meta), None)
