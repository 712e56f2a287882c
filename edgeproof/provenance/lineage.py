"""Trace a cell of the table back to the data: records, artifact, model, parents, data.

Each link names the next one by its sha256, and the files on disk are checked against it. A model that is no longer on
disk is described from the records of its artifacts, if there are any.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.bench import recheck
from edgeproof.config.params import Params
from edgeproof.config.params_file import PARAMS, read_params
from edgeproof.config.task_metric import load_task_metric
from edgeproof.core.described_tasks import find_description
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError, ConfigError, EdgeproofError
from edgeproof.paths import ARTIFACTS, DATA, MODELS, WORK, name_artifact
from edgeproof.provenance.cells import CellRecords
from edgeproof.provenance.stored import CONTRADICTORY, DAMAGED, INTACT, SHA256_DIGITS, StoredDirectory, find_stored
from edgeproof.records import kinds, record_checks, record_files
from edgeproof.records.record import Record
from edgeproof.records.record_parts import Commit, ModelDescription


@dataclass(frozen=True)
class LineageLink:
    """One thing that a cell was made from.

    Attributes:
        role: record, artifact, model, parent, teacher or data.
        stored: the directory where it belongs, and its state there.
        depth: number of steps from the record.
        facts: what is known about it, by name.
        missing: True if only its name and sha256 are known.
        outcome: verdict and time of a record; empty for anything else.
    """

    role: str
    name: str
    sha256: str
    stored: StoredDirectory
    depth: int
    facts: Mapping[str, str] = field(default_factory=dict)
    missing: bool = False
    outcome: str = ""


def trace_lineage(cell: CellRecords, root: Path) -> list[LineageLink]:
    """Return the links of a cell. Each one follows the link that was made from it.

    Raises ArtifactError when a record below `root` is damaged.
    """
    first = cell.first_record
    model = first.artifact.model
    study = load_study_params(first.identity.study)
    homes = [Path(), WORK / "studies" / first.identity.study]
    links = [_link_record(record) for record in cell.select_figure_records()]
    links.append(_link_artifact(first, homes, study))
    links += _ModelTracer(homes, root).trace(model, "model", depth=2)
    if model.data_sha256:
        links.append(_link_data(model, homes, study))
    return links


def find_artifact(cell: CellRecords, root: Path) -> StoredDirectory:
    """Return where the cell's artifact belongs on this machine, and its state there."""
    return next(link for link in trace_lineage(cell, root) if link.role == "artifact").stored


def require_artifact(cell: CellRecords, root: Path) -> Path:
    """Return the directory of the cell's artifact. Raises EdgeproofError if the measured one is not there."""
    stored = find_artifact(cell, root)
    if stored.state != INTACT or stored.path is None:
        sha256 = cell.first_record.artifact.sha256[:SHA256_DIGITS]
        raise EdgeproofError(
            f"the measured artifact of {cell.address} ({sha256}) is not at {stored.path}: {stored.state}. "
            "Run 'dvc pull' or 'dvc repro' to restore it."
        )
    return stored.path


def load_study_params(name: str) -> Params | None:
    """Return the parameters of a study from params.yaml here or in its worktree, or None if neither has it."""
    for path in (PARAMS, WORK / "studies" / name / PARAMS):
        try:
            params = read_params(path)
        except ConfigError:
            continue
        if params.study == name:
            return params
    return None


def _link_record(record: Record) -> LineageLink:
    identity, result = record.identity, record.result
    facts = {"in": record.directory.parent.as_posix(), "session": f"{identity.session} ({identity.session_id})"}
    if result is not None and result.is_done:
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        facts["on"] = f"{identity.device}: {result.fingerprint.get('cpu')}, {result.threads} thread(s)"
        facts["with"] = f"{versions}, Python {result.fingerprint.get('python', 'unknown')}"
    facts["commit"] = describe_commit(record.commit)
    facts["runner"] = str(record.runner_sha256)[:SHA256_DIGITS]
    return LineageLink(
        "record",
        identity.file_name,
        hash_file(record.directory / kinds.RECORD_FILE),
        StoredDirectory(record.directory, _check(record)),
        depth=0,
        facts=facts,
        outcome="; ".join([record.verdict, *record.reasons, record.measured_at]),
    )


def _check(record: Record) -> str:
    """Return the state of a record: its files, and whether its parts agree."""
    try:
        for file in record.files:
            record.find_file(file)
    except ArtifactError as error:
        return f"{DAMAGED}: {error}"
    problems = list_record_problems(record)
    return f"{CONTRADICTORY}: {'; '.join(problems)}" if problems else INTACT


def list_record_problems(record: Record) -> list[str]:
    """Return the contradictions between a record's figures, LoadGen's log, the raw arrays and the verdict."""
    try:
        return [*record_checks.list_problems(record), *recheck.list_problems(record)]
    except ArtifactError as error:
        return [str(error)]


def describe_commit(commit: Commit | None) -> str:
    """Return a description of the commit that measured, for readers."""
    return "not recorded" if commit is None else commit.describe()


