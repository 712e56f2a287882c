"""LiteRT (TensorFlow Lite): litert_torch, ai_edge_quantizer, and an interpreter with its tensors held as views."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.artifacts import Lowered
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.tflite"
DELEGATE = "DELEGATE"
# Operators with weights, and the place of the weights among their inputs.
LAYERS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
_AVERAGES = "AI Edge Quantizer calibrates activations by averaging each sample's minimum and maximum, in no other way"
REFUSED = {
    "bf16": "LiteRT's converter takes no bfloat16 weights, and AI Edge Quantizer casts floats to float16 alone",
    "int8-static-percentile": _AVERAGES,
    "int8-static-entropy": _AVERAGES,
}
BYTES = {"activation_num_bits": 8, "weight_num_bits": 8}
REMARKS = {
    "int8-static-mse": ("weights clipped for the least squared error, activations calibrated as in int8-static",)
}

_float_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> Lowered:
    """Lower to TFLite, then quantize with AI Edge Quantizer. `samples` is (N, *input_shape) float32."""
    if scheme in REFUSED:
        raise Unsupported(REFUSED[scheme])
    path = out_dir / FILE
    if scheme == "fp32":
        path.write_bytes(_converted(model, samples))
        return Lowered()
    recipe = _recipe(scheme)
    path.write_bytes(_converted(model, samples))
    path.write_bytes(_quantized(path, recipe, samples))
    return Lowered(notes=(*REMARKS.get(scheme, ()), *_left_in_float(path)))


class Session(InferenceSession):
    """Runs model.tflite; (de)quantizes int8 inputs and outputs inside the call, as an application must."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(artifact_dir / FILE), num_threads=threads)
        interpreter.allocate_tensors()
        given, produced = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        self._invoke = interpreter.invoke
        self._operators = interpreter._get_ops_details  # the only place that tells whether the delegate is there
        # tensor() hands out a fresh view of the interpreter's own memory; none may be held across invoke().
        self._input_view = interpreter.tensor(given["index"])
        self._output_view = interpreter.tensor(produced["index"])
        self._quantizes = given["dtype"] == np.int8
        self._in_scale, self._in_zero = map(np.float32, given["quantization"])
        self._out_scale, self._out_zero = map(np.float32, produced["quantization"])
        self._scratch = np.zeros(given["shape"], np.float32)
        self._output = np.zeros(produced["shape"], np.float32)

    def feed(self, x: Array) -> None:
        if not self._quantizes:
            self._input_view()[...] = x
            return
        scratch = self._scratch
        np.divide(x, self._in_scale, out=scratch)
        np.rint(scratch, out=scratch)
        np.add(scratch, self._in_zero, out=scratch)
        np.clip(scratch, -128, 127, out=scratch)
        np.copyto(self._input_view(), scratch, casting="unsafe")

    def invoke(self) -> None:
        self._invoke()

    def fetch(self) -> Array:
        if not self._quantizes:
            self._output[...] = self._output_view()
            return self._output
        np.subtract(self._output_view(), self._out_zero, out=self._output)
        np.multiply(self._output, self._out_scale, out=self._output)
        return self._output

    def fallbacks(self) -> list[str]:
        """Whether TensorFlow Lite's own, slower kernels run all of it."""
        taken = any(operator["op_name"] == DELEGATE for operator in self._operators())
        return [] if taken else ["the XNNPACK delegate took no operator"]


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import ai_edge_litert

    return {"build": getattr(ai_edge_litert, "__version__", "unknown")}


def _converted(model: nn.Module, samples: Array) -> bytes:
    """The float TFLite file. Remembered for as long as the module lives: every scheme starts from it."""
    import litert_torch
    import torch

    if model not in _float_files:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / FILE
            litert_torch.convert(model, (torch.from_numpy(samples[:1]),)).export(str(path))
            _float_files[model] = path.read_bytes()
    return _float_files[model]


def _recipe(scheme: str) -> Any:
    """AI Edge Quantizer's recipe for a scheme; weights are quantized per output channel unless it says otherwise.

    int8-static takes a moving average (0.95) of each sample's minimum and maximum for an activation's range.
    int8-static-mse adds OCTAV (Sakr et al., "Optimal Clipping and Magnitude-aware Differentiation for Improved
    Quantization-aware Training", 2022, equation 6), which the quantizer applies to weights alone.
    """
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    every: dict[str, Any] = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED}
    algorithms, whole = recipe.AlgorithmName, qtyping.QuantGranularity.TENSORWISE
    add = {
        "fp16": lambda: manager.add_weight_only_config(**every, num_bits=16, algorithm_key=algorithms.FLOAT_CASTING),
        "int8-weights": lambda: manager.add_weight_only_config(**every, num_bits=8),
        "int4-weights": lambda: manager.add_weight_only_config(**every, num_bits=4),
        "int8-dynamic": lambda: manager.add_dynamic_config(**every, num_bits=8),
        "int8-static": lambda: manager.add_static_config(**every, **BYTES),
        "int8-static-mse": lambda: manager.add_static_config(**every, **BYTES, algorithm_key=algorithms.OCTAV),
        "int8-static-tensor": lambda: manager.add_static_config(**every, **BYTES, weight_granularity=whole),
    }.get(scheme)
    if add is None:
        raise Unsupported(f"the tflite runtime has no scheme '{scheme}'")
    add()
    return manager.get_quantization_recipe()


def _quantized(path: Path, recipe: Any, samples: Array) -> bytes:
    """Quantize a float TFLite file, calibrated on all samples where the recipe needs it."""
    from ai_edge_quantizer import quantizer

    engine = quantizer.Quantizer(str(path), recipe)
    calibration = None
    if engine.need_calibration:
        signature, inputs = next(iter(_signatures(path).items()))
        feed = [{inputs[0]: samples[i : i + 1]} for i in range(len(samples))]
        calibration = engine.calibrate({signature: feed})
    return bytes(engine.quantize(calibration).quantized_model)


def _left_in_float(path: Path) -> tuple[str, ...]:
    """Which layers still hold fp32 weights, for the table."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    operators = interpreter._get_ops_details()
    made = {index for operator in operators for index in operator["outputs"]}
    floats = {tensor["index"] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32}
    weights = [(o["op_name"], o["inputs"][LAYERS[o["op_name"]]]) for o in operators if o["op_name"] in LAYERS]
    left = Counter(kind for kind, index in weights if index in floats - made)
    return tuple(f"weights of {count} {kind} left in fp32" for kind, count in sorted(left.items()))


def _signatures(path: Path) -> dict[str, list[str]]:
    """Each signature's input names, as the file itself tells."""
    from ai_edge_litert.interpreter import Interpreter

    listed = Interpreter(str(path)).get_signature_list()
    return {name: list(signature["inputs"]) for name, signature in listed.items()}
