"""Check single values of untrusted JSON objects and texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgeproof.submission.logs import quote

SHA256 = re.compile(r"[0-9a-f]{64}")


def check_value(content: Mapping[str, Any], key: str, expected: str) -> Iterator[str]:
    """Check that a key has the expected value."""
    if content.get(key) != expected:
        yield f"{key} is {quote(content.get(key))}; expected {quote(expected)}"


def as_text(value: object) -> str:
    """Return a string as it is and '' for anything else.

    An untrusted value is never converted: str() of deeply nested lists could exhaust the memory.
    """
    return value if isinstance(value, str) else ""


def hash_text(text: str) -> str:
    """Return the sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
