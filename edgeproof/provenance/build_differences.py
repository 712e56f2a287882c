"""Explain why an artifact that was built again differs from the recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproof.core.directories import content_sha256, read_meta
from edgeproof.paths import DATA, locate_model
from edgeproof.provenance.stored import SHA256_DIGITS
from edgeproof.records.conditions import list_differences
from edgeproof.records.record import Record

MODEL_KEYS = ("task", "method", "options", "seed", "network")
ARTIFACT_KEYS = ("packages", "lowered", "size_bytes", "notes", "unsupported")


def explain_difference(record: Record, built: Mapping[str, Any], root: Path, seeds: Sequence[int]) -> list[str]:
    """Return the first differences, in the order of the pipeline: data, model, artifact.

    Args:
        record: the record of the artifact that was measured.
        built: meta.json of the artifact that was built again.
        root: the directory that it was built in.
        seeds: the training seeds of the artifact.
    """
    model = record.artifact.model
    data = content_sha256(read_meta(root / DATA / str(model.task) / "build", verify=False))
    if model.data_sha256 not in (None, data):
        return [f"the data differs: {_shorten(str(model.data_sha256))} → {_shorten(data)}"]
    recorded = record.content["artifact"]
    built_model = read_meta(root / locate_model(model.name, seeds, model.seed or 0))
    differences = _list_changes(recorded["model"], built_model, MODEL_KEYS)
    for role, source in model.lineage.items():
        ours = built_model["lineage"].get(role, {"name": "none", "sha256": ""})
        if ours["sha256"] != source["sha256"]:
            sha256s = f"{_shorten(source['sha256'])} → {_shorten(ours['sha256'])}"
            differences.append(f"{role} {source['name']} differs: {sha256s} ({ours['name']})")
    if differences:
        return [f"{model.name}: {difference}" for difference in differences]
    if content_sha256(built_model) != model.sha256:
        return [
            f"{model.name} has other weights ({_shorten(model.sha256)} → {_shorten(content_sha256(built_model))}) from "
            "the same data, options and parents. The processor, the number of threads or a package may differ, or the "
            "code that built it was not committed."
        ]
    differences = _list_changes(recorded, built, ARTIFACT_KEYS)
    return [f"the artifact of the same model: {difference}" for difference in differences] or [
        "the artifact of the same model and packages has other bytes. The processor or the code may differ."
    ]


def _list_changes(recorded: Mapping[str, Any], built: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Return the differences in the keys that the record has."""
    names = [key for key in keys if key in recorded]
    return list_differences({key: recorded[key] for key in names}, {key: built[key] for key in names if key in built})


def _shorten(sha256: str) -> str:
    return sha256[:SHA256_DIGITS]
