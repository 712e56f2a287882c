"""Describe a device as one line of JSON. This needs only the standard library, because the device may lack numpy.

python runner.pyz --describe RUNTIME ENERGY_COUNTER PACKAGE...
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from edgeproof.core import plugins
from edgeproof.runner import conditions

FLAG = "--describe"
TOOLS = ("valgrind", "perf")
MODULES = ("numpy", "mlperf_loadgen")


def describe(runtime: str, energy_counter: str | None, packages: Sequence[str]) -> dict[str, Any]:
    """Return the device's fingerprint, the versions of packages, and the error of every part that fails."""
    attempts: dict[str, Callable[[], object]] = {name: partial(importlib.import_module, name) for name in MODULES}
    attempts[runtime] = lambda: plugins.load("runtimes", runtime).describe()
    problems = {name: _catch_error(attempt) for name, attempt in attempts.items()}
    return {
        "fingerprint": conditions.read_fingerprint(packages),
        "versions": {name: conditions.read_version(name) for name in packages},
        "problems": {name: problem for name, problem in problems.items() if problem is not None},
        "tools": [name for name in TOOLS if shutil.which(name) is not None],
        "energy": conditions.read_energy_uj(energy_counter) is not None,
        "disk_free_bytes": shutil.disk_usage(".").free,
        "memory_available_bytes": conditions.read_available_bytes(),
    }


def print_description(runtime: str, energy_counter: str, *packages: str) -> None:
    """Print the description of the device as JSON."""
    print(json.dumps(describe(runtime, energy_counter or None, packages), sort_keys=True))


def _catch_error(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
