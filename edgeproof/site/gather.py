"""What the site shows, asked of the store once: rows, what they were made of, nights, machines."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.farm import alarms
from edgeproof.farm.alarms import Alarm
from edgeproof.records import store
from edgeproof.records.summaries import Summary
from edgeproof.report.rows import Key, Row, rows_of
from edgeproof.statistics import change_points
from edgeproof.statistics.change_points import Step
from edgeproof.statistics.comparison import Comparison

Artifact = tuple[str, str, str]  # model, runtime, scheme


@dataclass(frozen=True)
class Point:
    """A cell on one night: logarithms of its processes' medians in ns."""

    night: str
    logs: Sequence[float]

    @property
    def mean(self) -> float:
        """Of the logarithms: that of the geometric mean."""
        return sum(self.logs) / len(self.logs)


@dataclass(frozen=True)
class Made:
    """How an artifact was made, as its latest record tells it."""

    sha256: str
    model: str
    model_sha256: str
    method: str
    network: str | None
    seed: int | None
    options: Mapping[str, Any]
    packages: Mapping[str, str]
    lineage: Mapping[str, Any]
    task: str
    data_sha256: str | None
    commit: str | None
    study: str


@dataclass(frozen=True)
class Health:
    """A device's runs on one night; shares are means over runs, None where the machine can't tell."""

    night: str
    runs: int
    refused: int
    repeated: int
    waiting_share: float | None
    steal_cpus: float | None
    others_cpus: float | None


@dataclass(frozen=True)
class Facts:
    """Everything on the site."""

    rows: Sequence[Row]
    made: Mapping[Artifact, Made]
    quantiles: Mapping[Key, Sequence[Sequence[float]]]
    profiles: Mapping[Key, Mapping[str, Any]]
    right: Mapping[Key, Summary]
    series: Mapping[Key, Sequence[Point]]
    nights: Sequence[str]
    fingerprints: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
    health: Mapping[str, Sequence[Health]]
    refusals: Mapping[str, Sequence[tuple[str, str, int]]]
    alarms: Mapping[str, Sequence[Alarm]]
    records: int
    damaged: Sequence[str] = ()
    older: int = 0
    changed: Mapping[str, Mapping[Key, Comparison]] = field(default_factory=dict)
    steps: Mapping[Key, Sequence[Step]] = field(default_factory=dict)

    @functools.cached_property
    def models(self) -> dict[str, Made]:
        """An artifact of every model, by the model's sha256."""
        return {made.model_sha256: made for made in self.made.values() if made.model_sha256}

    @functools.cached_property
    def runtimes(self) -> list[str]:
        """All runtimes whose answers are known."""
        return list(dict.fromkeys(key[1] for key in self.right))

    def artifacts(self) -> list[Artifact]:
        """All artifacts, in the rows' order."""
        return list(dict.fromkeys((row.model, row.runtime, row.scheme) for row in self.rows))

    def devices(self) -> list[str]:
        """All devices, in the rows' order."""
        return list(dict.fromkeys(row.device for row in self.rows))


def gather(root: Path, *, order: Mapping[str, Sequence[str]], baseline: str, state: store.State) -> Facts:
    """Ask the store for everything. Raises EdgeproofError where it can't be asked."""
    lines = store.last_sittings(root, order=order)
    series = _series(root)
    return Facts(
        rows=rows_of(lines, baseline=baseline, order=order),
        made=_made(root),
        quantiles=_quantiles(root, order),
        profiles=_profiles(root),
        right={_key(line): line for line in lines if line.hits is not None and line.process == 0},
        series=series,
        nights=[line[0] for line in _asked(root, "SELECT DISTINCT night FROM records ORDER BY night")],
        fingerprints=_fingerprints(root),
        health=_health(root),
        refusals=_refusals(root),
        alarms=alarms.by_run(),
        records=_asked(root, "SELECT count(*) FROM records")[0][0],
        damaged=state.damaged,
        older=state.older,
        changed=_changed(series),
        steps={
            key: found for key, of in series.items() if (found := change_points.steps([point.mean for point in of]))
        },
    )


def page_name(*parts: str) -> str:
    """A file's name for anything: readable, safe, and one for each."""
    told = re.sub(r"[^a-z0-9_.-]+", "-", "-".join(parts).lower()).strip(".-")[:80]
    plain = told and "-".join(parts) == told and "." not in told
    return f"{told}.html" if plain else f"{told}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:8]}.html"


def _key(line: Summary) -> Key:
    return line.device, line.runtime, line.model, line.scheme


def _asked(root: Path, sql: str) -> list[tuple[Any, ...]]:
    return store.connected(store.beside(root)).execute(sql).fetchall()


