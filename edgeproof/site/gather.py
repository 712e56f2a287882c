"""Read the site's data from the store of records."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproof.farm import alarms
from edgeproof.records import queries, store
from edgeproof.records.columns import StoreLine
from edgeproof.report.row import RowKey
from edgeproof.report.rows import build_rows
from edgeproof.site.facts import (
    BuildInfo,
    DatedFingerprint,
    DeviceHealth,
    Facts,
    NightPoint,
    Profile,
    ProfiledOperator,
    Refusal,
    RunRecord,
)
from edgeproof.site.links import ArtifactKey
from edgeproof.statistics import change_points, night_comparison
from edgeproof.statistics.change_points import Step
from edgeproof.statistics.comparison import Comparison

# Fields of BuildInfo with the same name in the store: plain values, and JSON texts.
_PLAIN_FIELDS = ("model", "model_sha256", "method", "network", "seed", "task", "data_sha256")
_JSON_FIELDS = ("options", "packages", "lineage")


def gather_facts(
    root: Path,
    *,
    order: Mapping[str, Sequence[str]],
    baseline: str,
    state: store.StoreState,
    device_titles: Mapping[str, str],
) -> Facts:
    """Read all data of the site.

    `root` is the directory of the records, `order` the 'devices', 'models' and 'runtimes' in their order, `baseline`
    the model that others are compared with, `state` the state of the store, `device_titles` the titles in the
    devices' cards. Raises EdgeproofError.
    """
    lines = queries.read_last_sessions(root, order=order)
    series = _read_series(root)
    return Facts(
        rows=build_rows(lines, baseline=baseline, order=order),
        builds=_read_builds(root),
        quantiles=_read_quantiles(root),
        profiles=_read_profiles(root),
        quality_lines={
            RowKey(line.device, line.runtime, line.model, line.scheme): line
            for line in lines
            if line.quality is not None and line.process == 0
        },
        series=series,
        nights=[night for (night,) in queries.fetch_rows(root, "SELECT DISTINCT night FROM records ORDER BY night")],
        fingerprints=_read_fingerprints(root),
        health=_read_health(root),
        refusals=_read_refusals(root),
        alarms=alarms.read_by_run(),
        changes=_compare_nights(series),
        steps=_find_steps(series),
        runs=_group_runs(lines),
        device_titles=device_titles,
        records=queries.fetch_rows(root, "SELECT count(*) FROM records")[0][0],
        damaged=state.damaged,
        older=state.older,
    )


def _group_runs(lines: Sequence[StoreLine]) -> dict[RowKey, list[RunRecord]]:
    runs: dict[RowKey, list[RunRecord]] = defaultdict(list)
    for line in lines:
        runs[RowKey(line.device, line.runtime, line.model, line.scheme)].append(RunRecord(line.path, line.verdict))
    return runs


def _read_series(root: Path) -> dict[RowKey, list[NightPoint]]:
    """Return the nights of each cell, in order. If a night has several sessions, the last one counts."""
    by_cell: dict[RowKey, dict[str, NightPoint]] = defaultdict(dict)
    for night, device, runtime, model, scheme, *_, processes in queries.read_process_medians(root, extra_columns=()):
        by_cell[RowKey(device, runtime, model, scheme)][night] = NightPoint(night, [log for _, log in processes])
    return {key: [nights[night] for night in sorted(nights)] for key, nights in by_cell.items()}


def _compare_nights(series: Mapping[RowKey, Sequence[NightPoint]]) -> dict[str, dict[RowKey, Comparison]]:
    """Return, for each night, the cells that are slower or faster than on their previous night."""
    before: dict[str, dict[RowKey, Sequence[float]]] = defaultdict(dict)
    after: dict[str, dict[RowKey, Sequence[float]]] = defaultdict(dict)
    for key, points in series.items():
        for earlier, later in itertools.pairwise(points):
            before[later.night][key], after[later.night][key] = earlier.logs, later.logs
    compared = {night: night_comparison.compare_nights(before[night], after[night]) for night in after}
    return {
        night: {
            key: comparison for key, comparison in comparisons.items() if comparison.verdict in ("slower", "faster")
        }
        for night, comparisons in compared.items()
    }


def _find_steps(series: Mapping[RowKey, Sequence[NightPoint]]) -> dict[RowKey, list[Step]]:
    steps = {key: change_points.find_steps([point.mean for point in points]) for key, points in series.items()}
    return {key: cell_steps for key, cell_steps in steps.items() if cell_steps}


def _read_builds(root: Path) -> dict[ArtifactKey, BuildInfo]:
    names = (*_PLAIN_FIELDS, *_JSON_FIELDS, "artifact_sha256", "commit_id", "study")
    fields = ", ".join(f"'{name}': {name}" for name in names)
    builds = queries.fetch_rows(
        root,
        f"""SELECT model, runtime, scheme, arg_max({{{fields}}}, measured_at) FROM records
            WHERE runtime <> 'null' AND NOT (scenario = 'accuracy' AND process > 0) GROUP BY ALL""",  # noqa: S608
    )
    return {(model, runtime, scheme): _parse_build(build) for model, runtime, scheme, build in builds}


def _parse_build(fields: Mapping[str, Any]) -> BuildInfo:
    content: dict[str, Any] = {name: json.loads(fields[name] or "{}") or {} for name in _JSON_FIELDS}
    content |= {name: fields[name] for name in _PLAIN_FIELDS}
    return BuildInfo(sha256=fields["artifact_sha256"], commit=fields["commit_id"], study=fields["study"], **content)


def _read_quantiles(root: Path) -> dict[RowKey, list[Sequence[float]]]:
    """Return the quantiles of each process in each cell's last session."""
    cells = queries.fetch_rows(
        root,
        """SELECT device, runtime, model, scheme, list(quantiles_ns ORDER BY process) FROM records r
           SEMI JOIN (SELECT arg_max(session_id, measured_at) AS session_id, device, runtime, model, scheme
                      FROM records WHERE runtime <> 'null' GROUP BY ALL) s
               ON r.device = s.device AND r.runtime = s.runtime AND r.model = s.model AND r.scheme = s.scheme
               AND r.session_id = s.session_id
           WHERE quantiles_ns IS NOT NULL GROUP BY ALL""",
    )
    return {RowKey(*key): quantiles for *key, quantiles in cells}


