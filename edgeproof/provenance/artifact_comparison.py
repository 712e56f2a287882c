"""Compare the latencies of two artifacts from the raw durations in their records."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance.comparison_report import ComparisonReport
from edgeproof.records import kinds, record_files
from edgeproof.records.conditions import (
    collect_conditions,
    collect_other_facts,
    keep_common_packages,
    list_differences,
    require_alike,
)
from edgeproof.records.record import Record
from edgeproof.statistics.comparison import Comparison, compare

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ArtifactRuns:
    """The valid single-stream runs of one artifact in one session.

    Attributes:
        name: model, scheme, runtime and device in words.
        refused: number of processes without a valid run.
        repeated: the processes whose run is a repetition of a refused one.
        durations_ns: the durations of each process, in order.
        conditions: what all runs were measured under, as `edgeproof.records.conditions` defines it.
        other_facts: facts of the device. Differences in them are reported and do not prevent a comparison.
    """

    name: str
    session: str
    runtime: str
    refused: int
    repeated: Sequence[int]
    durations_ns: Mapping[int, Array]
    conditions: Mapping[str, Any]
    other_facts: Mapping[str, Any]


def compare_artifacts(
    a: Path, b: Path, *, percent: float = 50, margin: float = 0.0, allow_unlike: bool = False
) -> ComparisonReport:
    """Compare the latencies of two artifacts.

    Processes of the same session were interleaved, so they are compared in pairs. If one of them was repeated, all are
    compared without pairs, because the outcome of a run decided whether it was repeated.

    Args:
        a, b: directories with the records of one artifact each.
        percent: the percentile of each process that is compared.
        margin: the ratio minus 1 up to which a difference counts as none.
        allow_unlike: compare under different conditions too, and list them.

    Raises UnlikeConditions when conditions differ, and EdgeproofError for a directory without runs of one artifact.
    """
    first, second = (read_runs(directory, allow_unlike=allow_unlike) for directory in (a, b))
    conditions = first.conditions, second.conditions
    if first.runtime != second.runtime:
        conditions = keep_common_packages(*conditions)
    differences = require_alike(*conditions, allow_unlike=allow_unlike)
    processes = sorted(first.durations_ns.keys() & second.durations_ns.keys())
    is_complete = len(processes) == len(first.durations_ns) == len(second.durations_ns)
    paired = first.session == second.session and is_complete and not (first.repeated or second.repeated)
    comparison = compare(
        [first.durations_ns[number] for number in sorted(first.durations_ns)],
        [second.durations_ns[number] for number in sorted(second.durations_ns)],
        percent=percent,
        paired=paired,
        margin=margin,
    )
    other_differences = list_differences(first.other_facts, second.other_facts)
    text = "\n".join(
        [
            *_describe(first, second, comparison),
            *(f"unlike conditions: {line}" for line in differences),
            *(f"also different: {line}" for line in other_differences),
        ]
    )
    return ComparisonReport(text, {second.name: comparison}, left_out=first.refused + second.refused)


def read_runs(directory: Path, *, allow_unlike: bool = False) -> ArtifactRuns:
    """Return the runs below `directory`.

    Raises EdgeproofError unless they are of one artifact, device and session, with a valid single-stream run.
    """
    latest: dict[int, Record] = {}
    processes: set[int] = set()
    artifacts: set[tuple[str, ...]] = set()
    for record in record_files.read_all(directory):
        if record.performance_scenario != kinds.SINGLE_STREAM:
            continue
        if record.card.emulated:
            raise EdgeproofError(f"{directory} is of an emulator, whose latency compares with nothing.")
        run = record.identity
        artifacts.add((run.device, run.runtime, run.model, run.scheme, run.session_id, run.scenario))
        processes.add(run.process)
        earlier = latest.get(run.process)
        if record.verdict == "valid" and (earlier is None or run.attempt > earlier.identity.attempt):
            latest[run.process] = record
    if len(artifacts) == 1 and not latest:
        raise EdgeproofError(
            f"{directory} holds no valid single-stream run: all were refused. Measure again: run 'edgeproof bench' "
            "once more, or raise 'session' in the study and run 'edgeproof repro'."
        )
    if len(artifacts) != 1:
        content = "no single-stream run" if not artifacts else f"{len(artifacts)} artifacts or sessions"
        raise EdgeproofError(
            f"{directory} holds {content}. Name the directory of one artifact: "
            "results/records/<session>/<runtime>/<model>.<scheme>."
        )
    records = [latest[number] for number in sorted(latest)]
    first = records[0].identity
    return ArtifactRuns(
        name=f"{first.model} {first.scheme} on {first.runtime}, {first.device}",
        session=first.session_id,
        runtime=first.runtime,
        refused=len(processes - latest.keys()),
        repeated=[number for number in sorted(latest) if latest[number].identity.attempt > 0],
        durations_ns={
            record.identity.process: record.read_array(kinds.LATENCIES_FILE, "call_ns") for record in records
        },
        conditions=_get_shared_conditions(records, allow_unlike),
        other_facts=collect_other_facts(records[0].result.fingerprint if records[0].result else {}),
    )


def _get_shared_conditions(records: Sequence[Record], allow_unlike: bool) -> Mapping[str, Any]:
    """Return the conditions of the first run. Raises UnlikeConditions when those of another run differ."""
    conditions = [
        collect_conditions(
            record.result.fingerprint,
            threads=record.result.threads,
            preset=record.identity.preset,
            task=record.identity.task,
            settings=record.job.settings,
        )
        for record in records
        if record.result is not None and record.job is not None
    ]
    for earlier, later in itertools.pairwise(conditions):
        require_alike(earlier, later, allow_unlike=allow_unlike)
    return conditions[0]


def _describe(first: ArtifactRuns, second: ArtifactRuns, comparison: Comparison) -> list[str]:
    lines = [
        f"{letter}: {runs.name}, {count} processes"
        + (f", {runs.refused} more were refused" if runs.refused else "")
        + (f", {len(runs.repeated)} were refused and repeated" if runs.repeated else "")
        for letter, runs, count in zip("AB", (first, second), comparison.processes, strict=True)
    ]
    ratio = comparison.ratio
    if np.isfinite(ratio.value):
        interval, detectable = f" [{ratio.low:.4f}, {ratio.high:.4f}]", 100 * (comparison.smallest_detectable_ratio - 1)
        power = f"a slowdown of {detectable:.1f}% would be found 4 times out of 5"
        if np.isnan(ratio.low):
            interval, power = "", "processes do not vary, or are too few, so there is no interval"
        lines.append(
            f"p{comparison.percent:g} of B is {ratio.value:.4f} of A's{interval}, "
            f"p = {comparison.p_value:.2g} ({_explain_pairing(first, second, comparison)}); {power}"
        )
    if comparison.is_decided_by_t_alone:
        lines.append(
            f"the rank test cannot reach p < 0.05 with so few {'pairs' if comparison.paired else 'processes'}, so "
            "Student's t decides alone. It assumes that the medians are about log-normal. For a confirmation by ranks, "
            f"measure at least {comparison.processes_for_ranks} processes (bench.processes)."
        )
    return [*lines, f"verdict: {comparison.verdict}"]


def _explain_pairing(first: ArtifactRuns, second: ArtifactRuns, comparison: Comparison) -> str:
    if comparison.paired:
        return "paired processes"
    if first.session == second.session and (first.repeated or second.repeated):
        return "unpaired, because refused runs were repeated"
    return "unpaired"
