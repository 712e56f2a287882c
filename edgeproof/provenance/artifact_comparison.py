"""Two directories of records, compared: which processes they hold, whether their conditions are alike, what differs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import EdgeproofError
from edgeproof.records import record_files
from edgeproof.records.record_files import Record
from edgeproof.statistics.comparison import Comparison, compare, require_alike

SINGLE_STREAM, LATENCIES = "SingleStream", "latencies.npz"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ArtifactRuns:
    """The valid single-stream runs of one artifact: raw durations in ns by round, and what they were taken under."""

    name: str
    session: str
    runtime: str
    left_out: int
    rounds: Mapping[int, Array]
    conditions: Mapping[str, Any]


def compare_artifacts(a: Path, b: Path, *, percent: float = 50, margin: float = 0.0, allow_unlike: bool = False) -> str:
    """Compare the latencies of two artifacts' records, in words. Raises Unlike or EdgeproofError.

    Rounds of one session were interleaved and are compared in pairs.
    """
    one, two = (read_runs(directory, allow_unlike=allow_unlike) for directory in (a, b))
    conditions = [dict(one.conditions), dict(two.conditions)]
    if one.runtime != two.runtime:  # another runtime is what is compared, not a condition
        for each in conditions:
            each.pop("packages", None)
    differences = require_alike(*conditions, allow_unlike=allow_unlike)
    rounds = sorted(one.rounds.keys() & two.rounds.keys())
    paired = one.session == two.session and len(rounds) == len(one.rounds) == len(two.rounds)
    order = (rounds, rounds) if paired else (sorted(one.rounds), sorted(two.rounds))
    found = compare(
        [one.rounds[n] for n in order[0]],
        [two.rounds[n] for n in order[1]],
        percent=percent,
        paired=paired,
        margin=margin,
    )
    return "\n".join([*_told(one, two, found), *(f"unlike conditions: {line}" for line in differences)])


def read_runs(directory: Path, *, allow_unlike: bool = False) -> ArtifactRuns:
    """The runs below `directory`, which must be those of one artifact on one device in one session."""
    latest: dict[int, Record] = {}
    numbers: set[int] = set()
    seen: set[tuple[str, ...]] = set()
    for record in record_files.read_all(directory):
        content = record.content
        if content.get("job", {}).get("scenario") != SINGLE_STREAM or content["scenario"] == record_files.ACCURACY:
            continue
        if content.get("compliance"):
            continue
        if content.get("card", {}).get("emulated"):
            raise EdgeproofError(f"{directory} is of an emulator, whose latency compares with nothing.")
        seen.add(tuple(str(content[key]) for key in ("device", "runtime", "model", "scheme", "session_id", "scenario")))
        numbers.add(content["process"])
        before = latest.get(content["process"])
        if record.verdict == "valid" and (before is None or content["attempt"] > before.content["attempt"]):
            latest[content["process"]] = record
    if len(seen) != 1 or not latest:
        what = "no valid single-stream run" if len(seen) < 2 else f"runs of {len(seen)} artifacts or sessions"
        raise EdgeproofError(
            f"{directory} holds {what}. Name the directory of one artifact: "
            "results/records/<session>/<runtime>/<model>.<scheme>."
        )
    first = next(iter(latest.values())).content
    return ArtifactRuns(
        name=f"{first['model']} {first['scheme']} on {first['runtime']}, {first['device']}",
        session=str(first["session_id"]),
        runtime=str(first["runtime"]),
        left_out=len(numbers - latest.keys()),
        rounds={number: record.array(LATENCIES, "call_ns") for number, record in sorted(latest.items())},
        conditions=_conditions(list(latest.values()), allow_unlike),
    )


def _conditions(found: list[Record], allow_unlike: bool) -> dict[str, Any]:
    """The fingerprint, task and settings that all runs share. Raises Unlike when they don't."""
    told = [
        {
            **record.content["result"]["fingerprint"],
            "threads": record.content["result"]["threads"],
            "task": record.content["task"],
            "preset": record.content["preset"],
            "settings": record.content["job"].get("settings", {}),
        }
        for record in found
    ]
    for before, after in itertools.pairwise(told):
        require_alike(before, after, allow_unlike=allow_unlike)
    return told[0]


def _told(one: ArtifactRuns, two: ArtifactRuns, found: Comparison) -> list[str]:
    lines = [
        f"{name}: {each.name}, {count} processes"
        + (f", {each.left_out} more were refused and are left out" if each.left_out else "")
        for name, each, count in zip("AB", (one, two), found.processes, strict=True)
    ]
    ratio = found.ratio
    if np.isfinite(ratio.value):
        lines.append(
            f"p{found.percent:g} of B is {ratio.value:.4f} of A's [{ratio.low:.4f}, {ratio.high:.4f}], "
            f"p = {found.p_value:.2g} ({'paired rounds' if found.paired else 'unpaired'}); "
            f"a slowdown of {100 * (found.smallest_detectable_ratio - 1):.1f}% would be found 4 times out of 5"
        )
    return [*lines, f"verdict: {found.verdict}"]
