"""Values of an artifact's page: figures, lineage, latency, profiles, nights, disagreement between runtimes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgeproof.report.origin import describe_role
from edgeproof.report.quality_runs import QualityRun, compare_evidence, make_quality_run
from edgeproof.report.row import Row, RowKey
from edgeproof.site import drawing
from edgeproof.site.fact_text import format_facts
from edgeproof.site.facts import BuildInfo, Facts, Profile, ProfiledOperator
from edgeproof.site.headlines import list_tiles
from edgeproof.site.linked_tables import render_table, split_estimated
from edgeproof.site.links import ArtifactKey
from edgeproof.site.usage import describe_usage
from edgeproof.statistics import proportions

FIGURE_NAMES = ["quality", "quality_difference", "size", "p50", "p90", "p99", "speed_up", "load", "first", "peak"]
MAX_SHOWN_OPERATORS = 25


@dataclass(frozen=True)
class Ancestor:
    """One line of a lineage: a model or the data set, `depth` steps above the artifact's model."""

    depth: int
    role: str
    name: str
    sha256: str
    how: str


@dataclass(frozen=True)
class OperatorShare:
    """One operator of a profile with its share of the time of all operators."""

    operator: ProfiledOperator
    share: float


@dataclass(frozen=True)
class ProfileTable:
    """A profile, slowest operators first. `missing` is the reason if there is none; then the rest is empty."""

    missing: str | None
    method: str = ""
    inferences: int = 0
    total_us: float = 0.0
    shown: Sequence[OperatorShare] = ()
    more: int = 0
    more_share: float = 0.0


@dataclass(frozen=True)
class RuntimeDisagreement:
    """The difference of the quality between two runtimes on the same units, with its p-value.

    `right_only_here` and `right_only_there` count the units that only one of the two gets right. They are None for a
    metric that is no proportion.
    """

    device: str
    other_runtime: str
    difference: str
    units: int
    p_value: float
    right_only_here: int | None = None
    right_only_there: int | None = None


