"""Write the tree of mlcommons/inference: the open division, edge systems.

open/<submitter>/systems/<device>-<runtime>.json          the machine and its software
open/<submitter>/src/README.md                            how to reproduce the results
open/<submitter>/model_mapping.json                       <model>-<scheme> to MLPerf's benchmark
open/<submitter>/results/<system>/<model>-<scheme>/<Scenario>/
    measurements.json user.conf README.md
    performance/run_1/ accuracy/ TEST01/ TEST04/          LoadGen's logs and the results of compliance tests
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeproof.core.directories import hash_file, write_json, write_text
from edgeproof.records.record import Record
from edgeproof.submission import system_description as system
from edgeproof.submission.compliance import Verification, verify_test01, verify_test04
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.selection import ACCURACY_LOG, DETAIL_LOG, SUMMARY_LOG, USER_CONF, Entry, list_needed_files
from edgeproof.submission.system_description import NOT_APPLICABLE, UNKNOWN, SubmissionInfo

# The official tool keeps this much of the beginning and of the end of an accuracy log.
VIEWABLE_BYTES = 4096
CUT_MARK = "\n\n...\n\n"


def write(out: Path, entries: Sequence[Entry], info: SubmissionInfo, benchmark: str) -> None:
    """Write the tree below `out`. Raises SubmissionError when a compliance run fails its test."""
    root = out / "open" / info.submitter
    by_system = {system_name(entry): entry for entry in entries}
    for name, entry in by_system.items():
        write_json(root / "systems" / f"{name}.json", describe_system(entry, info))
    write_text(root / "src" / "README.md", system.compose_readme(entries, info))
    write_json(root / "model_mapping.json", {artifact_name(entry): benchmark for entry in entries})
    for entry in entries:
        for scenario in entry.performance:
            directory = root / "results" / system_name(entry) / artifact_name(entry) / scenario
            _write_scenario(directory, entry, scenario, benchmark)


def system_name(entry: Entry) -> str:
    """Return the system's name: the device and the runtime."""
    return f"{entry.device}-{entry.runtime}"


def artifact_name(entry: Entry) -> str:
    """Return the artifact's name: the model and the scheme."""
    return f"{entry.model}-{entry.scheme}"


def describe_system(entry: Entry, info: SubmissionInfo) -> dict[str, str]:
    """Return the content of systems/<system>.json; fields that the fingerprint does not contain are 'unknown'."""
    fingerprint = system.get_fingerprint(entry)
    return {
        "division": "open",
        "submitter": info.submitter,
        "status": info.status,
        "system_type": "edge",
        "system_type_detail": UNKNOWN,
        "system_name": f"{entry.device} ({system.format_fact(fingerprint, 'cpu')}), {entry.runtime}",
        "number_of_nodes": "1",
        "host_processor_model_name": system.format_fact(fingerprint, "cpu"),
        "host_processors_per_node": UNKNOWN,
        "host_processor_core_count": system.format_fact(fingerprint, "cores"),
        "host_processor_frequency": UNKNOWN,
        "host_processor_caches": system.format_fact(fingerprint, "caches"),
        "host_processor_interconnect": UNKNOWN,
        "host_memory_capacity": system.format_memory(fingerprint),
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
        "framework": system.describe_framework(entry),
        "operating_system": system.describe_operating_system(fingerprint),
        "other_software_stack": system.describe_software(entry),
        "hw_notes": system.describe_conditions(entry),
        "sw_notes": system.describe_use(entry),
        **info.system,
    }


def truncate_log(log: str) -> str:
    """Cut the middle out of an accuracy log like the official tool; a short log stays as it is."""
    if len(log) <= 2 * VIEWABLE_BYTES:
        return log
    return f"{log[:VIEWABLE_BYTES]}{CUT_MARK}{log[-VIEWABLE_BYTES:]}"


def describe_origin(record: Record) -> dict[str, Any]:
    """Return what links a run of the tree to its record: the artifact, the time, and the sha256 of the log files."""
    return {
        "artifact_sha256": record.artifact.sha256,
        "measured_at": record.measured_at,
        "files": {name: record.files[name] for name in list_needed_files(record)},
    }


