"""Conversion of torch modules to MNN through ONNX, and quantization with MNN's own tools.

MNN's Python modules for its tools run 'pip install' and send usage logs when they are imported. The functions here call
the compiled module behind them, which does neither. It runs in a process of its own, because a second call in the same
process may end it with a segmentation fault.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.converters import mnn_calibration
from edgeproof.converters import onnx as onnx_converter
from edgeproof.converters.first_outputs import predict_first
from edgeproof.converters.vendor_tools import refuse_network, run_tool
from edgeproof.core.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

BUSINESS = "edgeproof"  # a name that the converter requires and stores
# 'KL', the tool's default, ends the process with a segmentation fault in version 3.6.1.
CALIBRATION = "ADMM"
# The tools store a random identifier in each file, as text.
IDENTIFIER = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
NO_IDENTIFIER = b"00000000-0000-4000-8000-000000000000"
# What the child process runs: a function of MNN's compiled tools with the arguments of the command of that name.
CALL = "import sys, _tools; getattr(_tools, sys.argv[1])(sys.argv[1:])"


def write(model: nn.Module, samples: tuple[Array, ...], path: Path, options: Sequence[str] = ()) -> None:
    """Convert a module to an .mnn file with a batch of one. `options` are those of mnnconvert.

    Raises Unsupported if MNN's converter refuses the network.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "model.onnx")
        source.write_bytes(onnx_converter.convert_fp32(model, samples))
        command = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path)]
        _run_tool([*command, "--bizCode", BUSINESS, *options], path)


def write_shapes(model: nn.Module, samples: tuple[Array, ...], path: Path) -> None:
    """Write the shapes of the outputs as torch has them, because MNN adds an axis to some of them."""
    shapes = [list(array.shape) for array in predict_first(model, samples)]
    path.write_text(json.dumps(shapes), encoding="utf-8")


def write_int8_static(model: nn.Module, samples: tuple[Array, ...], path: Path) -> None:
    """Write the module with int8 weights and activations, whose ranges are calibrated on all samples.

    Raises Unsupported if MNN's tools refuse the network, or if it has an input of integers.
    """
    if any(array.dtype.kind != "f" for array in samples):
        raise Unsupported("MNN's quantized networks with inputs of integers compute wrong outputs")
    with tempfile.TemporaryDirectory() as scratch:
        source, settings, data = Path(scratch, "fp32.mnn"), Path(scratch, "settings.json"), Path(scratch, "samples")
        write(model, samples, source)
        _write_samples(samples, data)
        content = {
            "path": f"{data}/",
            "used_sample_num": len(samples[0]),
            "batch_size": 1,
            "input_type": "sequence",
            "feature_quantize_method": CALIBRATION,
            "weight_quantize_method": "MAX_ABS",
        }
        settings.write_text(json.dumps(content), encoding="utf-8")
        _run_tool(["mnnquant", str(source), str(path), str(settings)], path)
        mnn_calibration.replace_scales(path, source, samples)
    Path(f"{path}.json").unlink(missing_ok=True)  # the tool's own report of the scales


def _run_tool(command: Sequence[str], result: Path) -> None:
    """Run one of MNN's tools, and remove the random identifier from the file that it writes.

    Raises Unsupported if it writes no file, crashes, or takes too long.
    """
    # -I: neither the environment nor the working directory adds modules. With an empty PATH, MNN can't find pip.
    argv = [sys.executable, "-I", "-c", CALL, *command]
    name = f"MNN's {command[0]}"
    last = run_tool(name, argv, environment={"PATH": ""})
    if not result.exists():
        raise refuse_network(name, last)
    result.write_bytes(IDENTIFIER.sub(NO_IDENTIFIER, result.read_bytes()))


def _write_samples(samples: tuple[Array, ...], directory: Path) -> None:
    """Write each sample to a directory of its own, in the text format that MNN's quantizer reads."""
    names = onnx_converter.name_ports("input", len(samples))
    inputs = [{"name": name, "shape": [1, *array.shape[1:]]} for name, array in zip(names, samples, strict=True)]
    for index in range(len(samples[0])):
        place = directory / f"input_{index:06}"
        place.mkdir(parents=True)
        content = {"inputs": inputs, "outputs": onnx_converter.name_ports("output", 1)}
        (place / "input.json").write_text(json.dumps(content), encoding="utf-8")
        for name, array in zip(names, samples, strict=True):
            np.savetxt(place / f"{name}.txt", array[index].ravel(), fmt="%.9g")
