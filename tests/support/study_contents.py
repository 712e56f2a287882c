"""The content of a study as nested dictionaries: change a value, expand it, read the error."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproof.config import compose, expansion
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError


def put(content: Any, place: str, value: Any) -> None:
    """Set the value at a place such as 'models/teacher/runtimes/0'."""
    *parents, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    for part in parents:
        content = content[part]
    content[last] = value


def expand(content: dict[str, Any]) -> Params:
    """Validate and expand a composed study."""
    return expansion.expand(compose._validate_study(content, "digits", compose.CONF))


def read_error(content: dict[str, Any], kind: type[ConfigError] = ConfigError) -> str:
    """Return the message of the error that expanding a wrong study raises."""
    with pytest.raises(kind) as failure:
        expand(content)
    return str(failure.value)
