"""Conversion of torch modules to Core ML, and compression of weights with coremltools."""

from __future__ import annotations

import json
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.directories import write_text
from edgeproof.core.errors import Unsupported, summarize_error

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

MANIFEST = "Manifest.json"


def convert(model: nn.Module, samples: tuple[Array, ...], *, half: bool = False) -> Any:
    """Convert a module to an ML program with a batch of one, for iOS 17 and macOS 14 or later.

    Raises Unsupported for a network that coremltools can't convert.
    """
    import coremltools as ct
    import torch

    examples = tuple(torch.from_numpy(array[:1]) for array in samples)
    inputs = [
        ct.TensorType(f"input_{number}", shape=tuple(example.shape), dtype=_choose_dtype(array))
        for number, (example, array) in enumerate(zip(examples, samples, strict=True))
    ]
    precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return ct.convert(
                torch.jit.trace(model, examples),  # type: ignore[no-untyped-call]
                inputs=inputs,
                compute_precision=precision,
                minimum_deployment_target=ct.target.iOS17,
                convert_to="mlprogram",
            )
        except (NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = summarize_error(error)
            raise Unsupported(f"coremltools can't convert this network: {reason}") from error


def compress_weights(converted: Any) -> Any:
    """Store weights in 8 bits with one scale for each output channel. All arithmetic stays in floating point."""
    from coremltools.optimize import coreml

    settings = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    return coreml.linear_quantize_weights(converted, coreml.OptimizationConfig(global_config=settings))


def save(converted: Any, package: Path) -> None:
    """Write a model as a package, a directory. Its identifiers are random in coremltools; here they are numbered."""
    converted.save(str(package))
    text = (package / MANIFEST).read_text(encoding="utf-8")
    entries = json.loads(text)["itemInfoEntries"]
    for number, name in enumerate(sorted(entries, key=lambda name: str(entries[name]["path"]))):
        text = text.replace(name, str(uuid.UUID(int=number)).upper())
    write_text(package / MANIFEST, json.dumps(json.loads(text), indent=4, sort_keys=True) + "\n")


def _choose_dtype(array: Array) -> type:
    """Return Core ML's element type for an input: it has one size of integers."""
    return np.int32 if array.dtype.kind in "iu" else np.float32
