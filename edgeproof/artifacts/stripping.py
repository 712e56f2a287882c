"""Strip an artifact's files of what its engine does not read, and check that its outputs keep every bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.directories import list_files
from edgeproof.core.errors import Unsupported

Array = np.ndarray[Any, Any]

# Samples whose outputs are compared.
CHECKED_SAMPLES = 64
KEPT = "names and metadata kept"


def strip(
    runtime: ModuleType, result: ExportResult, directory: Path, samples: Sequence[Array], threads: int
) -> ExportResult:
    """Replace the exported files in `directory` by stripped ones, and return `result` with a note about it.

    The files stay as they are, and the note says why, if the runtime strips none, if its engine refuses the stripped
    files, or if an output of a sample differs in any bit.

    Args:
        samples: an array (N, *shape) for each input, in the layout of the artifact.
    """
    with tempfile.TemporaryDirectory() as scratch:
        stripped = Path(scratch)
        reason = _try_strip(runtime, directory, stripped, samples, threads)
        if reason is not None:
            return replace(result, notes=(*result.notes, f"{KEPT}: {reason}"))
        before_bytes, after_bytes = measure_bytes(directory), measure_bytes(stripped)
        if after_bytes >= before_bytes:
            return replace(result, notes=(*result.notes, f"{KEPT}: nothing to gain"))
        for name in list_files(stripped):
            shutil.copyfile(stripped / name, directory / name)
    note = f"names and metadata stripped: {before_bytes:,} bytes before, {after_bytes:,} after"
    return replace(result, notes=(*result.notes, note), unstripped_bytes=before_bytes)


def _try_strip(
    runtime: ModuleType, directory: Path, stripped: Path, samples: Sequence[Array], threads: int
) -> str | None:
    """Write the stripped files. Return None, or the reason why they can't replace the others."""
    if not hasattr(runtime, "strip"):
        return "the runtime has no function 'strip'"
    try:
        runtime.strip(directory, stripped)
        if set(list_files(stripped)) != set(list_files(directory)):
            return "the stripped files have other names"
        expected = _compute_outputs(runtime, directory, samples, threads)
        actual = _compute_outputs(runtime, stripped, samples, threads)
    except Unsupported as error:
        return str(error)
    except Exception as error:  # engines raise errors of their own
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None if expected == actual else "the outputs would differ"


def _compute_outputs(
    runtime: ModuleType, directory: Path, samples: Sequence[Array], threads: int
) -> list[tuple[tuple[str, tuple[int, ...], bytes], ...]]:
    """Return the type, the shape and the bytes of every output of the first samples."""
    session = runtime.Session(directory, threads=threads)
    count = min(len(samples[0]), CHECKED_SAMPLES)
    outputs = []
    for number in range(count):
        session.reset_state()
        arrays = session(*(array[number : number + 1] for array in samples))
        outputs.append(tuple((array.dtype.str, array.shape, array.tobytes()) for array in arrays))
    return outputs


def measure_bytes(directory: Path) -> int:
    """Return the size of all files in a directory."""
    return sum((directory / name).stat().st_size for name in list_files(directory))
