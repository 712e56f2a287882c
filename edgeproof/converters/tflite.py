"""Conversion of torch modules to TFLite with LiteRT Torch, and quantization with AI Edge Quantizer."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

# Operators with weights, and the index of the weights among their inputs.
LAYERS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
# AI Edge Quantizer's names of the operators whose weights int8-static-mse clips.
CLIPPED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE")
# Its names of the operators that have 4-bit weights together with 8-bit activations.
NARROW = ("CONV_2D", "FULLY_CONNECTED")
# Schemes whose ranges of activations are the extremes of all calibration samples.
MINMAX_SCHEMES = ("int8-static-minmax", "int4-static")
INT8 = {"activation_num_bits": 8, "weight_num_bits": 8}

_fp32_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def convert_fp32(model: nn.Module, samples: tuple[Array, ...]) -> bytes:
    """Convert a module to an fp32 TFLite file with a batch of one.

    The result is cached while the module lives, because every scheme starts from it.
    """
    if model not in _fp32_files:
        _fp32_files[model] = _convert(model, samples)
    return _fp32_files[model]


def convert_integers(model: nn.Module, samples: tuple[Array, ...]) -> bytes:
    """Convert a module that contains its own quantize and dequantize operators to a TFLite file in integers."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    # The converter only asks this quantizer whether activations are quantized statically.
    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config())
    return _convert(model, samples, quant_config=QuantConfig(pt2e_quantizer=quantizer))


def build_recipe(scheme: str, *, narrow: Sequence[str] = NARROW) -> Any:
    """Build AI Edge Quantizer's recipe for a scheme. Raises Unsupported for an unknown scheme.

    `narrow` names the operators whose weights have 4 bits in int4-static. Those of all others have 8.

    Weights have one scale for each output channel, or for the whole tensor in int8-static-tensor.
    int8-static-mse adds OCTAV (Sakr et al., "Optimal Clipping and Magnitude-aware Differentiation for Improved
    Quantization-aware Training", 2022, equation 6), which the quantizer applies to weights alone.
    """
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    every: dict[str, Any] = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED}
    algorithms, tensorwise = recipe.AlgorithmName, qtyping.QuantGranularity.TENSORWISE

    def quantize_statically(**settings: Any) -> None:
        manager.add_static_config(**every, **INT8, **settings)
        # A later rule overrides an earlier one. Static rules leave tables of embeddings in fp32.
        manager.add_dynamic_config(regex=".*", operation_name=qtyping.TFLOperationName.EMBEDDING_LOOKUP, num_bits=8)

    def override(operators: Sequence[str], **settings: Any) -> None:
        quantize_statically()
        for operation in (name for name in qtyping.TFLOperationName if name.value in operators):
            manager.add_static_config(**every | {"operation_name": operation}, **INT8 | settings)

    rules: dict[str, Callable[[], Any]] = {
        "fp16": lambda: manager.add_weight_only_config(**every, num_bits=16, algorithm_key=algorithms.FLOAT_CASTING),
        "int8-weights": lambda: manager.add_weight_only_config(**every, num_bits=8),
        "int4-weights": lambda: manager.add_weight_only_config(**every, num_bits=4),
        "int8-dynamic": lambda: manager.add_dynamic_config(**every, num_bits=8),
        "int8-static": quantize_statically,
        "int8-static-minmax": quantize_statically,
        # OCTAV refuses the constants of other operators, which are asymmetric.
        "int8-static-mse": lambda: override(CLIPPED, algorithm_key=algorithms.OCTAV),
        "int8-static-tensor": lambda: quantize_statically(weight_granularity=tensorwise),
        "int4-static": lambda: override(narrow, weight_num_bits=4),
    }
    if scheme not in rules:
        raise Unsupported(f"the tflite runtime has no scheme '{scheme}'")
    rules[scheme]()
    return manager.get_quantization_recipe()


def quantize(path: Path, recipe: Any, samples: tuple[Array, ...], *, averages_ranges: bool) -> bytes:
    """Quantize an fp32 TFLite file, calibrated on all samples if the recipe requires it.

    The range of an activation is a moving average (0.95) of each sample's minimum and maximum, as in AI Edge
    Quantizer's default. Without `averages_ranges` it is the minimum and maximum of all samples.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    engine = quantizer.Quantizer(str(path), recipe)
    if not engine.need_calibration:
        return bytes(engine.quantize().quantized_model)
    signature, inputs = next(iter(_list_signatures(path).items()))
    typed = [array.astype(dtype, copy=False) for array, dtype in zip(samples, inputs.values(), strict=True)]
    feed = [{name: array[i : i + 1] for name, array in zip(inputs, typed, strict=True)} for i in range(len(samples[0]))]
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe)
    update = qsv_utils.moving_average_update if averages_ranges else qsv_utils.min_max_update
    ranges = calibrator.Calibrator(path.read_bytes(), qsv_update_func=update)
    ranges.calibrate({signature: feed}, manager)
    return bytes(engine.quantize(ranges.get_model_qsvs()).quantized_model)


def count_layers(path: Path) -> Counter[tuple[str, str]]:
    """Count the layers by operator type and by the element type in which their weights are stored."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    names = {schema.TensorType.FLOAT32: "f32", schema.TensorType.INT8: "i8"}
    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    computed = {index for operator in graph.operators for index in operator.outputs}
    counts: Counter[tuple[str, str]] = Counter()
    for operator in graph.operators:
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        if kind in LAYERS and (index := operator.inputs[LAYERS[kind]]) not in computed:
            counts[kind, names.get(graph.tensors[index].type, "")] += 1
    return counts


def _convert(model: nn.Module, samples: tuple[Array, ...], **settings: Any) -> bytes:
    import litert_torch
    import torch

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.tflite")
        examples = tuple(torch.from_numpy(array[:1]) for array in samples)
        litert_torch.convert(model, examples, **settings).export(str(path))
        order_ports(path)
        return path.read_bytes()


def order_ports(path: Path) -> None:
    """Give a file's inputs and outputs the order of their names in its signature: args_0, args_1, …

    Converters may write them in another order. Sessions take and give tensors in the file's order.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    graph, signature = model.subgraphs[0], (model.signatureDefs or [None])[0]
    if signature is None:
        return
    ordered = _sort_by_name(signature.inputs), _sort_by_name(signature.outputs)
    if ordered != (list(graph.inputs), list(graph.outputs)):
        graph.inputs, graph.outputs = ordered
        flatbuffer_utils.write_model(model, str(path))


def _sort_by_name(ports: Any) -> list[int]:
    """Return the tensors of a signature's ports, sorted by the number at the end of each name."""
    names = {port.name.decode(): port.tensorIndex for port in ports}
    return [names[name] for name in sorted(names, key=_read_number)]


def _read_number(name: str) -> int:
    digits = re.search(r"\d+$", name)
    return int(digits[0]) if digits else 0


def _list_signatures(path: Path) -> dict[str, dict[str, Any]]:
    """List the inputs of each signature of a TFLite file, in the order of the module's: name → element type.

    The converter may store integers in fewer bits than the module takes.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    signatures = {}
    for name in interpreter.get_signature_list():
        details = interpreter.get_signature_runner(name).get_input_details()
        signatures[name] = {port: details[port]["dtype"] for port in sorted(details, key=_read_number)}
    return signatures
