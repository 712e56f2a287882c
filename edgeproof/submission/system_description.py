"""What a submitter says about a submission, and what is told of a machine and an artifact in either flavour."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.rules import STATUSES
from edgeproof.submission.selection import Entry, value

UNKNOWN = "unknown"
NOT_APPLICABLE = "N/A"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
HARNESS = ("mlcommons-loadgen", "numpy")


@dataclass(frozen=True)
class Terms:
    """Who submits what: `system` replaces fields of the system's description that the records cannot tell."""

    submitter: str
    status: str
    system: Mapping[str, str]
    commit: str

    def checked(self, fields: Sequence[str]) -> Terms:
        """Itself. Raises SubmissionError for a name that makes no directory, or unknown words."""
        if not NAME.fullmatch(self.submitter):
            raise SubmissionError(
                f"'{self.submitter}' makes no directory's name. Name the submitter with letters, digits, '-' and '_'."
            )
        if self.status not in STATUSES:
            raise SubmissionError(f"unknown status '{self.status}'. Known: {', '.join(STATUSES)}.")
        unknown = sorted(set(self.system) - set(fields))
        if unknown:
            raise SubmissionError(f"a system's description has no {', '.join(unknown)}. It has: {', '.join(fields)}.")
        return self


def head_commit() -> str:
    """The commit of the working directory, marked when files differ from it. Raises SubmissionError outside of git."""
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changed is None:
        raise SubmissionError("the working directory is no git checkout. Name the commit that the records come from.")
    return f"{commit} with local changes" if changed else commit


def told(fingerprint: Mapping[str, Any], name: str) -> str:
    """A fact of the fingerprint, or 'unknown'."""
    fact = fingerprint.get(name)
    if isinstance(fact, Mapping):
        return ", ".join(f"{key} {of}" for key, of in fact.items()) or UNKNOWN
    return UNKNOWN if fact in (None, "") else str(fact)


def memory(fingerprint: Mapping[str, Any]) -> str:
    """The memory as text, in GiB."""
    size_bytes = fingerprint.get("memory_bytes")
    return f"{size_bytes / 2**30:.2f} GiB" if isinstance(size_bytes, int) and size_bytes > 0 else UNKNOWN


def operating_system(fingerprint: Mapping[str, Any]) -> str:
    """The kernel and the C library. Its name is not in the fingerprint, so only glibc gives Linux away."""
    libc = told(fingerprint, "libc")
    kernel = f"kernel {told(fingerprint, 'kernel')}"
    return f"GNU/Linux, {kernel}, {libc}" if libc.startswith("glibc") else kernel


def framework(entry: Entry) -> str:
    """The runtime with the versions of its packages."""
    versions = _first(entry)["result"]["versions"]
    own = [f"{name} {version or UNKNOWN}" for name, version in sorted(versions.items()) if name not in HARNESS]
    return f"{entry.runtime} ({', '.join(own)})" if own else entry.runtime


def software(entry: Entry) -> str:
    """The rest of the stack: interpreter and harness."""
    content = _first(entry)
    versions = content["result"]["versions"]
    harness = [f"{name} {versions[name] or UNKNOWN}" for name in HARNESS if name in versions]
    return ", ".join([f"Python {told(content['result']['fingerprint'], 'python')}", *harness])


def conditions(entry: Entry) -> str:
    """What else the fingerprint tells of the machine."""
    fingerprint = _first(entry)["result"]["fingerprint"]
    names = ("architecture", "microcode", "governor", "turbo", "smt", "virtualization")
    facts = [f"{name} {told(fingerprint, name)}" for name in names]
    return f"{', '.join(facts)}; {told(fingerprint, 'cores')} logical processors in all"


def use(entry: Entry) -> str:
    """How the machine was used."""
    threads = value(_first(entry), ("job", "threads"))
    return (
        f"{UNKNOWN if threads is None else threads} thread(s) of the runtime, batch size 1, LoadGen on the same device"
    )


def fingerprint_of(entry: Entry) -> Mapping[str, Any]:
    """The machine's fingerprint; those of an entry agree."""
    found: Mapping[str, Any] = _first(entry)["result"]["fingerprint"]
    return found


def weights(entry: Entry) -> dict[str, str]:
    """What MLPerf's measurements.json asks about the weights."""
    model = _first(entry)["artifact"]["model"]
    parents = [f"{role} {value(of, ('name',))}" for role, of in sorted((model.get("lineage") or {}).items())]
    method = f"{model.get('method')} ({', '.join(parents) or 'no parent'})"
    return {
        "input_data_types": "fp32",
        "retraining": f"yes: trained by edgeproof from seed {model.get('seed')}; last method: {method}",
        "starting_weights_filename": f"none: the model '{entry.model}' is trained from random weights",
        "weight_data_types": entry.scheme.partition("-")[0],
        "weight_transformations": f"{method}; exported to {entry.runtime} as {entry.scheme}",
    }


def regenerate(entries: Sequence[Entry], terms: Terms) -> str:
    """The README of the sources: how to make the same again."""
    studies = sorted({_first(entry)["study"] for entry in entries})
    lines = [
        "# How these results were made",
        "",
        "By edgeproof, which trains, compresses, exports and measures models with MLPerf LoadGen. Everything that was",
        f"built is identical to the bit when built again from its git commit: `{terms.commit}`.",
        "",
        "```sh",
        "git checkout <commit> && make setup && . .venv/bin/activate",
        *(f"edgeproof repro {study} preset=official" for study in studies),
        "edgeproof submit --help",
        "```",
        "",
        "| system | artifact | sha256 of its files | measured |",
        "|---|---|---|---|",
        *(
            f"| {entry.device}, {entry.runtime} | {entry.model}, {entry.scheme} "
            f"| {_first(entry)['artifact']['sha256']} | {_first(entry)['measured_at']} |"
            for entry in entries
        ),
        "",
        "The whole accuracy logs stay with the records; their sha256 is in each accuracy.txt or results.json.",
        "",
    ]
    return "\n".join(lines)


def _first(entry: Entry) -> Mapping[str, Any]:
    return next(entry.runs()).content


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
