"""Export in a separate process, so that a converter that crashes or hangs affects one scheme only.

The scheme that was being exported becomes unsupported, and a new process exports the remaining schemes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeproof.artifacts.child_process import ChildFailure, ChildProcess
from edgeproof.config import runtime_extras
from edgeproof.config.params import ExportParams
from edgeproof.core.directories import META, write_atomically
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import ARTIFACTS


def export(item: ExportParams, task: str) -> None:
    """Export a model and write artifacts/<runtime>/<model>, with one directory for each scheme and seed.

    A scheme that the runtime does not support, whose converter crashes or never ends, or whose packages are an
    extra that is not installed gets a meta.json with the reason. Raises EdgeproofError when a converter fails in
    another way.
    """
    refusals = runtime_extras.refuse_artifacts(item)
    with (
        write_atomically(ARTIFACTS / item.runtime / item.model) as out,
        ChildProcess(["edgeproof.artifacts.export"], observe=lambda: _list_unfinished(out)) as child,
    ):
        while (failure := _export_in_child(child, item, task, out, refusals)) is not None:
            unfinished = _list_unfinished(out)
            if not failure.is_lasting or not unfinished or unfinished[-1] in refusals:
                raise EdgeproofError(f"exporting '{item.model}' to {item.runtime} {failure}.")
            refusals[unfinished[-1]] = describe_converter_failure(item.runtime, failure)


def describe_converter_failure(runtime: str, failure: ChildFailure) -> str:
    """Return the reason that the table shows for a scheme whose converter did not return."""
    return f"the converter for {runtime} {failure} on this network"


def _list_unfinished(out: Path) -> list[str]:
    """Return the names of the directories in `out` without a meta.json."""
    return [path.name for path in sorted(out.iterdir()) if not (path / META).exists()]


def _export_in_child(
    child: ChildProcess, item: ExportParams, task: str, out: Path, refusals: Mapping[str, str]
) -> ChildFailure | None:
    """Export in the child. Return its failure, or None when it has finished."""
    try:
        child.call(_export_schemes, item, task, out, refusals)
    except ChildFailure as failure:
        return failure
    return None


def _export_schemes(item: ExportParams, task: str, out: Path, refusals: Mapping[str, str]) -> None:
    from edgeproof.artifacts import export  # imports torch, which the parent doesn't need

    export.export_schemes(item, task, out, refusals)
