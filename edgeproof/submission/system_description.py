"""Describe the submitter, the systems and the artifacts of a submission, for both suites of MLPerf."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof.records.record_parts import RecordedResult
from edgeproof.report.origin import describe_origin
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.rules import STATUSES
from edgeproof.submission.selection import Entry

UNKNOWN = "unknown"
NOT_APPLICABLE = "N/A"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
HARNESS_PACKAGES = ("mlcommons-loadgen", "numpy")


@dataclass(frozen=True)
class SubmissionInfo:
    """Information from the submitter.

    `system` replaces fields of the system description that the records do not contain, `commit` made the records.
    """

    submitter: str
    status: str
    system: Mapping[str, str]
    commit: str

    def check(self, fields: Sequence[str]) -> None:
        """Raise SubmissionError for an invalid submitter, an unknown status, or a system field not in `fields`."""
        if not NAME.fullmatch(self.submitter):
            raise SubmissionError(
                f"the submitter '{self.submitter}' cannot be a directory's name. Use letters, digits, '-' and '_' only."
            )
        if self.status not in STATUSES:
            raise SubmissionError(f"unknown status '{self.status}'. Known: {', '.join(STATUSES)}.")
        unknown = sorted(set(self.system) - set(fields))
        if unknown:
            raise SubmissionError(f"a system description has no {', '.join(unknown)}. It has: {', '.join(fields)}.")


def read_head_commit() -> str:
    """Return the working directory's commit, marked if files differ from it. Raises SubmissionError outside of git."""
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changed is None:
        raise SubmissionError("the working directory is not a git checkout. Run the command in one.")
    return f"{commit} with local changes" if changed else commit


def format_fact(fingerprint: Mapping[str, Any], name: str) -> str:
    """Return a value of the fingerprint as text, or 'unknown'."""
    fact = fingerprint.get(name)
    if isinstance(fact, Mapping):
        return ", ".join(f"{key} {value}" for key, value in fact.items()) or UNKNOWN
    return UNKNOWN if fact in (None, "") else str(fact)


def format_memory(fingerprint: Mapping[str, Any]) -> str:
    """Return the size of the memory in GiB as text, or 'unknown'."""
    size_bytes = fingerprint.get("memory_bytes")
    return f"{size_bytes / 2**30:.2f} GiB" if isinstance(size_bytes, int) and size_bytes > 0 else UNKNOWN


def describe_operating_system(fingerprint: Mapping[str, Any]) -> str:
    """Return the kernel and the C library. The fingerprint has no name of the system, but glibc implies GNU/Linux."""
    libc = format_fact(fingerprint, "libc")
    kernel = f"kernel {format_fact(fingerprint, 'kernel')}"
    return f"GNU/Linux, {kernel}, {libc}" if libc.startswith("glibc") else kernel


def describe_framework(entry: Entry) -> str:
    """Return the runtime with the versions of its packages."""
    versions = _get_result(entry).versions
    own = [f"{name} {version or UNKNOWN}" for name, version in sorted(versions.items()) if name not in HARNESS_PACKAGES]
    return f"{entry.runtime} ({', '.join(own)})" if own else entry.runtime


def describe_software(entry: Entry) -> str:
    """Return the versions of Python and of the harness."""
    result = _get_result(entry)
    versions = result.versions
    harness = [f"{name} {versions[name] or UNKNOWN}" for name in HARNESS_PACKAGES if name in versions]
    return ", ".join([f"Python {format_fact(result.fingerprint, 'python')}", *harness])


def describe_conditions(entry: Entry) -> str:
    """Return facts of the fingerprint that MLPerf has no field for, such as the frequency governor."""
    fingerprint = get_fingerprint(entry)
    names = ("architecture", "microcode", "governor", "turbo", "smt", "virtualization")
    facts = [f"{name} {format_fact(fingerprint, name)}" for name in names]
    return f"{', '.join(facts)}; {format_fact(fingerprint, 'cores')} logical processors in all"


def describe_use(entry: Entry) -> str:
    """Return how the benchmark used the machine: threads, batch size, place of LoadGen."""
    job = next(entry.list_runs()).job
    threads = None if job is None else job.threads
    return (
        f"{UNKNOWN if threads is None else threads} thread(s) of the runtime, batch size 1, LoadGen on the same device"
    )


def get_fingerprint(entry: Entry) -> Mapping[str, Any]:
    """Return the machine's fingerprint, which is the same in all records of an entry."""
    return _get_result(entry).fingerprint


def describe_weights(entry: Entry) -> dict[str, str]:
    """Return the fields of measurements.json about the weights."""
    model = next(entry.list_runs()).artifact.model
    teachers = [str(source.get("name")) for role, source in sorted(model.lineage.items()) if role.startswith("teacher")]
    origin = describe_origin(model.lineage.get("parent", {}).get("name"), " + ".join(teachers))
    method = f"{model.method} ({origin or 'no parent'})"
    return {
        "input_data_types": "fp32",
        "retraining": f"yes: trained by edgeproof from seed {model.seed}; last method: {method}",
        "starting_weights_filename": f"none: the model '{entry.model}' is trained from random weights",
        "weight_data_types": entry.scheme.partition("-")[0],
        "weight_transformations": f"{method}; exported to {entry.runtime} as {entry.scheme}",
    }


def compose_readme(entries: Sequence[Entry], info: SubmissionInfo) -> str:
    """Return the README of the sources, which says how to reproduce the results."""
    identities = [next(entry.list_runs()).identity for entry in entries]
    measured = sorted({(identity.study, identity.preset) for identity in identities})
    lines = [
        "# How these results were made",
        "",
        "By edgeproof, which trains, compresses, exports and measures models with MLPerf LoadGen. Building again from",
        f"the git commit below gives the same models and artifacts, bit for bit: `{info.commit}`.",
        "",
        "```sh",
        "git checkout <commit> && make setup && . .venv/bin/activate",
        *(f"edgeproof repro {study} preset={preset}" for study, preset in measured),
        "edgeproof submit --help",
        "```",
        "",
        "| system | artifact | sha256 of its files | measured |",
        "|---|---|---|---|",
        *(
            f"| {entry.device}, {entry.runtime} | {entry.model}, {entry.scheme} "
            f"| {first.artifact.sha256} | {first.measured_at} |"
            for entry in entries
            for first in [next(entry.list_runs())]
        ),
        "",
        "The submitter keeps the complete accuracy logs. Their sha256 is in each accuracy.txt or results.json.",
        "",
    ]
    return "\n".join(lines)


def _get_result(entry: Entry) -> RecordedResult:
    """Return the result of the entry's first run. Versions and fingerprint are equal in all its runs."""
    result = next(entry.list_runs()).result
    assert result is not None, "a selected record has a result"
    return result


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
