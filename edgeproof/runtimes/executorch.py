"""ExecuTorch: lowering to its XNNPACK delegate, and a session on a method of the program."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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

EXTRA = "executorch"
FILE = "model.pte"
OPERATORS_FILE = "operators.json"  # the number of operators by the unit that runs them, and by type
XNNPACK, PORTABLE = "XNNPACK", "portable kernel"
METHOD = "forward"
DELEGATE = b"XnnpackBackend"  # a program names its delegates by these bytes
_FOUR_BITS = "XNNPACKQuantizer has 4-bit weights for fully connected layers with dynamic activations only"
_HISTOGRAM = "ExecuTorch's XNNPACKQuantizer calibrates activations with a histogram only, as in int8-static"
UNSUPPORTED_SCHEMES = {
    "fp16": "ExecuTorch's XNNPACK delegate keeps the number format of the network, which is fp32 here",
    "bf16": "ExecuTorch's XNNPACK delegate has no bfloat16 kernels for convolutions",
    "int8-weights": "XNNPACKQuantizer quantizes weights only together with activations",
    **dict.fromkeys(("int4-weights", "int4-static"), _FOUR_BITS),
    "int8-static-tensor": "edgeproof quantizes weights for ExecuTorch with one scale for each output channel only",
    "int8-static-minmax": _HISTOGRAM,
    "int8-static-percentile": _HISTOGRAM,
    "int8-static-mse": _HISTOGRAM,
    "int8-static-entropy": _HISTOGRAM,
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Lower a module to ExecuTorch and quantize it with XNNPACKQuantizer: see edgeproof/converters/executorch.py.

    `samples` have an array (N, *shape) for each input and calibrate the static schemes. Raises Unsupported for a scheme
    or a network that ExecuTorch does not support.
    """
    from edgeproof.converters import executorch as converter

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    quantizers: dict[str, Callable[[], Any]] = {
        "fp32": lambda: model,
        "int8-dynamic": lambda: converter.quantize(model, samples, is_dynamic=True),
        "int8-static": lambda: converter.quantize(model, samples),
        "int8-qat": lambda: model,  # already in integers
    }
    if scheme not in quantizers:
        raise Unsupported(f"the executorch runtime has no scheme '{scheme}'")
    program = converter.lower(quantizers[scheme](), samples)
    (out_dir / FILE).write_bytes(program.content)
    operators = {XNNPACK: program.delegated, PORTABLE: program.undelegated}
    (out_dir / OPERATORS_FILE).write_text(json.dumps(operators, sort_keys=True), encoding="utf-8")
    return ExportResult(notes=program.describe_undelegated())


class Session(InferenceSession):
    """Runs model.pte. ExecuTorch's Python module needs torch, whose tensors share the memory of the inputs."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        import torch  # first: its libraries are those of the engine

        engine = _import_engine()
        engine._unsafe_reset_threadpool(threads)
        self._path = artifact_dir / FILE
        self._program = engine._load_program(str(self._path))
        self._method = self._program.load_method(METHOD)
        facts = self._method.method_meta()
        dtypes = _list_dtypes(torch)
        inputs = [facts.input_tensor_meta(index) for index in range(facts.num_inputs())]
        self._tensors = [torch.zeros(info.sizes(), dtype=dtypes[info.dtype()]) for info in inputs]
        self._inputs = [tensor.numpy() for tensor in self._tensors]
        self._outputs: tuple[Array, ...] | None = None

    def feed(self, *inputs: Array) -> None:
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer[...] = x
        self._method.set_inputs(self._tensors)

    def invoke(self) -> None:
        self._method.execute()

    def fetch(self) -> tuple[Array, ...]:
        # The memory plan of the program fixes the place of its outputs, so they are asked for once.
        if self._outputs is None:
            self._outputs = tuple(tensor.numpy() for tensor in self._method.get_outputs(clone_outputs=False))
        return self._outputs

    def fallbacks(self) -> list[str]:
        """Report a program that runs on the portable kernels alone, which are far slower than the delegate's.

        A program of which some operators were not delegated has a remark instead.
        """
        return [] if DELEGATE in self._path.read_bytes() else ["the XNNPACK delegate took no operator"]


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the operators as the lowering placed them. A program does not name those inside of a delegate."""
    operators = json.loads((artifact_dir / OPERATORS_FILE).read_text(encoding="utf-8"))
    reasons = {XNNPACK: "", PORTABLE: "the XNNPACK delegate does not take it with these types and options"}
    return [
        PlacedOperator(f"{kind}.{number}", kind, where, reason)
        for where, reason in reasons.items()
        for kind, count in operators[where].items()
        for number in range(count)
    ]


def describe() -> dict[str, str]:
    """Return the engine's build and its delegates, for the record."""
    import torch  # noqa: F401 - first: its libraries are those of the engine
    from executorch.version import __version__

    return {"build": __version__, "delegates": " ".join(_import_engine()._get_registered_backend_names())}


def _import_engine() -> Any:
    """Import the engine's own module. The public one imports ExecuTorch's compiler first, which takes seconds."""
    from executorch.extension.pybindings import _C

    return _C


def _list_dtypes(torch: Any) -> dict[int, Any]:
    """Return torch's element types by the numbers that ExecuTorch has for them."""
    names = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
    return dict(enumerate(getattr(torch, name) for name in names)) | {11: torch.bool}
