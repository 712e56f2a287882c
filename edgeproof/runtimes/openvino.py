"""OpenVINO: convert_model from ONNX, NNCF post-training quantization, and a session with tensors set once."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import Interface, Lowered, Port
from edgeproof.core.errors import ConfigError, Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.xml"
ADOPTS = (".xml", ".onnx")


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> Lowered:
    """Lower to OpenVINO IR; int8 through NNCF. `samples` is (N, *input_shape) float32."""
    import openvino as ov

    if scheme == "int8-dynamic":
        raise Unsupported(
            "OpenVINO's CPU plugin quantizes activations at run time only in fully connected layers, "
            "not in convolutions"
        )
    if scheme not in ("fp32", "fp16", "int8-static"):
        raise Unsupported(f"the openvino runtime has no scheme '{scheme}'")
    lowered = _converted(model, samples)
    if scheme == "int8-static":
        lowered = _quantized(lowered, samples)
    _name_canonically(lowered)
    ov.save_model(lowered, out_dir / FILE, compress_to_fp16=scheme == "fp16")
    _strip(out_dir / FILE)
    return Lowered()


def interface(path: Path) -> Interface:
    """What an OpenVINO or .onnx file takes and answers."""
    model = _read(path)
    return Interface(tuple(map(_port, model.inputs)), tuple(map(_port, model.outputs)))


def adopt(path: Path, out_dir: Path, *, input_shape: Sequence[int], output: int) -> Lowered:
    """Take an OpenVINO file as it is; convert an .onnx file, and close what either leaves open: a batch of one.

    Another output than the first is moved to the front, and all are still computed.
    """
    import openvino as ov

    model = _read(path)
    if path.suffix != ".onnx" and output == 0 and not model.is_dynamic():
        shutil.copyfile(path, out_dir / FILE)
        shutil.copyfile(path.with_suffix(".bin"), (out_dir / FILE).with_suffix(".bin"))
        return Lowered()
    results = list(model.get_results())
    results.insert(0, results.pop(output))
    model = ov.Model(results, model.get_sinks(), model.get_parameters(), "model")
    model.reshape(list(input_shape))
    _name_canonically(model)
    ov.save_model(model, out_dir / FILE, compress_to_fp16=False)
    _strip(out_dir / FILE)
    return Lowered(("converted from ONNX",) if path.suffix == ".onnx" else ())


class Session(InferenceSession):
    """Runs model.xml with the input tensor shared and set once; integers and halves are cast inside the call."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        import openvino as ov

        core = ov.Core()
        # Left alone, the CPU plugin computes fp32 models in bfloat16 where the processor can: another accuracy.
        compiled = core.compile_model(
            core.read_model(artifact_dir / FILE),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._input = np.zeros(list(compiled.input(0).shape), compiled.input(0).element_type.to_dtype())
        request = compiled.create_infer_request()
        request.set_input_tensor(0, ov.Tensor(self._input, shared_memory=True))
        self._answer = request.get_output_tensor(0).data
        self._output = self._answer if self._answer.dtype == np.float32 else self._answer.astype(np.float32)
        # The binding's own call, without the Python wrapper around it, which dispatches and wraps for 3 µs.
        self._infer = super(type(request), request).infer  # type: ignore[misc]
        self._compiled = compiled

    def feed(self, x: Array) -> None:
        self._input[...] = x

    def invoke(self) -> None:
        self._infer({}, True, False)  # inputs are bound, outputs shared, no strings to decode

    def fetch(self) -> Array:
        if self._answer is not self._output:
            self._output[...] = self._answer
        output: Array = self._output
        return output

    def fallbacks(self) -> list[str]:
        """Nodes that the CPU plugin runs with its slow reference kernels."""
        kinds = [node.get_rt_info()["layerType"].astype(str) for node in self._compiled.get_runtime_model().get_ops()]
        return [f"{count} × {kind}" for kind, count in Counter(kinds).items() if kind == "Reference"]


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import openvino as ov

    return {"build": ov.get_version()}


def _read(path: Path) -> Any:
    import openvino as ov

    if path.suffix != ".onnx" and not path.with_suffix(".bin").is_file():
        raise ConfigError(f"{path} has no {path.with_suffix('.bin').name} beside it, which holds its weights.")
    return ov.Core().read_model(path)


def _port(port: Any) -> Port:
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        raise ValueError(f"'{port}' has no shape")
    return Port(
        name=port.any_name if port.names else port.get_node().get_friendly_name(),
        shape=tuple(None if size.is_dynamic else size.get_length() for size in shape),
        dtype=np.dtype(port.element_type.to_dtype()).name,
    )


def _converted(model: nn.Module, samples: Array) -> Any:
    """Convert the module to an OpenVINO model with a static batch of one."""
    import openvino as ov
    import torch

    with torch.no_grad():
        converted = ov.convert_model(torch.export.export(model, (torch.from_numpy(samples[:1]),)))
    converted.reshape([1, *samples.shape[1:]])
    return converted


def _quantized(model: Any, samples: Array) -> Any:
    """Post-training quantization with NNCF, calibrated on all samples."""
    import nncf

    nncf.set_log_level("ERROR")
    batches = [samples[i : i + 1] for i in range(len(samples))]
    # Asymmetric activations and the full bias correction: see docs/decisions.md.
    preset = nncf.QuantizationPreset.MIXED
    options = {"preset": preset, "fast_bias_correction": False, "subset_size": len(batches)}
    return nncf.quantize(model, nncf.Dataset(batches), **options)


def _name_canonically(model: Any) -> None:
    """Name operations by type and place: OpenVINO's own names count every operation the process has ever made."""
    model.set_friendly_name("model")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")


def _strip(path: Path) -> None:
    """Drop what is no part of the model: conversion settings (library versions, paths) and indentation."""
    xml = path.read_text(encoding="utf-8")
    xml = re.sub(r"<rt_info>.*?</rt_info>|<rt_info ?/>", "", xml, flags=re.DOTALL)
    path.write_text(re.sub(r">\s+<", "><", xml), encoding="utf-8")
