"""Which records make a submission: official and valid ones, one artifact on one device at a time."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.core.directories import sha256_of
from edgeproof.records import record_files
from edgeproof.records.record_files import Record
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.rules import AUDITED, SCENARIOS

NULL = "null"
DETAIL, SUMMARY, RESPONSES = "mlperf_log_detail.txt", "mlperf_log_summary.txt", "mlperf_log_accuracy.json"
USER_CONF = "user.conf"
MEASURE = "Measure with 'edgeproof repro <study> preset=official', on a machine that does nothing else."
# What must be one machine's and one harness's for all runs of a system.
SAME_MACHINE = ("architecture", "cpu", "cores", "kernel", "python")
NEEDED = (
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
    """One artifact on one device: its accuracy run, and by LoadGen's scenario its performance and compliance runs."""

    device: str
    runtime: str
    model: str
    scheme: str
    accuracy: Record | None = None
    performance: dict[str, Record] = field(default_factory=dict)
    compliance: dict[str, dict[str, Record]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.device}/{self.runtime}/{self.model}.{self.scheme}"

    def runs(self) -> Iterator[Record]:
        """All its records."""
        if self.accuracy is not None:
            yield self.accuracy
        yield from self.performance.values()
        for audited in self.compliance.values():
            yield from audited.values()


def select(root: Path, artifacts: Sequence[str] = ()) -> list[Entry]:
    """The entries below `root`, those that match one of the patterns '<runtime>/<model>.<scheme>' if any are given.

    The null runtime measures the harness and is left out, and so is what a runtime cannot do. Of several runs of the
    same kind the first measured counts, not the best. Raises SubmissionError naming every record that is not
    official, not valid or not whole, and every entry whose runs do not belong together.
    """
    found = [record for record in record_files.read_all(root) if _asked_for(record.content, artifacts)]
    if not found:
        which = f" of {', '.join(artifacts)}" if artifacts else ""
        raise SubmissionError(f"{root} holds no records{which}. {MEASURE}")
    problems = [f"{record.directory}: {reason}" for record in found for reason in _refusals(record)]
    if problems:
        raise _refused(problems)
    entries = _grouped(found)
    problems = [f"{entry.name}: {reason}" for entry in entries for reason in _incoherences(entry)]
    problems += _machines(entries)
    if problems:
        raise _refused(problems)
    return entries