def _write_scenario(directory: Path, entry: Entry, scenario: str, benchmark: str) -> None:
    accuracy, (performance,) = entry.accuracy, entry.performance[scenario]
    assert accuracy is not None, "selected entries have an accuracy run"
    audited = {test: runs[scenario] for test, runs in entry.compliance.items() if scenario in runs}
    _copy(performance, directory / "performance" / "run_1", DETAIL_LOG, SUMMARY_LOG)
    _copy(accuracy, directory / "accuracy", DETAIL_LOG, SUMMARY_LOG)
    _write_accuracy_log(accuracy, directory / "accuracy", _format_score(accuracy))
    _copy(performance, directory, USER_CONF)
    for test, record in audited.items():
        _write_compliance(directory / test, test, record, performance, accuracy)
    runs = {"performance": performance, "accuracy": accuracy, **audited}
    origins = {run: describe_origin(record) for run, record in runs.items()}
    write_json(directory / "measurements.json", {**system.describe_weights(entry), "runs": origins})
    write_text(directory / "README.md", _compose_scenario_readme(entry, scenario, benchmark, accuracy))


def _write_compliance(directory: Path, test: str, record: Record, performance: Record, accuracy: Record) -> None:
    if test == "TEST01":
        verification = verify_test01(record.directory, performance=performance.directory, accuracy=accuracy.directory)
        _write_accuracy_log(record, directory / "accuracy", "")
        _write_lines(directory / "verify_accuracy.txt", verification.accuracy)
    else:
        verification = verify_test04(record.directory, performance=performance.directory)
    _check_passed(test, record, verification)
    _write_lines(directory / "verify_performance.txt", verification.performance)
    _copy(record, directory / "performance" / "run_1", DETAIL_LOG, SUMMARY_LOG)


def _check_passed(test: str, record: Record, verification: Verification) -> None:
    if not verification.passed:
        listing = "\n".join(f"  - {problem}" for problem in verification.problems)
        raise SubmissionError(
            f"{record.directory} fails {test}:\n{listing}\nMeasure again on an idle machine: raise "
            "bench.session in the study, then run 'edgeproof repro <study> preset=official'."
        )


def _write_accuracy_log(record: Record, directory: Path, score: str) -> None:
    """Write the truncated accuracy log, and accuracy.txt with the score and the sha256 of the complete log."""
    source = record.directory / ACCURACY_LOG
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ACCURACY_LOG).write_text(truncate_log(source.read_text(encoding="utf-8")), encoding="utf-8")
    write_text(directory / "accuracy.txt", f"{score}hash={hash_file(source)}\n")


def _format_score(accuracy: Record) -> str:
    assert accuracy.quality is not None, "a selected accuracy run has a score"
    assert accuracy.quality.correct is not None, "MLPerf scores the benchmark by accuracy"
    correct, total = accuracy.quality.correct, accuracy.quality.units
    return f"accuracy={100 * correct / total:.3f}%, good={correct}, total={total}\n"


def _copy(record: Record, directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(record.directory / name, directory / name)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def _compose_scenario_readme(entry: Entry, scenario: str, benchmark: str, accuracy: Record) -> str:
    samples = None if accuracy.quality is None else accuracy.quality.units
    return "\n".join(
        [
            f"# {entry.model} as {entry.scheme} in {entry.runtime} on {entry.device}: {scenario}",
            "",
            f"The model is the submitter's own and solves the task '{accuracy.identity.task}'. MLPerf has no benchmark",
            f"for it, so it is mapped to '{benchmark}'. Its data set has {samples} samples, so run the official",
            "checker (tools/submission of mlcommons/inference) with its option `--skip-dataset-size-check`.",
            "",
            f"Accuracy was measured once, in {accuracy.loadgen_scenario}. All scenarios contain that run.",
            "Performance is the first LoadGen run measured, with `user.conf` on top of LoadGen's own mlperf.conf.",
            "`src/README.md` says how to reproduce all runs. `measurements.json` has the sha256 of what was run.",
            "",
        ]
    )
