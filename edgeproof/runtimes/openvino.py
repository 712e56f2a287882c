"""OpenVINO: convert_model from ONNX, NNCF post-training quantization, and a session with tensors set once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import Lowered
from edgeproof.core.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.xml"


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> Lowered:
    """Lower to OpenVINO IR; int8 through NNCF. `samples` is (N, *input_shape) float32."""
    import openvino as ov

    if scheme == "int8-dynamic":
        raise Unsupported(
            "OpenVINO's CPU plugin quantizes activations at run time only in fully connected layers, not in convolutions"
        )
    if scheme not in ("fp32", "fp16", "int8-static"):
        raise Unsupported(f"the openvino runtime has no scheme '{scheme}'")
    lowered = _converted(model, samples)
    if scheme == "int8-static":
        lowered = _quantized(lowered, samples)
    ov.save_model(lowered, out_dir / FILE, compress_to_fp16=scheme == "fp16")
    _strip_runtime_info(out_dir / FILE)
    return Lowered()


class Session:
    """Runs model.xml with the input tensor shared and set once."""

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
        self._input = np.zeros(list(compiled.input(0).shape), np.float32)
        request = compiled.create_infer_request()
        request.set_input_tensor(0, ov.Tensor(self._input, shared_memory=True))
        request.infer()
        self._output = request.get_output_tensor(0).data
        self._infer = request.infer

    def __call__(self, x: Array) -> Array:
        self._input[...] = x
        self._infer(share_outputs=True)
        return self._output


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import openvino as ov

    return {"build": ov.get_version()}


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
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))


def _strip_runtime_info(path: Path) -> None:
    """Drop conversion settings from the IR: they are no part of the model, and hold library versions and paths."""
    xml = path.read_text(encoding="utf-8")
    stripped = re.sub(r"\n\t<rt_info>.*?\n\t</rt_info>", "", xml, flags=re.DOTALL)
    path.write_text(stripped, encoding="utf-8")
