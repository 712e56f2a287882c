"""Sessions whose runtime fails, and outputs that are missing or damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.bench.quality import parse_outputs
from edgeproof.bench.schedule import Job
from edgeproof.config.params import Params
from edgeproof.core.errors import ArtifactError, DeviceError
from edgeproof.core.ports import Port
from edgeproof.records import kinds, record_files
from tests.support import tiny_task
from tests.support.bench_project import open_session, write_project


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("body", "timeout_s", "message"),
    [
        ("raise RuntimeError('no such kernel')", 60, "RuntimeError: no such kernel"),
        ("print('out of beads', flush=True); os._exit(3)", 60, "code 3: out of beads"),
        ("os.kill(os.getpid(), 11)", 60, "ended by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", 60, "ended by SIGKILL, as the system does when memory runs out"),
        ("os.kill(os.getpid(), 37)", 60, "ended by signal 37"),
        ("signal.pause()", 1, "ended after 1 s"),
        ("resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))", 60, "File too large|disk full"),
    ],
    ids=["raises", "exits", "crashes", "killed", "killed by a nameless signal", "hangs", "has no space"],
)
def test_a_failing_runtime_is_a_record_with_its_reason_and_does_not_end_the_session(
    digits_study: Params,
    plugin_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    timeout_s: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = tiny_task.RUNTIME.replace("self._matrix = ", f"{body}\n        self._matrix = ")
    write_project(tmp_path, "import os, resource, signal\n" + broken, timeout_s)
    job = Job("matrix", "m", "fp32", "single_stream", 0)
    session = open_session(digits_study)
    session.measure(job, 0)
    (path,) = tmp_path.rglob(kinds.RECORD_FILE)
    record = record_files.read(path.parent)
    assert record.verdict == "error"
    assert re.search(message, record.content["reasons"][0])
    assert list((tmp_path / ".edgeproof/devices/desk/jobs").iterdir()) == []


@pytest.mark.parametrize(
    "log",
    [
        [],
        [{"qsl_idx": 0, "data": "0000803f"}],
        [{"qsl_idx": 0, "data": "0000803f"}, {"qsl_idx": 2, "data": "0000803f"}],
        [{"qsl_idx": 0, "data": "0000803f"}, {"qsl_idx": 1, "data": ""}],
        [{"qsl_idx": i, "data": "0000803f"} for i in range(3)],
    ],
    ids=["none", "one missing", "another sample", "an empty answer", "one too many"],
)
def test_missing_outputs_are_a_device_error(log: list[dict[str, Any]]) -> None:
    with pytest.raises(DeviceError, match="of 2 samples"):
        parse_outputs(log, 2, [])


def test_outputs_that_are_not_finite_are_a_device_error() -> None:
    log = [{"qsl_idx": 0, "data": "0000803f"}, {"qsl_idx": 1, "data": "0000c07f"}]
    with pytest.raises(DeviceError, match="1 of 2 outputs hold NaN or infinity"):
        parse_outputs(log, 2, [])


def test_outputs_are_parsed_in_any_order_as_little_endian_floats() -> None:
    log = [{"qsl_idx": 1, "data": "0000803f00000040"}, {"qsl_idx": 0, "data": "000080bf00000000"}]
    for ports in ([], [Port("scores", (2,))]):
        (outputs,) = parse_outputs(log, 2, ports)
        assert outputs.tolist() == [[-1.0, 0.0], [1.0, 2.0]]


def test_several_outputs_are_split_by_their_ports() -> None:
    ports = [Port("boxes", (2, 2)), Port("count", (), "int64"), Port("mask", (3,), "uint8")]
    boxes, counts = np.arange(8, dtype="<f4").reshape(2, 2, 2), np.array([-1, 2**40], "<i8")
    masks = np.array([[1, 2, 255], [0, 0, 7]], np.uint8)
    rows = [boxes[n].tobytes() + counts[n : n + 1].tobytes() + masks[n].tobytes() for n in range(2)]
    log = [{"qsl_idx": n, "data": rows[n].hex()} for n in (1, 0)]
    outputs = parse_outputs(log, 2, ports)
    assert [(array.dtype, array.shape) for array in outputs] == [
        (np.dtype(np.float32), (2, 2, 2)), (np.dtype(np.int64), (2,)), (np.dtype(np.uint8), (2, 3))
    ]  # fmt: skip
    for array, expected in zip(outputs, (boxes, counts, masks), strict=True):
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(DeviceError, match="27 bytes a sample, and the outputs have 24"):
        parse_outputs(log, 2, ports[:2])


def test_a_damaged_artifact_is_refused_before_anything_is_measured(digits_study: Params, project: Path) -> None:
    path = project / "artifacts/matrix/m/fp32/matrix.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"matrix\.npy is damaged"):
        open_session(digits_study)