def _read_profiles(root: Path) -> dict[RowKey, Profile]:
    cells = queries.fetch_rows(
        root,
        """SELECT device, runtime, model, scheme, arg_max(profile, measured_at) FROM records
           WHERE profile IS NOT NULL GROUP BY ALL""",
    )
    return {RowKey(*key): _parse_profile(text) for *key, text in cells}


def _parse_profile(text: str) -> Profile:
    content = json.loads(text)
    if "operators" not in content:
        return Profile(missing=content["missing"])
    operators = [
        ProfiledOperator(operator["name"], operator["kind"], operator["where"], operator["time_ns"])
        for operator in content["operators"]
    ]
    return Profile(None, content["method"], content["inferences"], operators)


def _read_fingerprints(root: Path) -> dict[str, list[DatedFingerprint]]:
    by_device: dict[str, list[DatedFingerprint]] = defaultdict(list)
    for device, night, text in queries.fetch_rows(
        root,
        """SELECT device, night, arg_max(fingerprint, measured_at) FROM records
           WHERE fingerprint IS NOT NULL GROUP BY ALL ORDER BY ALL""",
    ):
        history = by_device[device]
        facts = {key: value for key, value in json.loads(text).items() if key != "packages"}
        if not history or history[-1].facts != facts:
            history.append(DatedFingerprint(night, facts))
    return by_device


def _read_health(root: Path) -> dict[str, list[DeviceHealth]]:
    by_device: dict[str, list[DeviceHealth]] = defaultdict(list)
    for device, *values in queries.fetch_rows(
        root,
        """SELECT device, night, count(*), count(*) FILTER (verdict <> 'valid'), count(*) FILTER (attempt > 0),
                  avg(waiting_share), avg(steal_cpus), avg(others_cpus)
           FROM records WHERE verdict <> 'unsupported' GROUP BY ALL ORDER BY ALL""",
    ):
        by_device[device].append(DeviceHealth(*values))
    return by_device


def _read_refusals(root: Path) -> dict[str, list[Refusal]]:
    """Return the refused runs of each night. Reasons that differ only in their numbers are counted together."""
    by_night: dict[str, list[Refusal]] = defaultdict(list)
    for night, device, reason, count in queries.fetch_rows(
        root,
        r"""SELECT night, device, min(reason), count(*)
            FROM (SELECT night, device, unnest(reasons) AS reason FROM records WHERE verdict IN ('invalid', 'error'))
            GROUP BY night, device, regexp_replace(reason, '[0-9][0-9.,]*', 'N', 'g') ORDER BY 1, 4 DESC, 2, 3""",
    ):
        by_night[night].append(Refusal(device, reason, count))
    return by_night
