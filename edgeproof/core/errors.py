"""All exceptions that edgeproof raises on purpose. Those of other packages are named with their file.

EdgeproofError
├── ConfigError                 the study, a definition or a device card is wrong
│   ├── UnknownLayerError       a network has no layer of this name (models/layer_outputs.py)
│   └── UnknownNameError        no file or setting has this name
├── DataError                   a data file is missing or damaged
├── ArtifactError               a directory of a model, an artifact or records is missing or damaged
├── Unsupported                 a runtime cannot do what was requested; the table shows the reason
├── DeviceError                 a device, or a command on it, failed
│   ├── DeviceUnreachableError  the connection to a device was lost; a retry may succeed
│   ├── DeviceRefusedError      a device refused the connection, or is not the device that was expected
│   ├── DeploymentRefusedError  a device refused a version (deployment/device_deployment.py)
│   ├── DeviceBusyError         another process measures on the device (farm/leases.py)
│   └── MissingLatencyError     a run on a device reported no latency (bench/verdict.py)
├── StageFailedError            a DVC stage failed (study/pipeline.py)
├── ForeignCheckoutError        git refuses to read the checkout of another user (study/git.py)
├── UnlikeConditions            two measurements were taken under different conditions (records/conditions.py)
├── ChildFailure                a child process ended before it returned a result (artifacts/child_process.py)
├── ABTestError                 an A/B test of the farm could not be run (farm/ab_test.py)
└── SubmissionError             the records do not form a valid submission (submission/errors.py)
"""

from __future__ import annotations

from collections.abc import Iterable


class EdgeproofError(Exception):
    """Base class of errors whose message tells the user what to do.

    Entry points print the message without a traceback and exit with 2.
    """


class ConfigError(EdgeproofError):
    """The study, a definition or a device card is wrong."""


class UnknownNameError(ConfigError):
    """No file or setting has this name. The message lists the known names, the nearest match and how to add one.

    `kind` says what the name is of, such as 'runtime'; `add` is a sentence about where to add one.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], add: str) -> None:
        names = sorted(known)
        super().__init__(
            f"unknown {kind} '{name}'.{suggest_nearest(name, names)} Known: {', '.join(names) or 'none'}. {add}"
        )


class DataError(EdgeproofError):
    """A data file is missing or damaged."""


class ArtifactError(EdgeproofError):
    """A directory of a model, an artifact or records is missing or damaged."""


class Unsupported(EdgeproofError):
    """A runtime cannot do what was requested. The message is the reason that the table shows.

    It is an outcome rather than a failure, so its name has no suffix 'Error'.
    """


class DeviceError(EdgeproofError):
    """A device, or a command on it, failed."""


class DeviceUnreachableError(DeviceError):
    """The connection to a device was lost or could not be opened. A retry may succeed."""


class DeviceRefusedError(DeviceError):
    """A device refused the login, or its identity is unknown or has changed. Only a person can change that."""


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or an empty string if none is near."""
    import difflib  # here, so that commands start faster

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def summarize_error(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its type if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
