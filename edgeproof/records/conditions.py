"""The one definition of like conditions: what must be equal before two measured times are compared.

Conditions that can change a time stop every comparison, unless the user allows it: `edgeproof compare`, the notes of
tables, and the farm, which cuts a cell's history where they change. All other facts of a fingerprint are only reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgeproof.core.errors import EdgeproofError

# Facts of a device's fingerprint that can change a time. A fact that is not listed here never stops a comparison.
TIMING_FACTS = (
    *("architecture", "cpu", "cpu_flags", "microcode", "cores", "affinity", "smt", "caches", "virtualization"),
    *(
        "governor",
        "turbo",
        "memory_bytes",
        "memory_limit_bytes",
        "quota_cpus",
        "thread_variables",
        "kernel",
        "libc",
        "python",
    ),
)
# The key of the packages that the runner imports. Their versions can change a time too.
PACKAGES = "packages"


class UnlikeConditions(EdgeproofError):
    """Two measurements were taken under different conditions."""


def collect_conditions(
    fingerprint: Mapping[str, Any], *, threads: int | None, preset: str, task: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the conditions of a run that can change a time.

    Args:
        fingerprint: the device's properties, as the runner reports them.
        threads: threads of the runtime.
        preset: the study's preset, such as 'standard'.
        task: the task, which decides the inputs.
        settings: LoadGen's settings of the scenario.
    """
    conditions: dict[str, Any] = {name: fingerprint[name] for name in TIMING_FACTS if name in fingerprint}
    conditions |= {"threads": threads, "preset": preset, "task": task, "settings": dict(settings)}
    if PACKAGES in fingerprint:
        conditions[PACKAGES] = {name: _format_package(entry) for name, entry in fingerprint[PACKAGES].items()}
    return conditions


def collect_other_facts(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a fingerprint that are reported and never stop a comparison."""
    return {name: fact for name, fact in fingerprint.items() if name not in (*TIMING_FACTS, PACKAGES)}


def add_versions(conditions: Mapping[str, Any], versions: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the conditions with the versions of packages that the fingerprint does not list."""
    return {**conditions, PACKAGES: {**versions, **conditions.get(PACKAGES, {})}}


def keep_common_packages(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both conditions with only the packages that both have.

    Use it for two runtimes: their own packages may differ, but shared ones, such as LoadGen, must be equal.
    """
    common = a.get(PACKAGES, {}).keys() & b.get(PACKAGES, {}).keys()
    first, second = (
        {**each, PACKAGES: {name: version for name, version in each.get(PACKAGES, {}).items() if name in common}}
        for each in (a, b)
    )
    return first, second


def _format_package(entry: Mapping[str, Any]) -> str:
    """Return a package's version, and the beginning of its wheel's sha256: builds of one version can differ."""
    wheel = entry.get("wheel_sha256")
    return str(entry.get("version")) if wheel is None else f"{entry.get('version')} (wheel {wheel[:8]})"


def require_alike(a: Mapping[str, Any], b: Mapping[str, Any], *, allow_unlike: bool) -> list[str]:
    """Return the differences of two sets of conditions. Raises UnlikeConditions for any, unless `allow_unlike`."""
    differences = list_differences(a, b)
    if differences and not allow_unlike:
        raise UnlikeConditions(
            f"measured under different conditions: {'; '.join(differences)}. Measure both under the same conditions, "
            "or compare them anyway with --unlike: the table then lists the differences."
        )
    return differences


def list_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the conditions that differ, as 'key: a → b'. Keys of nested conditions are joined by dots.

    'cpu_flags' has a hundred words, so only the flags that differ are listed.
    """
    first, second = dict(_flatten(a)), dict(_flatten(b))
    _shorten_flags(first, second)
    return [
        f"{key}: {_format_value(first, second, key)} → {_format_value(second, first, key)}"
        for key in sorted({*first, *second})
        if (key in first) != (key in second) or first[key] != second[key]
    ]


def _shorten_flags(first: dict[str, Any], second: dict[str, Any], key: str = "cpu_flags") -> None:
    """Keep only the flags that one of the two sides lacks. Their order has no meaning."""
    if isinstance(first.get(key), str) and isinstance(second.get(key), str):
        ours, theirs = set(first[key].split()), set(second[key].split())
        first[key] = " ".join(sorted(ours - theirs)) or "none"
        second[key] = " ".join(sorted(theirs - ours)) or "none"


def _flatten(conditions: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in conditions.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _format_value(conditions: Mapping[str, Any], others: Mapping[str, Any], key: str) -> str:
    """Return a condition as text, in quotes where the other side would read the same, such as 1 and '1'."""
    if key not in conditions:
        return "absent"
    text, other_text = (
        side[key] if isinstance(side.get(key), str) else _format_json(side.get(key)) for side in (conditions, others)
    )
    return _format_json(conditions[key]) if text == other_text else text


def _format_json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
