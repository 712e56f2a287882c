"""The quick study from an empty cache: its results, what is rerun, what is bit-identical."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.command_blocks import find_block
from tests.support.project_clones import ROOT, ProjectClone, edit_temporarily

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]


def read_hashes(clone: ProjectClone, *patterns: str) -> dict[str, dict[str, str]]:
    return {
        path.parent.relative_to(clone.path).as_posix(): json.loads(path.read_text())["files"]
        for pattern in patterns
        for path in sorted(clone.path.glob(pattern))
    }


def read_table(study: ProjectClone) -> list[dict[str, str]]:
    with (study.path / "results/tables/table.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_study_prints_its_table_and_stores_it_under_its_name(project: ProjectClone, study: ProjectClone) -> None:
    printed = (project.path / "printed.txt").read_text()
    assert "[1/" in printed
    assert "left)" in printed
    assert "All figures: results/studies/digits/tables/table.md" in printed
    assert (project.path / "results/studies/digits/tables/table.md").is_file()
    for row in read_table(study):
        names = [row["model"], row["runtime"], row["scheme"]]
        assert any(line.split()[:3] == names for line in printed.splitlines()), names


def test_running_another_study_does_not_change_the_committed_one(project: ProjectClone) -> None:
    assert project.run("git", "status", "--porcelain", "params.yaml", "dvc.lock", "dvc.yaml", "results").stdout == ""


def test_two_clones_build_identical_models_and_artifacts(study: ProjectClone, other: ProjectClone) -> None:
    patterns = ("data/*/*/meta.json", "models/*/meta.json", "artifacts/*/*/*/meta.json")
    ours, theirs = read_hashes(study, *patterns), read_hashes(other, *patterns)
    assert len([name for name in ours if name.startswith("models/")]) == 4
    assert len([name for name in ours if name.startswith("artifacts/")]) == 12
    assert ours == theirs


def test_every_row_has_all_figures_or_a_reason(study: ProjectClone) -> None:
    rows = read_table(study)
    assert {(row["runtime"], row["model"]) for row in rows} == {
        (runtime, model) for runtime in ("tflite", "onnx", "openvino") for model in ("teacher", "student_slim_w4")
    }
    always = ("quality", "size_bytes", "gzip_bytes")
    timed = ("p50_ns", "invoke_p50_ns", "p90_ns", "p99_ns", "peak_rss_bytes", "load_ns")
    for row in rows:
        if row["verdict"] == "unsupported":
            assert row["reasons"]
            assert not row["quality"]
            continue
        assert all(float(row[name]) > 0 for name in always), row
        # On a busy machine a run may be refused. Then its scenario has no figures, and the row has the reason.
        refused = re.search(r"(^|; )single_stream \d", row["reasons"]) is not None
        assert all(bool(row[name]) != refused for name in timed), row
        assert bool(row["reasons"]) == (row["verdict"] != "valid"), row
    assert [(r["runtime"], r["scheme"]) for r in rows if r["verdict"] == "unsupported"] == [
        ("openvino", "int8-dynamic")
    ]


def test_every_final_scenario_has_a_figure_or_a_reason(study: ProjectClone) -> None:
    final = [row for row in read_table(study) if row["model"] == "student_slim_w4" and row["scheme"] == "int8-static"]
    assert len(final) == 3
    for row in final:
        for figure, scenario in (
            ("offline_samples_per_s", "offline"),
            ("multi_stream_p99_ns", "multi_stream"),
            ("server_samples_per_s", "server"),
        ):
            assert bool(row[figure]) != (scenario in row["reasons"]), row


def test_figures_equal_those_computed_from_the_raw_arrays(study: ProjectClone) -> None:
    for row in read_table(study):
        if row["verdict"] == "unsupported":
            continue
        place = study.path / f"results/records/local_{row['runtime']}/{row['runtime']}/{row['model']}.{row['scheme']}"
        if row["p50_ns"]:
            last = sorted(place.glob("single_stream.0*"))[-1]
            with np.load(last / "latencies.npz") as arrays:
                assert float(row["p50_ns"]) == pytest.approx(np.percentile(arrays["call_ns"], 50), rel=1e-9)
                assert float(row["invoke_p50_ns"]) == pytest.approx(np.percentile(arrays["invoke_ns"], 50), rel=1e-9)
        with np.load(place / "accuracy.0/outputs.npz") as arrays:
            labels = np.load(study.path / "data/digits/test/test_y.npy")
            assert float(row["quality"]) == (arrays["outputs"].argmax(1) == labels).mean()


def test_accuracies_equal_those_of_the_artifacts_run_without_edgeproof(study: ProjectClone) -> None:
    """Call LiteRT, ONNX Runtime and OpenVINO directly on the whole test split."""
    import onnxruntime
    import openvino
    from ai_edge_litert.interpreter import Interpreter

    images = np.load(study.path / "data/digits/test/test_x.npy").astype(np.float32) / 8 - 1
    labels = np.load(study.path / "data/digits/test/test_y.npy")
    where = study.path / "artifacts"

    def run_litert(path: Path) -> np.ndarray:
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        given, produced = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        outputs = []
        for image in images[:, None]:
            if given["dtype"] == np.int8:
                scale, zero = given["quantization"]
                image = np.clip(np.rint(image / scale) + zero, -128, 127).astype(np.int8)
            interpreter.set_tensor(given["index"], image)
            interpreter.invoke()
            outputs.append(
                interpreter.get_tensor(produced["index"])[0].astype(int if given["dtype"] == np.int8 else float)
            )
        return np.array(outputs)

    def run_onnx(path: Path) -> np.ndarray:
        session = onnxruntime.InferenceSession(path)
        return np.concatenate([session.run(None, {"input": image})[0] for image in images[:, None]])

    def run_openvino(path: Path) -> np.ndarray:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.concatenate([compiled(image)[0] for image in images[:, None]])

    reference_runs = {
        "tflite": (run_litert, "model.tflite"),
        "onnx": (run_onnx, "model.onnx"),
        "openvino": (run_openvino, "model.xml"),
    }
    for row in read_table(study):
        if row["verdict"] != "unsupported":
            run, file = reference_runs[row["runtime"]]
            outputs = run(where / row["runtime"] / row["model"] / row["scheme"] / file)
            # Another number of threads may change the order of sums, so one sample may differ.
            assert abs((outputs.argmax(1) == labels).mean() - float(row["quality"])) < 1.5 / len(labels), row


def test_running_the_study_again_does_nothing(study: ProjectClone) -> None:
    again = study.run("dvc", "repro")
    assert "Running stage" not in again.stdout
    assert "up to date" in study.run("dvc", "status").stdout


def test_a_changed_method_reruns_only_its_descendants(study: ProjectClone) -> None:
    source = study.path / "edgeproof/methods/prune_channels.py"
    before = source.read_text()
    source.write_text(before + "\n# touched\n")
    try:
        changed = set(json.loads(study.run("dvc", "status", "--json").stdout))
        planned = study.run("dvc", "repro", "--dry").stdout
    finally:
        source.write_text(before)
    assert changed == {"prune@student_slim"}
    assert "Stage 'train@teacher' didn't change" in planned
    assert "Stage 'distill@student' didn't change" in planned
    assert "Running stage 'prune@student_slim'" in planned


def test_dvc_reports_only_the_stage_of_a_changed_parameter(study: ProjectClone) -> None:
    with edit_temporarily(study.path / "params.yaml", ("bits: 4", "bits: 5")):
        changed = set(json.loads(study.run("dvc", "status", "--json").stdout))
    assert changed == {"quantize@student_slim_w4"}


def test_a_damaged_model_gives_one_clear_message_and_is_restored_from_the_cache(study: ProjectClone) -> None:
    weights = study.path / "models/student/weights.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[: len(original) // 2])
    failed = study.run("python", "-m", "stages.model", "student_slim", check=False)
    assert failed.returncode == 2
    assert "weights.safetensors is damaged" in failed.stderr
    assert "Traceback" not in failed.stderr
    study.run("dvc", "checkout", "--force", "models/student")
    assert weights.read_bytes() == original


def test_dvc_shows_metrics_plots_and_experiments(study: ProjectClone) -> None:
    metrics = json.loads(study.run("dvc", "metrics", "show", "--json").stdout)
    shown = metrics[""]["data"]["results/metrics.json"]["data"]["local"]
    assert set(shown) == {"tflite", "onnx", "openvino"}
    assert shown["onnx"]["student_slim_w4 int8-static"]["accuracy"] > 0.9
    plots = study.run("dvc", "plots", "show", "--out", "plots-shown").stdout
    assert "index.html" in plots
    page = (study.path / "plots-shown/index.html").read_text()
    assert "student_slim_w4" in page
    shutil.rmtree(study.path / "plots-shown")
    assert "digits" in study.run("dvc", "exp", "show", "--csv").stdout


@pytest.mark.thorough
def test_the_commands_of_the_pipeline_in_docs_studies_md_work(other: ProjectClone, tmp_path: Path) -> None:
    """One of them is an experiment with another temperature, which reruns the student but not the teacher."""
    study = ProjectClone(shutil.copytree(other.path, tmp_path / "copy", symlinks=True))
    study.edgeproof("compose", "study=digits", "bench.runtimes=[onnx]", "bench.final=[]")
    commands = [line.partition("#")[0].split() for line in find_block("studies.md", "dvc repro").list_commands()]
    assert [" ".join(command[:2]) for command in commands[1:]] == [
        "dvc repro",
        "dvc exp",
        "dvc metrics",
        "dvc plots",
        "dvc exp",
    ]
    printed = [study.run(*command).stdout for command in commands[1:]]
    assert "Running stage 'distill@student'" in printed[1]
    assert "Running stage 'train@teacher'" not in printed[1]
    options = yaml.safe_load((study.path / "params.yaml").read_text())["distill"]["student"]["options"]
    assert options["temperature"] == 2
    assert "accuracy" in printed[2]


def test_the_committed_parameters_are_the_composition_of_the_default_study() -> None:
    from edgeproof.config import compose, params_file

    text = (ROOT / "params.yaml").read_text()
    assert yaml.safe_load(text) == compose.compose().model_dump(mode="json", by_alias=True)
    assert not params_file.is_edited_by_hand(ROOT / "params.yaml")
