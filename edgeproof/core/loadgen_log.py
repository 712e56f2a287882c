"""Parse LoadGen's detail log. The device reports its values, and the host compares records with it."""

from __future__ import annotations

import json
from typing import Any

DETAIL_LOG = "mlperf_log_detail.txt"
_MARK = ":::MLLOG "


def parse_detail_log(text: str) -> dict[str, Any]:
    """Return the lines ':::MLLOG {json}' as key → value. The last line of a key counts.

    Raises ValueError for a line that is cut short.
    """
    values = {}
    for line in text.splitlines():
        if line.startswith(_MARK):
            entry = json.loads(line.removeprefix(_MARK))
            values[entry["key"]] = entry["value"]
    return values
