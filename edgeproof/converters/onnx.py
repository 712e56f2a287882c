"""Conversion of torch modules to ONNX files in fp32 and fp16."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

OPSET = 18

_fp32_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def convert(model: nn.Module, samples: tuple[Array, ...]) -> bytes:
    """Convert a module to an ONNX file with a batch of one. The data types of its operators do not change."""
    import torch

    examples = tuple(torch.from_numpy(array[:1]) for array in samples)
    with torch.no_grad():
        outputs = model(*examples)
    program = torch.onnx.export(
        model,
        examples,
        input_names=name_ports("input", len(samples)),
        output_names=name_ports("output", 1 if isinstance(outputs, torch.Tensor) else len(outputs)),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    # The exporter stores Python stack traces as node metadata, and they contain paths of this machine.
    for holder in [proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer]:
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]
    for value in [*proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    return bytes(proto.SerializeToString(deterministic=True))


def name_ports(kind: str, count: int) -> list[str]:
    """Return the names of a file's inputs or outputs: 'input', or 'input_0', 'input_1', … if there are several."""
    return [kind] if count == 1 else [f"{kind}_{number}" for number in range(count)]


def convert_fp32(model: nn.Module, samples: tuple[Array, ...]) -> bytes:
    """Convert a module to fp32. The result is cached while the module exists: every scheme starts from it."""
    if model not in _fp32_files:
        _fp32_files[model] = convert(model, samples)
    return _fp32_files[model]


def write_fp16(model: nn.Module, samples: tuple[Array, ...], path: Path) -> None:
    """Write the module with fp16 weights and arithmetic. Inputs and outputs stay fp32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    path.write_bytes(convert_fp32(model, samples))
    converted = OnnxModel(convert_float_to_float16(onnx.load(path), keep_io_types=True))
    converted.topological_sort()  # ONNX requires it, and the conversion appends its casts at the end
    converted.save_model_to_file(str(path))
