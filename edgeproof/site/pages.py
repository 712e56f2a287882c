"""The site's pages, from facts to files."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgeproof.report import grids
from edgeproof.report.figures import FIGURES
from edgeproof.report.formats import html
from edgeproof.report.rows import Key, Row
from edgeproof.report.selections import Selection
from edgeproof.report.tables import ESTIMATED, ESTIMATED_NOTES
from edgeproof.site import drawing, vega
from edgeproof.site.gather import Artifact, Facts, Made, page_name
from edgeproof.statistics import intervals
from edgeproof.statistics.comparison import unlike

HERE = Path(__file__).parent
SHOWN_STEPS = 50
SHOWN_ROWS = 200
SHOWN_OPERATORS = 25
# What the plot can put on its horizontal axis.
COSTS = ("p50", "p90", "p99", "multi_stream_p99", "offline", "server", "size", "macs", "peak", "energy", "load")
OF_ARTIFACT = ["accuracy", "accuracy_difference", "size", "p50", "p90", "p99", "speed_up", "load", "first", "peak"]
OF_DEVICE = ["accuracy", "size", "p50", "p99", "speed_up", "verdict"]
OF_EMULATED = ["accuracy", "size", "peak", "instructions", "emulated_p50", "verdict"]


def build(facts: Facts, tables: Mapping[str, Mapping[str, str]], out: Path, *, title: str) -> int:
    """Write the site into the directory `out`; returns how many pages it has.

    `tables` are titles of saved selections to their files by format, relative to the site.
    """
    pages = _Pages(facts, out, title)
    shutil.copytree(HERE / "static", out / "static")
    (out / "static" / "vega.js").write_text(vega.bundle(), encoding="utf-8")
    (out / "data").mkdir()
    (out / "data" / "rows.js").write_text(_data(facts), encoding="utf-8")
    pages.write("index.html", "index.html", tables=tables, front=_front(facts), artifacts=facts.artifacts())
    pages.write("pareto.html", "pareto.html", title="Pareto plot")
    pages.write("compare.html", "compare.html", title="Compare two")
    by_artifact, by_device = _grouped(facts.rows)
    for artifact in facts.artifacts():
        pages.write(_artifact_page(artifact), "artifact.html", **_artifact(facts, artifact, by_artifact[artifact]))
    for device in facts.devices():
        pages.write(_device_page(device), "device.html", **_device(facts, device, by_device[device]))
    for night in facts.nights:
        pages.write(_night_page(night), "night.html", **_night(facts, night))
    return pages.count


class _Pages:
    """Writes pages from templates, each knowing the way back to the site's root."""

    def __init__(self, facts: Facts, out: Path, title: str) -> None:
        self._out = out
        self.count = 0
        loader = FileSystemLoader(HERE / "templates")
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals |= {
            "site": title,
            "facts": facts,
            "artifact_page": _artifact_page,
            "device_page": _device_page,
            "night_page": _night_page,
        }
        self._environment = environment

    def write(self, path: str, template: str, **values: Any) -> None:
        """Write one page."""
        target = self._out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * path.count("/")
        text = self._environment.get_template(template).render(**{"title": None, **values}, up=up, path=path)
        target.write_text(text, encoding="utf-8")
        self.count += 1


def _artifact_page(artifact: Artifact) -> str:
    return f"artifacts/{page_name(*artifact)}"


def _device_page(device: str) -> str:
    return f"devices/{page_name(device)}"


def _night_page(night: str) -> str:
    return f"nights/{page_name(night)}"


def _grouped(rows: Sequence[Row]) -> tuple[dict[Artifact, list[Row]], dict[str, list[Row]]]:
    by_artifact: dict[Artifact, list[Row]] = {}
    by_device: dict[str, list[Row]] = {}
    for row in rows:
        by_artifact.setdefault((row.model, row.runtime, row.scheme), []).append(row)
        by_device.setdefault(row.device, []).append(row)
    return by_artifact, by_device


def _table(shown: Sequence[Row], title: str, prefix: str, up: str, /, **chosen: Any) -> Markup:
    """A table of the given rows with links to their pages; its markup escapes all that they say."""
    grid = grids.grid(shown, Selection.model_validate({"title": title, **chosen}))
    links = [
        {
            "device": up + _device_page(row["device"]),
            "model": up + _artifact_page((row["model"], row["runtime"], row["scheme"])),
        }
        for row in grid.data
    ]
    return Markup(html.table(grid, prefix, links))


