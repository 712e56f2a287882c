"""A record's quality: read with its evidence, upgraded from a count of hits, and compared with what confirms it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import ArtifactError
from edgeproof.metrics import accuracy, auc
from edgeproof.records import queries, record_checks, record_files, store
from edgeproof.records.record_parts import ModelDescription
from edgeproof.statistics import bootstrap
from edgeproof.statistics.metric import ACCURACY, Metric
from edgeproof.statistics.proportions import estimate_proportion
from tests.support import record_trees

HITS = [True] * 9 + [False]
SCORES = {"scores": np.linspace(0, 1, 40), "positive": np.arange(40) % 7 > 2}


def write_schema_2(directory: Path, count: Any) -> Path:
    """Write the record of an accuracy run as earlier versions did."""
    directory = record_trees.write(directory, "accuracy")
    np.savez_compressed(directory / "outputs.npz", outputs=np.zeros((10, 3), np.float32), correct=np.array(HITS))
    record_files.write_content(directory, {**record_files.read(directory).content, "accuracy": count})
    path = directory / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
    return directory


def change(directory: Path, **quality: Any) -> None:
    """Change values of the quality and renew the hashes, as somebody does who knows the format."""
    content = dict(record_files.read(directory).content)
    record_files.write_content(directory, {**content, "quality": {**content["quality"], **quality}})


def test_an_accuracy_of_schema_2_is_a_quality_with_the_same_interval_and_hits(tmp_path: Path) -> None:
    directory = write_schema_2(tmp_path / "records", {"correct": 9, "total": 10})
    before = (directory / "record.json").read_bytes()
    record = record_files.read(directory)
    assert record.schema == 2
    assert record.quality is not None
    assert (record.quality.metric, record.quality.units, record.quality.correct) == ("accuracy", 10, 9)
    assert record.quality.estimate == estimate_proportion(9, 10)
    assert record.quality.description == ACCURACY == accuracy.METRIC
    assert "accuracy" not in record.content
    assert record.load_evidence()["correct"].tolist() == HITS
    assert record_checks.list_problems(record) == []
    assert (directory / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    "count", [{}, [9, 10], {"correct": 11, "total": 10}, {"correct": 0, "total": 0}, {"total": 10}]
)
def test_a_damaged_count_of_schema_2_is_named_when_it_is_used(tmp_path: Path, count: Any) -> None:
    root = tmp_path / "records"
    write_schema_2(root, count)
    state = store.refresh(root)
    assert state.records == 0
    assert "is damaged" in state.damaged[0]


def test_a_line_has_the_quality_its_interval_and_its_metric(tmp_path: Path) -> None:
    root = tmp_path / "records"
    record_trees.write(root, "accuracy", metric="auc", evidence=SCORES)
    record_trees.write(root, "accuracy", model="other", correct=HITS)
    assert store.refresh(root).damaged == []
    answer = queries.ask(
        "SELECT metric, metric_json, quality, quality_low, quality_high, quality_units, hits IS NULL "
        "FROM records ORDER BY model",
        root,
    )
    first, second = answer.fetchall()
    hits = estimate_proportion(9, 10)
    assert (first[0], Metric.from_json(json.loads(first[1]))) == ("accuracy", accuracy.METRIC)
    assert first[2:] == (hits.value, hits.low, hits.high, 10, False)
    area = bootstrap.estimate_quality(auc.compute, SCORES)
    assert (second[0], Metric.from_json(json.loads(second[1]))) == ("auc", auc.METRIC)
    assert second[2:] == (area.value, area.low, area.high, 40, True)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"value": 1.0}, "its hits give 0.900000"),
        ({"low": 0.8999}, "and the record has 0.900000 (0.899900"),
        ({"units": 11}, "the record has 11 units"),
        ({"value": "high"}, "'quality.value' is 'high', expected float or int"),
        ({"metric": None}, "'quality.metric' is None, expected str"),
    ],
)
def test_a_quality_that_its_evidence_does_not_confirm_is_named(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    root = tmp_path / "records"
    change(record_trees.write(root, "accuracy", correct=HITS), **changes)
    state = store.refresh(root)
    assert state.records == 0
    assert problem in state.damaged[0]


def test_evidence_of_differing_lengths_and_missing_evidence_are_named(tmp_path: Path) -> None:
    directory = record_trees.write(tmp_path, "accuracy", metric="auc", evidence=SCORES)
    np.savez_compressed(directory / "evidence.npz", scores=np.zeros(40), positive=np.zeros(39, bool))
    record_files.write_content(directory, record_files.read(directory).content)
    with pytest.raises(ArtifactError, match=r"'scores' \(40,\), 'positive' \(39,\), and the record has 40 units"):
        record_files.read(directory).load_evidence()
    (directory / "evidence.npz").unlink()
    with pytest.raises(ArtifactError, match=r"evidence\.npz is missing or damaged"):
        record_files.read(directory).load_evidence()


def test_outputs_of_several_ports_are_read_in_their_order(tmp_path: Path) -> None:
    directory = record_trees.write(tmp_path, "accuracy", correct=HITS)
    outputs = {f"outputs_{number}": np.full((10, 2), number) for number in range(11)}
    np.savez_compressed(directory / "outputs.npz", **outputs)
    record_files.write_content(directory, record_files.read(directory).content)
    assert [int(array[0, 0]) for array in record_files.read(directory).load_outputs()] == list(range(11))


def test_the_validation_accuracy_of_earlier_models_is_their_validation_quality() -> None:
    model = {"method": "train", "lineage": {}}
    assert ModelDescription.parse({**model, "validation_accuracy": 0.75}).validation_quality == 0.75
    assert ModelDescription.parse({**model, "validation_quality": 0.5}).validation_quality == 0.5
    assert ModelDescription.parse(model).validation_quality is None


def test_the_postprocessing_of_a_detector_has_its_own_column(tmp_path: Path) -> None:
    root = tmp_path / "records"
    directory = record_trees.write(root, call_ns=np.full(100, 20_000))
    with np.load(directory / "latencies.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    for postprocess_ns, damaged in ((1_500, 0), (2_500, 1)):  # the engine takes 18,000 ns of 20,000
        own = {**arrays, "postprocess_ns": np.full(100, postprocess_ns, np.uint64)}
        np.savez_compressed(directory / "latencies.npz", **own)
        record_files.write_content(directory, record_files.read(directory).content)
        assert len(store.refresh(root).damaged) == damaged
        if not damaged:
            assert queries.ask("SELECT postprocess_p50_ns FROM records", root).fetchall() == [(1500.0,)]
