"""Lowering of torch modules to ExecuTorch programs, and quantization through PT2E with XNNPACK's quantizer."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.errors import Unsupported, summarize_error

if TYPE_CHECKING:
    import torch
    from torch import nn

Array = np.ndarray[Any, Any]

# Nodes of a lowered graph that are no operators: the call of a delegate, and the choice of one of its outputs.
GLUE = ("executorch_call_delegate", "getitem", "alloc")
CONVERSIONS = "quantized_decomposed."


@dataclass(frozen=True)
class Program:
    """A program of ExecuTorch, with the operators that XNNPACK and that portable kernels run: name → number."""

    content: bytes
    delegated: Counter[str]
    undelegated: Counter[str]

    def describe_undelegated(self) -> tuple[str, ...]:
        """Return a remark that lists the operators that run on the portable kernels, or nothing."""
        if not self.undelegated:
            return ()
        listed = ", ".join(f"{count} {name}" for name, count in sorted(self.undelegated.items()))
        return (f"not delegated to XNNPACK: {listed}",)


def quantize(model: nn.Module, samples: tuple[Array, ...], *, is_dynamic: bool = False) -> nn.Module:
    """Return the module with int8 weights and activations, in the form that XNNPACK's partitioner recognizes.

    The ranges of activations are those with the least squared error over a histogram of all samples, or are found in
    each inference if `is_dynamic`.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=is_dynamic)
    tensors = [torch.from_numpy(array) for array in samples]
    graph = _export(model, samples).module(check_guards=False)
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(config))
    with torch.no_grad():
        for index in range(1 if is_dynamic else len(tensors[0])):
            prepared(*(tensor[index : index + 1] for tensor in tensors))
    converted: nn.Module = convert_pt2e(prepared)
    return converted


def lower(model: nn.Module, samples: tuple[Array, ...]) -> Program:
    """Lower a module with a batch of one, with as much of it as possible delegated to XNNPACK.

    Raises Unsupported for a network that ExecuTorch cannot lower, or for which its Python module lacks a kernel.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import _C
    from torch._export.verifier import SpecViolationError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            edge = to_edge_transform_and_lower(_export(model, samples), partitioner=[XnnpackPartitioner()])
            program = edge.exported_program()
            delegated, undelegated = list_delegated(program), list_undelegated(program)
            content = bytes(edge.to_executorch().buffer)
            _C._load_program_from_buffer(content).load_method("forward")
        except (RuntimeError, SpecViolationError, NotImplementedError) as error:
            raise Unsupported(f"ExecuTorch can't lower this network: {summarize_error(error)}") from error
    return Program(content, delegated, undelegated)


def list_undelegated(program: torch.export.ExportedProgram) -> Counter[str]:
    """Count the operators of a lowered program that no delegate took and that portable kernels therefore run."""
    return _count_operators(program.graph)


def list_delegated(program: torch.export.ExportedProgram) -> Counter[str]:
    """Count the operators of a lowered program that delegates run. They fuse the conversions between number formats."""
    from executorch.exir.lowered_backend_module import get_lowered_submodules

    total: Counter[str] = Counter()
    for _, lowered, _ in get_lowered_submodules(program.graph_module):
        total += _count_operators(lowered.original_module.graph)
    return Counter({name: count for name, count in total.items() if not name.startswith(CONVERSIONS)})


def _count_operators(graph: torch.fx.Graph) -> Counter[str]:
    targets = (node.target for node in graph.nodes if node.op == "call_function")
    names = (str(getattr(target, "_op", getattr(target, "__name__", target))) for target in targets)
    operators = (name.rpartition("::")[2].removeprefix("aten.").removesuffix(".default") for name in names)
    return Counter(name for name in operators if not name.startswith(GLUE))


def _export(model: nn.Module, samples: tuple[Array, ...]) -> torch.export.ExportedProgram:
    import torch

    with torch.no_grad():
        return torch.export.export(model, tuple(torch.from_numpy(array[:1]) for array in samples))
