"""The configuration of a run: `flwr run` gives it, or environment variables, or else the defaults hold."""

from __future__ import annotations

import os
from typing import Any

from flwr.app import Context

DEFAULTS = {"federation": "iid", "project": ".", "output": "global", "wait-s": "60", "answer-s": "3600"}
PREFIX = "EDGEPROOF_FLOWER_"


def name_variable(key: str) -> str:
    """Return the environment variable of a key."""
    return PREFIX + key.upper().replace("-", "_")


def read(context: Context, key: str) -> str:
    """Return the value of a key as text."""
    given: Any = context.run_config.get(key, os.environ.get(name_variable(key), DEFAULTS[key]))
    return str(given)
