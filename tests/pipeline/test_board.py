"""The quick study on the emulated board, from Debian's packages to its table. Asked for by 'make test-board' alone.

It fetches 200 MB from Debian's archive and PyPI and emulates for a quarter of an hour.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeproof.records import kinds, record_files
from edgeproof.records.record import Record
from tests.pipeline.conftest import Clone, clone

pytestmark = [pytest.mark.board, pytest.mark.timeout(7200)]

MEMORY_MIB, PORT = 1024, 22024
RUNTIMES = ("tflite", "onnx", "openvino")
# Where both machines compute in integers throughout, or OpenVINO on arm64 leaves layers of an int8 model in fp32.
IDENTICAL = {("tflite", "int8-static"), ("tflite", "int8-dynamic"), ("onnx", "int8-static")}
ROUNDED, PARTLY_FLOATING = 1e-4, 0.05


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone with a board of its own, in which the quick study has run on this machine and on the board."""
    made = clone(tmp_path_factory.mktemp("board"))
    board = (sys.executable, "-m", "edgeproof.board")
    try:
        made.run(*board, "up", "--memory-mib", str(MEMORY_MIB), "--port", str(PORT))
        made.edgeproof("repro", "digits", "bench.devices=[local,board]")
        yield made
    finally:
        made.run(*board, "down")


def outputs(project: Clone, device: str, runtime: str) -> dict[tuple[str, str], tuple[Record, np.ndarray]]:
    """The accuracy runs of a device by model and scheme, with what it answered."""
    root = project.path / f"results/studies/digits/records/{device}_{runtime}"
    found = [record for record in record_files.read_all(root) if record.content["scenario"] == kinds.ACCURACY]
    return {(of.content["model"], of.content["scheme"]): (of, of.array("outputs.npz", "outputs")) for of in found}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_board_answers_as_this_machine_does(project: Clone, runtime: str) -> None:
    here, there = outputs(project, "local", runtime), outputs(project, "board", runtime)
    assert here.keys() == there.keys() != set()
    for (model, scheme), (record, answers) in there.items():
        other, expected = here[model, scheme]
        assert record.content["result"]["fingerprint"]["architecture"] == "aarch64"
        assert other.content["result"]["fingerprint"]["architecture"] != "aarch64"
        assert record.content["accuracy"] == other.content["accuracy"], (runtime, model, scheme)
        np.testing.assert_array_equal(answers.argmax(1), expected.argmax(1), err_msg=f"{runtime} {model} {scheme}")
        if (runtime, scheme) in IDENTICAL:
            np.testing.assert_array_equal(answers, expected, err_msg=f"{runtime} {model} {scheme}")
        else:
            share = PARTLY_FLOATING if scheme.startswith("int8") else ROUNDED
            assert np.abs(answers - expected).max() <= share * np.abs(expected).max(), (runtime, model, scheme)


def test_every_run_on_the_board_is_valid_and_its_times_stand_apart(project: Clone) -> None:
    root = project.path / "results/studies/digits"
    for runtime in RUNTIMES:
        of_board = list(record_files.read_all(root / f"records/board_{runtime}"))
        assert {record.verdict for record in of_board} <= {"valid", "unsupported"}
        assert {"SingleStream", "Offline", "Server"} <= {of.content.get("job", {}).get("scenario") for of in of_board}
    measured, _, rest = Path(root / "tables/table.md").read_text(encoding="utf-8").partition("## Emulated")
    assert "| board |" not in measured
    assert "| board |" in rest


def test_the_board_has_the_memory_that_was_asked_for(project: Clone) -> None:
    record = next(iter(outputs(project, "board", "tflite").values()))[0]
    assert 0.85 < record.content["result"]["fingerprint"]["memory_bytes"] / (MEMORY_MIB * 2**20) < 1
