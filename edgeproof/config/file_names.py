"""Check names that become file names: of devices, runs, sweeps and points."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

from edgeproof.core.errors import ConfigError

MAX_CHARACTERS = 100
RULE = f"Use ASCII letters, digits, '_' and '-', at most {MAX_CHARACTERS} characters, and no '-' at the start."
PATTERN = rf"^[A-Za-z0-9_][A-Za-z0-9_-]{{0,{MAX_CHARACTERS - 1}}}$"
# As a part of a pydantic model.
FileName = Annotated[str, StringConstraints(pattern=PATTERN)]
_MAX_SHOWN_CHARACTERS = 60


def check_file_name(kind: str, name: str) -> str:
    """Return `name` if it is safe as the name of a file. Raises ConfigError for any other name of a `kind`."""
    if not re.fullmatch(PATTERN, name):
        shown = name if len(name) <= _MAX_SHOWN_CHARACTERS else f"{name[:_MAX_SHOWN_CHARACTERS]}…"
        raise ConfigError(f"{shown!a} is not a valid name of a {kind}. {RULE}")
    return name
