"""JSON in the columns of the store of records."""

from __future__ import annotations

import functools
import json
from typing import Any


@functools.lru_cache(maxsize=1024)
def parse_json(text: str) -> dict[str, Any]:
    """Return the parsed text. The result is cached, because most rows have the same text, so it must not be changed."""
    content: dict[str, Any] = json.loads(text)
    return content
