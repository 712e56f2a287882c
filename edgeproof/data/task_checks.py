"""Check the data that a task's file returns against the inputs and outputs that it declares, before any training.

Without these checks, a target of 0.73 would be truncated to class 0, and inputs of another shape would fail only after
the training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

Array = np.ndarray[Any, Any]


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return a tuple as it is, and anything else as a tuple of one. A task with one input returns the bare array."""
    return value if isinstance(value, tuple) else (value,)


def check_arrays(task: str, split: str, arrays: tuple[Any, ...]) -> None:
    """Check that a split consists of arrays with one entry for each sample. Raises DataError."""
    problem = ""
    if not all(isinstance(array, np.ndarray) and array.ndim for array in arrays):
        problem = f"is made of {', '.join(type(array).__name__ for array in arrays)}, and arrays are needed."
    elif len({len(array) for array in arrays}) > 1:
        problem = f"has {' and '.join(str(len(array)) for array in arrays)} entries for its samples and their targets."
    elif not len(arrays[0]):
        problem = f"is empty. Lower validation_samples in conf/tasks/{task}.yaml if it takes all training samples."
    if problem:
        raise DataError(f"the split '{split}' of task '{task}' {problem} See data() in its file.")


def check_inputs(task: str, ports: tuple[Port, ...], inputs: tuple[Array, ...]) -> None:
    """Check preprocessed inputs (N, *shape) against the task's INPUTS. Raises DataError with both shapes."""
    advice = f"Change INPUTS or preprocess() in the file of the task '{task}'."
    if len(inputs) != len(ports):
        raise DataError(f"task '{task}' gives {len(inputs)} input arrays and declares {len(ports)}. {advice}")
    for port, array in zip(ports, inputs, strict=True):
        if array.dtype.name != port.dtype or array.shape[1:] != port.shape:
            raise DataError(
                f"task '{task}' gives '{port.name}' as {array.dtype} of shape {_describe_shape(array.shape[1:])} and "
                f"declares {port.dtype} of shape {_describe_shape(port.shape)}. {advice}"
            )
        if len(array) != len(inputs[0]):
            raise DataError(
                f"task '{task}' gives {len(array)} samples of '{port.name}' and {len(inputs[0])} of "
                f"'{ports[0].name}'. {advice}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"task '{task}': input '{port.name}' holds NaN or infinity. {advice}")


def check_targets(task: str, plugin: Any, targets: Array, count: int) -> None:
    """Check targets (N, …). A task without a loss of its own is a classification, whose targets are class numbers.

    Raises DataError for a wrong number of targets, NaN or invalid class numbers, and for a task that is not a
    classification and has no loss.
    """
    if not hasattr(plugin, "loss") and not is_classification(plugin):
        outputs = ", ".join(f"'{port.name}' of shape {_describe_shape(port.shape)}" for port in plugin.OUTPUTS)
        raise DataError(
            f"task '{task}' is no classification, since its OUTPUTS are {outputs}. Define loss(outputs, targets, "
            "inputs) in its file, or declare one output of class scores."
        )
    if len(targets) != count:
        raise DataError(f"task '{task}' gives {len(targets)} targets for {count} samples. See data() in its file.")
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise DataError(f"task '{task}': the targets hold NaN or infinity. See data() in its file.")
    if is_classification(plugin):
        classes = plugin.OUTPUTS[0].shape[0]
        if targets.dtype.kind not in "iu" or targets.ndim != 1:
            raise DataError(
                f"the targets of task '{task}' are {targets.dtype} of shape {_describe_shape(targets.shape)}, and "
                "class numbers (N,) are needed. Give integers, or define loss(outputs, targets, inputs) in its file."
            )
        if count and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
            raise DataError(
                f"the classes of task '{task}' go from {targets.min()} to {targets.max()}, and its output "
                f"'{plugin.OUTPUTS[0].name}' has {classes} values. See data() and OUTPUTS in its file."
            )


def is_classification(plugin: Any) -> bool:
    """Return True for a task with one output of class scores, which is trained with cross-entropy."""
    return not hasattr(plugin, "loss") and len(plugin.OUTPUTS) == 1 and len(plugin.OUTPUTS[0].shape) == 1


def _describe_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "()"
