"""Explanations of a pair of cells: slower by operator, less accurate by layer, and names that make no pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.directories import content_sha256, read_meta, write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.core.ports import Port
from edgeproof.provenance.inaccuracy import explain_less_accurate
from edgeproof.provenance.slowness import explain_slower
from edgeproof.report.text_table import format_text_table
from tests.support import record_trees
from tests.unit.provenance.test_layer_noise import SIZE, make_samples, make_weights, to_pictures, write_onnx

RECORDS = Path("results/records")
MODEL = {"name": "net", "sha256": "m" * 64, "method": "train", "lineage": {}}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_cell(scheme: str, *, p50_ns: int = 1000, profile: Any = None, placement: Any = None, **more: Any) -> None:
    """Write the records of a model's cell: a timed run, an accuracy run and a profile."""
    where = {"scheme": scheme, "model": "net", "order": 0, **more}
    record_trees.write(RECORDS, call_ns=np.full(100, p50_ns), **where)
    record_trees.write(RECORDS, "accuracy", correct=np.arange(100) < (90 if scheme == "fp32" else 70), **where)
    if profile is not None:
        record_trees.write(RECORDS, "profile", job=False, profile=profile, placement=placement, **where)


def describe_profile(*operators: tuple[str, str, float]) -> dict[str, Any]:
    entries = [{"name": n, "kind": k, "where": "CPU", "time_ns": 1000 * time_us} for n, k, time_us in operators]
    return {"method": "by hand", "inferences": 50, "operators": entries}


FLOAT = describe_profile(("conv", "Conv", 30.0), ("soft", "Softmax", 1.0))
INTEGER = describe_profile(
    ("q", "QuantizeLinear", 8.0),
    ("conv", "QLinearConv", 20.0),
    ("dq", "DequantizeLinear", 6.0),
    ("soft", "Softmax", 1.5),
)
PLACED = [
    {"name": "conv", "kind": "QLinearConv", "where": "CPU", "reason": ""},
    {"name": "q", "kind": "QUANTIZE", "where": "CPU", "reason": ""},
    {"name": "soft", "kind": "Softmax", "where": "CPU", "reason": "no integer kernel"},
]


def test_the_time_of_operators_and_of_inserted_conversions_is_compared() -> None:
    write_cell("fp32", p50_ns=31_000, profile=FLOAT)
    write_cell("int8-static", p50_ns=35_500, profile=INTEGER, placement={"operators": PLACED})
    text = explain_slower("fp32", "int8-static", RECORDS)
    assert "B takes 1.15 times as long as A." in text
    table = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert table["conversions"] == ["0.0", "0", "14.0", "2", "+14.0"]
    assert table["Conv"] == ["30.0", "1", "20.0", "1", "-10.0"]
    assert table["conv"] == ["QLinearConv", "20.0", "30.0"]  # matched by its name
    assert table["q"] == ["QuantizeLinear", "8.0", "–"]
    assert "Not matched: 2 operators of B" in text
    assert (
        "B has 2 (1 × QuantizeLinear, 1 × DequantizeLinear), A has 0. They take 14.0 µs of B, 39% of its time." in text
    )
    assert "On the expected unit: 2 of 3 operators of B." in text
    assert "The largest loss is in 'conversions': 14.0 µs more than in A." in text


def test_names_that_are_places_in_a_file_match_no_operator_of_another_file() -> None:
    write_cell("fp32", profile=describe_profile(("Convolution_23", "Convolution", 30.0)))
    write_cell("int8-static", profile=describe_profile(("Convolution_23", "Convolution", 20.0)))
    text = explain_slower("fp32", "int8-static", RECORDS)
    assert ["Convolution_23", "Convolution", "20.0", "–"] in [line.split() for line in text.splitlines()]
    assert "Not matched: 1 operators of B" in text


def test_operators_too_fast_for_the_profile_are_counted_from_the_placement() -> None:
    write_cell("fp32", profile=FLOAT)
    write_cell("int8-static", profile=describe_profile(("conv", "QLinearConv", 20.0)), placement={"operators": PLACED})
    text = explain_slower("fp32", "int8-static", RECORDS)
    table = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert table["conversions"] == ["0.0", "0", "0.0", "1", "+0.0"]
    assert table["Conv"] == ["30.0", "1", "20.0", "1", "-10.0"]


def test_a_faster_cell_is_called_so() -> None:
    write_cell("fp32", p50_ns=30_000, profile=FLOAT)
    write_cell("int8-static", p50_ns=15_000, profile=INTEGER)
    assert "B is not slower than A in these records: it takes 0.50 times as long." in explain_slower(
        "fp32", "int8-static", RECORDS
    )


@pytest.mark.parametrize(("p50_ns", "is_explained"), [(15_000, False), (45_000, True)])
def test_a_loss_outside_of_the_operators_is_claimed_only_if_there_is_a_loss(p50_ns: int, is_explained: bool) -> None:
    write_cell("fp32", p50_ns=30_000, profile=FLOAT)
    write_cell("int8-static", p50_ns=p50_ns, profile=FLOAT)
    text = explain_slower("fp32", "int8-static", RECORDS)
    assert ("The loss is outside of the operators." in text) == is_explained


