"""LiteRT (TensorFlow Lite): its converters and quantizers, and an interpreter with its tensors held as views."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.errors import ConfigError, Unsupported
from edgeproof.core.profiles import Profile
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.tflite"
ADOPTS = (".tflite",)
DELEGATE = "DELEGATE"
# Operators with weights, and the place of the weights among their inputs.
LAYERS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
# Those of them whose weights the recipe of least squared error clips, as AI Edge Quantizer calls them.
CLIPPED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE")
_EXTREMES = "AI Edge Quantizer knows no more of a sample's activations than their minimum and maximum"
REFUSED = {
    "bf16": "LiteRT's converter takes no bfloat16 weights, and AI Edge Quantizer casts floats to float16 alone",
    "int8-static-percentile": _EXTREMES,
    "int8-static-entropy": _EXTREMES,
}
BYTES = {"activation_num_bits": 8, "weight_num_bits": 8}
REMARKS = {
    "int8-static-mse": ("weights clipped for the least squared error, activations calibrated as in int8-static",)
}

_float_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> ExportResult:
    """Lower to TFLite, then quantize with AI Edge Quantizer. `samples` is (N, *input_shape) float32."""
    from edgeproof.models import qat

    if scheme in REFUSED:
        raise Unsupported(REFUSED[scheme])
    model = qat.select_for_export(model, "tflite", scheme)
    path = out_dir / FILE
    if scheme == qat.SCHEME:
        path.write_bytes(_converted_integers(model, samples))
        return ExportResult(notes=_left_in_float(path))
    if scheme == "fp32":
        path.write_bytes(_converted(model, samples))
        return ExportResult()
    recipe = _recipe(scheme)
    path.write_bytes(_converted(model, samples))
    path.write_bytes(_quantized(path, recipe, samples, averaged=scheme != "int8-static-minmax"))
    return ExportResult(notes=(*REMARKS.get(scheme, ()), *_left_in_float(path)))


def export_keras(
    model: Callable[[Any], Any], variables: Sequence[Any], samples: Array, scheme: str, out_dir: Path
) -> ExportResult:
    """Lower what TensorFlow computes, with its own converter.

    `model` maps a tensor to a tensor by way of `variables`; `samples` is (N, *input_shape) in the input's type.
    """
    import tensorflow as tf

    if scheme not in ("fp32", "fp16", "int8-dynamic", "int8-static"):
        raise Unsupported(f"edgeproof has TensorFlow's own converter make no '{scheme}'")

    class Held(tf.Module):  # type: ignore[misc]
        """The converter finds variables by the object that holds them."""

        def __init__(self) -> None:
            super().__init__()
            self.held = list(variables)

    described = tf.TensorSpec([1, *samples.shape[1:]], samples.dtype, name="input")
    function = tf.function(model, autograph=False).get_concrete_function(described)
    if scheme == "int8-static" and _loops(function.graph.as_graph_def()):
        raise Unsupported(
            "TensorFlow's converter can't calibrate a network with a loop, as recurrent layers have, and takes its "
            "process down. Build the layer with unroll=True"
        )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], Held())
    if scheme != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8-static":
        converter.representative_dataset = lambda: ([samples[i : i + 1]] for i in range(len(samples)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_output_type = tf.int8
        if samples.dtype == np.float32:
            converter.inference_input_type = tf.int8
    (out_dir / FILE).write_bytes(converter.convert())
    return ExportResult(notes=() if scheme in ("fp32", "fp16") else _left_in_float(out_dir / FILE))


def _loops(graph: Any) -> bool:
    """Whether a TensorFlow graph, or a function that it calls, repeats a part of itself."""
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(node.op in ("While", "StatelessWhile") for part in nodes for node in part)


def read_interface(path: Path) -> ModelInterface:
    """What a .tflite file takes and answers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    given, produced = interpreter.get_input_details(), interpreter.get_output_details()
    return ModelInterface(tuple(map(_port, given)), tuple(map(_port, produced)))


def adopt(path: Path, out_dir: Path, *, input_shape: Sequence[int], output: int) -> ExportResult:
    """Take a .tflite file as it is; another output than the first is moved to the front, and all are still computed.

    `input_shape` is that of a batch of one. Raises ConfigError where the file would have to be resized to it.
    """
    shutil.copyfile(path, out_dir / FILE)
    built_for = _built_for(path)
    if built_for != list(input_shape):
        raise ConfigError(
            f"{path} was built for inputs of shape {built_for}, not {list(input_shape)}: convert it anew."
        )
    if output == 0:
        return ExportResult()
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    order = list(model.subgraphs[0].outputs)
    model.subgraphs[0].outputs = [order.pop(output), *order]
    flatbuffer_utils.write_model(model, str(out_dir / FILE))
    return ExportResult()


class Session(InferenceSession):
    """Runs model.tflite; (de)quantizes integers inside the call, as an application must."""

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
        self._in_scale, self._in_zero = map(np.float32, given["quantization"])
        self._out_scale, self._out_zero = map(np.float32, produced["quantization"])
        self._quantizes, self._dequantizes = _quantized_port(given), _quantized_port(produced)
        self._least, self._greatest = _range(given["dtype"])
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
        np.clip(scratch, self._least, self._greatest, out=scratch)
        np.copyto(self._input_view(), scratch, casting="unsafe")

    def invoke(self) -> None:
        self._invoke()

    def fetch(self) -> Array:
        if not self._dequantizes:
            self._output[...] = self._output_view()
            return self._output
        np.subtract(self._output_view(), self._out_zero, out=self._output)
        np.multiply(self._output, self._out_scale, out=self._output)
        return self._output

    def fallbacks(self) -> list[str]:
        """Whether TensorFlow Lite's own, slower kernels run all of it."""
        taken = any(operator["op_name"] == DELEGATE for operator in self._operators())
        return [] if taken else ["the XNNPACK delegate took no operator"]