def _series(root: Path) -> dict[Key, list[Point]]:
    """Every cell's nights; of several sittings on a night the last."""
    found: dict[Key, dict[str, Point]] = defaultdict(dict)
    for night, device, runtime, model, scheme, *_, processes in store.process_logs(root, told=()):
        found[device, runtime, model, scheme][night] = Point(night, [log for _, log in processes])
    return {key: [nights[night] for night in sorted(nights)] for key, nights in found.items()}


def _changed(series: Mapping[Key, Sequence[Point]]) -> dict[str, dict[Key, Comparison]]:
    """By night, the cells that differ from their own night before."""
    before: dict[str, dict[Key, Sequence[float]]] = defaultdict(dict)
    after: dict[str, dict[Key, Sequence[float]]] = defaultdict(dict)
    for key, points in series.items():
        for earlier, later in itertools.pairwise(points):
            before[later.night][key], after[later.night][key] = earlier.logs, later.logs
    told = {night: change_points.between(before[night], after[night]) for night in after}
    return {
        night: {key: of for key, of in found.items() if of.verdict in ("slower", "faster")}
        for night, found in told.items()
    }


_PLAIN = ("model", "model_sha256", "method", "network", "seed", "task", "data_sha256")
_PARSED = ("options", "packages", "lineage")


def _made(root: Path) -> dict[Artifact, Made]:
    names = (*_PLAIN, *_PARSED, "artifact_sha256", "commit_id", "study")
    told = ", ".join(f"'{name}': {name}" for name in names)
    found = _asked(
        root,
        f"""SELECT model, runtime, scheme, arg_max({{{told}}}, measured_at) FROM records
            WHERE runtime <> 'null' AND NOT (scenario = 'accuracy' AND process > 0) GROUP BY ALL""",  # noqa: S608
    )
    return {(model, runtime, scheme): _as_made(of) for model, runtime, scheme, of in found}


def _as_made(of: Mapping[str, Any]) -> Made:
    told: dict[str, Any] = {name: json.loads(of[name] or "{}") or {} for name in _PARSED}
    told |= {name: of[name] for name in _PLAIN}
    return Made(sha256=of["artifact_sha256"], commit=of["commit_id"], study=of["study"], **told)


def _quantiles(root: Path, order: Mapping[str, Sequence[str]]) -> dict[Key, list[Sequence[float]]]:
    found = _asked(
        root,
        """SELECT device, runtime, model, scheme, list(quantiles_ns ORDER BY process) FROM records r
           SEMI JOIN (SELECT arg_max(session_id, measured_at) AS session_id, device, runtime, model, scheme
                      FROM records WHERE runtime <> 'null' GROUP BY ALL) s
               ON r.device = s.device AND r.runtime = s.runtime AND r.model = s.model AND r.scheme = s.scheme
               AND r.session_id = s.session_id
           WHERE quantiles_ns IS NOT NULL GROUP BY ALL""",
    )
    return {(device, runtime, model, scheme): of for device, runtime, model, scheme, of in found}


def _profiles(root: Path) -> dict[Key, Mapping[str, Any]]:
    """Every cell's latest profile by operator, or why it has none."""
    found = _asked(
        root,
        """SELECT device, runtime, model, scheme, arg_max(profile, measured_at) FROM records
           WHERE profile IS NOT NULL GROUP BY ALL""",
    )
    return {(device, runtime, model, scheme): json.loads(told) for device, runtime, model, scheme, told in found}


def _fingerprints(root: Path) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """A device's fingerprints by night, each where it first differs from the one before; packages left out."""
    told: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for device, night, text in _asked(
        root,
        """SELECT device, night, arg_max(fingerprint, measured_at) FROM records
           WHERE fingerprint IS NOT NULL GROUP BY ALL ORDER BY ALL""",
    ):
        seen = {key: value for key, value in json.loads(text).items() if key != "packages"}
        if not told[device] or told[device][-1][1] != seen:
            told[device].append((night, seen))
    return told


def _health(root: Path) -> dict[str, list[Health]]:
    told: dict[str, list[Health]] = defaultdict(list)
    for device, *values in _asked(
        root,
        """SELECT device, night, count(*), count(*) FILTER (verdict <> 'valid'), count(*) FILTER (attempt > 0),
                  avg(waiting_share), avg(steal_cpus), avg(others_cpus)
           FROM records WHERE verdict <> 'unsupported' GROUP BY ALL ORDER BY ALL""",
    ):
        told[device].append(Health(*values))
    return told


def _refusals(root: Path) -> dict[str, list[tuple[str, str, int]]]:
    """By night: device, reason without its numbers, and how many runs were refused for it."""
    told: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for night, device, reason, count in _asked(
        root,
        r"""SELECT night, device, regexp_replace(reason, '[0-9][0-9.,]*', 'N', 'g') AS reason, count(*)
            FROM (SELECT night, device, unnest(reasons) AS reason FROM records WHERE verdict IN ('invalid', 'error'))
            GROUP BY ALL ORDER BY 1, 4 DESC, 2, 3""",
    ):
        told[night].append((device, reason, count))
    return told
