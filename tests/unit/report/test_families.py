"""Compare techniques with their controls: means over seeds and differences, against values worked out by hand."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeproof.report import families, rows
from tests.support import record_trees

ORDER = {"devices": ["local"], "models": ["control", "pruned"], "runtimes": ["onnx"]}
FAMILIES = {"pruning": {"control": None, "pruned": "control"}}


def write_artifact(
    root: Path, model: str, right: Sequence[int], *, scheme: str = "fp32", p50_ns: int = 9000, macs: int = 600
):
    """Write records of one artifact: its latency, and the number of 100 samples that each seed's model gets right."""
    durations = np.full(800, p50_ns)
    record_trees.write(root, model=model, scheme=scheme, call_ns=durations, described={"macs": macs})
    for process, count in enumerate(right):
        record_trees.write(
            root,
            "accuracy",
            model=model,
            scheme=scheme,
            process=process,
            correct=np.arange(100) < count,
            described={"macs": macs, "seed": 10 + process},
        )


def read_families(root: Path) -> list[families.FamilyRow]:
    return families.build_family_rows(rows.read_rows(root, baseline="control", order=ORDER), FAMILIES)


def pick(all_rows: list[families.FamilyRow], model: str, scheme: str = "fp32") -> families.FamilyRow:
    return next(row for row in all_rows if (row.row.model, row.row.scheme) == (model, scheme))


def test_accuracy_is_the_mean_over_seeds_and_the_difference_is_taken_seed_by_seed(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 92, 94])
    write_artifact(tmp_path, "pruned", [91, 92, 96], p50_ns=6000, macs=300)
    row = pick(read_families(tmp_path), "pruned")
    assert row.seeds == 3
    assert row.quality_mean == pytest.approx(0.93)
    assert row.quality_sd == pytest.approx(np.std([0.91, 0.92, 0.96], ddof=1))
    assert row.difference is not None
    # Differences 1, 0 and 2 points: mean 1, standard deviation 1, and t(0.975, 2) = 4.3027 (tables of Student's t).
    assert (row.difference.value, row.difference.high) == pytest.approx((0.01, 0.01 + 4.3027 * 0.01 / 3**0.5), rel=1e-4)
    assert row.macs_ratio == 2.0
    assert row.speed_up is not None
    assert row.speed_up.value == pytest.approx(1.5)


def test_a_row_of_the_main_table_has_the_accuracy_of_the_first_seed(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 92, 94])
    (row,) = rows.read_rows(tmp_path, baseline="control", order=ORDER)
    assert row.quality is not None
    assert row.quality.value == 0.9
    assert row.seed_qualities == {10: 0.9, 11: 0.92, 12: 0.94}


def test_a_model_without_a_control_is_compared_with_its_own_fp32(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 92])
    write_artifact(tmp_path, "control", [89, 91], scheme="int8-static", p50_ns=3000)
    integer, plain = pick(read_families(tmp_path), "control", "int8-static"), pick(read_families(tmp_path), "control")
    assert integer.difference is not None
    assert integer.difference.value == pytest.approx(-0.01)
    assert integer.speed_up is not None
    assert integer.speed_up.value == pytest.approx(3.0)
    assert (plain.difference, plain.speed_up, plain.macs_ratio) == (None, None, None)


def test_quantization_aware_training_is_compared_with_the_calibrated_scheme_of_the_control(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 92])
    write_artifact(tmp_path, "control", [87, 88], scheme="int8-static", p50_ns=6000)
    write_artifact(tmp_path, "pruned", [90, 91], scheme="int8-qat", p50_ns=3000)
    row = pick(read_families(tmp_path), "pruned", "int8-qat")
    assert row.difference is not None
    assert row.difference.value == pytest.approx(0.03)
    assert row.speed_up is not None
    assert row.speed_up.value == pytest.approx(2.0)


def test_a_refused_seed_leaves_no_mean(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 92])
    write_artifact(tmp_path, "pruned", [91])
    record_trees.write(
        tmp_path,
        "accuracy",
        model="pruned",
        process=1,
        verdict="invalid",
        reasons=["below the floor"],
        described={"seed": 11},
    )
    row = pick(read_families(tmp_path), "pruned")
    assert (row.quality_mean, row.difference) == (None, None)
    assert row.row.verdict == "invalid"


def test_the_markdown_and_the_csv_hold_every_row(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 92])
    write_artifact(tmp_path, "pruned", [91, 93])
    family_rows = read_families(tmp_path)
    text = families.format_families(family_rows, study="s")
    assert "## pruning" in text
    assert "| pruned | train | control | onnx | fp32 | 92.00 ± 1.41 | +1.00 [" in text
    lines = list(csv.DictReader(io.StringIO(families.format_families_as_csv(family_rows))))
    assert [line["model"] for line in lines] == ["control", "pruned"]
    assert float(lines[1]["difference"]) == pytest.approx(0.01)
    assert lines[0]["difference"] == ""


def test_a_speed_up_is_that_of_interleaved_runs_with_the_control_if_there_are_any(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 90, 90])
    write_artifact(tmp_path, "pruned", [90, 90, 90], p50_ns=6000)
    for process in range(3):
        partner = {"model": "control", "scheme": "fp32", "pairs": 500, "log_ratio": -np.log(2.0)}
        record_trees.write_interleaved(tmp_path, 0.0, process, model="pruned", in_turns=partner)
    row = pick(read_families(tmp_path), "pruned")
    assert row.speed_up is not None
    assert row.speed_up.value == pytest.approx(2.0), "the medians of single processes say 1.5"
    lines = csv.DictReader(io.StringIO(families.format_families_as_csv(read_families(tmp_path))))
    assert [line["speed_up_in_turns"] for line in lines if line["model"] == "pruned"] == ["True"]


def test_interleaved_runs_with_another_artifact_than_the_control_give_no_speed_up(tmp_path: Path) -> None:
    write_artifact(tmp_path, "control", [90, 90, 90])
    write_artifact(tmp_path, "pruned", [90, 90, 90], p50_ns=6000)
    for process in range(3):
        record_trees.write_interleaved(tmp_path, -np.log(2.0), process, model="pruned")  # with good/fp32
    row = pick(read_families(tmp_path), "pruned")
    assert row.speed_up is not None
    assert row.speed_up.value == pytest.approx(1.5)


def test_a_family_of_regressions_has_the_unit_and_the_direction_of_its_metric(tmp_path: Path) -> None:
    for model, scales in (("control", (2.0, 2.2)), ("pruned", (3.0, 3.4))):
        record_trees.write(tmp_path, model=model, call_ns=np.full(800, 9000))
        for process, scale in enumerate(scales):
            record_trees.write(
                tmp_path,
                "accuracy",
                model=model,
                process=process,
                metric="rmse",
                evidence={"squared_error": np.linspace(0.5, 1.5, 50) * scale**2},
                described={"seed": 10 + process},
            )
    text = families.format_families(read_families(tmp_path), study="s")
    header = next(line for line in text.splitlines() if line.startswith("| model"))
    assert "| RMSE | Δ control |" in header
    # The mean of the squares is the square of the scale, so the qualities are the scales.
    assert "| 3.200 ± 0.283 | +1.100 [-0.171, +2.371] |" in text
    assert "The RMSE is the mean ± standard deviation over training seeds" in text
    assert "Lower is better for RMSE." in text
    assert "%" not in header