def _front(facts: Facts) -> Markup:
    """On every device the artifacts that no other beats in both latency and accuracy, the fastest first."""
    keys = set()
    for device in facts.devices():
        keys |= grids.front([row for row in facts.rows if row.device == device], ["p50", "accuracy"])
    best = [row for row in facts.rows if row.key in keys][:SHOWN_ROWS]
    columns = ["accuracy", "size", "p50", "p99", "speed_up"]
    return _table(best, "Pareto-optimal artifacts", "front-", "", columns=columns, sort=["device", "p50"], best=False)


# --- data for scripts ----------------------------------------------------------------------------------------------


def _data(facts: Facts) -> str:
    """Every row as a script that sets one variable: a page opened from a file may load no other kind of data."""
    told = {
        "figures": {
            name: {"title": FIGURES[name].title, "better": FIGURES[name].better, "scenario": FIGURES[name].scenario}
            for name in ("accuracy", *COSTS)
        },
        "rows": [_datum(row) for row in facts.rows if row.npu is None],
    }
    text = json.dumps(told, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return f"window.EDGEPROOF = {text};\n"


def _datum(row: Row) -> dict[str, Any]:
    told: dict[str, Any] = {
        "device": row.device,
        "runtime": row.runtime,
        "model": row.model,
        "scheme": row.scheme,
        "verdict": row.verdict,
        "page": _artifact_page((row.model, row.runtime, row.scheme)),
    }
    if row.verdict != "valid":
        told["reasons"] = "; ".join(row.reasons)
    for name in ("accuracy", *COSTS):
        value, interval = FIGURES[name].number(row), FIGURES[name].interval(row)
        if value is not None:
            told[name] = [float(f"{number:.6g}") for number in (value, *(interval or ()))]
    return told


def _estimated(rows: Sequence[Row]) -> dict[str, Any]:
    """What a compiler estimates, in a table of its own: it stands beside nothing that was measured."""
    found = [row for row in rows if row.npu is not None]
    return {
        "headings": [column.heading for column in ESTIMATED],
        "lines": [[column.cell(row) for column in ESTIMATED] for row in found],
        "reasons": [(row.model, row.scheme, "; ".join(row.reasons)) for row in found if row.reasons],
        "notes": ESTIMATED_NOTES,
    }


# --- an artifact ---------------------------------------------------------------------------------------------------


def _artifact(facts: Facts, artifact: Artifact, rows: Sequence[Row]) -> dict[str, Any]:
    model, runtime, scheme = artifact
    estimated = _estimated(rows)
    rows = [row for row in rows if row.npu is None]
    made = facts.made[artifact]
    return {
        "title": f"{model} {scheme} on {runtime}",
        "artifact": artifact,
        "figures": _table(rows, "Figures", "figures-", "../", rows=["device"], columns=OF_ARTIFACT),
        "estimated": estimated,
        "made": made,
        "chain": _chain(made, facts.models),
        "rows": rows,
        "conditions": [dict(_flat(row.conditions or {})) for row in rows],
        "distributions": [
            (row.device, drawing.distribution(facts.quantiles[row.key], f"Latency on {row.device}"))
            for row in rows
            if row.key in facts.quantiles
        ],
        "profiles": [(row.device, _profile(facts.profiles.get(row.key))) for row in rows],
        "series": [(row.device, _series(facts, row.key)) for row in rows if len(facts.series.get(row.key, [])) > 1],
        "disagreements": [found for row in rows for found in _disagreements(facts, row)],
    }


def _profile(told: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an inference's time goes into, the most first; or why that is not known."""
    if told is None or "operators" not in told:
        return {"missing": "none was taken" if told is None else told["missing"]}
    operators = sorted(told["operators"], key=lambda of: -of["time_ns"])
    total = sum(of["time_ns"] for of in operators) or 1.0
    shares = [{**of, "share": of["time_ns"] / total} for of in operators]
    rest = shares[SHOWN_OPERATORS:]
    return {
        **{name: told[name] for name in ("method", "inferences")},
        "operators": shares[:SHOWN_OPERATORS],
        "more": len(rest),
        "rest": sum(of["share"] for of in rest),
        "total_us": total / 1000,
    }


def _chain(made: Made, known: Mapping[str, Made]) -> list[tuple[int, str, str, str, str]]:
    """From the model to what it was made from, as (depth, role, name, sha256, how it was made).

    What its lineage names by hash alone is told by the records of that model's own artifacts, where there are any.
    """
    seen = {made.model_sha256}

    def links(depth: int, role: str, of: Mapping[str, Any]) -> list[tuple[int, str, str, str, str]]:
        told_elsewhere = known.get(of["sha256"]) if "method" not in of else None
        if told_elsewhere is not None and told_elsewhere.model_sha256 not in seen:
            seen.add(told_elsewhere.model_sha256)
            of = _described(told_elsewhere)
        if "method" not in of:
            how = "as told above" if of["sha256"] in seen else "not told by any record here: known by its hash alone"
        else:
            options = ", ".join(f"{name} {value}" for name, value in (of.get("options") or {}).items())
            how = f"{of['method']}, seed {of.get('seed', 0)}" + (f" ({options})" if options else "")
        told = [(depth, role, str(of["name"]), str(of.get("sha256") or ""), how)]
        for part, source in (of.get("lineage") or {}).items():
            told += links(depth + 1, part, source)
        return told

    found = links(0, "model", _described(made))
    deepest = max(depth for depth, *_ in found)
    return [*found, (deepest + 1, "data", made.task, made.data_sha256 or "", "")]


def _described(made: Made) -> dict[str, Any]:
    return {
        **{"name": made.model, "sha256": made.model_sha256, "method": made.method, "seed": made.seed},
        **{"options": made.options, "lineage": made.lineage},
    }


def _series(facts: Facts, key: Key) -> Markup:
    points = facts.series[key]
    medians = [math.exp(point.mean) / 1000 for point in points]
    steps = facts.steps.get(key, [])
    return drawing.series([point.night for point in points], medians, steps, f"Median by night: {'/'.join(key)}")


def _disagreements(facts: Facts, row: Row) -> list[dict[str, Any]]:
    """How often other runtimes on the same device answer otherwise: the same model and scheme, sample by sample."""
    mine = facts.right.get(row.key)
    told: list[dict[str, Any]] = []
    if mine is None or (ours := mine.hits_array()) is None:
        return told
    for other in facts.runtimes:
        theirs = facts.right.get((row.device, other, row.model, row.scheme))
        if other == row.runtime or theirs is None or theirs.total != mine.total:
            continue
        hits = theirs.hits_array()
        assert hits is not None
        told.append(
            {
                "device": row.device,
                "runtime": other,
                "here": int((ours & ~hits).sum()),
                "there": int((~ours & hits).sum()),
                "total": mine.total,
                "p_value": intervals.mcnemar(ours, hits),
            }
        )
    return told


# --- a device ------------------------------------------------------------------------------------------------------


def _device(facts: Facts, device: str, rows: Sequence[Row]) -> dict[str, Any]:
    history = facts.fingerprints.get(device, [])
    estimated = _estimated(rows)
    rows = [row for row in rows if row.npu is None]
    emulated = any(row.emulated is not None for row in rows)
    columns = {"rows": ["model", "runtime", "scheme"], "columns": OF_EMULATED if emulated else OF_DEVICE}
    return {
        "title": device,
        "device": device,
        "fingerprint": dict(_flat(history[-1][1])) if history else {},
        "since": history[-1][0] if history else "",
        "changes": [(night, unlike(before, after)) for (_, before), (night, after) in itertools.pairwise(history)],
        "health": facts.health.get(device, []),
        "table": _table(rows, f"Artifacts on {device}", "rows-", "../", **columns),
        "count": len(rows),
        "estimated": estimated,
    }


def _flat(told: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in told.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}".replace("_", " "), "unknown" if value is None else str(value)))
    return found


# --- a night -------------------------------------------------------------------------------------------------------


def _night(facts: Facts, night: str) -> dict[str, Any]:
    place = facts.nights.index(night)
    changed = sorted(facts.changed.get(night, {}).items(), key=lambda of: -of[1].ratio.value)
    stepped = [
        (key, step)
        for key, steps in facts.steps.items()
        for step in steps
        if facts.series[key][step.place].night == night
    ]
    stepped.sort(key=lambda of: -abs(of[1].ratio - 1))
    return {
        "title": f"Night of {night}",
        "night": night,
        "before": facts.nights[place - 1] if place else None,
        "after": facts.nights[place + 1] if place + 1 < len(facts.nights) else None,
        "alarms": facts.alarms.get(night, []),
        "changed": changed,
        "compared": sum(1 for of in facts.series.values() if any(point.night == night for point in of[1:])),
        "stepped": [(key, step, _series(facts, key)) for key, step in stepped[:SHOWN_STEPS]],
        "more_steps": max(0, len(stepped) - SHOWN_STEPS),
        "refusals": facts.refusals.get(night, []),
        "health": [(device, of) for device, nights in facts.health.items() for of in nights if of.night == night],
    }
