"""ncnn: conversion with pnnx, and a session on the CPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import Unsupported
from edgeproof.core.placements import PlacedOperator
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

EXTRA = "ncnn"
STEMS = {"fp32": "model", "fp16": "model_fp16"}
# What ncnn may use beside fp32: its own choice for fp16, nothing for fp32.
NARROW_OPTIONS = (
    *("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"),
    *("use_bf16_packed", "use_bf16_storage"),
)
_TOOLS = "ncnn's tools that quantize (ncnn2table, ncnn2int8) are not in its Python packages"
UNSUPPORTED_SCHEMES = {
    "bf16": "ncnn stores no bfloat16 weights; it rounds fp32 weights when it loads them",
    **dict.fromkeys(("int8-weights", "int4-weights", "int8-dynamic", "int8-static", "int8-static-minmax"), _TOOLS),
    **dict.fromkeys(("int8-static-percentile", "int8-static-mse", "int8-static-entropy", "int8-static-tensor"), _TOOLS),
    "int4-static": _TOOLS,
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to ncnn and compare one inference with torch: see edgeproof/converters/ncnn.py.

    `samples` have an array (N, *shape) for each input. Raises Unsupported for a scheme or a network that ncnn or its
    converter does not support.
    """
    from edgeproof.converters import ncnn as converter

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    if scheme not in STEMS:
        raise Unsupported(f"the ncnn runtime has no scheme '{scheme}'")
    converter.write(model, samples, out_dir, stem=STEMS[scheme], half=scheme == "fp16")
    return ExportResult()


class Session(InferenceSession):
    """Runs a network of ncnn. An extractor belongs to one inference, so invoke() makes it.

    ncnn has no batch axis, so the inputs lose theirs and the outputs get it back.
    """

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        import ncnn

        stem = next(stem for stem in STEMS.values() if (artifact_dir / f"{stem}.param").exists())
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        if stem == STEMS["fp32"]:
            for name in NARROW_OPTIONS:
                setattr(options, name, False)
        for load, suffix in ((self._net.load_param, ".param"), (self._net.load_model, ".bin")):
            if load(str(artifact_dir / (stem + suffix))) != 0:
                raise RuntimeError(f"ncnn can't load {stem}{suffix}: it lacks an operator, or the file is damaged")
        description = json.loads((artifact_dir / f"{stem}.json").read_text(encoding="utf-8"))
        self._inputs = [np.zeros(port["shape"], _choose_dtype(port["dtype"])) for port in description["inputs"]]
        self._mats = [ncnn.Mat(array) for array in self._inputs]  # they share the arrays' memory
        self._input_names, self._output_names = self._net.input_names(), self._net.output_names()
        self._results: list[Any] = []
        self._outputs = tuple(np.zeros(shape, np.float32) for shape in description["outputs"])

    def feed(self, *inputs: Array) -> None:
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer[...] = x[0]

    def invoke(self) -> None:
        extractor = self._net.create_extractor()
        for name, mat in zip(self._input_names, self._mats, strict=True):
            extractor.input(name, mat)
        self._results = [self._extract(extractor, name) for name in self._output_names]

    def fetch(self) -> tuple[Array, ...]:
        for output, result in zip(self._outputs, self._results, strict=True):
            output[...] = np.asarray(result).reshape(output.shape)
        return self._outputs

    def list_operators(self) -> list[tuple[str, str]]:
        """Return the name and the type of each layer that computes or moves something."""
        return [(layer.name, layer.type) for layer in self._net.layers() if layer.type != "Input"]

    def _extract(self, extractor: Any, name: str) -> Any:
        """Compute an output. ncnn computes only the operators that it needs and has not computed yet."""
        status, result = extractor.extract(name)
        if status != 0:
            raise RuntimeError(f"ncnn failed to compute '{name}' (status {status})")
        return result


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the layers. All run on the CPU, because Vulkan is off. Which of them compute in fp16 is not known."""
    session = Session(artifact_dir, threads=threads)
    return [PlacedOperator(name, kind, "CPU") for name, kind in session.list_operators()]


def describe() -> dict[str, str]:
    """Return the engine's build, for the record."""
    import ncnn

    return {"build": str(ncnn.__version__)}


def _choose_dtype(dtype: str) -> str:
    """Return ncnn's element type for an input: it has one size of integers."""
    return "int32" if np.dtype(dtype).kind in "iu" else "float32"
