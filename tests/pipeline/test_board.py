"""Tests of the quick study on the emulated board, from Debian's packages to the table. 'make test-board' runs them.

They download 200 MB from Debian's archive and PyPI, and the emulation takes a quarter of an hour.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeproof.records import kinds, record_files
from edgeproof.records.record import Record
from tests.support.project_clones import ProjectClone, clone_project

pytestmark = [pytest.mark.board, pytest.mark.timeout(7200)]

MEMORY_MIB, PORT = 1024, 22024
RUNTIMES = ("tflite", "onnx", "openvino")
# Both machines compute these in integers only. OpenVINO on arm64 leaves some layers of an int8 model in fp32.
IDENTICAL = {("tflite", "int8-static"), ("tflite", "int8-dynamic"), ("onnx", "int8-static")}
ROUNDED, PARTLY_FLOATING = 1e-4, 0.05


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectClone]:
    """Make a clone with its own board, and run the quick study on this machine and on the board."""
    project = clone_project(tmp_path_factory.mktemp("board"))
    board = (sys.executable, "-m", "edgeproof.board")
    try:
        project.run(*board, "up", "--memory-mib", str(MEMORY_MIB), "--port", str(PORT))
        project.edgeproof("repro", "digits", "bench.devices=[local,board]")
        yield project
    finally:
        project.run(*board, "down")


def read_outputs(project: ProjectClone, device: str, runtime: str) -> dict[tuple[str, str], tuple[Record, np.ndarray]]:
    """Return the accuracy runs of a device by model and scheme, with their outputs."""
    root = project.path / f"results/studies/digits/records/{device}_{runtime}"
    records = [record for record in record_files.read_all(root) if record.content["scenario"] == kinds.ACCURACY]
    return {
        (record.content["model"], record.content["scheme"]): (record, record.read_array("outputs.npz", "outputs"))
        for record in records
    }


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_board_gives_the_same_outputs_as_this_machine(project: ProjectClone, runtime: str) -> None:
    here, there = read_outputs(project, "local", runtime), read_outputs(project, "board", runtime)
    assert here.keys() == there.keys() != set()
    for (model, scheme), (record, outputs) in there.items():
        other, expected = here[model, scheme]
        assert record.content["result"]["fingerprint"]["architecture"] == "aarch64"
        assert other.content["result"]["fingerprint"]["architecture"] != "aarch64"
        assert record.content["quality"] == other.content["quality"], (runtime, model, scheme)
        np.testing.assert_array_equal(outputs.argmax(1), expected.argmax(1), err_msg=f"{runtime} {model} {scheme}")
        if (runtime, scheme) in IDENTICAL:
            np.testing.assert_array_equal(outputs, expected, err_msg=f"{runtime} {model} {scheme}")
        else:
            share = PARTLY_FLOATING if scheme.startswith("int8") else ROUNDED
            assert np.abs(outputs - expected).max() <= share * np.abs(expected).max(), (runtime, model, scheme)


def test_every_run_on_the_board_is_valid_and_in_a_table_of_its_own(project: ProjectClone) -> None:
    root = project.path / "results/studies/digits"
    for runtime in RUNTIMES:
        records = list(record_files.read_all(root / f"records/board_{runtime}"))
        assert {record.verdict for record in records} <= {"valid", "unsupported"}
        assert {"SingleStream", "Offline", "Server"} <= {
            record.content.get("job", {}).get("scenario") for record in records
        }
    measured, _, rest = Path(root / "tables/table.md").read_text(encoding="utf-8").partition("## Emulated")
    assert "| board |" not in measured
    assert "| board |" in rest


def test_the_board_has_the_requested_memory(project: ProjectClone) -> None:
    record = next(iter(read_outputs(project, "board", "tflite").values()))[0]
    assert 0.85 < record.content["result"]["fingerprint"]["memory_bytes"] / (MEMORY_MIB * 2**20) < 1
