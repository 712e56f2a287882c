"""Damaged files of JSON: random bytes, valid content that is cut short, and JSON of other types or of great depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

HUGE = (b"[" * 10**6, b'{"a":' * 10**5, b"9" * 10**5, b'{"pid":' + b"9" * 10**5 + b"}", b"\xff" * 10**7, b"\0" * 10**6)
LONE_SURROGATE = b'"\\ud800"'


def json_values() -> st.SearchStrategy[Any]:
    """Generate any JSON value."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def damage(content: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """Generate bytes in place of the JSON object `content`; few of them still mean the same."""
    valid = json.dumps(content).encode()
    keys = st.sampled_from(sorted(content))
    changed = st.dictionaries(keys, json_values(), min_size=1).map(lambda changes: {**content, **changes})
    reduced = keys.map(lambda key: {name: value for name, value in content.items() if name != key})
    return st.one_of(
        st.binary(max_size=200),
        st.sampled_from([*HUGE, LONE_SURROGATE, valid.replace(b'"', LONE_SURROGATE, 1)]),
        st.integers(0, len(valid)).map(lambda length: valid[:length]),
        st.one_of(json_values(), changed, reduced).map(lambda value: json.dumps(value).encode()),
    )
