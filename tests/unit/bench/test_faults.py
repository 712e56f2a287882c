"""A session on a device that fails on purpose: every job ends as a record, and none with a wrong verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgeproof.bench import dispatch, session
from edgeproof.bench.schedule import Job
from edgeproof.bench.subject import build_subject
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.records import kinds, record_files
from edgeproof.records.record import Record
from edgeproof.transports.fake import Transport
from tests.support.bench_project import build_study, write_project
from tests.support.verdict_limits import TOLERANT

SINGLE = Job("matrix", "m", "fp32", "single_stream", 0)
ACCURACY = Job("matrix", "m", "fp32", kinds.ACCURACY, 0)


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    card = tmp_path / "devices" / "desk.yaml"
    card.write_text(card.read_text().replace("transport: local", "transport: fake"))
    return tmp_path


def script(project: Path, *faults: dict[str, Any]) -> None:
    path = project / ".edgeproof/devices/desk/faults.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(list(faults)))


def measured(digits_study: Params, job: Job) -> Record:
    chosen = build_study(digits_study, device="desk", transport="fake")
    item = chosen.bench["desk_matrix"]
    return session.BenchSession(item, build_subject(item, chosen), TOLERANT).measure(job, 0)


def test_without_a_fault_the_device_measures(digits_study: Params, project: Path) -> None:
    record = measured(digits_study, ACCURACY)
    assert (record.verdict, record.content["accuracy"]) == ("valid", {"correct": 40, "total": 50})


@pytest.mark.parametrize("job", [SINGLE, ACCURACY], ids=["latency", "accuracy"])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"call": "run", "fault": "link cut"}, "link to the device was lost"),
        ({"call": "pull", "fault": "link cut"}, "link to the device was lost"),
        ({"call": "push", "nth": 2, "fault": "link cut"}, "link to the device was lost"),
        ({"call": "push", "nth": 2, "fault": "disk full"}, "No space left on device"),
        ({"call": "push", "nth": 2, "fault": "corrupted file"}, "damaged on its way to the device"),
        ({"call": "run", "fault": "disk full"}, "File too large|disk full|left|ended with code|cut short"),
        ({"call": "run", "fault": "corrupted file"}, "is damaged"),
        ({"call": "run", "fault": "hang"}, "ended after 60 s"),
        (
            {"call": "run", "fault": "lying output", "text": "all went well"},
            r"ended, but the device left no jobs/\w+/result",
        ),
        ({"call": "run", "fault": "clock stepped"}, r"clock jumped by \+3600"),
        ({"call": "pull", "fault": "corrupted file"}, "damaged on its way from the device"),
        ({"call": "pull", "fault": "lying output"}, "not what a runner reports"),
        ({"call": "pull", "fault": "lying output", "text": "[" * 100_000}, "can't be read: RecursionError"),
        ({"call": "pull", "fault": "lying output", "text": "not JSON"}, "can't be read: JSONDecodeError"),
    ],
    ids=lambda value: f"{value['fault']} on {value['call']}" if isinstance(value, dict) else None,
)
def test_a_fault_ends_as_an_error_with_its_reason(
    digits_study: Params, project: Path, job: Job, fault: dict[str, Any], told: str
) -> None:
    script(project, fault)
    record = measured(digits_study, job)
    assert record.verdict == "error"
    (reason,) = record.content["reasons"]
    assert re.search(told, reason), reason
    assert "accuracy" not in record.content
    assert list((project / ".edgeproof/devices/desk/jobs").glob("*")) == []


def test_what_decayed_on_the_device_is_sent_anew_by_the_next_session(digits_study: Params, project: Path) -> None:
    script(project, {"call": "run", "fault": "corrupted file"})
    assert measured(digits_study, ACCURACY).verdict == "error"
    script(project)
    for path in project.rglob(kinds.RECORD_FILE):
        path.unlink()
    assert measured(digits_study, ACCURACY).content["accuracy"] == {"correct": 40, "total": 50}


def test_a_cut_link_is_tried_again_at_the_end_of_the_session(
    digits_study: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REPEATS", 1)
    script(project, {"call": "run", "nth": 1, "fault": "link cut"})
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    session.run_study_session("desk_matrix", chosen, TOLERANT)
    root = project / "results/records/desk_matrix/matrix/m.fp32"
    verdicts = {path.name: record_files.read(path).verdict for path in root.glob("accuracy*")}
    assert verdicts == {"accuracy.0": "error", "accuracy.0.again1": "valid"}


def test_a_device_that_is_gone_ends_the_session_which_goes_on_when_it_is_back(
    digits_study: Params, project: Path
) -> None:
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    # The third run and all after it find no device.
    script(project, *({"call": "run", "nth": n, "fault": "link cut"} for n in range(3, 100)))
    with pytest.raises(DeviceError, match=r"device 'desk' can't be reached: the link.*The same command continues"):
        session.run_study_session("desk_matrix", chosen, TOLERANT)
    kept = {path: path.read_bytes() for path in (project / ".edgeproof/sessions").rglob(kinds.RECORD_FILE)}
    assert kept
    assert all(json.loads(content)["verdict"] != "error" for content in kept.values())
    script(project)
    session.run_study_session("desk_matrix", chosen, TOLERANT)
    found = list(record_files.read_all(project / "results/records"))
    last = {record.content["scenario"]: record for record in sorted(found, key=lambda r: r.content["attempt"])}
    assert {name: record.verdict for name, record in last.items()} == {
        "accuracy": "valid", "single_stream": "valid", "server": "valid", "profile": "valid",
        "unsupported": "unsupported",
    }  # fmt: skip
    contents = {(record.directory / kinds.RECORD_FILE).read_bytes() for record in found}
    assert set(kept.values()) <= contents  # what was measured before was not measured again


def test_a_board_cannot_add_records_or_files_of_its_own(digits_study: Params, plugin_root: Path, project: Path) -> None:
    forging = (
        "import json, pathlib\n"
        "there = pathlib.Path.cwd()\n"
        "(there / 'evil.0').mkdir(exist_ok=True)\n"
        "for place in (there, there / 'evil.0'):\n"
        "    (place / 'record.json').write_text(json.dumps({'schema': 1, 'verdict': 'valid', 'files': {}}))\n"
        "(there / 'outputs.npz').write_bytes(b'')\n"
    )
    runtime = plugin_root / "runtimes" / "matrix.py"
    runtime.write_text(runtime.read_text().replace("def describe():", f"{forging}\ndef describe():"))
    record = measured(digits_study, SINGLE)
    assert record.verdict == "valid"
    assert record.content["runtime"] == "matrix"
    assert set(record.content["files"]) == {
        "latencies.npz", "telemetry.csv", "user.conf",
        *(f"mlperf_log_{name}" for name in ("accuracy.json", "detail.txt", "summary.txt", "trace.json")),
    }  # fmt: skip
    assert [path.parent.name for path in project.rglob(kinds.RECORD_FILE)] == ["single_stream.0"]


def test_durations_that_would_fill_the_memory_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MAX_ARRAY_BYTES", 10_000)
    zeros = np.zeros(100_000, np.uint64)
    np.savez_compressed(tmp_path / "latencies.npz", call_ns=zeros, invoke_ns=zeros, started_ns=zeros)
    with pytest.raises(DeviceError, match="more than 10,000 bytes"):
        dispatch.read_call_ns(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- {call: run, falt: hang}", "Did you mean 'fault'?"),
        ("- {call: pull, fault: hang}", "a pull has no 'hang'"),
        ("- {call: run, fault: melted}", "fault"),
        ("- {call: run, fault: hang, nth: 0}", "nth"),
        ("on: [", "not YAML"),
    ],
)
def test_a_wrong_script_is_refused_by_what_it_says(tmp_path: Path, content: str, told: str) -> None:
    device = Transport(tmp_path)
    (tmp_path / "faults.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        device.run(["true"], 1)
    assert told in str(caught.value)


# --- cards that a session holds a device to ------------------------------------------------------------------------


def amend(project: Path, **lines: Any) -> None:
    path = project / "devices" / "desk.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **lines}))


def test_a_run_on_another_device_than_the_cards_is_invalid(digits_study: Params, project: Path) -> None:
    amend(project, fingerprint={"cores": 4096})
    record = measured(digits_study, ACCURACY)
    assert record.verdict == "invalid"
    assert "not the device that its card describes: cores: 4096 →" in record.content["reasons"][0]
    assert "accuracy" not in record.content
    assert not record.content["disturbed"]


def test_a_runtime_that_the_card_does_not_list_is_unsupported_there(digits_study: Params, project: Path) -> None:
    amend(project, runtimes={"null": None})
    session.run_study_session("desk_matrix", build_study(digits_study, transport="fake"))
    found = list(record_files.read_all(project / "results/records"))
    assert {record.verdict for record in found} == {"unsupported"}
    told = {record.content["scheme"]: record.content["reasons"] for record in found}
    assert told["fp32"] == ["device 'desk' has no runtime 'matrix' (its card lists null)"]
    assert told["int8-static"] == ["a matrix has no integers"]


def test_the_card_keeps_the_runner_on_its_cores_and_below_its_memory(
    digits_study: Params, plugin_root: Path, project: Path
) -> None:
    amend(project, cores=[0], memory_mb=500)
    record = measured(digits_study, SINGLE)
    assert record.verdict == "valid"
    told = record.content["result"]["fingerprint"]
    assert (told["affinity"], told["memory_limit_bytes"]) == ([0], 500_000_000)
    assert (record.content["job"]["cores"], record.content["job"]["memory_bytes"]) == ([0], 500_000_000)


def test_a_model_that_needs_more_memory_than_the_card_allows_is_an_error_that_says_so(
    digits_study: Params, plugin_root: Path, project: Path
) -> None:
    runtime = plugin_root / "runtimes" / "matrix.py"
    greedy = "self._greed = bytearray(600_000_000)\n        self._matrix = "
    runtime.write_text(runtime.read_text().replace("self._matrix = ", greedy))
    assert measured(digits_study, SINGLE).verdict == "valid"
    for path in project.rglob(kinds.RECORD_FILE):
        path.unlink()
    amend(project, memory_mb=500)
    record = measured(digits_study, SINGLE)
    assert record.verdict == "error"
    assert "MemoryError" in record.content["reasons"][0]


def test_processors_that_the_device_lacks_are_an_error_that_says_so(digits_study: Params, project: Path) -> None:
    amend(project, cores=[4095])
    record = measured(digits_study, SINGLE)
    assert record.verdict == "error"
    assert "OSError" in record.content["reasons"][0]


def test_a_simulated_npu_is_never_measured(digits_study: Params, project: Path) -> None:
    amend(project, npu="ethos-u55-128")
    session.run_study_session("desk_matrix", build_study(digits_study, transport="fake"))
    found = list(record_files.read_all(project / "results/records"))
    assert {record.verdict for record in found} == {"unsupported"}
    assert {record.content["reasons"][0] for record in found} == {
        "a matrix has no integers",
        "Vela, which estimates Ethos-U's cycles, reads TFLite files only, not those of matrix",
    }
    assert not any(record.content["scenario"] == "single_stream" for record in found)
