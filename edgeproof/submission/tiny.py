"""Write the tree of mlcommons/tiny: the open division. SingleStream is the only scenario of MLPerf Tiny.

    open/<submitter>/systems/<device>-<runtime>-<model>-<scheme>.json
    open/<submitter>/code/README.md                           how to reproduce the results
    open/<submitter>/results/<system>/<benchmark>/
        performance/ accuracy/                                log.txt results.txt results.json

log.txt is LoadGen's detail log. LoadGen ran on the device, without MLPerf Tiny's runner, and results.txt says so. Of
several performance runs, the one with the median latency is written, since MLPerf Tiny's runner reports the median of
five runs. results.txt has the latencies of all.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core.directories import write_json, write_text
from edgeproof.records.kinds import SINGLE_STREAM
from edgeproof.records.record import Record
from edgeproof.submission import logs
from edgeproof.submission import system_description as system
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.inference import describe_origin
from edgeproof.submission.logs import UnreadableFile
from edgeproof.submission.selection import DETAIL_LOG, USER_CONF, Entry
from edgeproof.submission.system_description import NOT_APPLICABLE, UNKNOWN, SubmissionInfo

MEDIAN_KEY = "result_50.00_percentile_latency_ns"
METHOD_NOTE = "measured by MLPerf Inference LoadGen on the device itself, not by the MLPerf Tiny runner"
SYSTEM_FIELDS = (
    "Submitter",
    "Division",
    "Status",
    "Board Name",
    "Processor(s) Name",
    "Processor(s) Frequencies",
    "Processor memory type and capacity",
    "Accelerator",
    "Accelerator(s) Frequencies",
    "Accelerator memory type and capacity",
    "Hardware Notes",
    "Inference Framework",
    "Software Libraries",
    "Operating System",
    "Software Notes",
    "Quantization Method",
)


def write(out: Path, entries: Sequence[Entry], info: SubmissionInfo, benchmark: str) -> None:
    """Write the tree below `out`. Raises SubmissionError for a log without a latency."""
    root = out / "open" / info.submitter
    for entry in entries:
        assert entry.accuracy is not None, "a selected entry has an accuracy run"
        name = system_name(entry)
        write_json(root / "systems" / f"{name}.json", describe_system(entry, info))
        directory = root / "results" / name / benchmark
        runs = entry.performance[SINGLE_STREAM]
        figures = [_read_figures(record) for record in runs]
        medians_ns = [median_ns for median_ns, _ in figures]
        chosen = medians_ns.index(statistics.median_high(medians_ns))
        _write_run(directory / "performance", runs[chosen], _format_performance(*figures[chosen], medians_ns))
        _write_run(directory / "accuracy", entry.accuracy, _format_score(entry.accuracy))
    write_text(root / "code" / "README.md", system.compose_readme(entries, info))


def system_name(entry: Entry) -> str:
    """Return the system's name. It contains the artifact, since a system has one result for each benchmark."""
    return f"{entry.device}-{entry.runtime}-{entry.model}-{entry.scheme}"


def describe_system(entry: Entry, info: SubmissionInfo) -> dict[str, str]:
    """Return the content of systems/<system>.json; fields that the fingerprint does not contain are 'unknown'."""
    fingerprint = system.get_fingerprint(entry)
    return {
        "Submitter": info.submitter,
        "Division": "open",
        "Status": info.status,
        "Board Name": entry.device,
        "Processor(s) Name": system.format_fact(fingerprint, "cpu"),
        "Processor(s) Frequencies": UNKNOWN,
        "Processor memory type and capacity": system.format_memory(fingerprint),
        "Accelerator": NOT_APPLICABLE,
        "Accelerator(s) Frequencies": NOT_APPLICABLE,
        "Accelerator memory type and capacity": NOT_APPLICABLE,
        "Hardware Notes": system.describe_conditions(entry),
        "Inference Framework": system.describe_framework(entry),
        "Software Libraries": system.describe_software(entry),
        "Operating System": system.describe_operating_system(fingerprint),
        "Software Notes": f"{system.describe_use(entry)}; {METHOD_NOTE}",
        "Quantization Method": entry.scheme,
        **info.system,
    }


def throughput_per_s(median_ns: float) -> float:
    """Return how many inferences run in a second, one after another, each with the median latency."""
    return 1e9 / median_ns


def top_1_percent(correct: float, total: float) -> float:
    """Return the share of correct answers in percent."""
    return 100 * correct / total


def describe_score(record: Record) -> dict[str, float]:
    """Return the score in results.json: the counts of an accuracy, or the area under the ROC curve."""
    quality = record.quality
    if quality is None:
        return {}
    if quality.correct is not None:
        return {"correct": quality.correct, "total": quality.units}
    return {quality.metric: quality.value, "units": quality.units}


def _write_run(directory: Path, record: Record, lines: Sequence[str]) -> None:
    directory.mkdir(parents=True)
    shutil.copyfile(record.directory / DETAIL_LOG, directory / "log.txt")
    write_text(directory / "results.txt", "".join(f"edgeproof: {line}\n" for line in [*lines, METHOD_NOTE]))
    user_conf = (record.directory / USER_CONF).read_text(encoding="utf-8")
    content = {**describe_origin(record), **describe_score(record), "user_conf": user_conf}
    write_json(directory / "results.json", content)


def _read_figures(record: Record) -> tuple[float, float | None]:
    """Return the median latency in ns and the number of queries in LoadGen's log of a run."""
    path = record.directory / DETAIL_LOG
    try:
        log = logs.parse_detail(logs.read_text(path))
    except UnreadableFile as error:
        raise SubmissionError(f"{path} {error}.") from None
    median_ns = log.get_number(MEDIAN_KEY)
    if median_ns is None or median_ns <= 0:
        raise SubmissionError(f"{path} has no {MEDIAN_KEY}.")
    return median_ns, log.get_number("result_query_count")


def _format_performance(median_ns: float, queries: float | None, medians_ns: Sequence[float]) -> list[str]:
    """Return the lines of results.txt for one run. `medians_ns` are the latencies of all runs, in order."""
    return [
        *(f"Latency of run {number} is {value / 1e3:.3f} us" for number, value in enumerate(medians_ns, 1)),
        f"# Inferences : {queries}",
        f"Median latency is {median_ns / 1e3:.3f} us",
        f"Median throughput is {throughput_per_s(median_ns):.3f} inf./sec.",
    ]


def _format_score(record: Record) -> list[str]:
    quality = record.quality
    assert quality is not None, "a selected accuracy run has a score"
    if quality.correct is None:  # the only other metric of a benchmark that can be submitted
        return [f"AUC = {quality.value:.3f}"]
    correct, total = quality.correct, quality.units
    return [f"{correct} of {total} right", f"Top 1% = {top_1_percent(correct, total):.3f}"]
