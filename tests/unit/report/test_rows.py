"""Build rows from records: every figure is numpy's or LoadGen's, and refused runs have none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgeproof.core.errors import ArtifactError
from edgeproof.records import record_files
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from tests.support import record_trees
from tests.support.example_rows import PLAIN

ORDER = {"devices": ["local"], "models": ["teacher", "student"], "runtimes": ["onnx", "tflite"]}


def read(root: Path, *, baseline: str = "teacher", **order: Sequence[str]) -> list[Row]:
    return read_rows(root, baseline=baseline, order={**ORDER, **order})


def read_one(root: Path, **settings: Any) -> Row:
    (row,) = read(root, **settings)
    return row


def durations(seed: int, n: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(10, 0.2, n).astype(np.uint64)


# --- latency -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "name"), [(50, "p50_ns"), (90, "p90_ns"), (99, "p99_ns")])
def test_a_rows_percentiles_are_numpys_of_the_recorded_durations(tmp_path: Path, percent: int, name: str) -> None:
    record_trees.write(tmp_path, call_ns=durations(0))
    assert getattr(read_one(tmp_path), name).value == pytest.approx(np.percentile(durations(0), percent))


def test_several_processes_give_the_geometric_mean_of_their_percentiles(tmp_path: Path) -> None:
    for process in range(3):
        record_trees.write(tmp_path, call_ns=durations(process), process=process)
    row = read_one(tmp_path)
    expected = np.exp(np.mean([np.log(np.percentile(durations(process), 50)) for process in range(3)]))
    assert row.p50_ns is not None
    assert row.p50_ns.value == pytest.approx(expected)
    assert row.processes == 3


def test_too_few_durations_publish_no_percentile(tmp_path: Path) -> None:
    record_trees.write(tmp_path, call_ns=durations(0, 100))
    row = read_one(tmp_path)
    assert row.p50_ns is not None
    assert row.p90_ns is not None
    assert row.p99_ns is None


def test_changed_durations_of_a_record_stop_the_report(tmp_path: Path) -> None:
    directory = record_trees.write(tmp_path, call_ns=durations(0))
    np.savez_compressed(directory / "latencies.npz", call_ns=durations(1))
    with pytest.raises(ArtifactError, match=r"latencies\.npz"):
        read(tmp_path)


def test_a_speed_up_is_against_the_baselines_fp32_on_the_same_device_and_runtime(tmp_path: Path) -> None:
    for runtime, factor in (("onnx", 8), ("tflite", 2)):
        record_trees.write(tmp_path, runtime=runtime, call_ns=1000 * factor * np.ones(100))
        record_trees.write(tmp_path, runtime=runtime, scheme="int8-static", call_ns=np.full(100, 500))
        record_trees.write(tmp_path, runtime=runtime, model="student", call_ns=np.full(100, 1000))
    rows = {(row.runtime, row.model, row.scheme): row.speed_up for row in read(tmp_path)}
    value = {key: estimate and round(estimate.value, 6) for key, estimate in rows.items()}
    assert value == {
        ("onnx", "teacher", "fp32"): None,
        ("onnx", "teacher", "int8-static"): 16,
        ("onnx", "student", "fp32"): 8,
        ("tflite", "teacher", "fp32"): None,
        ("tflite", "teacher", "int8-static"): 4,
        ("tflite", "student", "fp32"): 2,
    }


def test_without_the_baseline_nothing_is_compared(tmp_path: Path) -> None:
    record_trees.write(tmp_path, model="student", call_ns=durations(0))
    record_trees.write(tmp_path, "accuracy", model="student", correct=[True, False])
    row = read_one(tmp_path)
    assert row.speed_up is None
    assert row.quality_difference is None


def test_the_harnesss_cost_is_that_of_the_null_runtime_in_the_same_session(tmp_path: Path) -> None:
    key = "result_50.00_percentile_latency_ns"
    for runtime, overhead in (("onnx", 1500), ("tflite", 2500)):
        record_trees.write(tmp_path, runtime="null", session_of=runtime, log={key: overhead}, call_ns=durations(9))
        record_trees.write(tmp_path, runtime=runtime, call_ns=durations(0))
    rows = {row.runtime: row.harness_p50_ns for row in read(tmp_path)}
    assert set(rows) == {"onnx", "tflite"}
    assert rows["onnx"] is not None
    assert rows["onnx"].value == 1500
    assert rows["tflite"] is not None
    assert rows["tflite"].value == 2500


# --- LoadGen's own figures -----------------------------------------------------------------------------------------


def test_a_multi_stream_figure_is_loadgens_latency_of_a_whole_query(tmp_path: Path) -> None:
    # LoadGen writes both, and its metric for MultiStream is the second.
    log = {"result_99.00_percentile_latency_ns": 477_088, "result_99.00_percentile_per_query_latency_ns": 600_961}
    record_trees.write(tmp_path, "multi_stream", log=log, call_ns=durations(0))
    estimate = read_one(tmp_path).multi_stream_p99_ns
    assert estimate is not None
    assert estimate.value == 600_961


def test_offline_and_server_figures_are_loadgens_rates_averaged_over_processes(tmp_path: Path) -> None:
    for process, rate in enumerate((900.0, 1100.0)):
        offline = {"result_samples_per_second": rate, "result_mean_latency_ns": 1}
        server = {"result_completed_samples_per_sec": rate / 4, "result_scheduled_samples_per_sec": 1e9}
        record_trees.write(tmp_path, "offline", process=process, log=offline)
        record_trees.write(tmp_path, "server", process=process, log=server)
    row = read_one(tmp_path)
    assert row.offline_samples_per_s is not None
    assert row.offline_samples_per_s.value == 1000
    assert row.server_samples_per_s is not None
    assert row.server_samples_per_s.value == 250


def test_memory_is_the_most_of_all_processes_and_loading_times_are_means(tmp_path: Path) -> None:
    for process, (rss, load) in enumerate([(10, 100), (30, 200), (20, 600)]):
        result = {"peak_rss_bytes": rss, "load_ns": load, "first_inference_ns": 2 * load}
        record_trees.write(tmp_path, process=process, call_ns=durations(process), result=result)
    row = read_one(tmp_path)
    assert row.peak_rss_bytes == 30
    assert row.load_ns is not None
    assert row.load_ns.value == 300
    assert row.first_inference_ns is not None
    assert row.first_inference_ns.value == 600


# --- accuracy ------------------------------------------------------------------------------------------------------


def test_accuracy_is_the_share_of_right_answers_and_its_difference_is_paired(tmp_path: Path) -> None:
    ours = np.array([True] * 62 + [False] * 38)
    theirs = np.array([True] * 50 + [False] * 12 + [True] * 5 + [False] * 33)
    record_trees.write(tmp_path, "accuracy", correct=theirs)
    record_trees.write(tmp_path, "accuracy", model="student", correct=ours)
    teacher, student = read(tmp_path)
    assert teacher.quality is not None
    assert teacher.quality.value == 0.55
    assert teacher.quality_difference is None
    assert student.quality is not None
    assert student.quality.value == 0.62
    assert student.quality_difference is not None
    assert student.quality_difference.value == pytest.approx(0.07)
    half = 1.959963984540054 * np.std(ours.astype(float) - theirs.astype(float)) / 10
    assert student.quality_difference.high == pytest.approx(0.07 + half)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["invalid", "error"])
def test_one_invalid_run_removes_the_figures_of_its_scenario_and_lists_its_reason(tmp_path: Path, verdict: str) -> None:
    record_trees.write(tmp_path, process=0, call_ns=durations(0))
    record_trees.write(tmp_path, process=1, call_ns=durations(1), verdict=verdict, reasons=["LoadGen: too short"])
    record_trees.write(tmp_path, "offline", log={"result_samples_per_second": 70.0})
    record_trees.write(tmp_path, "accuracy", correct=[True])
    row = read_one(tmp_path)
    assert row.verdict == verdict
    assert row.reasons == ("single_stream 1: LoadGen: too short",)
    assert (row.p50_ns, row.p90_ns, row.p99_ns, row.load_ns, row.peak_rss_bytes) == (None,) * 5
    assert row.processes == 0
    assert row.harness_p50_ns is None
    assert row.offline_samples_per_s is not None  # another scenario's runs are none the worse for it
    assert row.quality is not None


def test_a_run_that_failed_before_its_job_began_removes_the_figures_of_its_scenario(tmp_path: Path) -> None:
    record_trees.write(tmp_path, process=0, call_ns=durations(0))
    record_trees.write(tmp_path, process=1, verdict="error", reasons=["the device did not answer"], job=False)
    row = read_one(tmp_path)
    assert row.verdict == "error"
    assert row.p50_ns is None
    assert row.processes == 0


def test_an_accuracy_run_that_failed_publishes_no_accuracy(tmp_path: Path) -> None:
    record_trees.write(tmp_path, "accuracy", verdict="error", reasons=["the answers have gaps"])
    record_trees.write(tmp_path, call_ns=durations(0))
    row = read_one(tmp_path)
    assert row.quality is None
    assert row.p50_ns is not None
    assert row.reasons == ("accuracy 0: the answers have gaps",)


def test_an_invalid_null_run_gives_no_harness_cost(tmp_path: Path) -> None:
    log = {"result_50.00_percentile_latency_ns": 1500}
    record_trees.write(tmp_path, runtime="null", session_of="onnx", log=log)
    record_trees.write(
        tmp_path, runtime="null", session_of="onnx", log=log, process=1, verdict="invalid", reasons=["x"]
    )
    record_trees.write(tmp_path, call_ns=durations(0))
    assert read_one(tmp_path).harness_p50_ns is None


def test_the_worst_verdict_is_the_rows(tmp_path: Path) -> None:
    for process, verdict in enumerate(["valid", "error", "invalid"]):
        record_trees.write(tmp_path, process=process, call_ns=durations(0), verdict=verdict, reasons=[verdict])
    row = read_one(tmp_path)
    assert row.verdict == "error"
    assert len(row.reasons) == 3


def test_an_unsupported_artifact_is_a_row_with_its_reason_and_no_figure(tmp_path: Path) -> None:
    record_trees.write_unsupported(tmp_path, "no such kernels", scheme="int8-dynamic")
    row = read_one(tmp_path)
    assert row.verdict == "unsupported"
    assert row.reasons == ("no such kernels",)
    assert row.parameters == 1234
    figures = ("size_bytes", "gzip_bytes", "quality", "p50_ns", "speed_up", "peak_rss_bytes", "offline_samples_per_s")
    assert [getattr(row, name) for name in figures] == [None] * len(figures)


# --- which rows, in which order ------------------------------------------------------------------------------------


def test_rows_come_in_the_studys_order_of_models_runtimes_and_schemes(tmp_path: Path) -> None:
    schemes = ["int8-qat", "int8-static", "fp32", "int8-dynamic", "fp16", "int8-static-mse", "int4-weights", "bf16"]
    for runtime in ("tflite", "onnx"):
        for model in ("student", "teacher"):
            for scheme in schemes:
                record_trees.write(tmp_path, runtime=runtime, model=model, scheme=scheme, call_ns=durations(0, 11))
    ordered = ["fp32", "fp16", "bf16", "int4-weights", "int8-dynamic", "int8-static", "int8-static-mse", "int8-qat"]
    expected = [(m, r, s) for m in ("teacher", "student") for r in ("onnx", "tflite") for s in ordered]
    assert [(row.model, row.runtime, row.scheme) for row in read(tmp_path)] == expected


@pytest.mark.parametrize("gone", [{"devices": ["board"]}, {"models": ["student"]}, {"runtimes": ["tflite"]}])
def test_records_that_the_study_no_longer_names_are_left_out(tmp_path: Path, gone: dict[str, list[str]]) -> None:
    record_trees.write(tmp_path, call_ns=durations(0))
    assert len(read(tmp_path)) == 1
    assert read(tmp_path, **gone) == []


def test_no_records_make_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_two_devices_are_compared_each_with_its_own_baseline(tmp_path: Path) -> None:
    for device, baseline in (("local", 4000), ("board", 90_000)):
        record_trees.write(tmp_path, device=device, call_ns=np.full(100, baseline))
        record_trees.write(tmp_path, device=device, model="student", call_ns=np.full(100, 2000))
    rows = read(tmp_path, devices=["board", "local"])
    assert [(row.device, row.model) for row in rows] == [
        ("board", "teacher"),
        ("board", "student"),
        ("local", "teacher"),
        ("local", "student"),
    ]
    assert [row.speed_up and round(row.speed_up.value) for row in rows] == [None, 45, None, 2]


def test_a_row_has_its_lineage_conditions_and_last_measurement(tmp_path: Path) -> None:
    lineage = {"parent": {"name": "big", "sha256": "0"}, "teacher": {"name": "wise", "sha256": "1"}}
    for process, when in enumerate(["2026-01-03", "2026-01-01"]):
        record_trees.write(
            tmp_path, process=process, call_ns=durations(0), described={"lineage": lineage}, measured_at=when
        )
    row = read_one(tmp_path)
    assert (row.parent, row.teacher) == ("big", "wise")
    assert row.measured_at == "2026-01-03"
    assert (row.cpu, row.threads, row.versions) == ("A Processor", 1, {"numpy": "2.0"})


# --- repetitions ---------------------------------------------------------------------------------------------------


def test_a_repeated_run_stands_for_the_disturbed_one_and_is_counted(tmp_path: Path) -> None:
    disturbed = {"verdict": "invalid", "reasons": ["others used 1.00 processors"], "disturbed": True}
    for process in range(3):
        record_trees.write(tmp_path, process=process, call_ns=durations(process), **(disturbed if process == 1 else {}))
    again = record_trees.write(tmp_path / "aside", process=1, attempt=1, call_ns=durations(7))
    again.rename(tmp_path / "local_onnx/onnx/teacher.fp32/single_stream.1.again1")
    row = read_one(tmp_path)
    assert (row.verdict, row.reasons, row.repeated, row.processes) == ("valid", (), 1, 3)
    expected = np.exp(np.mean([np.log(np.percentile(durations(seed), 50)) for seed in (0, 7, 2)]))
    assert row.p50_ns is not None
    assert row.p50_ns.value == pytest.approx(expected)


def test_a_repetition_that_is_invalid_removes_the_figures_of_its_scenario(tmp_path: Path) -> None:
    record_trees.write(tmp_path, process=0, call_ns=durations(0))
    again = record_trees.write(
        tmp_path / "aside", process=0, attempt=1, call_ns=durations(1), verdict="invalid", reasons=["steal"]
    )
    again.rename(tmp_path / "local_onnx/onnx/teacher.fp32/single_stream.0.again1")
    row = read_one(tmp_path)
    assert row.verdict == "invalid"
    assert row.p50_ns is None


# --- the engine's share, deviations, instructions ------------------------------------------------------------------


def test_the_engines_share_is_the_percentile_of_its_own_durations(tmp_path: Path) -> None:
    record_trees.write(tmp_path, call_ns=durations(0))
    row = read_one(tmp_path)
    assert row.invoke_p50_ns is not None
    assert row.invoke_p50_ns.value == pytest.approx(np.percentile(durations(0) * 9 // 10, 50))


def test_the_deviation_between_processes_is_that_of_their_medians(tmp_path: Path) -> None:
    for process, factor in enumerate((1.0, 1.1, 1.2)):
        record_trees.write(tmp_path, process=process, call_ns=durations(0) * factor)
    row = read_one(tmp_path)
    assert row.p50_between == pytest.approx(np.std(np.log([1.0, 1.1, 1.2]), ddof=1), rel=1e-3)
    assert row.p50_within is not None
    assert 0 < row.p50_within < row.p50_between


def test_counted_instructions_are_the_rows_figure_with_their_method(tmp_path: Path) -> None:
    record_trees.write(tmp_path, call_ns=durations(0))
    counted = record_trees.write(
        tmp_path / "aside", job=False, instructions={"per_inference": 672_538, "method": "callgrind"}
    )
    record = counted.rename(tmp_path / "local_onnx/onnx/teacher.fp32/instructions.0") / "record.json"
    record.write_text(record.read_text().replace('"scenario": "single_stream"', '"scenario": "instructions"'))
    row = read_one(tmp_path)
    assert (row.verdict, row.instructions, row.instructions_method) == ("valid", 672_538, "callgrind")
    assert row.p50_ns is not None


def test_remarks_of_an_export_are_in_its_row(tmp_path: Path) -> None:
    notes = ["weights of 1 CONV_2D left in fp32"]
    record_trees.write(tmp_path, call_ns=durations(0), artifact={"notes": notes})
    record_trees.write(tmp_path, model="student", call_ns=durations(0))
    assert {row.model: list(row.notes) for row in read(tmp_path)} == {"teacher": notes, "student": []}


# --- the same model elsewhere --------------------------------------------------------------------------------------


def hits(right: int, seed: int = 0, total: int = 10_000) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(total) < right)


@pytest.mark.parametrize(
    ("scheme", "lost", "refused"),
    [
        ("fp32", 0, False),
        ("fp32", 3, False),
        ("fp32", 40, True),
        ("int8-static", 40, False),
        ("int8-static", 600, True),
        ("int4-weights", 300, False),
        ("int4-static", 300, False),
        ("int4-weights", 600, True),
    ],
)
def test_an_accuracy_significantly_below_that_in_another_runtime_is_refused(
    tmp_path: Path, scheme: str, lost: int, refused: bool
) -> None:
    ours = hits(9000)
    theirs = ours.copy()
    theirs[np.flatnonzero(ours)[:lost]] = False
    for runtime, correct in (("onnx", ours), ("tflite", theirs)):
        record_trees.write(tmp_path, "accuracy", runtime=runtime, scheme=scheme, correct=correct)
    onnx, tflite = read(tmp_path)
    assert onnx.verdict == "valid"
    assert (tflite.verdict == "invalid") is refused
    if refused:
        assert tflite.quality is None
        assert f"{lost / 100:.2f} points below that of onnx" in tflite.reasons[0]


def test_independent_errors_of_equal_accuracy_are_no_disagreement(tmp_path: Path) -> None:
    for seed, runtime in enumerate(("onnx", "tflite")):
        record_trees.write(tmp_path, "accuracy", runtime=runtime, correct=hits(9000, seed))
    assert [row.verdict for row in read(tmp_path)] == ["valid", "valid"]


def test_artifacts_are_compared_across_devices_and_never_across_schemes(tmp_path: Path) -> None:
    record_trees.write(tmp_path, "accuracy", correct=hits(9000), scheme="int8-static")
    record_trees.write(tmp_path, "accuracy", correct=hits(8400), scheme="int8-static", device="board")
    record_trees.write(tmp_path, "accuracy", correct=hits(7000), scheme="int8-dynamic")
    rows = read(tmp_path, devices=["local", "board"])
    verdicts = {(row.device, row.scheme): row.verdict for row in rows}
    assert verdicts == {
        ("local", "int8-static"): "valid",
        ("board", "int8-static"): "invalid",
        ("local", "int8-dynamic"): "valid",
    }
    (reason,) = next(row.reasons for row in rows if row.device == "board")
    assert "below that of onnx on local" in reason


def test_a_refused_accuracy_is_not_used_for_differences(tmp_path: Path) -> None:
    for runtime, right in (("onnx", 9000), ("tflite", 8000)):
        record_trees.write(tmp_path, "accuracy", runtime=runtime, correct=hits(right))
        record_trees.write(tmp_path, "accuracy", runtime=runtime, model="student", correct=hits(8500))
    differences = {(row.runtime, row.model): row.quality_difference for row in read(tmp_path)}
    assert differences["onnx", "student"] is not None
    assert differences["tflite", "student"] is None


# --- qualities that are no proportions -----------------------------------------------------------------------------


def errors(scale: float, seed: int = 0, total: int = 400) -> dict[str, np.ndarray]:
    """Return the evidence of an RMSE: the squared errors of samples that are hard or easy for every artifact."""
    difficulty = np.random.default_rng(0).normal(0, 1, total)
    noise = np.random.default_rng(seed).normal(0, 0.05, total)
    return {"squared_error": (scale * (difficulty + noise)) ** 2}


def test_an_rmse_is_the_root_of_the_mean_squared_error_with_the_interval_of_its_record(tmp_path: Path) -> None:
    evidence = errors(1.0)
    directory = record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=evidence)
    row = read_one(tmp_path)
    recorded = record_files.read(directory).quality
    assert recorded is not None
    assert row.quality == recorded.estimate
    assert row.quality.value == pytest.approx(np.sqrt(evidence["squared_error"].mean()))
    assert row.quality.low < row.quality.value < row.quality.high
    assert (row.metric_name, row.metric and row.metric.better) == ("rmse", "less")
    assert row.seed_qualities == {0: row.quality.value}


def test_the_difference_of_two_rmses_is_paired(tmp_path: Path) -> None:
    ours, theirs = errors(0.9, seed=1), errors(1.0)
    record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=theirs)
    record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=ours, model="student")
    teacher, student = read(tmp_path)
    difference = student.quality_difference
    assert difference is not None
    assert teacher.quality is not None
    assert student.quality is not None
    assert difference.value == pytest.approx(student.quality.value - teacher.quality.value)
    # The same samples are hard for both, so the interval of the difference is narrower than that of either quality.
    assert difference.high - difference.low < (teacher.quality.high - teacher.quality.low) / 2
    assert difference.high < 0


@pytest.mark.parametrize(
    ("scheme", "growth", "refused"),
    [
        ("fp32", 1.0, False),
        ("fp32", 1.0001, False),  # what another order of additions may do
        ("fp32", 1.05, True),
        ("int8-static", 1.005, False),
        ("int8-static", 1.05, True),
        ("int4-weights", 1.04, False),
        ("int4-weights", 1.2, True),
    ],
)
def test_an_rmse_significantly_above_that_in_another_runtime_is_refused(
    tmp_path: Path, scheme: str, growth: float, refused: bool
) -> None:
    for runtime, scale in (("onnx", 2.0), ("tflite", 2.0 * growth)):
        record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=errors(scale), runtime=runtime, scheme=scheme)
    onnx, tflite = read(tmp_path)
    assert onnx.verdict == "valid"
    assert (tflite.verdict == "invalid") is refused
    if refused:
        assert tflite.quality is None
        assert re.fullmatch(r"RMSE is \d\.\d{3} above that of onnx \(p = .*\)", tflite.reasons[0])


def test_a_lower_auc_in_another_runtime_is_refused_and_a_higher_one_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(400) % 2 == 0
    good = positive + rng.normal(0, 0.5, 400)
    bad = np.where(rng.random(400) < 0.2, rng.normal(0.5, 1, 400), good)
    for runtime, scores in (("onnx", bad), ("tflite", good)):
        evidence = {"scores": scores, "positive": positive}
        record_trees.write(tmp_path, "accuracy", metric="auc", evidence=evidence, runtime=runtime)
    onnx, tflite = read(tmp_path)
    assert (onnx.verdict, tflite.verdict) == ("invalid", "valid")
    assert "below that of tflite" in onnx.reasons[0]
    assert tflite.quality is not None
    assert tflite.quality.value == pytest.approx(roc_auc_score(positive, good))


def test_qualities_of_two_metrics_are_not_compared(tmp_path: Path) -> None:
    record_trees.write(tmp_path, "accuracy", correct=hits(300, total=400))
    record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=errors(1.0), model="student")
    student = read(tmp_path)[1]
    assert student.quality is not None
    assert student.quality_difference is None


def test_missing_evidence_stops_the_report_and_is_named(tmp_path: Path) -> None:
    record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=errors(1.0))
    record_trees.write(tmp_path, "accuracy", metric="rmse", evidence=errors(1.0), model="student")
    next(tmp_path.rglob("student*/*/evidence.npz")).unlink()
    with pytest.raises(ArtifactError, match=r"evidence\.npz is missing or damaged"):
        read(tmp_path)


def test_rows_of_earlier_tables_are_read_as_accuracies() -> None:
    content = PLAIN.as_dict()
    former = {name: value for name, value in content.items() if name not in ("metric", "metric_name")}
    names = {"quality": "accuracy", "quality_difference": "accuracy_difference", "seed_qualities": "seed_accuracies"}
    old = {names.get(name, name): value for name, value in former.items()}
    assert Row.from_dict(old) == Row.from_dict(content) == PLAIN
    unmeasured = Row.from_dict({**old, "accuracy": None, "seed_accuracies": {"0": 0.5}})
    assert (unmeasured.quality, unmeasured.seed_qualities, unmeasured.metric) == (None, {0: 0.5}, PLAIN.metric)


def test_compliance_runs_publish_no_latency(tmp_path: Path) -> None:
    record_trees.write(tmp_path, call_ns=durations(0))
    alone = read_one(tmp_path)
    aside = record_trees.write(tmp_path / "aside", call_ns=np.full(1000, 5), compliance="TEST04")
    aside.rename(tmp_path / "local_onnx/onnx/teacher.fp32/single_stream_test04.0")
    assert read_one(tmp_path).p50_ns == alone.p50_ns
    assert read_one(tmp_path).processes == 1