def value(content: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What a record holds at a path of keys, or None."""
    current: Any = content
    for key in path:
        current = current.get(key) if isinstance(current, Mapping) else None
    return current


def needed_files(record: Record) -> list[str]:
    """The files of a record that a submission is made of."""
    logged = _is_accuracy(record) or record.content.get("compliance") == "TEST01"
    return [DETAIL, SUMMARY, USER_CONF, *([RESPONSES] if logged else [])]


def _asked_for(content: Mapping[str, Any], artifacts: Sequence[str]) -> bool:
    if content.get("runtime") == NULL or content.get("verdict") == "unsupported":
        return False
    if content.get("scenario") in (record_files.PROFILE, record_files.IN_TURNS):
        return False
    name = f"{content.get('runtime')}/{content.get('model')}.{content.get('scheme')}"
    return not artifacts or any(fnmatch.fnmatchcase(name, pattern) for pattern in artifacts)


def _refusals(record: Record) -> Iterator[str]:
    """Why one record cannot be submitted."""
    content = record.content
    if content.get("preset") != "official":
        yield f"was measured with the preset '{content.get('preset')}'; expected 'official'"
        return
    if content.get("verdict") != "valid":
        reasons = content.get("reasons")
        yield f"is {content.get('verdict')}: {'; '.join(map(str, reasons)) if isinstance(reasons, list) else reasons}"
        return
    missing = [".".join(path) for path in NEEDED if value(content, path) is None]
    if missing:
        yield f"{record_files.FILE} lacks {', '.join(missing)}"
        return
    if (content.get("card") or {}).get("emulated"):
        yield "was taken on an emulator, whose times are no measurement"
    if content.get("compliance") not in (None, *AUDITED):
        yield f"ran under '{content['compliance']}'; expected {' or '.join(AUDITED)}, or nothing"
    if content["job"]["scenario"] not in SCENARIOS:
        yield f"ran the scenario '{content['job']['scenario']}'; expected one of {', '.join(SCENARIOS)}"
    if _is_accuracy(record) and not _is_count(content.get("accuracy")):
        yield f"{record_files.FILE} lacks accuracy.correct and accuracy.total"
    for name in needed_files(record):
        path = record.directory / name
        if not path.is_file():
            yield f"{name} is missing"
        elif content["files"].get(name) != sha256_of(path):
            yield f"{name} is damaged: its sha256 is not the one in {record_files.FILE}"


def _is_accuracy(record: Record) -> bool:
    return bool(record.content["job"]["mode"] == "AccuracyOnly")


def _is_count(accuracy: object) -> bool:
    if not isinstance(accuracy, Mapping):
        return False
    correct, total = accuracy.get("correct"), accuracy.get("total")
    return isinstance(correct, int) and isinstance(total, int) and 0 <= correct <= total and total > 0


def _grouped(found: Sequence[Record]) -> list[Entry]:
    entries: dict[tuple[str, ...], Entry] = {}
    for record in sorted(found, key=_when):
        content = record.content
        key = tuple(content[name] for name in ("device", "runtime", "model", "scheme"))
        entry = entries.setdefault(key, Entry(*key))
        scenario, audit = content["job"]["scenario"], content.get("compliance")
        if _is_accuracy(record):
            entry.accuracy = entry.accuracy or record
        else:
            runs = entry.compliance.setdefault(audit, {}) if audit else entry.performance
            runs.setdefault(scenario, record)
    return [entries[key] for key in sorted(entries)]


def _when(record: Record) -> tuple[str, int, str]:
    return str(record.content["measured_at"]), int(record.content["process"]), str(record.directory)


def _incoherences(entry: Entry) -> Iterator[str]:
    if entry.accuracy is None:
        yield f"has no accuracy run. {MEASURE}"
    if not entry.performance:
        yield f"has no performance run. {MEASURE}"
    for audit, audited in entry.compliance.items():
        for scenario in sorted(set(audited) - set(entry.performance)):
            yield f"has {audit} of {scenario} but no performance run of it"
    for path, what in ((("artifact", "sha256"), "artifacts"), (("runner",), "runners")):
        by_value: dict[str, Path] = {}
        for record in entry.runs():
            by_value.setdefault(str(value(record.content, path)), record.directory)
        if len(by_value) > 1:
            listing = ", ".join(f"{found[:12]}… in {where}" for found, where in by_value.items())
            yield f"its runs are of different {what}: {listing}. Name one session's directory"


def _machines(entries: Sequence[Entry]) -> Iterator[str]:
    """A system is one machine: its records' fingerprints agree."""
    known: dict[tuple[str, str], tuple[dict[str, Any], Path]] = {}
    for entry in entries:
        for record in entry.runs():
            fingerprint = record.content["result"]["fingerprint"]
            told = {name: fingerprint.get(name) for name in SAME_MACHINE}
            first, where = known.setdefault((entry.device, entry.runtime), (told, record.directory))
            differing = [name for name in SAME_MACHINE if told[name] != first[name]]
            if differing:
                yield (
                    f"{record.directory}: its machine differs from that of {where} in {', '.join(differing)}; "
                    "expected one machine a system"
                )


def _refused(problems: Sequence[str]) -> SubmissionError:
    listing = "\n".join(f"  - {problem}" for problem in problems)
    return SubmissionError(
        f"these records make no submission:\n{listing}\n{MEASURE} To leave artifacts out, name those to submit."
    )