def profile(artifact_dir: Path, x: Array, *, threads: int) -> Profile:
    """Raises Unsupported, always: the engine has a profiler, and no way to it."""
    raise Unsupported("LiteRT's Python interpreter gives no way to the engine's profiler; its C++ benchmark_model does")


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import ai_edge_litert

    return {"build": getattr(ai_edge_litert, "__version__", "unknown")}


def _port(details: dict[str, Any]) -> TensorSpec:
    scale, zero = details["quantization"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(None if size < 0 else int(size) for size in details["shape_signature"]),
        dtype=np.dtype(details["dtype"]).name,
        quantization=(float(scale), int(zero)) if _quantized_port(details) else None,
    )


def _quantized_port(details: dict[str, Any]) -> bool:
    """Whether integers stand for other numbers; an index or a token stands for itself."""
    return np.issubdtype(details["dtype"], np.integer) and details["quantization"][0] != 0


def _range(dtype: Any) -> tuple[int, int]:
    """The least and greatest integer of a quantized input's type."""
    if not np.issubdtype(dtype, np.integer):
        return 0, 0
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _built_for(path: Path) -> list[int]:
    """The input's shape that a file's memory is planned for; what it leaves open is one."""
    from ai_edge_litert.interpreter import Interpreter

    return [int(size) for size in Interpreter(str(path)).get_input_details()[0]["shape"]]


def _converted(model: nn.Module, samples: Array) -> bytes:
    """The float TFLite file. Remembered for as long as the module lives: every scheme starts from it."""
    if model not in _float_files:
        _float_files[model] = _litert(model, samples)
    return _float_files[model]


def _converted_integers(model: nn.Module, samples: Array) -> bytes:
    """The TFLite file of a module that quantizes and dequantizes by itself."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    # The converter asks of it only whether activations are quantized statically.
    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config())
    return _litert(model, samples, quant_config=QuantConfig(pt2e_quantizer=quantizer))


def _litert(model: nn.Module, samples: Array, **settings: Any) -> bytes:
    import litert_torch
    import torch

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE
        litert_torch.convert(model, (torch.from_numpy(samples[:1]),), **settings).export(str(path))
        return path.read_bytes()


def _recipe(scheme: str) -> Any:
    """AI Edge Quantizer's recipe for a scheme; weights are quantized per output channel unless it says otherwise.

    int8-static takes a moving average (0.95) of each sample's minimum and maximum for an activation's range,
    int8-static-minmax the minimum and maximum of all samples.
    int8-static-mse adds OCTAV (Sakr et al., "Optimal Clipping and Magnitude-aware Differentiation for Improved
    Quantization-aware Training", 2022, equation 6), which the quantizer applies to weights alone.
    """
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    every: dict[str, Any] = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED}
    algorithms, whole = recipe.AlgorithmName, qtyping.QuantGranularity.TENSORWISE

    def clip_weights() -> None:
        manager.add_static_config(**every, **BYTES)
        # A later rule comes before an earlier one. It refuses the constants of other operators, which are asymmetric.
        for operation in (name for name in qtyping.TFLOperationName if name.value in CLIPPED):
            only = every | {"operation_name": operation}
            manager.add_static_config(**only, **BYTES, algorithm_key=algorithms.OCTAV)

    ways: dict[str, Callable[[], Any]] = {
        "fp16": lambda: manager.add_weight_only_config(**every, num_bits=16, algorithm_key=algorithms.FLOAT_CASTING),
        "int8-weights": lambda: manager.add_weight_only_config(**every, num_bits=8),
        "int4-weights": lambda: manager.add_weight_only_config(**every, num_bits=4),
        "int8-dynamic": lambda: manager.add_dynamic_config(**every, num_bits=8),
        "int8-static": lambda: manager.add_static_config(**every, **BYTES),
        "int8-static-minmax": lambda: manager.add_static_config(**every, **BYTES),
        "int8-static-mse": clip_weights,
        "int8-static-tensor": lambda: manager.add_static_config(**every, **BYTES, weight_granularity=whole),
    }
    if scheme not in ways:
        raise Unsupported(f"the tflite runtime has no scheme '{scheme}'")
    ways[scheme]()
    return manager.get_quantization_recipe()


def _quantized(path: Path, recipe: Any, samples: Array, *, averaged: bool) -> bytes:
    """Quantize a float TFLite file, calibrated on all samples where the recipe needs it.

    A range is the average of the samples' extremes, as AI Edge Quantizer has it by default, or holds them all.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    engine = quantizer.Quantizer(str(path), recipe)
    if not engine.need_calibration:
        return bytes(engine.quantize().quantized_model)
    signature, inputs = next(iter(_signatures(path).items()))
    feed = [{inputs[0]: samples[i : i + 1]} for i in range(len(samples))]
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe)
    update = qsv_utils.moving_average_update if averaged else qsv_utils.min_max_update
    ranges = calibrator.Calibrator(path.read_bytes(), qsv_update_func=update)
    ranges.calibrate({signature: feed}, manager)
    return bytes(engine.quantize(ranges.get_model_qsvs()).quantized_model)


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