def test_without_a_profiler_the_operators_are_counted_and_the_reason_is_given() -> None:
    missing = {"missing": "LiteRT gives no way to the profiler"}
    write_cell("fp32", profile=missing, placement={"operators": PLACED[:1]})
    write_cell("int8-dynamic", p50_ns=2000, profile=missing, placement={"operators": PLACED})
    text = explain_slower("fp32", "int8-dynamic", RECORDS)
    assert "No time per operator of A: LiteRT gives no way to the profiler." in text
    table = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert table["conversions"] == ["0", "1"]
    assert table["Softmax"] == ["0", "1"]
    assert "µs of B" not in text
    assert "Try int8-static:" in text


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("net/fp32", "net/fp32", "are the same cell"),
        ("net/fp32", "other/fp32", "are of different models"),
        ("net/fp32", "net/int8-statik", "Did you mean 'int8-static'"),
        ("net", "net/fp32", "names 4 cells"),
        ("net/fp32", "net/fp16/board", "are of different devices"),
        ("net/fp32", "net/bf16", "is of an emulator"),
        ("net/fp32", "net/int8-static", "are not known: the records have no profile. Measure again"),
    ],
)
def test_cells_that_make_no_pair_are_refused_with_the_next_step(a: str, b: str, message: str) -> None:
    write_cell("fp32", profile=FLOAT)
    write_cell("int8-static")
    write_cell("fp32", model="other")
    write_cell("fp16", device="board", profile=FLOAT)
    write_cell("bf16", session_of="emulated", card={"emulated": True}, profile=FLOAT)
    with pytest.raises(EdgeproofError, match=message):
        explain_slower(a, b, RECORDS)


def write_artifact(scheme: str, steps: dict[str, float] | None, **changes: Any) -> None:
    """Write an artifact of the ONNX runtime with its samples, and its records."""
    directory = Path("artifacts/onnx/net", scheme)
    directory.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(directory, make_weights(), steps)
    np.save(directory / "samples.npy", to_pictures(make_samples()))
    ports = [Port("x", (SIZE, 1, 1)).to_json()]
    meta = {"runtime": "onnx", "scheme": scheme, "model": MODEL, "inputs": ports, "lowered": ["model.onnx"]}
    write_meta(directory, {**meta, **changes})
    sha256 = content_sha256(read_meta(directory))
    write_cell(scheme, artifact={"sha256": sha256}, described=MODEL)


def test_the_layer_that_is_quantized_badly_is_named_with_schemes_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    write_artifact("fp32", None)
    write_artifact("int8-static-tensor", {"first": 0.03, "second": 1.0, "third": 0.03})
    code = main.run(["explain", "--less-accurate", "fp32", "int8-static-tensor", "--records", str(RECORDS)])
    text = capsys.readouterr().out
    assert code == 0
    assert "Conv 'second.product' adds the most noise of its own: " in text
    assert "Try int8-static: each output channel of the weights has its own scale." in text
    assert "int8-static-mse" not in text
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert shown[:2] == ["layer", "second.product"]


def test_two_quantized_artifacts_stand_side_by_side() -> None:
    write_artifact("fp32", None)
    write_artifact("int8-static", dict.fromkeys(("first", "second", "third"), 0.03))
    write_artifact("int8-static-tensor", dict.fromkeys(("first", "second", "third"), 0.5))
    text = explain_less_accurate("int8-static", "int8-static-tensor", RECORDS)
    rows = [line.split() for line in text.splitlines() if line.strip().startswith("first.product")]
    (row,) = rows
    assert float(row[2]) < float(row[4]) - 15  # B's and A's own


def test_an_artifact_cannot_be_explained_without_its_reference() -> None:
    write_artifact("int8-static", dict.fromkeys(("first", "second", "third"), 0.03))
    write_artifact("int8-dynamic", dict.fromkeys(("first", "second", "third"), 0.03))
    with pytest.raises(EdgeproofError, match=r"fp32 artifact .* is missing: .*dvc repro"):
        explain_less_accurate("int8-dynamic", "int8-static", RECORDS)
    write_artifact("fp32", None, model={**MODEL, "sha256": "other"})
    with pytest.raises(EdgeproofError, match="of another build of the model"):
        explain_less_accurate("fp32", "int8-static", RECORDS)
    with pytest.raises(EdgeproofError, match="is fp32 itself"):
        explain_less_accurate("int8-static", "fp32", RECORDS)


@pytest.mark.parametrize("argv", [[], ["fp32", "--slower", "a", "b"]])
def test_exactly_one_question_is_asked(argv: list[str]) -> None:
    with pytest.raises(EdgeproofError, match="name one cell to explain, or two with --slower A B"):
        main.run(["explain", *argv, "--records", "."])


def test_a_text_table_keeps_one_line_for_each_row_and_the_end_of_long_names() -> None:
    lines = format_text_table(["name", "kind", "µs"], [["a\nb", "Conv", "1.0"], ["x" * 50 + "end", "Conv", "10.0"]])
    assert len(lines) == 3
    assert lines[1].split() == ["a", "b", "Conv", "1.0"]
    assert "xend" in lines[2]
    assert lines[2].split()[0].startswith("…")
    assert len({len(line) for line in lines}) == 1