def describe_artifact(facts: Facts, artifact: ArtifactKey, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the values of the template artifact.html; `rows` are the artifact's."""
    model, runtime, scheme = artifact
    measured, estimated = split_estimated(rows)
    build = facts.builds[artifact]
    return {
        "title": f"{model} {scheme} on {runtime}",
        "artifact": artifact,
        "is_supported": any(row.verdict != "unsupported" for row in measured),
        "tiles": list_tiles(measured[0]) if measured else [],
        "usage": describe_usage(runtime, (measured[0].versions or {}) if measured else {}),
        "figures": render_table(
            measured, facts, "Figures of each device", "figures-", "../", rows=["device"], columns=FIGURE_NAMES
        ),
        "estimated": estimated,
        "build": build,
        "ancestors": trace_ancestors(build, facts.models),
        "rows": measured,
        "conditions": [format_facts(row.conditions or {}) for row in measured],
        "distributions": [
            (row.device, drawing.draw_distribution(facts.quantiles[row.key], f"Latency on {row.device}"))
            for row in measured
            if row.key in facts.quantiles
        ],
        "profiles": [(row.device, summarize_profile(facts.profiles.get(row.key))) for row in measured],
        "placements": [(row.device, row.placement) for row in measured if row.placement is not None],
        "series": [(row.device, draw_nights(facts, row.key)) for row in measured if has_nights(facts, row.key)],
        "disagreements": [line for row in measured for line in _compare_runtimes(facts, row)],
    }


def draw_nights(facts: Facts, key: RowKey) -> Markup:
    """Draw a cell's median latency by night, with its change points."""
    points = facts.series[key]
    medians_us = [math.exp(point.mean) / 1000 for point in points]
    nights = [point.night for point in points]
    return drawing.draw_series(nights, medians_us, facts.steps.get(key, []), f"Median by night: {'/'.join(key)}")


def has_nights(facts: Facts, key: RowKey) -> bool:
    """Return True if a cell has at least two nights to draw."""
    return len(facts.series.get(key, [])) > 1


def summarize_profile(profile: Profile | None) -> ProfileTable:
    """Return the slowest operators with their shares of the time, and the sum of the others."""
    if profile is None or profile.missing is not None:
        return ProfileTable("none was measured" if profile is None else profile.missing)
    operators = sorted(profile.operators, key=lambda operator: -operator.time_ns)
    total_ns = sum(operator.time_ns for operator in operators) or 1.0
    shares = [OperatorShare(operator, operator.time_ns / total_ns) for operator in operators]
    more = shares[MAX_SHOWN_OPERATORS:]
    return ProfileTable(
        missing=None,
        method=profile.method,
        inferences=profile.inferences,
        total_us=total_ns / 1000,
        shown=shares[:MAX_SHOWN_OPERATORS],
        more=len(more),
        more_share=sum(operator.share for operator in more),
    )


def trace_ancestors(build: BuildInfo, models: Mapping[str, BuildInfo]) -> list[Ancestor]:
    """Return the artifact's model, the models it was made from, and the data set.

    A lineage may contain only the name and the sha256 of a model. Then its method is taken from `models`, the builds
    of this site's own artifacts by the model's sha256, if it is there.
    """
    ancestors = list(_trace(0, "model", _describe_model(build), models, {build.model_sha256}))
    deepest = max(ancestor.depth for ancestor in ancestors)
    return [*ancestors, Ancestor(deepest + 1, "data", build.task, build.data_sha256 or "", "")]


def _trace(
    depth: int, role: str, model: Mapping[str, Any], models: Mapping[str, BuildInfo], seen: set[str]
) -> Iterator[Ancestor]:
    """Yield a model and then its ancestors; `seen` collects the models taken from `models`, to end a cycle."""
    known = models.get(model["sha256"]) if "method" not in model else None
    if known is not None and known.model_sha256 not in seen:
        seen.add(known.model_sha256)
        model = _describe_model(known)
    if "method" in model:
        options = ", ".join(f"{name} {value}" for name, value in (model.get("options") or {}).items())
        how = f"{model['method']}, seed {model.get('seed', 0)}" + (f" ({options})" if options else "")
    else:
        how = "see above" if model["sha256"] in seen else "no record here says how it was made"
    yield Ancestor(depth, describe_role(role), str(model["name"]), str(model.get("sha256") or ""), how)
    for part, parent in (model.get("lineage") or {}).items():
        yield from _trace(depth + 1, part, parent, models, seen)


def _describe_model(build: BuildInfo) -> dict[str, Any]:
    """Return a build's model in the form that lineages have."""
    return {
        "name": build.model,
        "sha256": build.model_sha256,
        "method": build.method,
        "seed": build.seed,
        "options": build.options,
        "lineage": build.lineage,
    }


def _compare_runtimes(facts: Facts, row: Row) -> Iterator[RuntimeDisagreement]:
    """Compare the row's quality with that of other runtimes on the same device, model, scheme and units."""
    here = make_quality_run(facts.quality_lines.get(row.key))
    for runtime in facts.runtimes if here is not None else ():
        there = make_quality_run(facts.quality_lines.get(row.key._replace(runtime=runtime)))
        if runtime != row.runtime and there is not None and here is not None and here.is_comparable(there):
            yield from _compare_runs(row.device, runtime, here, there)


def _compare_runs(device: str, runtime: str, here: QualityRun, there: QualityRun) -> Iterator[RuntimeDisagreement]:
    """Yield the comparison of two runs, unless the metric is undefined in most resamples."""
    change = here.value - there.value
    sign = "+" if change > 0 else "-" if change < 0 else ""
    difference = sign + here.metric.format_difference(change)
    if here.hits is not None and there.hits is not None:
        p_value = proportions.compute_mcnemar_p_value(here.hits, there.hits)
        only_here, only_there = int((here.hits & ~there.hits).sum()), int((~here.hits & there.hits).sum())
        yield RuntimeDisagreement(device, runtime, difference, here.units, p_value, only_here, only_there)
    elif (paired := compare_evidence(here, there)) is not None:
        yield RuntimeDisagreement(device, runtime, difference, here.units, paired.p_value)
