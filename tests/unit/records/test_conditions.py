"""Differences between the conditions of two measurements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import EdgeproofError
from edgeproof.records.conditions import UnlikeConditions, list_differences, require_alike

FINGERPRINT = {"cpu": "Cortex-A72", "threads": 4, "frequency": {"governor": "performance", "max_khz": 1_800_000}}


def test_differences_are_named_by_dotted_keys() -> None:
    other = {"cpu": "Cortex-A76", "threads": 4, "frequency": {"governor": "powersave", "max_khz": None}, "swap": True}
    assert list_differences(FINGERPRINT, other) == [
        "cpu: Cortex-A72 → Cortex-A76",
        "frequency.governor: performance → powersave",
        "frequency.max_khz: 1800000 → null",
        "swap: absent → true",
    ]


def test_absent_differs_from_null_and_a_number_from_its_text() -> None:
    assert list_differences({"a": None, "b": 1}, {"b": "1"}) == ["a: null → absent", 'b: 1 → "1"']
    assert list_differences({"a": "null"}, {"a": None}) == ['a: "null" → null']


def test_a_condition_that_became_an_object_is_listed_with_its_keys() -> None:
    assert list_differences({"a": 1}, {"a": {"b": [1, 2]}}) == ["a: 1 → absent", "a.b: absent → [1, 2]"]


conditions = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=6,
)


fingerprints = st.dictionaries(st.text("abc", min_size=1, max_size=2), conditions, max_size=4)


@given(fingerprints, fingerprints)
def test_a_fingerprint_equals_itself_and_differences_are_symmetric(a: dict[str, object], b: dict[str, object]) -> None:
    assert list_differences(a, a) == []
    assert len(list_differences(a, b)) == len(list_differences(b, a))


def test_unlike_conditions_raise_with_the_differences_and_the_option_that_allows_them() -> None:
    other = {**FINGERPRINT, "threads": 2}
    with pytest.raises(UnlikeConditions, match=r"threads: 4 → 2.*--unlike") as caught:
        require_alike(FINGERPRINT, other, allow_unlike=False)
    assert isinstance(caught.value, EdgeproofError)
    assert require_alike(FINGERPRINT, other, allow_unlike=True) == ["threads: 4 → 2"]


@pytest.mark.parametrize("allow_unlike", [False, True])
def test_like_conditions_have_no_differences(allow_unlike: bool) -> None:
    assert require_alike(FINGERPRINT, dict(FINGERPRINT), allow_unlike=allow_unlike) == []