def _link_artifact(record: Record, homes: Sequence[Path], study: Params | None) -> LineageLink:
    identity, artifact = record.identity, record.artifact
    facts = {"packages": _format_pairs(artifact.packages or {})}
    if artifact.unsupported:
        facts = {"unsupported": artifact.unsupported}
    else:
        facts |= {"files": f"{', '.join(artifact.lowered)} ({artifact.size_bytes} bytes)"}
    seed = artifact.model.seed or 0
    seeds = [seed]
    key = f"{identity.model}_{identity.runtime}"
    if study is not None and key in study.export:
        seeds = study.export[key].seeds
        facts["config"] = f"params.yaml, export.{key}"
    place = Path(identity.runtime, identity.model, name_artifact(identity.scheme, seeds, seed))
    if artifact.model.method == kinds.EXTERNAL_METHOD:
        places = [WORK / kinds.EXTERNAL_METHOD / identity.study / place]
    else:
        places = [home / ARTIFACTS / place for home in homes]
    name = f"{identity.model} {identity.scheme} for {identity.runtime}"
    return LineageLink("artifact", name, artifact.sha256, find_stored(places, artifact.sha256), depth=1, facts=facts)


class _ModelTracer:
    """Trace a model to the models that it was made from. A model that occurs twice is described once."""

    def __init__(self, homes: Sequence[Path], root: Path) -> None:
        self._homes = homes
        self._root = root
        self._seen: set[str] = set()

    def trace(self, model: ModelDescription, role: str, depth: int) -> Iterator[LineageLink]:
        """Yield the link of a model and those of its ancestors."""
        stored = self._find(model.name, model.sha256)
        if model.sha256 and model.sha256 in self._seen:
            yield LineageLink(role, model.name, model.sha256, stored, depth, {"made from": "see above"})
            return
        self._seen.add(model.sha256)
        yield LineageLink(role, model.name, model.sha256, stored, depth, _describe_model(model, self._homes))
        for part, source in model.lineage.items():
            name, sha256 = str(source["name"]), str(source["sha256"])
            ancestor = ModelDescription.parse(source) if "method" in source else self._find_description(name, sha256)
            if ancestor is None:
                yield LineageLink(part, name, sha256, self._find(name, sha256), depth + 1, missing=True)
            else:
                yield from self.trace(ancestor, part, depth + 1)

    def _find(self, name: str, sha256: str) -> StoredDirectory:
        """Find a model in the directories of its first seed and of the other seeds."""
        directories = [home / MODELS / name for home in self._homes]
        places = [place for directory in directories for place in (directory, *sorted(directory.glob("seed_*")))]
        return find_stored(places, sha256)

    def _find_description(self, name: str, sha256: str) -> ModelDescription | None:
        """Return the description of a model on disk, or in a record of one of its artifacts."""
        stored = self._find(name, sha256)
        if stored.state == INTACT and stored.meta is not None:
            return ModelDescription.parse({**stored.meta, "sha256": sha256})
        for place in sorted(self._root.glob(f"*/*/{name}.*")):
            for record in record_files.read_all(place):
                model = record.artifact.model
                if model.sha256 == sha256:
                    return model
        return None


def _describe_model(model: ModelDescription, homes: Sequence[Path]) -> dict[str, str]:
    network = model.network
    facts = {
        "method": f"{model.method} ({_format_pairs(model.options or {})})",
        "network": f"{network['name']} ({_format_pairs(network['options'])})" if network else "",
        "seed": "" if model.seed is None else str(model.seed),
        **_describe_quality(model, homes),
    }
    return {name: text for name, text in facts.items() if text}


def _describe_quality(model: ModelDescription, homes: Sequence[Path]) -> dict[str, str]:
    """Return the quality on the validation split, in natural units for a task that is not installed here."""
    if model.validation_quality is None:
        return {}
    try:
        data = [home / DATA / str(model.task) for home in homes]
        described = (directory for directory in data if find_description(directory) is not None)
        _, metric = load_task_metric(str(model.task), next(described, None))
    except (ArtifactError, ConfigError):
        return {"validation quality": f"{model.validation_quality:.4g}"}
    return {f"validation {metric.label}": metric.format(model.validation_quality)}


def _link_data(model: ModelDescription, homes: Sequence[Path], study: Params | None) -> LineageLink:
    task, sha256 = str(model.task), str(model.data_sha256)
    facts = {}
    if study is not None and study.task.name == task:
        groups = study.task.list_file_groups()
        facts = {f"file {name}": file_sha256 for group in groups for name, file_sha256 in group.files.items()}
        sources = [source for group in groups for source in group.sources]
        if sources:
            facts["sources"] = "; ".join(" ".join(map(str, source.model_dump().values())) for source in sources)
            facts["split"] = f"seed {study.task.seed}, {study.task.validation_samples} for validation"
        else:
            facts["own data"] = f"{study.task.kind} ({_format_pairs(study.task.options or {})})"
            facts["split"] = f"seed {study.task.seed}"
    stored = find_stored((home / DATA / task / "build" for home in homes), sha256)
    return LineageLink("data", task, sha256, stored, depth=3, facts=facts)


def _format_pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
