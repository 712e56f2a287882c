"""LiteRT (TensorFlow Lite): litert_torch, ai_edge_quantizer, and an interpreter with its tensors held as views."""

from __future__ import annotations

import tempfile
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

_float_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> Lowered:
    """Lower to TFLite, then quantize with AI Edge Quantizer. `samples` is (N, *input_shape) float32."""
    if scheme not in ("fp32", "fp16", "int8-dynamic", "int8-static"):
        raise Unsupported(f"the tflite runtime has no scheme '{scheme}'")
    path = out_dir / FILE
    path.write_bytes(_converted(model, samples))
    if scheme != "fp32":
        path.write_bytes(_quantized(path, scheme, samples))
    return Lowered()


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


def _quantized(path: Path, scheme: str, samples: Array) -> bytes:
    """Quantize a float TFLite file with AI Edge Quantizer's recipes."""
    from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager

    engine = quantizer.Quantizer(str(path))
    calibration = None
    if scheme == "fp16":
        recipes = recipe_manager.RecipeManager()
        recipes.add_weight_only_config(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            num_bits=16,
            algorithm_key=recipe.AlgorithmName.FLOAT_CASTING,
        )
        engine.load_quantization_recipe(recipes.get_quantization_recipe())
    elif scheme == "int8-dynamic":
        engine.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:
        engine.load_quantization_recipe(recipe.static_wi8_ai8())
        signature, inputs = next(iter(_signatures(path).items()))
        feed = [{inputs[0]: samples[i : i + 1]} for i in range(len(samples))]
        calibration = engine.calibrate({signature: feed})
    return bytes(engine.quantize(calibration).quantized_model)


def _signatures(path: Path) -> dict[str, list[str]]:
    """Each signature's input names, as the file itself tells."""
    from ai_edge_litert.interpreter import Interpreter

    listed = Interpreter(str(path)).get_signature_list()
    return {name: list(signature["inputs"]) for name, signature in listed.items()}
