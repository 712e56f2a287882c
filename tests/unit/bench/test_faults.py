"""Sessions on a device that fails on purpose: every job ends as a record, and none has a wrong verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgeproof.bench import latency_file, session
from edgeproof.bench.schedule import Job
from edgeproof.bench.subject import build_subject
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.records import array_files, kinds, record_files
from edgeproof.records.record import Record
from edgeproof.transports.fake import Transport
from tests.support.bench_project import build_study, write_project
from tests.support.record_trees import count_correct
from tests.support.verdict_limits import TOLERANT

pytestmark = pytest.mark.end_to_end

SINGLE = Job("matrix", "m", "fp32", "single_stream", 0)
ACCURACY = Job("matrix", "m", "fp32", kinds.ACCURACY, 0)


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    card = tmp_path / "devices" / "desk.yaml"
    card.write_text(card.read_text().replace("transport: local", "transport: fake"))
    return tmp_path


def write_faults(project: Path, *faults: dict[str, Any]) -> None:
    path = project / ".edgeproof/devices/desk/faults.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(list(faults)))


def measure(digits_study: Params, job: Job) -> Record:
    chosen = build_study(digits_study, device="desk", transport="fake")
    item = chosen.bench["desk_matrix"]
    return session.BenchSession(item, build_subject(item, chosen), TOLERANT).measure(job, 0)


def test_a_device_without_faults_measures(digits_study: Params, project: Path) -> None:
    record = measure(digits_study, ACCURACY)
    assert (record.verdict, count_correct(record)) == ("valid", (40, 50))


@pytest.mark.parametrize("job", [SINGLE, ACCURACY], ids=["latency", "accuracy"])
@pytest.mark.parametrize(
    ("fault", "message"),
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
    digits_study: Params, project: Path, job: Job, fault: dict[str, Any], message: str
) -> None:
    write_faults(project, fault)
    record = measure(digits_study, job)
    assert record.verdict == "error"
    (reason,) = record.content["reasons"]
    assert re.search(message, reason), reason
    assert "quality" not in record.content
    assert list((project / ".edgeproof/devices/desk/jobs").glob("*")) == []


def test_a_file_that_is_damaged_on_the_device_is_sent_again_by_the_next_session(
    digits_study: Params, project: Path
) -> None:
    write_faults(project, {"call": "run", "fault": "corrupted file"})
    assert measure(digits_study, ACCURACY).verdict == "error"
    write_faults(project)
    for path in project.rglob(kinds.RECORD_FILE):
        path.unlink()
    assert count_correct(measure(digits_study, ACCURACY)) == (40, 50)


def test_a_job_whose_link_was_lost_is_repeated_at_the_end_of_the_session(
    digits_study: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REPEATS", 1)
    write_faults(project, {"call": "run", "nth": 1, "fault": "link cut"})
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    session.run_study_session("desk_matrix", chosen, TOLERANT)
    root = project / "results/records/desk_matrix/matrix/m.fp32"
    verdicts = {path.name: record_files.read(path).verdict for path in root.glob("accuracy*")}
    assert verdicts == {"accuracy.0": "error", "accuracy.0.again1": "valid"}


def test_a_session_stops_when_its_device_is_gone_and_continues_when_it_is_back(
    digits_study: Params, project: Path
) -> None:
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    # The link is lost in the third run and in all later ones.
    write_faults(project, *({"call": "run", "nth": n, "fault": "link cut"} for n in range(3, 100)))
    with pytest.raises(DeviceError, match=r"device 'desk' can't be reached: the link.*The same command continues"):
        session.run_study_session("desk_matrix", chosen, TOLERANT)
    kept = {path: path.read_bytes() for path in (project / ".edgeproof/sessions").rglob(kinds.RECORD_FILE)}
    assert kept
    assert all(json.loads(content)["verdict"] != "error" for content in kept.values())
    write_faults(project)
    session.run_study_session("desk_matrix", chosen, TOLERANT)
    records = list(record_files.read_all(project / "results/records"))
    last = {record.content["scenario"]: record for record in sorted(records, key=lambda r: r.content["attempt"])}
    assert {name: record.verdict for name, record in last.items()} == {
        "accuracy": "valid", "single_stream": "valid", "server": "valid", "profile": "valid",
        "unsupported": "unsupported",
    }  # fmt: skip
    contents = {(record.directory / kinds.RECORD_FILE).read_bytes() for record in records}
    assert set(kept.values()) <= contents  # earlier records are kept


def test_a_device_cannot_add_records_or_files_to_a_session(
    digits_study: Params, plugin_root: Path, project: Path
) -> None:
    forging = (
        "import json, pathlib, sys\n"
        "there = pathlib.Path.cwd()\n"
        "if sys.argv[0].endswith('.pyz'):\n"  # on the device; the host imports the runtime too
        "    (there / 'evil.0').mkdir(exist_ok=True)\n"
        "    for place in (there, there / 'evil.0'):\n"
        "        (place / 'record.json').write_text(json.dumps({'schema': 1, 'verdict': 'valid', 'files': {}}))\n"
        "    (there / 'outputs.npz').write_bytes(b'')\n"
    )
    runtime = plugin_root / "runtimes" / "matrix.py"
    runtime.write_text(runtime.read_text().replace("def describe():", f"{forging}\ndef describe():"))
    record = measure(digits_study, SINGLE)
    assert record.verdict == "valid"
    assert record.content["runtime"] == "matrix"
    assert set(record.content["files"]) == {
        "latencies.npz", "telemetry.csv", "user.conf",
        *(f"mlperf_log_{name}" for name in ("accuracy.json", "detail.txt", "summary.txt", "trace.json")),
    }  # fmt: skip
    assert [path.parent.name for path in project.rglob(kinds.RECORD_FILE)] == ["single_stream.0"]


def test_a_file_of_durations_that_would_fill_the_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "MAX_ARRAY_BYTES", 10_000)
    zeros = np.zeros(100_000, np.uint64)
    np.savez_compressed(tmp_path / "latencies.npz", call_ns=zeros, invoke_ns=zeros, started_ns=zeros)
    with pytest.raises(DeviceError, match="more than 10,000 bytes"):
        latency_file.read_call_ns(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- {call: run, falt: hang}", "Did you mean 'fault'?"),
        ("- {call: pull, fault: hang}", "the call 'pull' has no fault 'hang'"),
        ("- {call: run, fault: melted}", "fault"),
        ("- {call: run, fault: hang, nth: 0}", "nth"),
        ("on: [", "not YAML"),
    ],
)
def test_an_invalid_script_of_faults_is_refused_with_the_problem(tmp_path: Path, content: str, message: str) -> None:
    device = Transport(tmp_path)
    (tmp_path / "faults.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        device.run(["true"], 1)
    assert message in str(caught.value)


# --- limits of a card ------------------------------------------------------------------------


def change_card(project: Path, **lines: Any) -> None:
    path = project / "devices" / "desk.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **lines}))


def test_a_run_on_a_device_that_differs_from_its_card_is_invalid(digits_study: Params, project: Path) -> None:
    change_card(project, fingerprint={"cores": 4096})
    record = measure(digits_study, ACCURACY)
    assert record.verdict == "invalid"
    assert "not the device that its card describes: cores: 4096 →" in record.content["reasons"][0]
    assert "quality" not in record.content
    assert not record.content["disturbed"]


def test_a_runtime_that_the_card_does_not_list_is_unsupported(digits_study: Params, project: Path) -> None:
    change_card(project, runtimes={"null": None})
    session.run_study_session("desk_matrix", build_study(digits_study, transport="fake"))
    records = list(record_files.read_all(project / "results/records"))
    assert {record.verdict for record in records} == {"unsupported"}
    reasons = {record.content["scheme"]: record.content["reasons"] for record in records}
    assert reasons["fp32"] == ["device 'desk' has no runtime 'matrix' (its card lists null)"]
    assert reasons["int8-static"] == ["a matrix has no integers"]


def test_the_runner_keeps_the_limits_of_the_card_on_cores_and_memory(
    digits_study: Params, plugin_root: Path, project: Path
) -> None:
    change_card(project, cores=[0], memory_mb=500)
    record = measure(digits_study, SINGLE)
    assert record.verdict == "valid"
    fingerprint = record.content["result"]["fingerprint"]
    assert (fingerprint["affinity"], fingerprint["memory_limit_bytes"]) == ([0], 500_000_000)
    assert (record.content["job"]["cores"], record.content["job"]["memory_bytes"]) == ([0], 500_000_000)


def test_a_model_that_needs_more_memory_than_the_card_allows_is_an_error(
    digits_study: Params, plugin_root: Path, project: Path
) -> None:
    runtime = plugin_root / "runtimes" / "matrix.py"
    greedy = "self._greed = bytearray(600_000_000)\n        self._matrix = "
    runtime.write_text(runtime.read_text().replace("self._matrix = ", greedy))
    assert measure(digits_study, SINGLE).verdict == "valid"
    for path in project.rglob(kinds.RECORD_FILE):
        path.unlink()
    change_card(project, memory_mb=500)
    record = measure(digits_study, SINGLE)
    assert record.verdict == "error"
    assert "MemoryError" in record.content["reasons"][0]


def test_processors_that_the_device_lacks_are_an_error(digits_study: Params, project: Path) -> None:
    change_card(project, cores=[4095])
    record = measure(digits_study, SINGLE)
    assert record.verdict == "error"
    assert "OSError" in record.content["reasons"][0]


def test_nothing_is_measured_on_a_simulated_npu(digits_study: Params, project: Path) -> None:
    change_card(project, npu="ethos-u55-128")
    session.run_study_session("desk_matrix", build_study(digits_study, transport="fake"))
    records = list(record_files.read_all(project / "results/records"))
    assert {record.verdict for record in records} == {"unsupported"}
    assert {record.content["reasons"][0] for record in records} == {
        "a matrix has no integers",
        "Vela, which estimates Ethos-U's cycles, reads TFLite files only, not those of matrix",
    }
    assert not any(record.content["scenario"] == "single_stream" for record in records)
