"""Judge a record again from its inputs: LoadGen's values, the counters, the raw durations, the evidence and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from edgeproof.bench import quality_recheck, verdict
from edgeproof.bench.verdict import RunVerdict, VerdictLimits
from edgeproof.config.cards import Card
from edgeproof.core.errors import ArtifactError
from edgeproof.core.job import PERFORMANCE_MODE, RunnerJob
from edgeproof.devices import device
from edgeproof.records.kinds import INTERLEAVED, LATENCIES_FILE
from edgeproof.records.record import Record

# Records round their figures to six decimals.
ROUNDING = 2e-6


def list_problems(record: Record) -> list[str]:
    """Return the differences between a record's verdict and figures and those that its inputs give.

    The list is empty for a record without inputs: nothing ran, or an older version of edgeproof measured it.
    """
    try:
        is_interleaved = record.identity.scenario == INTERLEAVED
        problems = _recheck_interleaved(record) if is_interleaved else _recheck_run(record)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, ArtifactError) as error:
        problems = [f"its verdict can't be checked: {error}"]
    return [f"{record.directory}: {problem}" for problem in problems]


def _recheck_run(record: Record) -> list[str]:
    job, result = _parse_job(record), record.content.get("result")
    if job is None:
        return []
    if result is None:
        return ["its verdict is 'valid', but it has no result"] if record.verdict == "valid" else []
    changes = _list_device_changes(record, result)
    is_timed = job.mode == PERFORMANCE_MODE and result["status"] == "done" and LATENCIES_FILE in record.files
    judged = verdict.judge_run(
        job,
        result,
        record.read_array(LATENCIES_FILE, "call_ns") if is_timed else None,
        _read_limits(record),
        emulated=record.card.emulated,
        device_changes=changes,
    )
    return [
        *_compare_verdicts(record, judged),
        *_compare_figures(record.figures, judged.figures),
        *quality_recheck.list_problems(record),
    ]


def _recheck_interleaved(record: Record) -> list[str]:
    result, comparison = record.content.get("result"), record.interleaved
    if result is None or "own_ns" not in result:
        return []
    changes = _list_device_changes(record, result)
    problems = _compare_verdicts(record, verdict.judge_interleaved(result, device_changes=changes))
    ratio = float(np.median(np.log(result["own_ns"]) - np.log(result["other_ns"])))
    if comparison is not None and not np.isclose(comparison.log_ratio, ratio, rtol=1e-9, atol=1e-12):
        problems.append(f"its logarithm of the ratio is {comparison.log_ratio:.6f}, its blocks give {ratio:.6f}")
    return problems


def _list_device_changes(record: Record, result: Mapping[str, Any]) -> list[str]:
    """Return how the device that answered differs from the card in the record."""
    card = _parse_card(record)
    return [] if card is None else device.list_changes_of_result(card.fingerprint, result)


def _compare_verdicts(record: Record, judged: RunVerdict) -> list[str]:
    # The record does not contain the task's quality floor, so a quality below it can't be checked.
    is_below_floor = record.identity.is_accuracy and record.verdict == "invalid" and judged.verdict == "valid"
    if record.verdict == judged.verdict or is_below_floor:
        return []
    reasons = f" ({'; '.join(judged.reasons)})" if judged.reasons else ""
    return [f"its verdict is '{record.verdict}', but its inputs give '{judged.verdict}'{reasons}"]


def _compare_figures(recorded: Mapping[str, float], computed: Mapping[str, float]) -> list[str]:
    return [
        f"'{name}' is {recorded[name]:g}, but the counters and the raw durations give {value:g}"
        for name, value in computed.items()
        if name in recorded and abs(recorded[name] - value) > ROUNDING
    ]


def _read_limits(record: Record) -> VerdictLimits:
    """Return the limits of the session. Records of older versions don't have them."""
    return VerdictLimits.from_json(record.content.get("limits") or {})


def _parse_job(record: Record) -> RunnerJob | None:
    try:
        return RunnerJob.from_json(record.content["job"])
    except (LookupError, TypeError, ValueError):
        return None


def _parse_card(record: Record) -> Card | None:
    try:
        return Card.model_validate(record.content.get("card"))
    except ValidationError:
        return None
