"""Write a submission from official records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import suggest_nearest
from edgeproof.submission import inference, selection, tiny
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.refusals import format_message, list_reasons, split_problem
from edgeproof.submission.rules import (
    INFERENCE_BENCHMARKS,
    INFERENCE_SYSTEM_FIELDS,
    TINY_BENCHMARK_HINDRANCES,
    TINY_METRICS,
    Suite,
)
from edgeproof.submission.system_description import SubmissionInfo, read_head_commit
from edgeproof.submission.validate import validate


def submit(
    records_root: Path,
    out: Path,
    *,
    submitter: str,
    suite: Suite,
    benchmark: str | None = None,
    artifacts: Sequence[str] = (),
    status: str = "rdi",
    system: Mapping[str, str] | None = None,
    commit: str | None = None,
) -> list[Path]:
    """Write the submission of the records below `records_root` to `out`, completely or not at all; return its files.

    `suite` selects the tree of MLPerf Inference or of MLPerf Tiny. `benchmark` is MLPerf's name for the task: resnet
    (the default), or ic, kws, vww or ad of MLPerf Tiny. It must be scored by the metric of the task's quality.
    `artifacts` are patterns of '<runtime>/<model>.<scheme>'; without any, all artifacts are submitted. `system`
    replaces fields of the system description that records do not contain. `commit` made the records, by default the
    current commit of the working directory.

    Raises SubmissionError when the records are not official, valid and complete, or when validate() finds a problem.
    """
    benchmark = choose_benchmark(suite, benchmark)
    fields = list(INFERENCE_SYSTEM_FIELDS) if suite == "inference" else list(tiny.SYSTEM_FIELDS)
    info = SubmissionInfo(submitter, status, system or {}, commit or read_head_commit())
    info.check(fields)
    _check_replaceable(out)
    entries = selection.select(records_root, suite, artifacts)
    selection.check_metric(entries, benchmark, "accuracy" if suite == "inference" else TINY_METRICS[benchmark])
    with write_atomically(out) as part:
        write(part, entries, info, suite, benchmark)
        problems = validate(part)
        if problems:
            reasons = list_reasons([split_problem(problem) for problem in problems], "files")
            title = "the submission would be invalid:"
            raise SubmissionError(format_message(title, reasons, selection.compose_hint(suite)))
    return sorted(path for path in out.rglob("*") if path.is_file())


def write(out: Path, entries: Sequence[selection.Entry], info: SubmissionInfo, suite: Suite, benchmark: str) -> None:
    """Write the tree of a submission to `out` without validating it."""
    (inference if suite == "inference" else tiny).write(out, entries, info, benchmark)


def choose_benchmark(suite: Suite, benchmark: str | None) -> str:
    """Return the benchmark to file the records under.

    Without a given one it is MLPerf Inference's only benchmark that is scored by accuracy. Raises SubmissionError for
    an unknown or impossible one, and for MLPerf Tiny without one, because the records do not say which it is.
    """
    if suite == "inference":
        return _check_known(benchmark or "resnet", INFERENCE_BENCHMARKS)
    if benchmark is None:
        raise SubmissionError(
            "MLPerf Tiny has several benchmarks, and records do not say which one the task stands for. Add --benchmark "
            "ic (image classification), kws (keyword spotting), vww (visual wake words) or ad (anomaly detection)."
        )
    hindrance = TINY_BENCHMARK_HINDRANCES[_check_known(benchmark, TINY_BENCHMARK_HINDRANCES)]
    if hindrance:
        possible = ", ".join(name for name, reason in TINY_BENCHMARK_HINDRANCES.items() if not reason)
        raise SubmissionError(f"'{benchmark}' cannot be submitted: {hindrance}. Possible: {possible}.")
    return benchmark


def _check_known(benchmark: str, known: Mapping[str, object]) -> str:
    if benchmark not in known:
        nearest = suggest_nearest(benchmark, known)
        raise SubmissionError(f"unknown benchmark '{benchmark}'.{nearest} Known: {', '.join(known)}.")
    return benchmark


def _check_replaceable(out: Path) -> None:
    """Raise SubmissionError unless `out` is missing, empty or a submission, since it is replaced as a whole."""
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {"open"}):
        raise SubmissionError(f"{out} contains something other than a submission. Choose a new directory with --out.")
