"""Answers of devices are validated: anything but the answer to the request is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import DeviceError
from edgeproof.deployment import answers

VERSION = {
    "sha256": "a" * 64, "label": "m@v1.0.0", "signer": None, "since": "2026", "origin": "deploy", "runtime": "onnx",
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "schema": 1, "nonce": "n", "outcome": "intact", "reasons": [], "figures": None, "current": VERSION,
    "previous": None, "held": ["a" * 64], "free_bytes": 5,
}  # fmt: skip


def test_the_last_line_is_the_answer() -> None:
    answer = answers.parse_answer(f"a warning\n{json.dumps(ANSWER)}\n\n", "n")
    assert answer.current is not None
    assert (answer.outcome, answer.current.label, answer.free_bytes) == ("intact", "m@v1.0.0", 5)


def test_the_answer_to_another_request_is_refused() -> None:
    with pytest.raises(DeviceError, match="another request"):
        answers.parse_answer(json.dumps(ANSWER), "m")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"outcome": "done"},
        {"free_bytes": -1},
        {"free_bytes": "5"},
        {"held": ["../../etc"]},
        {"held": ["a" * 64] * 10_001},
        {"reasons": "none"},
        {"reasons": ["x" * 2001]},
        {"current": {**VERSION, "sha256": "A" * 64}},
        {"current": {**VERSION, "runtime": "../onnx"}},
        {"current": {**VERSION, "label": 7}},
        {"figures": {"inferences": 0, "p90_ns": 1, "p90_upper_ns": 1, "peak_rss_bytes": 1}},
        {"more": 1},
    ],
)
def test_a_wrong_value_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="gave no answer"):
        answers.parse_answer(json.dumps({**ANSWER, **change}), "n")


@given(st.text() | st.sampled_from(["[" * 100_000, "NaN", "null", '{"schema": 1}']))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="gave no answer"):
        answers.parse_answer(text, "n")
