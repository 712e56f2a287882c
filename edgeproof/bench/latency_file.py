"""Read the durations that a device has sent. What it sends is checked, and never trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import DeviceError
from edgeproof.records import array_files
from edgeproof.records.kinds import LATENCIES_FILE

Array = np.ndarray[Any, Any]


def read_call_ns(out: Path) -> Array | None:
    """Return the duration of every inference in ns, or None if the runner left none.

    Raises DeviceError for a file that does not hold one integer an inference.
    """
    path = out / LATENCIES_FILE
    if not path.is_file():
        return None
    try:  # the device may have sent anything
        arrays = array_files.load_arrays(path, _select_durations)
    except Exception as error:
        raise DeviceError(f"the device's {path.name} can't be read: {error}") from None
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or any(array.dtype != np.uint64 or array.ndim != 1 for array in arrays.values()):
        raise DeviceError(f"the device's {path.name} doesn't hold an integer an inference")
    return arrays["call_ns"]


def _select_durations(stored: Mapping[str, Array]) -> dict[str, Array]:
    names = {"call_ns", "invoke_ns", "started_ns"} | ({"postprocess_ns"} & set(stored))
    return {name: stored[name] for name in names}
