"""The tree that mlcommons/inference takes: the open division's, for edge systems.

open/<submitter>/systems/<device>-<runtime>.json          the machine and its software
open/<submitter>/src/README.md                            how to make it again
open/<submitter>/model_mapping.json                       <model>-<scheme> to MLPerf's benchmark
open/<submitter>/results/<system>/<model>-<scheme>/<Scenario>/
    measurements.json user.conf README.md
    performance/run_1/ accuracy/ TEST01/ TEST04/          LoadGen's logs, and what verifies them
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeproof.core.directories import sha256_of, write_json, write_text
from edgeproof.records.record_files import Record
from edgeproof.submission import system_description as told
from edgeproof.submission.compliance import Verification, verify_test01, verify_test04
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.selection import DETAIL, RESPONSES, SUMMARY, USER_CONF, Entry, needed_files
from edgeproof.submission.system_description import NOT_APPLICABLE, UNKNOWN, Terms

# The official tool keeps this much of an accuracy log's beginning and end.
VIEWABLE_BYTES = 4096
CUT = "\n\n...\n\n"


def write(out: Path, entries: Sequence[Entry], terms: Terms, benchmark: str) -> None:
    """Write the whole tree below `out`. Raises SubmissionError when a compliance run does not pass."""
    root = out / "open" / terms.submitter
    by_system = {system_of(entry): entry for entry in entries}
    for system, entry in by_system.items():
        write_json(root / "systems" / f"{system}.json", described(entry, terms))
    write_text(root / "src" / "README.md", told.regenerate(entries, terms))
    write_json(root / "model_mapping.json", {artifact_of(entry): benchmark for entry in entries})
    for entry in entries:
        for scenario in entry.performance:
            directory = root / "results" / system_of(entry) / artifact_of(entry) / scenario
            _write_scenario(directory, entry, scenario, benchmark)


def system_of(entry: Entry) -> str:
    """The name of the device with its runtime."""
    return f"{entry.device}-{entry.runtime}"


def artifact_of(entry: Entry) -> str:
    """The name of the model in its scheme."""
    return f"{entry.model}-{entry.scheme}"


def described(entry: Entry, terms: Terms) -> dict[str, str]:
    """systems/<system>.json: what the fingerprint tells, 'unknown' for the rest."""
    fingerprint = told.fingerprint_of(entry)
    return {
        "division": "open",
        "submitter": terms.submitter,
        "status": terms.status,
        "system_type": "edge",
        "system_type_detail": UNKNOWN,
        "system_name": f"{entry.device} ({told.told(fingerprint, 'cpu')}), {entry.runtime}",
        "number_of_nodes": "1",
        "host_processor_model_name": told.told(fingerprint, "cpu"),
        "host_processors_per_node": UNKNOWN,
        "host_processor_core_count": told.told(fingerprint, "cores"),
        "host_processor_frequency": UNKNOWN,
        "host_processor_caches": told.told(fingerprint, "caches"),
        "host_processor_interconnect": UNKNOWN,
        "host_memory_capacity": told.memory(fingerprint),
        "host_memory_configuration": UNKNOWN,
        "host_storage_capacity": UNKNOWN,
        "host_storage_type": UNKNOWN,
        "host_networking": NOT_APPLICABLE,
        "host_network_card_count": NOT_APPLICABLE,
        "host_networking_topology": NOT_APPLICABLE,
        "accelerators_per_node": "0",
        "accelerator_model_name": NOT_APPLICABLE,
        "accelerator_memory_capacity": NOT_APPLICABLE,
        "accelerator_memory_configuration": NOT_APPLICABLE,
        "accelerator_host_interconnect": NOT_APPLICABLE,
        "accelerator_interconnect": NOT_APPLICABLE,
        "accelerator_interconnect_topology": NOT_APPLICABLE,
        "accelerator_frequency": NOT_APPLICABLE,
        "accelerator_on-chip_memories": NOT_APPLICABLE,
        "cooling": UNKNOWN,
        "framework": told.framework(entry),
        "operating_system": told.operating_system(fingerprint),
        "other_software_stack": told.software(entry),
        "hw_notes": told.conditions(entry),
        "sw_notes": told.use(entry),
        **terms.system,
    }


def truncated(whole: str) -> str:
    """An accuracy log as the official tool cuts it: its beginning and its end, or itself when it is short."""
    if len(whole) <= 2 * VIEWABLE_BYTES:
        return whole
    return f"{whole[:VIEWABLE_BYTES]}{CUT}{whole[-VIEWABLE_BYTES:]}"


def provenance(record: Record) -> dict[str, Any]:
    """What ties a run in the tree to the record it comes from: `files` are the record's, by sha256."""
    content = record.content
    return {
        "artifact_sha256": content["artifact"]["sha256"],
        "measured_at": content["measured_at"],
        "files": {name: content["files"][name] for name in needed_files(record)},
    }


