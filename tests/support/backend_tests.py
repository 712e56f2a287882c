"""ONNX's own backend tests of single operators, run through a Session and by plain use of the engine.

A test has a model and inputs. A Session has one input of float32 numbers, so one input of a test stays an input, and
the others become constants of the model.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from edgeproof.artifacts.external import files
from edgeproof.artifacts.external.inputs import DTYPES
from edgeproof.core import plugins
from edgeproof.core.artifacts import ModelInterface
from edgeproof.core.sessions import choose_port_dtype

Array = np.ndarray[Any, Any]
Predict = Callable[[Array], list[Any]]

# Tests of newer versions are run as if they were of these, the newest ones that ONNX Runtime reads.
NEWEST_IR_VERSION, NEWEST_OPSET = 13, 26
INPUT_DTYPES = (*DTYPES, "bool", "float64", "uint16", "uint32", "uint64")
INPUT_TYPES = [onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in INPUT_DTYPES]
EQUAL, BOTH_FAIL, SKIPPED = "equal", "plain use fails too", "no single input of numbers"
RANDOM = "outputs differ in plain use alone"


@functools.cache
def load_tests() -> dict[str, Any]:
    """Load all tests of single operators by name. They are made by code, in some seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {test.name: test for test in load_model_tests(kind="node")}


def compare(name: str, runtime: str) -> list[str]:
    """Run a test and return one result for each output: EQUAL, BOTH_FAIL, SKIPPED, RANDOM, or the difference."""
    prepared = _prepare(load_tests()[name])
    if prepared is None:
        return [SKIPPED]
    model, x = prepared
    inputs = [x, np.array(np.flip(x)), x]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        path.write_bytes(model.SerializeToString())
        try:
            predict = PLAIN[runtime](path)
            # The model is loaded again, because an engine may return memory that it never wrote.
            expected = [*map(predict, inputs), PLAIN[runtime](path)(x)]
        except Exception as error:
            expected = None
            failure = f"{type(error).__name__}: {error}"
        if expected is None:
            return [BOTH_FAIL if _fails(path, runtime, 0, x) else f"only plain use fails: {failure[:200]}"]
        results = []
        for index in range(len(expected[0])):
            own = [each[index] for each in expected]
            results.append(_compare_output(path, runtime, index, inputs, own))
        return results


def _compare_output(path: Path, runtime: str, index: int, inputs: list[Array], expected: list[Any]) -> str:
    interface: ModelInterface = plugins.load("runtimes", runtime).read_interface(path)
    if interface.outputs[index].dtype not in files.OUTPUT_DTYPES or not isinstance(expected[0], np.ndarray):
        return f"output of {interface.outputs[index].dtype}"
    *expected, again = expected
    if not _is_same(expected[0], expected[2]) or not _is_same(expected[0], again):
        return RANDOM
    try:
        session = _open_session(path, runtime, index, inputs[0])
        actual = [session(each.astype(choose_port_dtype(each.dtype.name)))[0].copy() for each in inputs]
    except Exception as error:
        return f"only the session fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    for number, (own, plain) in enumerate(zip(actual, expected, strict=True)):
        if not _is_same(own, plain):
            return (
                f"differs in input {number}: {own.shape} and {plain.shape}, {own.ravel()[:4]} and {plain.ravel()[:4]}"
            )
    return EQUAL


def _is_same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    with np.errstate(all="ignore"):
        return np.array_equal(one.astype(np.float32), other.astype(np.float32), equal_nan=True)


def _fails(path: Path, runtime: str, index: int, x: Array) -> bool:
    try:
        _open_session(path, runtime, index, x)(x.astype(choose_port_dtype(x.dtype.name)))
    except Exception:
        return True
    return False


def _open_session(path: Path, runtime: str, index: int, x: Array) -> Any:
    plugin = plugins.load("runtimes", runtime)
    out_dir = Path(tempfile.mkdtemp(dir=path.parent))
    plugin.adopt(path, out_dir, input_shapes=[x.shape], output=index)
    return plugin.Session(out_dir, threads=1)


def _prepare(test: Any) -> tuple[Any, Array] | None:
    """Return a test's model with one input, and that input. None if no input is of numbers that float32 holds."""
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    model.ir_version = min(model.ir_version, NEWEST_IR_VERSION)
    for opset in model.opset_import:
        opset.version = min(opset.version, NEWEST_OPSET)
    if not test.data_sets:
        return None
    arrays = test.data_sets[0][0]
    kept = None
    constants = []
    for value, given in zip(list(model.graph.input), arrays, strict=True):
        is_plain = isinstance(given, onnx.TensorProto) and given.data_type in INPUT_TYPES
        array = numpy_helper.to_array(given) if is_plain else given
        if isinstance(array, onnx.TensorProto):
            tensor = onnx.TensorProto()
            tensor.CopyFrom(array)
            tensor.name = value.name
            constants.append(tensor)
        elif not isinstance(array, np.ndarray | np.generic):
            return None  # a sequence or nothing
        elif kept is None and value.type.HasField("tensor_type") and _fits_float32(np.asarray(array)):
            kept = value, np.asarray(array).astype(np.float32).astype(array.dtype)
        else:
            constants.append(numpy_helper.from_array(np.asarray(array), value.name))
    if kept is None:
        return None
    del model.graph.input[:]
    model.graph.input.append(kept[0])
    model.graph.initializer.extend(constants)
    return model, kept[1]


def _fits_float32(array: Array) -> bool:
    """Return True for numbers that float32 holds. Those of float64 are rounded."""
    if array.dtype.name not in INPUT_DTYPES or not array.size:
        return False
    return array.dtype.kind == "f" or np.array_equal(array.astype(np.float32).astype(array.dtype), array)


def _use_onnx_runtime(path: Path) -> Predict:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(x: Array) -> list[Any]:
        outputs: list[Any] = session.run(None, {name: x})
        return outputs

    return predict


def _use_openvino(path: Path) -> Predict:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = ov.Core().compile_model(ov.Core().read_model(path), "CPU", options)

    def predict(x: Array) -> list[Any]:
        results = compiled([ov.Tensor(x)])
        return [np.array(results[index]) for index in range(len(compiled.outputs))]

    return predict


# Plain use of the engine of each runtime that takes .onnx files: it maps an input to all outputs.
PLAIN: dict[str, Callable[[Path], Predict]] = {"onnx": _use_onnx_runtime, "openvino": _use_openvino}
