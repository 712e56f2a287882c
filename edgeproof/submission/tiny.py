"""The tree that mlcommons/tiny's checker takes, in the open division. MLPerf Tiny knows SingleStream alone.

    open/<submitter>/systems/<device>-<runtime>-<model>-<scheme>.json
    open/<submitter>/code/README.md                           how to make it again
    open/<submitter>/results/<system>/<benchmark>/
        performance/ accuracy/                                log.txt results.txt results.json

log.txt is LoadGen's detail log: the device ran LoadGen itself instead of answering MLPerf Tiny's runner, and says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core.directories import write_json, write_text
from edgeproof.records.record_files import Record
from edgeproof.submission import logs
from edgeproof.submission import system_description as told
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.inference import provenance
from edgeproof.submission.logs import Unreadable
from edgeproof.submission.selection import DETAIL, USER_CONF, Entry
from edgeproof.submission.system_description import NOT_APPLICABLE, UNKNOWN, Terms

SCENARIO = "SingleStream"
MEDIAN = "result_50.00_percentile_latency_ns"
HOW = "measured by MLPerf Inference LoadGen on the device itself, not by the MLPerf Tiny runner"
FIELDS = (
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


def write(out: Path, entries: Sequence[Entry], terms: Terms, benchmark: str) -> None:
    """Write the whole tree below `out`. Raises SubmissionError for an artifact without a SingleStream run."""
    root = out / "open" / terms.submitter
    for entry in entries:
        if entry.accuracy is None or SCENARIO not in entry.performance:
            raise SubmissionError(f"{entry.name} has no {SCENARIO} run, the only one that MLPerf Tiny knows.")
        system = system_of(entry)
        write_json(root / "systems" / f"{system}.json", described(entry, terms))
        directory = root / "results" / system / benchmark
        _write_run(directory / "performance", entry.performance[SCENARIO], _timed(entry.performance[SCENARIO]))
        _write_run(directory / "accuracy", entry.accuracy, _scored(entry.accuracy))
    write_text(root / "code" / "README.md", told.regenerate(entries, terms))


def system_of(entry: Entry) -> str:
    """The device with all that runs on it: a system has one result for a benchmark."""
    return f"{entry.device}-{entry.runtime}-{entry.model}-{entry.scheme}"


def described(entry: Entry, terms: Terms) -> dict[str, str]:
    """systems/<system>.json: what the fingerprint tells, 'unknown' for the rest."""
    fingerprint = told.fingerprint_of(entry)
    return {
        "Submitter": terms.submitter,
        "Division": "open",
        "Status": terms.status,
        "Board Name": entry.device,
        "Processor(s) Name": told.told(fingerprint, "cpu"),
        "Processor(s) Frequencies": UNKNOWN,
        "Processor memory type and capacity": told.memory(fingerprint),
        "Accelerator": NOT_APPLICABLE,
        "Accelerator(s) Frequencies": NOT_APPLICABLE,
        "Accelerator memory type and capacity": NOT_APPLICABLE,
        "Hardware Notes": told.conditions(entry),
        "Inference Framework": told.framework(entry),
        "Software Libraries": told.software(entry),
        "Operating System": told.operating_system(fingerprint),
        "Software Notes": f"{told.use(entry)}; {HOW}",
        "Quantization Method": entry.scheme,
        **terms.system,
    }


def throughput(median_ns: float) -> float:
    """Inferences a second at the median latency, one after another."""
    return 1e9 / median_ns


def top_1(correct: float, total: float) -> float:
    """The share of right answers in percent."""
    return 100 * correct / total


def _write_run(directory: Path, record: Record, lines: Sequence[str]) -> None:
    directory.mkdir(parents=True)
    shutil.copyfile(record.directory / DETAIL, directory / "log.txt")
    write_text(directory / "results.txt", "".join(f"edgeproof: {line}\n" for line in [*lines, HOW]))
    user_conf = (record.directory / USER_CONF).read_text(encoding="utf-8")
    score = record.content.get("accuracy") or {}
    write_json(directory / "results.json", {**provenance(record), **score, "user_conf": user_conf})


def _timed(record: Record) -> list[str]:
    try:
        log = logs.detail(logs.text_of(record.directory / DETAIL))
    except Unreadable as error:
        raise SubmissionError(f"{record.directory / DETAIL} {error}.") from None
    median_ns, queries = log.number(MEDIAN), log.number("result_query_count")
    if median_ns is None or median_ns <= 0:
        raise SubmissionError(f"{record.directory / DETAIL} has no {MEDIAN}.")
    return [
        f"# Inferences : {queries}",
        f"Median latency is {median_ns / 1e3:.3f} us",
        f"Median throughput is {throughput(median_ns):.3f} inf./sec.",
    ]


def _scored(record: Record) -> list[str]:
    correct, total = record.content["accuracy"]["correct"], record.content["accuracy"]["total"]
    return [f"{correct} of {total} right", f"Top 1% = {top_1(correct, total):.3f}"]
