"""Like conditions: what can change a time stops a comparison, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeproof.records import conditions, record_files, summaries
from edgeproof.runner.conditions import read_fingerprint
from tests.support import record_trees

SETTINGS: dict[str, Any] = {"threads": 1, "preset": "standard", "task": "task", "settings": {"min_query_count": 1}}


def collect(**fingerprint: Any) -> dict[str, Any]:
    return conditions.collect_conditions({"cpu": "A", **fingerprint}, **SETTINGS)


def test_every_fact_of_a_fingerprint_is_a_condition_or_reported() -> None:
    fingerprint = {**read_fingerprint(["numpy"]), "memory_limit_bytes": 1, "serial_number": "7"}
    collected = conditions.collect_conditions(fingerprint, **SETTINGS)
    assert set(collected) == {*fingerprint, *SETTINGS} - {"serial_number"}
    assert conditions.collect_other_facts(fingerprint) == {"serial_number": "7"}


@pytest.mark.parametrize("name", [name for name in conditions.TIMING_FACTS if name != "cpu_flags"])
def test_a_timing_fact_that_differs_is_a_difference(name: str) -> None:
    assert conditions.list_differences(collect(**{name: "1"}), collect(**{name: "2"})) == [f"{name}: 1 → 2"]


def test_of_cpu_flags_only_those_of_one_side_are_listed_and_their_order_means_nothing() -> None:
    a, b = collect(cpu_flags="sse avx avx2"), collect(cpu_flags="avx2 sse fma avx512f")
    assert conditions.list_differences(a, b) == ["cpu_flags: avx → avx512f fma"]
    assert conditions.list_differences(collect(cpu_flags="a b"), collect(cpu_flags="b a")) == []


def test_another_build_of_a_packages_version_is_a_difference() -> None:
    a, b = (collect(packages={"numpy": {"version": "2.0", "wheel_sha256": digit * 64}}) for digit in "ab")
    (difference,) = conditions.list_differences(a, b)
    assert difference == "packages.numpy: 2.0 (wheel aaaaaaaa) → 2.0 (wheel bbbbbbbb)"


def test_versions_are_added_for_packages_that_the_fingerprint_does_not_list() -> None:
    listed = collect(packages={"numpy": {"version": "2.0", "wheel_sha256": "a" * 64}})
    added = conditions.add_versions(listed, {"numpy": "2.0", "engine": "1.0"})
    assert added["packages"] == {"numpy": "2.0 (wheel aaaaaaaa)", "engine": "1.0"}
    assert conditions.add_versions({}, {})["packages"] == {}


def test_two_runtimes_are_compared_by_the_packages_that_both_have() -> None:
    a = collect(packages={"onnxruntime": {"version": "1"}, "numpy": {"version": "2"}})
    b = collect(packages={"litert": {"version": "1"}, "numpy": {"version": "3"}})
    assert conditions.list_differences(*conditions.keep_common_packages(a, b)) == ["packages.numpy: 2 → 3"]


def test_the_conditions_in_the_store_are_those_of_comparisons(tmp_path: Path) -> None:
    fingerprint = {"cpu": "A", "affinity": [0], "serial_number": "7", "packages": {"numpy": {"version": "2.0"}}}
    record_trees.write(tmp_path, call_ns=[1000] * 100, result={"fingerprint": fingerprint})
    (line,) = summaries.summarize_records(record_files.read_all(tmp_path), tmp_path)
    stored = json.loads(line.conditions or "")
    assert stored == conditions.collect_conditions(fingerprint, threads=1, preset="standard", task="task", settings={})
