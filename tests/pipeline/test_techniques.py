"""A shortened study of techniques: some models of every family are built, exported, measured and compared.

The contract tests cover the other methods and networks. The stages run in one process: a hundred processes would spend
most of their time on importing torch.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.project_clones import ProjectClone, clone_project

pytestmark = [pytest.mark.pipeline, pytest.mark.thorough, pytest.mark.timeout(1200)]

SHORTENED = (
    "seeds=[0,1]",
    "train.epochs=5",
    "bench.interleaved=2",
    "prune.epochs=2",
    "quantize.epochs=1",
    "bench.runtimes=[onnx]",
    "models.base.schemes=[fp32,bf16,int8-static]",
)
MODELS = {
    *("base", "teacher", "perceptron", "perceptron_sparse", "perceptron_coded", "distilled", "tuned", "zeros"),
    *("channels", "two_bits", "four_bits", "eight_bits"),
}
STAGES = """
from edgeproof.artifacts import export
from edgeproof.bench import session
from edgeproof.config import params_file
from edgeproof.config.params import MODEL_STAGES
from edgeproof.data import preparation
from edgeproof.models import build
from edgeproof.report import study_report

study = params_file.read_params()
preparation.prepare(study.task)
waiting = [name for stage in MODEL_STAGES for name in getattr(study, stage)]
while waiting:
    for name in list(waiting):
        item = study.find_model(name)
        if not {item.parent, *item.teachers} & set(waiting):
            build.build(name, study)
            waiting.remove(name)
for item in study.export.values():
    export.export(item, study.task.name)
for key in study.bench:
    session.run_study_session(key, study)
study_report.write_study_report(study)
"""


@pytest.fixture(scope="module")
def techniques(tmp_path_factory: pytest.TempPathFactory) -> ProjectClone:
    clone = clone_project(tmp_path_factory.mktemp("techniques"))
    study = yaml.safe_load((clone.path / "conf/study/techniques.yaml").read_text())
    assert set(study["models"]) >= MODELS
    removals = [f"~models.{name}" for name in study["models"] if name not in MODELS]
    clone.edgeproof("compose", "study=techniques", *SHORTENED, *removals)
    clone.run(sys.executable, "-c", STAGES)
    return clone


def read_rows(clone: ProjectClone) -> dict[tuple[str, str, str], dict[str, str]]:
    with (clone.path / "results/tables/families.csv").open() as file:
        return {(row["family"], row["model"], row["scheme"]): row for row in csv.DictReader(file)}


def read_meta(clone: ProjectClone, model: str) -> dict[str, object]:
    return json.loads((clone.path / "models" / model / "meta.json").read_text())


def test_every_family_has_a_table_whose_rows_have_figures_or_a_reason(techniques: ProjectClone) -> None:
    rows = read_rows(techniques)
    text = (techniques.path / "results/tables/families.md").read_text()
    families = {family for family, _, _ in rows}
    assert families >= {"schemes", "networks", "distillation", "pruning", "quantization", "deep_compression"}
    assert all(f"## {family}\n" in text for family in families)
    for key, row in rows.items():
        if row["verdict"] == "valid":
            assert float(row["quality_mean"]) > 0.1, key
            assert float(row["p50_ns"]) > 0, key
        else:
            reasons = (techniques.path / "results/tables/table.md").read_text()
            assert f"`{row['model']}` {row['runtime']} {row['scheme']}: " in reasons, key


def test_accuracy_is_the_mean_over_both_seeds(techniques: ProjectClone) -> None:
    labels = np.load(techniques.path / "data/digits/test/test_y.npy")
    checked = 0
    for (_, model, scheme), row in read_rows(techniques).items():
        if not row["quality_mean"]:
            continue
        place = techniques.path / f"results/records/local_onnx/onnx/{model}.{scheme}"
        accuracies = []
        for seed in (0, 1):
            with np.load(place / f"accuracy.{seed}/outputs.npz") as arrays:
                accuracies.append((arrays["outputs"].argmax(1) == labels).mean())
        assert float(row["quality_mean"]) == pytest.approx(np.mean(accuracies))
        assert float(row["quality_sd"]) == pytest.approx(np.std(accuracies, ddof=1))
        checked += 1
    assert checked >= 4


def test_speed_ups_are_computed_from_interleaved_blocks(techniques: ProjectClone) -> None:
    checked = 0
    for (_, model, scheme), row in read_rows(techniques).items():
        if row["speed_up_in_turns"] != "True":
            continue
        place = techniques.path / f"results/records/local_onnx/onnx/{model}.{scheme}"
        results = [json.loads((place / f"in_turns.{n}/record.json").read_text())["result"] for n in (0, 1)]
        ratios = [np.median(np.log(result["other_ns"]) - np.log(result["own_ns"])) for result in results]
        assert float(row["speed_up"]) == pytest.approx(np.exp(np.mean(ratios)))
        checked += 1
    assert checked >= 8


def test_sizes_and_macs_follow_from_the_technique(techniques: ProjectClone) -> None:
    base, zeros, channels = (read_meta(techniques, name) for name in ("base", "zeros", "channels"))
    assert zeros["weight_sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert zeros["macs"] == base["macs"]
    assert channels["macs"] < 0.6 * base["macs"]
    bits = [
        read_meta(techniques, name)["entropy_coded_bytes"] for name in ("two_bits", "four_bits", "eight_bits", "base")
    ]
    assert bits == sorted(bits)
    plain, coded = (read_meta(techniques, name)["entropy_coded_bytes"] for name in ("perceptron", "perceptron_coded"))
    assert plain > 15 * coded


def test_models_of_two_seeds_differ_and_have_parents_of_the_same_seed(techniques: ProjectClone) -> None:
    first, second = read_meta(techniques, "zeros"), read_meta(techniques, "zeros/seed_1")
    assert first["files"] != second["files"]
    parents = [
        json.loads((Path(techniques.path) / "models" / name / "meta.json").read_text())
        for name in ("base", "base/seed_1")
    ]
    assert parents[0]["files"] != parents[1]["files"]
    assert first["lineage"]["parent"]["sha256"] != second["lineage"]["parent"]["sha256"]
