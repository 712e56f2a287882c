"""Conversion of torch modules to ncnn through ONNX, with pnnx, ncnn's own converter."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.converters import onnx as onnx_converter
from edgeproof.converters.first_outputs import predict_first
from edgeproof.converters.vendor_tools import run_tool
from edgeproof.core.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

# pnnx writes these too, unless they go nowhere.
UNUSED = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnpy")
# The largest difference to torch, relative to the largest output, that fp16 explains.
TOLERANCE = 0.02
# Runs an artifact as a device does. pnnx leaves operators that ncnn lacks in the file, and some end the process.
CHECK = """
import sys
from pathlib import Path
import numpy as np
from edgeproof.runtimes.ncnn import Session
with np.load(sys.argv[2]) as arrays:
    inputs = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
outputs = Session(Path(sys.argv[1]), threads=1)(*inputs)
np.savez(sys.argv[3], *outputs)
"""


def write(model: nn.Module, samples: tuple[Array, ...], out_dir: Path, *, stem: str, half: bool) -> None:
    """Convert a module to <stem>.param and <stem>.bin with a batch of one, with weights in fp16 if `half`.

    <stem>.json beside them has the inputs and outputs, which ncnn's files do not describe. One inference is compared
    with torch. Raises Unsupported for a network that pnnx can't convert, or converts wrongly.
    """
    expected = predict_first(model, samples)
    place = importlib.util.find_spec("pnnx")
    assert place is not None
    assert place.origin is not None
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "model.onnx").write_bytes(onnx_converter.convert_fp32(model, samples))
        options = [f"ncnnparam={stem}.param", f"ncnnbin={stem}.bin", f"fp16={int(half)}"]
        command = [str(Path(place.origin).with_name("pnnx")), "model.onnx", *options]
        run_tool("pnnx", [*command, *(f"{name}=/dev/null" for name in UNUSED)], cwd=scratch)
        for suffix in (".param", ".bin"):
            source = Path(scratch, stem + suffix)
            if not source.exists():
                raise Unsupported("pnnx, ncnn's converter, can't convert this network from ONNX")
            (out_dir / source.name).write_bytes(source.read_bytes())
    description = {
        "inputs": [{"shape": list(array.shape[1:]), "dtype": array.dtype.name} for array in samples],
        "outputs": [list(array.shape) for array in expected],
    }
    (out_dir / f"{stem}.json").write_text(json.dumps(description), encoding="utf-8")
    _check(out_dir, tuple(array[:1] for array in samples), expected)


def _check(out_dir: Path, sample: tuple[Array, ...], expected: list[Array]) -> None:
    """Run an artifact once in a process of its own and compare its outputs with those of torch.

    Raises Unsupported if it crashes or differs: pnnx converts some networks wrongly and reports nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch, "inputs.npz"), Path(scratch, "outputs.npz")
        np.savez(inputs, *sample)
        run_tool("ncnn", [sys.executable, "-c", CHECK, str(out_dir.resolve()), str(inputs), str(outputs)])
        with np.load(outputs) as arrays:
            results = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    for result, reference in zip(results, expected, strict=True):
        difference = float(np.abs(result - reference).max() / max(np.abs(reference).max(), np.finfo(np.float32).tiny))
        if not difference <= TOLERANCE:
            raise Unsupported(f"pnnx converts this network wrongly: outputs differ from torch's by {difference:.0%}")
