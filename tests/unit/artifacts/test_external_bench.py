"""Measurement of external files with 'edgeproof bench', from the file to the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeproof.artifacts.external import files
from edgeproof.bench import external, external_results, recheck, runner_jobs
from edgeproof.bench.bench_session import BenchSession
from edgeproof.cli import main
from edgeproof.config import runtime_extras
from edgeproof.core import directories
from edgeproof.core.errors import ConfigError
from edgeproof.records import record_files
from edgeproof.records.record import Record
from edgeproof.report import interleaved
from tests.support import placed_models
from tests.support.absent_runtimes import is_absent
from tests.support.external_files import FEATURES, WEIGHTS, make_samples, write_data, write_onnx, write_openvino
from tests.support.external_project import run_bench, write_project
from tests.support.markdown_tables import read_cells
from tests.support.onnx_cases import write_graph
from tests.support.record_trees import count_correct

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("tolerant_limits")]


@pytest.fixture(scope="module")
def results_dir(tolerant_limits: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measure an .onnx file with two runtimes and data, and return the directory of its results."""
    root = write_project(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEPROOF_PLUGINS", raising=False)
        patch.chdir(root)
        write_onnx(root / "Linear Map.onnx", batch="N")
        run_bench(
            "Linear Map.onnx", "--data", write_data(root / "data.npz"), "--runtimes", "onnx,openvino", "--name", "mine"
        )
    return root / "results/brought/mine"


def test_every_runtime_has_the_accuracy_that_numpy_computes(results_dir: Path) -> None:
    x, y = make_samples()
    for runtime in ("onnx", "openvino"):
        record = record_files.read(results_dir / f"records/local_{runtime}/{runtime}/linear_map.as-is/accuracy.0")
        np.testing.assert_allclose(record.read_array("outputs.npz", "outputs"), x @ WEIGHTS, rtol=1e-4, atol=1e-4)
        assert count_correct(record) == (int(((x @ WEIGHTS).argmax(1) == y).sum()), len(y)) == (30, 40)


def test_the_table_has_a_row_for_each_runtime_and_no_column_for_unknown_facts(results_dir: Path) -> None:
    rows = read_cells((results_dir / "tables/table.md").read_text())
    assert [row["runtime"] for row in rows] == ["onnx", "openvino"]
    for row in rows:
        names = [row[heading] for heading in ("device", "model", "from", "method", "verdict")]
        assert names == ["local", "linear_map", "Linear Map.onnx", "brought", "valid"]
        assert row["accuracy, %"].startswith("75.00 [")
        assert not {"parameters", "MACs", "zeros, %"} & row.keys()


def test_the_compare_command_reads_the_records(results_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (results_dir / f"records/local_{name}/{name}/linear_map.as-is" for name in ("onnx", "openvino"))
    assert main.run(["compare", str(one), str(two)]) == 0
    assert "verdict: too few processes" in capsys.readouterr().out


def test_interleaved_runs_compare_each_file_with_the_first(
    bench_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interleaved, "ROUNDS", 3)
    monkeypatch.setattr(runner_jobs, "INTERLEAVED_DURATION_MS", 50)
    for name in ("one", "two", "three"):
        write_onnx(bench_project / f"{name}.onnx")
    assert run_bench("one.onnx", "two.onnx", "three.onnx", "--interleaved") == 0
    text = (bench_project / "results/brought/one_interleaved/tables/interleaved.md").read_text()
    printed = capsys.readouterr().out.splitlines()
    for name in ("two", "three"):
        assert f"| onnx | {name}/as-is | one/as-is | 3 | " in text
        assert any(f"{name}/as-is" in line.split() for line in printed)
    records = list(record_files.read_all(bench_project / "results/brought/one_interleaved/records"))
    assert {(record.content["scenario"], record.verdict) for record in records} == {("in_turns", "valid")}
    assert len(records) == 6
    for record in records:  # as if the device had changed since its card was written
        card = {**record.content["card"], "fingerprint": {"architecture": "another"}}
        content = {**record.content, "card": card}
        assert recheck.list_problems(Record({**content, "verdict": "invalid"}, record.directory, record.schema)) == []
        (problem,) = recheck.list_problems(Record(content, record.directory, record.schema))
        assert "its verdict is 'valid', but its inputs give 'invalid'" in problem


def test_an_interruption_while_the_tables_are_written_loses_no_measurement(
    bench_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "ROUNDS", 2)
    monkeypatch.setattr(runner_jobs, "INTERLEAVED_DURATION_MS", 20)
    for name in ("one", "two"):
        write_onnx(bench_project / f"{name}.onnx")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(external_results, "write_interleaved_results", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_bench("one.onnx", "two.onnx", "--interleaved")
    assert not (bench_project / "results/brought/one_interleaved").exists()
    monkeypatch.setattr(BenchSession, "_measure", interrupt)
    assert run_bench("one.onnx", "two.onnx", "--interleaved") == 0
    assert (bench_project / "results/brought/one_interleaved/tables/interleaved.md").is_file()
    assert list((bench_project / ".edgeproof/sessions").iterdir()) == []


def test_a_single_file_cannot_be_interleaved(bench_project: Path) -> None:
    write_onnx(bench_project / "one.onnx")
    with pytest.raises(ConfigError, match="--interleaved compares two or more artifacts, and onnx has only one"):
        run_bench("one.onnx", "--interleaved")


def test_files_cannot_be_interleaved_on_a_device_whose_times_are_not_measured(bench_project: Path) -> None:
    for name in ("one", "two"):
        write_onnx(bench_project / f"{name}.onnx")
    with pytest.raises(ConfigError, match="the times of 'ethos_u55' are not measured"):
        run_bench("one.onnx", "two.onnx", "--interleaved", "--device", "ethos_u55")


def test_a_record_holds_the_name_and_the_sha256_of_the_file_and_of_its_data(results_dir: Path) -> None:
    content = record_files.read(results_dir / "records/local_onnx/onnx/linear_map.as-is/single_stream.0").content
    root = results_dir.parents[2]
    digest = directories.hash_file(root / "Linear Map.onnx")
    assert content["artifact"]["model"]["lineage"] == {"parent": {"name": "Linear Map.onnx", "sha256": digest}}
    assert content["task"] == f"data.npz {directories.hash_file(root / 'data.npz')[:12]}"


def test_without_data_there_is_no_accuracy_and_the_table_says_so(bench_project: Path) -> None:
    paths = [write_onnx(bench_project / "a.onnx"), write_openvino(bench_project / "b.xml")]
    results = external.measure_files(
        paths, external.BenchOptions(preset="quick", scenarios=["single_stream", "offline"])
    )
    assert {path.name for path in results.directory.rglob("records/*/*/*/*")} == {
        *("single_stream.0", "offline.0", "profile.0")
    }
    assert "- `a` onnx as-is: no quality: random inputs, seed 0" in results.text
    assert "- `b` openvino as-is: no quality: random inputs, seed 0" in results.text
    assert results.text.count("| valid |") == 2
    assert results.directory == Path("results/brought/a")


def test_nan_in_the_outputs_of_late_samples_is_counted(bench_project: Path) -> None:
    x = np.ones((40, FEATURES), np.float32)
    x[30:33] = -1
    log = onnx.helper.make_node("Log", ["x"], ["y"])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, FEATURES])
    write_graph(bench_project / "m.onnx", [log], outputs=[output])
    np.savez(bench_project / "data.npz", x=x, y=np.zeros(40, np.int64))
    run_bench("m.onnx", "--data", "data.npz", "--name", "late")
    record = record_files.read(bench_project / "results/brought/late/records/local_onnx/onnx/m.as-is/accuracy.0")
    assert record.verdict == "error"
    assert any("3 of 40 outputs hold NaN or infinity" in reason for reason in record.reasons)


@pytest.mark.parametrize(("labels", "key"), [("targets.npy", "y"), ("truth", "truth")])
def test_a_named_metric_scores_labels_of_a_file_or_of_an_array(bench_project: Path, labels: str, key: str) -> None:
    x, _ = make_samples()
    truth = x @ WEIGHTS + np.random.default_rng(5).standard_normal((len(x), 3))
    write_onnx(bench_project / "m.onnx")
    np.savez(bench_project / "data.npz", **({"x": x} if labels.endswith(".npy") else {"x": x, key: truth}))
    np.save(bench_project / "targets.npy", truth)
    assert run_bench("m.onnx", "--data", "data.npz", "--labels", labels, "--metric", "rmse", "--name", "scored") == 0
    record = record_files.read(bench_project / "results/brought/scored/records/local_onnx/onnx/m.as-is/accuracy.0")
    assert record.verdict == "valid"
    assert record.quality is not None
    assert (record.quality.metric, record.quality.better, record.quality.units) == ("rmse", "less", len(x))
    assert record.quality.value == pytest.approx(np.sqrt(((x @ WEIGHTS - truth) ** 2).mean()), rel=1e-4)
    assert record.quality.low < record.quality.value < record.quality.high
    assert recheck.list_problems(record) == []
    table = (bench_project / "results/brought/scored/tables/table.md").read_text()
    assert "RMSE" in table
    assert f"{record.quality.value:.3f}" in table


def test_a_file_of_litert_runs_on_the_kernels_of_microcontrollers_if_they_are_named(bench_project: Path) -> None:
    placed_models.write_reversed_sum(bench_project)
    assert files.open_files([bench_project / "model.tflite"])[0].list_default_runtimes() == ["tflite"]
    if is_absent("tflm"):
        return
    assert run_bench("model.tflite", "--runtimes", "tflm") == 0
    (row,) = read_cells((bench_project / "results/brought/model/tables/table.md").read_text())
    assert (row["runtime"], row["model"]) == ("tflm", "model")


def test_programs_are_exported_for_the_runtimes_that_are_always_installed(bench_project: Path) -> None:
    (bench_project / "m.pt2").touch()
    (file,) = files.open_files([bench_project / "m.pt2"])
    assert file.list_default_runtimes() == ["onnx", "openvino", "tflite"]
    assert {"executorch", "mnn", "ncnn", "tflm", "coreml"} < set(file.list_runtimes())


def test_a_named_runtime_that_is_not_installed_is_refused_with_the_command(
    bench_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "mnn 3.6.1 is not installed. Install the runtime: pip install 'edgeproof[mnn]'"
    monkeypatch.setattr(runtime_extras, "explain_absence", lambda runtime, versions: reason)
    (bench_project / "m.pt2").touch()
    with pytest.raises(ConfigError, match=r"'mnn' can't be used: .* pip install 'edgeproof\[mnn\]'"):
        run_bench("m.pt2", "--runtimes", "mnn")


def test_a_runtime_without_a_pinned_version_is_refused_before_anything_is_exported(bench_project: Path) -> None:
    definition = bench_project / "conf/runtimes/onnx.yaml"
    definition.write_text(definition.read_text().replace("[onnxruntime]", "[not-pinned-anywhere]"))
    write_onnx(bench_project / "m.onnx")
    with pytest.raises(ConfigError, match="pins no version of not-pinned-anywhere"):
        run_bench("m.onnx")
    assert not (bench_project / external.ARTIFACTS_DIR).exists()
