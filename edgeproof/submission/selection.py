"""Select the records of a submission: the official and valid ones, grouped by artifact and device."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError
from edgeproof.records import kinds, record_files
from edgeproof.records.record import Record
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.refusals import Refusal, format_message, list_reasons
from edgeproof.submission.rules import (
    AUDITED_SETTINGS,
    SCENARIOS,
    SCORES,
    SUITE_PRESETS,
    TINY_RUNS,
    Suite,
)

NULL = "null"
DETAIL_LOG = "mlperf_log_detail.txt"
SUMMARY_LOG = "mlperf_log_summary.txt"
ACCURACY_LOG = "mlperf_log_accuracy.json"
USER_CONF = "user.conf"
ARTIFACTS_HINT = "Leave other artifacts out with --artifacts RUNTIME/MODEL.SCHEME,…"
BENCHMARKS_HINT = (
    "Choose --benchmark resnet for accuracy, or with --suite tiny ic, kws or vww for accuracy and ad for AUC."
)
# Facts of the fingerprint that must be equal in all runs of a system.
SAME_MACHINE = ("architecture", "cpu", "cores", "kernel", "python")
REQUIRED_KEYS = (
    ("task",),
    ("study",),
    ("device",),
    ("runtime",),
    ("model",),
    ("scheme",),
    ("scenario",),
    ("process",),
    ("measured_at",),
    ("runner",),
    ("files",),
    ("job", "scenario"),
    ("job", "mode"),
    ("artifact", "sha256"),
    ("artifact", "model"),
    ("result", "fingerprint"),
    ("result", "versions"),
)


@dataclass
class Entry:
    """Runs of one artifact on one device.

    `performance` maps LoadGen's scenarios to the runs, each in its own process. MLPerf Inference has one run.
    `compliance` maps the tests to maps from scenarios to records.
    """

    device: str
    runtime: str
    model: str
    scheme: str
    accuracy: Record | None = None
    performance: dict[str, list[Record]] = field(default_factory=dict)
    compliance: dict[str, dict[str, Record]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the entry in messages."""
        return f"{self.device}/{self.runtime}/{self.model}.{self.scheme}"

    def list_runs(self) -> Iterator[Record]:
        """Yield all records, the accuracy run first."""
        if self.accuracy is not None:
            yield self.accuracy
        for runs in self.performance.values():
            yield from runs
        for audited in self.compliance.values():
            yield from audited.values()


def compose_hint(suite: Suite) -> str:
    """Return how to measure records that the suite accepts."""
    preset = SUITE_PRESETS[suite][0]
    return f"Measure with 'edgeproof repro <study> preset={preset}', on an idle machine."


def select(root: Path, suite: Suite, artifacts: Sequence[str] = ()) -> list[Entry]:
    """Return the entries below `root`, optionally only those that match a pattern '<runtime>/<model>.<scheme>'.

    Records of the null runtime, unsupported ones and those that the suite does not read are skipped. The last attempt
    of a repeated run counts. For MLPerf Inference, the first measured run of a kind is taken, not the best. For MLPerf
    Tiny, all runs of one session are returned.

    Raises SubmissionError that lists why records are not official, valid and complete, or why the runs of entries do
    not belong together. Equal reasons are one line.
    """
    candidates = [record for record in record_files.read_all(root) if _is_candidate(record.content, suite, artifacts)]
    records = _keep_last_attempts(candidates)
    if not records:
        which = f" of {', '.join(artifacts)}" if artifacts else ""
        raise SubmissionError(f"{root} contains no records{which}. {compose_hint(suite)}")
    if refusals := [refusal for record in records for refusal in _check_record(record, suite)]:
        raise _compose_error(list_reasons(refusals, "records"), suite)
    entries = _group(records, suite)
    refusals = [refusal for entry in entries for refusal in _check_entry(entry, suite)]
    if suite == "tiny":
        refusals += [refusal for entry in entries for refusal in _check_repeated_runs(entry)]
    if reasons := [*list_reasons(refusals, "artifacts"), *list_reasons(list(_check_machines(entries)), "records")]:
        raise _compose_error(reasons, suite)
    return entries


