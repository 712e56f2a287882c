"""A study with a network trained in Keras: builds are bit-identical, and only TFLite can export it."""

from __future__ import annotations

import csv

import pytest

from tests.support.project_clones import ProjectClone, clone_project

pytestmark = [pytest.mark.pipeline, pytest.mark.thorough, pytest.mark.timeout(900)]

OVERRIDES = (
    "study=digits",
    "+models.teacher.runtimes=[]",
    "+models.student_slim_w4.runtimes=[]",
    "bench.runtimes=[tflite,onnx]",
    "+models.in_keras={method: train_keras, network: keras_resnet8, network_options: {widths: [8, 16], stem_stride: 1},"
    " options: {epochs: 6, batch_size: 64}, schemes: [fp32, int8-static], final: [int8-static]}",
)
STAGES = (
    "prepare",
    "model in_keras",
    "export in_keras_tflite",
    "export in_keras_onnx",
    "bench local_tflite",
    "bench local_onnx",
    "report",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ProjectClone:
    """Run the stages of one Keras model as plain commands."""
    clone = clone_project(tmp_path_factory.mktemp("keras"))
    clone.edgeproof("compose", *OVERRIDES)
    for stage in STAGES:
        clone.run("python", "-m", *f"stages.{stage}".split())
    return clone


def test_training_and_exporting_again_give_identical_files(study: ProjectClone) -> None:
    files = ["models/in_keras/weights.safetensors", "models/in_keras/meta.json"]
    files += [f"artifacts/tflite/in_keras/{scheme}/model.tflite" for scheme in ("fp32", "int8-static")]
    first = {name: (study.path / name).read_bytes() for name in files}
    study.run("python", "-m", "stages.model", "in_keras")
    study.run("python", "-m", "stages.export", "in_keras_tflite")
    assert {name: (study.path / name).read_bytes() for name in files} == first


def test_the_table_has_the_accuracy_in_tflite_and_a_reason_in_onnx(study: ProjectClone) -> None:
    with (study.path / "results/tables/table.csv").open() as file:
        rows = {(row["runtime"], row["scheme"]): row for row in csv.DictReader(file)}
    assert rows.keys() == {(runtime, scheme) for runtime in ("tflite", "onnx") for scheme in ("fp32", "int8-static")}
    for (runtime, _), row in rows.items():
        assert row["model"] == "in_keras"
        if runtime == "tflite":
            assert float(row["quality"]) > 0.9
            assert int(row["parameters"]) > 1000
        else:
            assert row["verdict"] == "unsupported"
            assert "the network was trained in Keras" in row["reasons"]
