"""Python code that runs an artifact's file with its runtime alone, without edgeproof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ONNX = """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
model_input = session.get_inputs()[0]
dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[model_input.type]
x = np.zeros(model_input.shape, dtype)  # replace by a preprocessed sample
output = session.run(None, {model_input.name: x})[0]
print(output)
""".strip()
OPENVINO = """
import numpy as np
import openvino

options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model("model.xml", "CPU", options)  # model.bin is beside it
x = np.zeros(model.input(0).shape, model.input(0).element_type.to_dtype())  # replace by a preprocessed sample
output = model(x)[0]
print(output)
""".strip()
TFLITE = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite", num_threads=1)
interpreter.allocate_tensors()
model_input, model_output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
x = np.zeros(model_input["shape"], np.float32)  # replace by a preprocessed sample
if model_input["dtype"] != np.float32:  # quantize the input
    scale, zero_point = model_input["quantization"]
    limits = np.iinfo(model_input["dtype"])
    x = np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max).astype(model_input["dtype"])
interpreter.set_tensor(model_input["index"], x)
interpreter.invoke()
output = interpreter.get_tensor(model_output["index"])
if model_output["dtype"] != np.float32:  # dequantize the output
    scale, zero_point = model_output["quantization"]
    output = (output.astype(np.float32) - zero_point) * scale
print(output)
""".strip()
SNIPPETS = {"onnx": ONNX, "openvino": OPENVINO, "tflite": TFLITE}
# Packages that measure and are not needed to run a file.
MEASURING_PACKAGES = ("mlcommons-loadgen",)


@dataclass(frozen=True)
class Usage:
    """A command that installs the measured versions, empty if they are unknown, and the code that runs the file."""

    install: str
    code: str


def describe_usage(runtime: str, versions: Mapping[str, str | None]) -> Usage | None:
    """Return how a program runs the artifact's file, or None for a runtime without an example here."""
    if runtime not in SNIPPETS:
        return None
    packages = [
        f"{name}=={version}" for name, version in versions.items() if version and name not in MEASURING_PACKAGES
    ]
    return Usage(f"pip install {' '.join(packages)}" if packages else "", SNIPPETS[runtime])
