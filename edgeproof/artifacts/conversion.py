"""Running a converter: explanation of its failures, and a description of its files."""

from __future__ import annotations

import gzip
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult
from edgeproof.core.captured_output import capture_output
from edgeproof.core.directories import list_files
from edgeproof.core.errors import EdgeproofError, Unsupported

MAX_LOG_LINES = 15
Array = np.ndarray[Any, Any]

# Samples that an artifact keeps as examples of its input.
STORED_SAMPLES = 8


def run_converter(task: str, convert: Callable[[], ExportResult]) -> ExportResult | Unsupported:
    """Run a converter. If it raises Unsupported, return that error: the table shows its reason.

    Any other exception raises EdgeproofError. Its message names `task` and ends with the last lines of the output.
    """
    with capture_output() as read_output:
        try:
            return convert()
        except Unsupported as reason:
            return reason
        except (EdgeproofError, OSError):
            raise
        except Exception as error:
            traceback.print_exc()
            last_lines = "\n".join(read_output().splitlines()[-MAX_LOG_LINES:])
            raise EdgeproofError(f"{task} failed: {type(error).__name__}: {error}\n{last_lines}") from error


def export_module(runtime: str, module: Any, samples: tuple[Array, ...], scheme: str, out: Path) -> ExportResult:
    """Export a torch module for a runtime in a scheme, and write its files into `out`.

    Raises Unsupported if the runtime can't, also for a module whose quantization was trained for another one.
    """
    from edgeproof.models import qat  # imports torch, which takes seconds

    selected = qat.select_for_export(module, runtime, scheme)
    result: ExportResult = plugins.load("runtimes", runtime).export(selected, samples, scheme, out)
    return result


def describe_files(directory: Path, outcome: ExportResult | Unsupported) -> dict[str, Any]:
    """Return the entries of an artifact's meta.json about the files that a converter wrote into its directory.

    Call it before any other file is written there. If the outcome is Unsupported, the files are removed.
    """
    names = list_files(directory)
    if isinstance(outcome, Unsupported):
        for name in names:
            (directory / name).unlink()
        return {"unsupported": str(outcome)}
    return {
        "lowered": names,  # the exported files, under this key since the first release
        "size_bytes": sum((directory / name).stat().st_size for name in names),
        "gzip_bytes": sum(len(gzip.compress((directory / name).read_bytes(), 9, mtime=0)) for name in names),
        "notes": list(outcome.notes),
        **({} if outcome.unstripped_bytes is None else {"unstripped_bytes": outcome.unstripped_bytes}),
    }


def save_arrays(directory: Path, name: str, arrays: Sequence[Array]) -> None:
    """Write <name>.npy with the first array and <name>_1.npy, <name>_2.npy, … with further ones."""
    for number, array in enumerate(arrays):
        np.save(directory / (f"{name}_{number}.npy" if number else f"{name}.npy"), array)


def print_outcome(source: str, runtime: str, artifact: str, meta: Mapping[str, Any], seconds: float) -> None:
    """Print one line about a finished artifact to stderr: its size, or the reason why it is unsupported."""
    outcome = f"unsupported: {meta['unsupported']}" if "unsupported" in meta else f"{meta['size_bytes']:,} bytes"
    print(f"  {source} → {runtime} {artifact}: {outcome} ({seconds:.1f} s)", file=sys.stderr)
