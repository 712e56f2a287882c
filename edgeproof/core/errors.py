"""The exceptions edgeproof raises on purpose, drawn in one place.

EdgeproofError
├── ConfigError     the study, a definition or a device card is wrong
│   └── UnknownName a name that no file provides
├── DataError       a data file is missing or damaged
├── ArtifactError   a model or artifact directory is missing or damaged
├── Unsupported     a runtime cannot do what was asked: an outcome, not a failure
├── DeviceError     a device did not do what it was told
│   └── Unreachable the link to it was lost: another try may do
├── Unlike          two measurements were taken under different conditions (report/comparison.py)
└── SubmissionError records make no valid submission (submission/errors.py)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeproofError(Exception):
    """A message a user can act on. Entry points print it and exit with 2, never with a traceback."""


class ConfigError(EdgeproofError):
    """The study, a definition or a device card is wrong."""


class UnknownName(ConfigError):
    """A name that nothing provides: says what exists, the nearest match, and where to add one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], add: str) -> None:
        names = sorted(known)
        super().__init__(f"unknown {kind} '{name}'.{suggest_nearest(name, names)} Known: {', '.join(names) or 'none'}. {add}")


class DataError(EdgeproofError):
    """A data file is missing or damaged."""


class ArtifactError(EdgeproofError):
    """A model or artifact directory is missing or damaged."""


class Unsupported(EdgeproofError):
    """A runtime cannot do what was asked of it. The message is the reason shown in the table."""


class DeviceError(EdgeproofError):
    """A device did not do what it was told."""


class DeviceUnreachable(DeviceError):
    """The link to a device was lost or never there; another try may do."""


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the closest known name: ' Did you mean 'x'?' or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