def check_metric(entries: Sequence[Entry], benchmark: str, metric: str) -> None:
    """Raise SubmissionError, with a reason for each artifact, unless all qualities have the metric of the benchmark."""
    refusals = []
    for entry in entries:
        quality = None if entry.accuracy is None else entry.accuracy.quality
        if quality is not None and quality.metric != metric:
            reason = f"its quality is {quality.label}, but MLPerf scores '{benchmark}' by {SCORES[metric]}"
            refusals.append(Refusal(entry.name, reason))
    if refusals:
        title = "MLPerf scores the benchmark by another metric than the task:"
        hint = f"{BENCHMARKS_HINT} {ARTIFACTS_HINT}"
        raise SubmissionError(format_message(title, list_reasons(refusals, "artifacts"), hint))


def get_value(content: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return the value at a path of keys in a record's content, or None."""
    current: Any = content
    for key in path:
        current = current.get(key) if isinstance(current, Mapping) else None
    return current


def list_needed_files(record: Record) -> list[str]:
    """Return the names of a record's files that go into a submission."""
    has_responses = _is_accuracy(record) or record.identity.compliance == "TEST01"
    return [DETAIL_LOG, SUMMARY_LOG, USER_CONF, *([ACCURACY_LOG] if has_responses else [])]


def _is_candidate(content: Mapping[str, Any], suite: Suite, artifacts: Sequence[str]) -> bool:
    if content.get("runtime") == NULL or content.get("verdict") == "unsupported":
        return False
    if content.get("scenario") in kinds.UNTIMED and content.get("scenario") != kinds.ACCURACY:
        return False
    scenario = get_value(content, ("job", "scenario"))
    if suite == "tiny" and (content.get("compliance") or scenario not in (None, kinds.SINGLE_STREAM)):
        return False
    name = f"{content.get('runtime')}/{content.get('model')}.{content.get('scheme')}"
    return not artifacts or any(fnmatch.fnmatchcase(name, pattern) for pattern in artifacts)


def _keep_last_attempts(records: Sequence[Record]) -> list[Record]:
    """Return the last attempt of each run. A disturbed run was repeated in the same session."""
    last: dict[object, int] = {}
    for record in records:
        last[_name_run(record)] = max(last.get(_name_run(record), 0), _read_attempt(record))
    return [record for record in records if _read_attempt(record) == last[_name_run(record)]]


def _name_run(record: Record) -> object:
    return record.directory.parent, str(record.content.get("scenario")), str(record.content.get("process"))


def _read_attempt(record: Record) -> int:
    attempt = record.content.get("attempt")
    return attempt if isinstance(attempt, int) else 0


def _check_record(record: Record, suite: Suite) -> Iterator[Refusal]:
    """Yield the reasons why a record cannot be submitted."""
    content, place = record.content, str(record.directory)
    presets = SUITE_PRESETS[suite]
    if content.get("preset") not in presets:
        expected = " or ".join(f"'{preset}'" for preset in presets)
        yield Refusal(place, f"was measured with the preset '{content.get('preset')}'; expected {expected}")
        return
    if content.get("verdict") != "valid":
        reasons = content.get("reasons")
        listed = "; ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons)
        yield Refusal(place, f"is {content.get('verdict')}", f": {listed}")
        return
    missing = [".".join(path) for path in REQUIRED_KEYS if get_value(content, path) is None]
    if missing:
        yield Refusal(place, f"{kinds.RECORD_FILE} lacks {', '.join(missing)}")
        return
    for reason in (*_check_content(record), *_check_files(record)):
        yield Refusal(place, reason)


def _check_content(record: Record) -> Iterator[str]:
    """Yield the reasons in the content of a record that has all keys."""
    content = record.content
    if (content.get("card") or {}).get("emulated"):
        yield "was measured on an emulator, whose latencies are meaningless; expected a real device"
    if content.get("compliance") not in (None, *AUDITED_SETTINGS):
        yield f"ran under '{content['compliance']}'; expected {' or '.join(AUDITED_SETTINGS)}, or no compliance test"
    if content["job"]["scenario"] not in SCENARIOS:
        yield f"ran the scenario '{content['job']['scenario']}'; expected one of {', '.join(SCENARIOS)}"
    if _is_accuracy(record) and not _has_quality(record):
        yield f"{kinds.RECORD_FILE} lacks a quality, or it is damaged"


def _check_files(record: Record) -> Iterator[str]:
    """Yield the files of a record that are missing or damaged."""
    for name in list_needed_files(record):
        path = record.directory / name
        if not path.is_file():
            yield f"{name} is missing"
        elif record.content["files"].get(name) != hash_file(path):
            yield f"{name} is damaged: its sha256 differs from {kinds.RECORD_FILE}"


def _is_accuracy(record: Record) -> bool:
    return record.job is not None and record.job.mode == "AccuracyOnly"


def _has_quality(record: Record) -> bool:
    try:
        quality = record.quality
    except ArtifactError:
        return False
    if quality is None or quality.units < 1 or not math.isfinite(quality.value):
        return False
    return not quality.description.is_proportion or 0 <= quality.value <= 1


def _group(records: Sequence[Record], suite: Suite) -> list[Entry]:
    entries: dict[tuple[str, str, str, str], Entry] = {}
    for record in sorted(records, key=_sort_key):
        identity, scenario = record.identity, str(record.loadgen_scenario)
        key = (identity.device, identity.runtime, identity.model, identity.scheme)
        entry, test = entries.setdefault(key, Entry(*key)), identity.compliance
        if _is_accuracy(record):
            entry.accuracy = entry.accuracy or record
        elif test:
            entry.compliance.setdefault(test, {}).setdefault(scenario, record)
        elif suite == "tiny" or scenario not in entry.performance:
            entry.performance.setdefault(scenario, []).append(record)
    return [entries[key] for key in sorted(entries)]


def _sort_key(record: Record) -> tuple[str, int, str]:
    return record.measured_at, record.identity.process, str(record.directory)


def _check_entry(entry: Entry, suite: Suite) -> Iterator[Refusal]:
    """Yield the reasons why an entry's runs do not belong together."""
    if entry.accuracy is None:
        yield Refusal(entry.name, "has no accuracy run")
    if not entry.performance:
        yield Refusal(entry.name, f"has no {kinds.SINGLE_STREAM if suite == 'tiny' else 'performance'} run")
    for test, audited in entry.compliance.items():
        for scenario in sorted(set(audited) - set(entry.performance)):
            yield Refusal(entry.name, f"has {test} of {scenario} but no performance run of it")
    for what in ("artifacts", "runners"):
        by_value: dict[str, Path] = {}
        for record in entry.list_runs():
            value = record.artifact.sha256 if what == "artifacts" else str(record.runner_sha256)
            by_value.setdefault(value, record.directory)
        if len(by_value) > 1:
            listing = ", ".join(f"{value[:12]}… in {directory}" for value, directory in by_value.items())
            reason = f"its runs have different {what}; name the directory of one session with --records"
            yield Refusal(entry.name, reason, f" ({listing})")


def _check_repeated_runs(entry: Entry) -> Iterator[Refusal]:
    """Yield the reasons why an entry has neither five runs of one session nor a run of the official preset."""
    for runs in entry.performance.values():
        sessions = {record.directory.parent for record in runs}
        if len(sessions) > 1:
            names = ", ".join(sorted(map(str, sessions)))
            yield Refusal(
                entry.name, f"has runs of several sessions; name the directory of one with --records ({names})"
            )
        elif len(runs) < TINY_RUNS and runs[0].identity.preset != kinds.OFFICIAL:
            counted = f"has {len(runs)} {kinds.SINGLE_STREAM} run(s); expected {TINY_RUNS}, whose median is submitted"
            yield Refusal(entry.name, counted)


def _check_machines(entries: Sequence[Entry]) -> Iterator[Refusal]:
    """Yield every record whose machine differs from the first record of the same system."""
    first_runs: dict[tuple[str, str], tuple[dict[str, Any], Path]] = {}
    for entry in entries:
        for record in entry.list_runs():
            assert record.result is not None, "a selected record has a result"
            fingerprint = record.result.fingerprint
            facts = {name: fingerprint.get(name) for name in SAME_MACHINE}
            first, place = first_runs.setdefault((entry.device, entry.runtime), (facts, record.directory))
            differing = [name for name in SAME_MACHINE if facts[name] != first[name]]
            if differing:
                yield Refusal(
                    str(record.directory),
                    f"its machine differs from that of {place} in {', '.join(differing)}; "
                    "expected one machine for each system",
                )


def _compose_error(reasons: Sequence[str], suite: Suite) -> SubmissionError:
    hint = f"{compose_hint(suite)} {ARTIFACTS_HINT}"
    return SubmissionError(format_message("these records cannot be submitted:", reasons, hint))
