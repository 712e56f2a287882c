"""What a device is, has and lacks, as one line of JSON. Needs the standard library alone: numpy may be what is missing.

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


def described(runtime: str, energy_counter: str | None, packages: Sequence[str]) -> dict[str, Any]:
    """The device's fingerprint, the versions of packages, and what failed when it was tried."""
    tried: dict[str, Callable[[], object]] = {module: partial(importlib.import_module, module) for module in MODULES}
    tried[runtime] = lambda: plugins.load("runtimes", runtime).describe()
    told = {name: _failing(attempt) for name, attempt in tried.items()}
    return {
        "fingerprint": conditions.fingerprint(packages),
        "versions": {name: conditions.version(name) for name in packages},
        "problems": {name: problem for name, problem in told.items() if problem is not None},
        "tools": [name for name in TOOLS if shutil.which(name) is not None],
        "energy": conditions.energy_uj(energy_counter) is not None,
        "disk_free_bytes": shutil.disk_usage(".").free,
        "memory_available_bytes": conditions.available_bytes(),
    }


def tell(runtime: str, energy_counter: str, *packages: str) -> None:
    """Print the description."""
    print(json.dumps(described(runtime, energy_counter or None, packages), sort_keys=True))


def _failing(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