def _write_scenario(directory: Path, entry: Entry, scenario: str, benchmark: str) -> None:
    accuracy, performance = entry.accuracy, entry.performance[scenario]
    assert accuracy is not None, "selected entries have an accuracy run"
    audited = {audit: runs[scenario] for audit, runs in entry.compliance.items() if scenario in runs}
    _copy(performance, directory / "performance" / "run_1", DETAIL, SUMMARY)
    _copy(accuracy, directory / "accuracy", DETAIL, SUMMARY)
    _write_responses(accuracy, directory / "accuracy", _scored(accuracy))
    _copy(performance, directory, USER_CONF)
    for audit, record in audited.items():
        _write_audit(directory / audit, audit, record, performance, accuracy)
    runs = {"performance": performance, "accuracy": accuracy, **audited}
    origins = {run: provenance(record) for run, record in runs.items()}
    write_json(directory / "measurements.json", {**told.weights(entry), "runs": origins})
    write_text(directory / "README.md", _readme(entry, scenario, benchmark, runs))


def _write_audit(directory: Path, audit: str, record: Record, performance: Record, accuracy: Record) -> None:
    if audit == "TEST01":
        verified = verify_test01(record.directory, performance=performance.directory, accuracy=accuracy.directory)
        _write_responses(record, directory / "accuracy", "")
        _write_lines(directory / "verify_accuracy.txt", verified.accuracy)
    else:
        verified = verify_test04(record.directory, performance=performance.directory)
    _refuse_failed(audit, record, verified)
    _write_lines(directory / "verify_performance.txt", verified.performance)
    _copy(record, directory / "performance" / "run_1", DETAIL, SUMMARY)


def _refuse_failed(audit: str, record: Record, verified: Verification) -> None:
    if not verified.passed:
        listing = "\n".join(f"  - {problem}" for problem in verified.problems)
        raise SubmissionError(
            f"{record.directory} does not pass {audit}:\n{listing}\nMeasure again on a quiet machine: raise "
            "bench.session in the study, then 'edgeproof repro <study> preset=official'."
        )


def _write_responses(record: Record, directory: Path, before: str) -> None:
    """The accuracy log, cut, and accuracy.txt with the sha256 of the whole."""
    source = record.directory / RESPONSES
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RESPONSES).write_text(truncated(source.read_text(encoding="utf-8")), encoding="utf-8")
    write_text(directory / "accuracy.txt", f"{before}hash={sha256_of(source)}\n")


def _scored(accuracy: Record) -> str:
    correct, total = accuracy.content["accuracy"]["correct"], accuracy.content["accuracy"]["total"]
    return f"accuracy={100 * correct / total:.3f}%, good={correct}, total={total}\n"


def _copy(record: Record, directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(record.directory / name, directory / name)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def _readme(entry: Entry, scenario: str, benchmark: str, runs: dict[str, Record]) -> str:
    accuracy = runs["accuracy"].content
    return "\n".join(
        [
            f"# {entry.model} as {entry.scheme} in {entry.runtime} on {entry.device}: {scenario}",
            "",
            f"An own model on the task '{accuracy['task']}', mapped to MLPerf's benchmark '{benchmark}' for want of",
            f"one of its own. Its data set has {accuracy['accuracy']['total']} samples, so the official checker needs",
            "`--skip-dataset-size-check`.",
            "",
            f"Accuracy was measured once, in {accuracy['job']['scenario']}, and stands in every scenario's directory.",
            "Performance is one run of LoadGen with `user.conf` over its own mlperf.conf, the first one measured.",
            "How to make all of it again: `src/README.md`. What was run, by sha256: `measurements.json`.",
            "",
        ]
    )
