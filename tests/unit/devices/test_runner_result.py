"""The check of a device's result before anything is computed from it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import DeviceError
from edgeproof.core.job import MAX_PREPROCESSED
from edgeproof.devices import runner_result
from tests.support.run_counters import BEFORE, QUIET

DONE: dict[str, Any] = {
    "status": "done",
    "loadgen": {"result_validity": "VALID"},
    "load_ns": 1,
    "first_inference_ns": 2,
    "peak_rss_bytes": 3,
    "threads": 1,
    "counters": {"before": BEFORE, "after": QUIET},
    "warm_up": {"steady": True, "call_ns": 5, "spread": 0.0, "duration_ns": 6},
    "fallbacks": [],
    "versions": {"numpy": None},
    "fingerprint": {"cpu": None, "cores": 2},
}


def test_a_valid_result_is_returned_unchanged_with_keys_of_newer_runners() -> None:
    content = {**DONE, "news": [1]}
    assert runner_result.validate(content) is content
    failed = {"status": "error", "error": "broken", "loadgen": None}
    assert runner_result.validate(failed) is failed


def make_profile(*operators: Any, **changes: Any) -> dict[str, Any]:
    return {"status": "profiled", "method": "by hand", "inferences": 50, "operators": list(operators), **changes}


OPERATOR = {"name": "conv", "kind": "Conv", "where": "CPU", "time_ns": 1.5}


def test_a_profile_and_a_reason_for_a_missing_one_are_returned_unchanged() -> None:
    for content in (make_profile(), make_profile(OPERATOR), {"status": "unprofiled", "reason": "no profiler"}):
        assert runner_result.validate(content) is content


PLACED = {"name": "conv", "kind": "Conv", "where": "CPU", "reason": ""}


@pytest.mark.parametrize("placement", [None, {"missing": "no list"}, {"operators": []}, {"operators": [PLACED]}])
def test_a_placement_or_the_reason_for_none_is_returned_unchanged(placement: Any) -> None:
    content = make_profile(placement=placement)
    assert runner_result.validate(content) is content


TIMED: dict[str, Any] = {
    "durations_ns": [100, 200],
    "raw_inputs": "noise",
    "versions": {"numpy": "2.0", "pillow": None},
    "warm_up": DONE["warm_up"],
    "counters": DONE["counters"],
}


@pytest.mark.parametrize("timed", [None, TIMED, {"missing": "no camera"}])
def test_a_timed_preprocessing_or_the_reason_for_none_is_returned_unchanged(timed: Any) -> None:
    for content in (make_profile(), {"status": "unprofiled", "reason": "no profiler"}):
        assert runner_result.validate({**content, "preprocessing": timed})["preprocessing"] == timed


@pytest.mark.parametrize(
    "timed",
    [
        {},
        {"durations_ns": [100]},
        {**TIMED, "missing": "both"},
        {**TIMED, "durations_ns": []},
        {**TIMED, "durations_ns": [0]},
        {**TIMED, "durations_ns": [1.5]},
        {**TIMED, "durations_ns": [1] * (MAX_PREPROCESSED + 1)},
        {**TIMED, "counters": {"before": BEFORE, "after": BEFORE}},
        {**TIMED, "versions": {"numpy": 2}},
    ],
)
def test_an_invalid_preprocessing_is_refused(timed: Any) -> None:
    with pytest.raises(DeviceError, match=r"not what a runner reports: profiled\.preprocessing"):
        runner_result.validate(make_profile(preprocessing=timed))


@pytest.mark.parametrize(
    "placement",
    [
        {},
        {"missing": "no list", "operators": []},
        {"operators": [{**PLACED, "reason": None}]},
        {"operators": [{**PLACED, "where": "w" * 1001}]},
        {"operators": [PLACED] * (runner_result.MAX_OPERATORS + 1)},
        [PLACED],
    ],
)
def test_an_invalid_placement_is_refused(placement: Any) -> None:
    with pytest.raises(DeviceError, match=r"not what a runner reports: .*placement"):
        runner_result.validate({"status": "unprofiled", "reason": "no profiler", "placement": placement})


def make_interleaved(own_ns: list[Any], other_ns: list[Any], **changes: Any) -> dict[str, Any]:
    content = {"status": "compared", "own_ns": own_ns, "other_ns": other_ns, "fallbacks": [], "threads": 1}
    return {**content, "versions": {}, "fingerprint": {"cpu": None, "cores": 2}, **changes}


def test_interleaved_blocks_are_returned_unchanged() -> None:
    content = make_interleaved([1, 2], [3, 4], calls=7)
    assert runner_result.validate(content) is content


@pytest.mark.parametrize(
    "content",
    [
        make_interleaved([], []),
        make_interleaved([1, 2], [3]),
        make_interleaved([0], [1]),
        make_interleaved([1], [10**16]),
        make_interleaved([1.5], [1]),
        make_interleaved(["1"], [1]),
        make_interleaved([1] * 10_001, [1] * 10_001),
        make_interleaved([1], [1], versions=None),
        make_interleaved([1], [1], threads="many"),
        make_profile({**OPERATOR, "time_ns": -1.0}),
        make_profile({**OPERATOR, "time_ns": float("inf")}),
        make_profile({**OPERATOR, "name": "n" * 1001}),
        make_profile({**OPERATOR, "kind": None}),
        make_profile(*[OPERATOR] * (runner_result.MAX_OPERATORS + 1)),
        make_profile(inferences=0),
        {"status": "unprofiled"},
    ],
)
def test_an_invalid_profile_or_comparison_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="not what a runner reports"):
        runner_result.validate(content)


@pytest.mark.parametrize("key", sorted(DONE))
@pytest.mark.parametrize("value", ["missing", None, -1, "text", [1], {"a": 1}, float("nan")])
def test_a_missing_key_or_a_wrong_type_is_refused_with_the_key(key: str, value: Any) -> None:
    content = copy.deepcopy(DONE)
    if value == "missing":
        del content[key]
    else:
        content[key] = value
    if key == "loadgen" and value == {"a": 1}:
        assert runner_result.validate(content) is content
        return
    with pytest.raises(DeviceError, match="not what a runner reports") as caught:
        runner_result.validate(content)
    assert key in str(caught.value)


@pytest.mark.parametrize("key", sorted(BEFORE))
def test_a_counter_that_is_not_a_number_is_refused(key: str) -> None:
    content = {**DONE, "counters": {"before": BEFORE, "after": {**QUIET, key: "a lot"}}}
    if key not in runner_result.CounterSample.model_fields:
        pytest.fail(f"{key} is read but not checked")
    with pytest.raises(DeviceError, match=key):
        runner_result.validate(content)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", [{"deep": float("nan")}]])
def test_values_that_json_cannot_hold_are_refused_at_any_depth(value: Any) -> None:
    with pytest.raises(DeviceError, match="NaN or invalid text"):
        runner_result.validate({**DONE, "loadgen": {"x": value}})


def test_a_steady_clock_that_did_not_advance_is_refused() -> None:
    with pytest.raises(DeviceError, match="stood still"):
        runner_result.validate({**DONE, "counters": {"before": BEFORE, "after": BEFORE}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*DONE, "x"]), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_any_other_content_is_refused_with_a_device_error(content: Any) -> None:
    plausible = isinstance(content, dict) and content.get("status") == "error" and isinstance(content.get("error"), str)
    if not plausible:
        with pytest.raises(DeviceError, match="not what a runner reports"):
            runner_result.validate(content)
