"""Official records as trees that MLPerf's checkers take, and a stricter check of such trees.

submit() writes one, validate() lists what is wrong with one, verify_test01() and verify_test04() judge compliance runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgeproof.core.directories import written_whole
from edgeproof.submission import inference, selection, tiny
from edgeproof.submission.compliance import Verification, verify_test01, verify_test04
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.rules import BENCHMARKS, SYSTEM_FIELDS, TINY_BENCHMARKS
from edgeproof.submission.system_description import Terms, head_commit
from edgeproof.submission.validate import validate

__all__ = ["SubmissionError", "Verification", "submit", "validate", "verify_test01", "verify_test04"]

Flavour = Literal["inference", "tiny"]


def submit(
    records_root: Path,
    out: Path,
    *,
    submitter: str,
    flavour: Flavour,
    benchmark: str | None = None,
    artifacts: Sequence[str] = (),
    status: str = "rdi",
    system: Mapping[str, str] | None = None,
    commit: str | None = None,
) -> list[Path]:
    """Write the submission that the records make to `out`, whole or not at all; returns its files.

    `benchmark` is MLPerf's that the task stands for (resnet, or in the tiny flavour ic, kws or vww); `artifacts` are
    patterns of '<runtime>/<model>.<scheme>' (all when left out); `system` replaces fields of the systems' descriptions
    that records cannot tell; `commit` is what the records come from, by default the working directory's.
    Raises SubmissionError for records that are not official, valid and whole, or whose tree validate() would refuse.
    """
    benchmark = _benchmark(flavour, benchmark)
    fields = list(SYSTEM_FIELDS) if flavour == "inference" else list(tiny.FIELDS)
    terms = Terms(submitter, status, system or {}, commit or head_commit()).checked(fields)
    _refuse_other(out)
    entries = selection.select(records_root, artifacts)
    with written_whole(out) as part:
        write(part, entries, terms, flavour, benchmark)
        problems = validate(part)
        if problems:
            listing = "\n".join(f"  - {problem}" for problem in problems)
            raise SubmissionError(f"these records make no valid submission:\n{listing}\n{selection.MEASURE}")
    return sorted(path for path in out.rglob("*") if path.is_file())


def write(out: Path, entries: Sequence[selection.Entry], terms: Terms, flavour: Flavour, benchmark: str) -> None:
    """Write the tree without judging it."""
    (inference if flavour == "inference" else tiny).write(out, entries, terms, benchmark)


def _benchmark(flavour: Flavour, benchmark: str | None) -> str:
    if flavour == "inference":
        benchmark = benchmark or "resnet"
        if benchmark not in BENCHMARKS:
            raise SubmissionError(f"unknown benchmark '{benchmark}'. Known: {', '.join(BENCHMARKS)}.")
        return benchmark
    benchmark = benchmark or "ic"
    if benchmark not in TINY_BENCHMARKS:
        raise SubmissionError(f"unknown benchmark '{benchmark}'. Known: {', '.join(TINY_BENCHMARKS)}.")
    if TINY_BENCHMARKS[benchmark]:
        possible = [name for name, hindrance in TINY_BENCHMARKS.items() if not hindrance]
        raise SubmissionError(
            f"'{benchmark}' cannot be submitted: {TINY_BENCHMARKS[benchmark]}. Possible: {', '.join(possible)}."
        )
    return benchmark


def _refuse_other(out: Path) -> None:
    """A directory is replaced as a whole, so it must be a submission or nothing."""
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {"open"}):
        raise SubmissionError(f"{out} holds something else than a submission. Name a new directory.")
