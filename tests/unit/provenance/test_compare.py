"""Compare devices, commits, nights and cells by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError
from edgeproof.records.conditions import UnlikeConditions
from tests.support import record_trees

NIGHTS = ("2026-01-01", "2026-01-02")
COMMITS = ("a" * 40, "b" * 40)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write records of two nights with a commit each. Only the student got slower, by 20%. A board is twice as slow."""
    root = tmp_path / "records"
    rng = np.random.default_rng(0)
    for n, (night, commit) in enumerate(zip(NIGHTS, COMMITS, strict=True)):
        for model, factor in (("teacher", 1.0), ("student", 1.2 if n else 1.0)):
            for process in range(5):
                write(root, night, commit, model, process, 1e5 * factor * np.exp(rng.normal(0, 0.005)))
    for process in range(5):
        ns = 2e5 * np.exp(rng.normal(0, 0.005))
        write(root, "2026-01-03", COMMITS[1], "teacher", process, ns, device="board", cpu="Another")
    return root


def write(
    root: Path,
    night: str,
    commit: str,
    model: str,
    process: int,
    ns: float,
    cpu: str = "A",
    facts: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    rng = np.random.default_rng(process)
    record_trees.write(
        root,
        model=model,
        process=process,
        call_ns=ns * np.exp(rng.normal(0, 0.01, 200)),
        session_of=night,
        session_id=night,
        measured_at=f"{night}T01:00:00+00:00",
        commit={"id": commit, "modified": []},
        result={"fingerprint": {"cpu": cpu, **(facts or {})}},
        **more,
    )


def run_compare(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.run(["compare", *arguments, "--records", str(root)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("sides", [NIGHTS, ("aaaaaaa", "bbbbbbbb")])
def test_nights_and_commits_are_compared_cell_by_cell(
    root: Path, capsys: pytest.CaptureFixture[str], sides: tuple[str, str]
) -> None:
    text = run_compare(root, capsys, *sides)
    line = next(line for line in text.splitlines() if "local/onnx/student/fp32" in line)
    assert line.rstrip().endswith("slower")
    assert line.split()[1:3] == ["5,", "5"]
    assert float(line.split()[3]) == pytest.approx(1.2, rel=0.02)
    assert next(line for line in text.splitlines() if "teacher" in line).rstrip().endswith("no difference shown")
    assert "1 slower; 1 no difference shown" in text


def test_the_output_says_in_how_many_cells_ranks_cannot_confirm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With 3 processes a side, the smallest p-value of Mann and Whitney's test is 2/20.
    for night, commit, factor in zip(NIGHTS, COMMITS, (1.0, 1.5), strict=True):
        for process in range(3):
            write(tmp_path / "records", night, commit, "teacher", process, 1e5 * factor * (1 + process / 1000))
    text = run_compare(tmp_path / "records", capsys, *NIGHTS)
    assert "1 slower" in text
    assert "in 1 cell(s) processes are too few for ranks, and t decides alone" in text


def test_two_devices_are_compared_and_their_conditions_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run_compare(root, capsys, "local", "board")
    line = next(line for line in text.splitlines() if line.startswith("onnx/teacher/fp32"))
    assert line.split()[1:3] == ["5,", "5"]
    assert line.split()[3].startswith("2.")
    assert "1 cell(s) left out: only one side has valid runs" in text
    assert "unlike conditions: cpu: A → Another" in text


def test_cells_are_compared_by_name_from_their_last_sessions(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run_compare(root, capsys, "local/onnx/teacher/fp32", "local/onnx/student/fp32")
    assert "verdict: slower" in text
    assert "paired processes" in text


def test_a_night_under_other_conditions_is_refused_unless_allowed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root, "2026-01-05", COMMITS[1], "teacher", 0, 1e5, cpu="B")
    with pytest.raises(UnlikeConditions, match="cpu: A → B"):
        run_compare(root, capsys, NIGHTS[0], "2026-01-05")
    text = run_compare(root, capsys, NIGHTS[0], "2026-01-05", "--unlike")
    assert "too few processes" in text
    assert "unlike conditions: cpu: A → B" in text


def test_a_night_with_other_affinity_is_refused_as_a_comparison_of_cells_would(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root, "2026-01-05", COMMITS[1], "teacher", 0, 1e5, facts={"affinity": [1], "serial_number": "7"})
    with pytest.raises(UnlikeConditions, match=r"affinity: absent → \[1\]"):
        run_compare(root, capsys, NIGHTS[0], "2026-01-05")
    text = run_compare(root, capsys, NIGHTS[0], "2026-01-05", "--unlike")
    assert "also different: serial_number: absent → 7" in text


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (NIGHTS[0], "local", "'2026-01-01' is a night and 'local' is a device"),
        (NIGHTS[0], "teacher", "a night and 'teacher' is a cell"),
        (
            NIGHTS[0],
            "2025-01-01",
            "night '2025-01-01' has no valid single-stream run. Nights with records: 2026-01-01, ",
        ),
        ("local", "nowhere", "'local' is a device and 'nowhere' is a cell"),
        ("nowhere", "teacher", "no cell has 'nowhere'"),
        (NIGHTS[0], "2026-01-03", "no cell in common"),
    ],
)
def test_things_that_cannot_be_compared_are_refused_with_the_reason(
    root: Path, capsys: pytest.CaptureFixture[str], a: str, b: str, message: str
) -> None:
    with pytest.raises(EdgeproofError, match=message):
        run_compare(root, capsys, a, b)
