"""A brought ONNX or TFLite file as a module that computes its outputs, without gradients.

The module stores the bytes of the file as a tensor, so that a stored model is complete without the user's file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeproof.core.errors import ConfigError, DataError, summarize_error
from edgeproof.core.ports import Port

# Bytes 4 to 7 of a TFLite file. Any other file is opened as ONNX.
_TFLITE_MARK = b"TFL3"
LOGITS, PROBABILITIES = "logits", "probabilities"
CONTENT = "content"
# The logarithm of smaller probabilities is cut off: softmax in float32 gives zeros.
_LEAST_PROBABILITY = 1e-7

Array = np.ndarray[Any, Any]
# Maps the inputs of a batch (N, *shape) to its first output.
Compute = Callable[[Sequence[Array]], Array]


class BroughtModule(nn.Module):
    """A module whose outputs a file computes.

    Args:
        inputs, outputs: the ports of the task.
        scores: whether the file gives logits or probabilities, of which the logarithm is taken.
    """

    content: torch.Tensor

    def __init__(self, inputs: Sequence[Port], outputs: Sequence[Port], scores: str) -> None:
        super().__init__()
        self._inputs, self._outputs, self._scores = tuple(inputs), tuple(outputs), scores
        self._compute: Compute | None = None
        self.register_buffer(CONTENT, torch.zeros(0, dtype=torch.uint8))

    def set_content(self, content: bytes) -> None:
        """Replace the file. Raises DataError if it is no model, and ConfigError if it does not fit the task."""
        self._compute = _open(content, self._inputs)
        self.content = torch.frombuffer(bytearray(content), dtype=torch.uint8)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the file's logits or values (N, …) for the task's inputs."""
        if self._compute is None:
            self._compute = _open(self.content.numpy().tobytes(), self._inputs)
        values = self._compute([tensor.detach().contiguous().numpy() for tensor in inputs])
        expected = (len(inputs[0]), *self._outputs[0].shape)
        if values.shape != expected:
            raise ConfigError(
                f"the brought model gives outputs of shape {values.shape}, and the task needs {expected}."
            )
        if self._scores == PROBABILITIES:
            values = np.log(np.maximum(values, _LEAST_PROBABILITY))
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Take the stored file, whose size the new module does not know."""
        content = state_dict.get(f"{prefix}{CONTENT}")
        if content is not None:
            self.content = content.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)


def look_like_probabilities(values: torch.Tensor) -> bool:
    """Return True if each row (N, classes) is positive and sums to 1, as after a softmax."""
    return bool(values.ndim == 2 and (values >= 0).all() and ((values.sum(dim=1) - 1).abs() < 1e-3).all())


def _open(content: bytes, inputs: Sequence[Port]) -> Compute:
    try:
        return _open_tflite(content, inputs) if content[4:8] == _TFLITE_MARK else _open_onnx(content, inputs)
    except ConfigError:
        raise
    except Exception as error:  # each engine has errors of its own
        reason = summarize_error(error)
        raise DataError(f"the file is no ONNX or TFLite model that can be run ({reason:.300}).") from error


def _open_onnx(content: bytes, inputs: Sequence[Port]) -> Compute:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    specs = session.get_inputs()
    moves = _match_inputs([tuple(spec.shape[1:]) for spec in specs], inputs)
    sizes = {spec.shape[0] for spec in specs}
    is_single = any(isinstance(size, int) and size == 1 for size in sizes)

    def compute(arrays: Sequence[Array]) -> Array:
        feeds = {spec.name: move(array) for spec, move, array in zip(specs, moves, arrays, strict=True)}
        count = len(arrays[0])
        if not is_single:
            values: Array = session.run(None, feeds)[0]
            return values
        rows = [session.run(None, {key: value[n : n + 1] for key, value in feeds.items()})[0] for n in range(count)]
        return np.concatenate(rows)

    return compute


def _open_tflite(content: bytes, inputs: Sequence[Port]) -> Compute:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    specs = interpreter.get_input_details()
    shapes = [tuple(map(int, spec["shape_signature"][1:])) for spec in specs]
    moves = _match_inputs(shapes, inputs)
    for spec, shape, move, port in zip(specs, shapes, moves, inputs, strict=True):
        if min(shape, default=0) < 0:  # open axes take the task's sizes
            interpreter.resize_tensor_input(spec["index"], move(np.zeros((1, *port.shape))).shape)
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]

    def compute(arrays: Sequence[Array]) -> Array:
        feeds = [_quantize(move(array), spec) for move, array, spec in zip(moves, arrays, specs, strict=True)]
        rows = []
        for row in range(len(arrays[0])):
            for spec, values in zip(specs, feeds, strict=True):
                interpreter.set_tensor(spec["index"], values[row : row + 1])
            interpreter.invoke()
            rows.append(_dequantize(interpreter.get_tensor(output["index"]), output))
        return np.concatenate(rows)

    return compute


def _match_inputs(shapes: Sequence[tuple[Any, ...]], ports: Sequence[Port]) -> list[Callable[[Array], Array]]:
    """Return a function for each input that turns the task's array into the file's layout. Raises ConfigError."""
    if len(shapes) != len(ports):
        raise ConfigError(f"the brought model takes {len(shapes)} inputs, and the task gives {len(ports)}.")
    moves: list[Callable[[Array], Array]] = []
    for shape, port in zip(shapes, ports, strict=True):
        last = (*port.shape[1:], port.shape[0])
        if _fits(shape, port.shape):
            moves.append(np.ascontiguousarray)
        elif len(last) == 3 and _fits(shape, last):
            moves.append(lambda array: np.ascontiguousarray(np.moveaxis(array, 1, -1)))
        else:
            raise ConfigError(
                f"the brought model takes an input of shape {shape}, and the task gives '{port.name}' of shape "
                f"{port.shape}. Use the model's own size in the task, or bring another model."
            )
    return moves


def _fits(shape: tuple[Any, ...], wanted: tuple[int, ...]) -> bool:
    """Compare a shape, whose open axes are names, None or negative, with that of the task."""
    return len(shape) == len(wanted) and all(
        not isinstance(size, int) or size < 0 or size == other for size, other in zip(shape, wanted, strict=True)
    )


def _quantize(values: Array, spec: Any) -> Array:
    """Return values in the type of a TFLite tensor, by its scale and zero point."""
    scale, zero = spec["quantization"]
    dtype = np.dtype(spec["dtype"])
    if dtype.kind not in "iu" or not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    quantized: Array = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(dtype)
    return quantized


def _dequantize(values: Array, spec: Any) -> Array:
    scale, zero = spec["quantization"]
    if values.dtype.kind not in "iu" or not scale:
        return values.astype(np.float32)
    restored: Array = ((values.astype(np.float32) - zero) * scale).astype(np.float32)
    return restored
