"""Reading torch.export's .pt2 files as data, without torch.export.load.

That function would run code from the file: it unpickles example inputs and custom objects, evaluates the text of
symbolic sizes and guards, and calls any function that a node names, even torch.os.system. The format is a zip of JSON
and raw tensors. This module rebuilds the graph from these. It accepts only operators of ATen, and none that opens a
file; it ignores the rest of the archive.
"""

from __future__ import annotations

import json
import math
import operator
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._export.serde.serialize import (  # the numbers that stand for types in the format
    _SERIALIZE_TO_TORCH_DTYPE,
    _SERIALIZE_TO_TORCH_MEMORY_FORMAT,
)

from edgeproof.core.artifacts import ModelInterface, TensorSpec
from edgeproof.core.errors import ConfigError

GRAPH = "models/model.json"
ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
SIZE_OPERATORS = {f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv")}
LITERALS = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string")
ADVICE = (
    "Where you trust the file, convert it with torch.onnx.export(program, dynamo=True).save('model.onnx'), "
    "then measure model.onnx."
)

EXPORT_ADVICE = "Write one with torch.export.save(torch.export.export(model.eval(), (x,)), 'model.pt2')."
# The most numbers of a tensor whose elements share memory, as those of an expanded one.
MAX_SHARED_ELEMENTS = 1 << 28


@dataclass(frozen=True)
class Reference:
    """An argument that stands for the tensor or the size that an earlier step computed under this name."""

    name: str


@dataclass(frozen=True)
class Step:
    """One call of an operator. `args` and `kwargs` are plain data that may contain References.

    `results` are the names of what it returns. `is_sequence` is True if the operator returns a sequence of them.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[str, ...]
    is_sequence: bool


class Program(nn.Module):
    """A program as a module. `outputs` are the names of all outputs, of which number `chosen` is returned first."""

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], steps: Sequence[Step], inputs: Sequence[str], outputs: list[str]
    ) -> None:
        super().__init__()
        self._names = list(tensors)
        for number, tensor in enumerate(tensors.values()):
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(f"tensor_{number}", tensor)
            else:
                self.register_buffer(f"tensor_{number}", tensor)
        self._steps, self._inputs, self.outputs, self.chosen = steps, inputs, outputs, 0

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run all steps and return the outputs, or the only output."""
        values: dict[str, Any] = {name: getattr(self, f"tensor_{n}") for n, name in enumerate(self._names)}
        values.update(zip(self._inputs, inputs, strict=True))
        for step in self._steps:
            result = step.call(*_resolve(step.args, values), **_resolve(step.kwargs, values))
            values.update(zip(step.results, result if step.is_sequence else [result], strict=False))
        others = (name for number, name in enumerate(self.outputs) if number != self.chosen)
        results: list[torch.Tensor] = [values[name] for name in (self.outputs[self.chosen], *others)]
        return results[0] if len(results) == 1 else tuple(results)


def load(path: Path) -> tuple[Program, ModelInterface]:
    """Rebuild a program. Raises ConfigError for another archive, and for anything but operators of ATen on tensors."""
    with zipfile.ZipFile(path) as archive:
        read = _open_members(archive)
        content = json.loads(read(GRAPH))["graph_module"]
        weights, constants = (_read_tensors(read, kind) for kind in ("weights", "constants"))
    graph, signature = content["graph"], content["signature"]
    tensors, inputs = {}, []
    for entry in signature["input_specs"]:
        ((kind, spec),) = entry.items()
        if kind == "user_input" and "as_tensor" in spec["arg"]:
            inputs.append(spec["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            source = spec.get("parameter_name") or spec.get("buffer_name") or spec.get("tensor_constant_name")
            tensors[spec["arg"]["name"]] = weights[source] if source in weights else constants[source]
        elif kind != "constant_input":
            raise ConfigError(f"{path} takes an input that is not a tensor ({kind}). {ADVICE}")
    outputs = [
        spec["arg"]["as_tensor"]["name"]
        for entry in signature["output_specs"]
        for kind, spec in entry.items()
        if kind == "user_output" and "as_tensor" in spec["arg"]
    ]
    steps = [_parse_step(node) for node in graph["nodes"]]
    values = graph["tensor_values"]
    interface = ModelInterface(
        tuple(_parse_spec(name, values[name]) for name in inputs),
        tuple(_parse_spec(name, values[name]) for name in outputs),
    )
    return Program(tensors, steps, inputs, outputs).eval(), interface


def _open_members(archive: zipfile.ZipFile) -> Callable[[str], bytes]:
    """Return a function that reads an uncompressed member by its name below the archive's only folder."""
    members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    if min((info.header_offset for info in archive.infolist()), default=0) > 0:
        # The directory of an archive inside this one is read if this one's own directory is cut off.
        raise ValueError("the archive is cut off")
    if GRAPH not in members:
        raise ConfigError(f"{archive.filename} {_explain_missing_graph(members)} {EXPORT_ADVICE}")

    def read(name: str) -> bytes:
        if name not in members:
            raise ValueError(f"it holds no {name}")
        if members[name].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed, as torch never does")
        return archive.read(members[name])

    return read


def _explain_missing_graph(members: Mapping[str, object]) -> str:
    """Say in words what an archive is that holds no graph of torch.export."""
    if any(name.startswith("code/") for name in members):
        return "is a TorchScript file, whose code is not run, and not a program of torch.export."
    if "data.pkl" in members:
        return "was written by torch.save, as pickled objects without a graph, and not by torch.export.save."
    if any(name.startswith("data/aotinductor/") for name in members):
        return "is a compiled package of AOTInductor, whose code is not run, and not a program of torch.export."
    return f"holds no {GRAPH}, so it is not a program of torch.export."


def _read_tensors(read: Callable[[str], bytes], kind: str) -> dict[str, torch.Tensor]:
    """Read the archive's weights or constants by name, from their raw bytes."""
    folder = f"data/{kind}"
    tensors = {}
    for name, payload in json.loads(read(f"{folder}/model_{kind}_config.json"))["config"].items():
        if payload["use_pickle"] or payload["tensor_meta"] is None:
            raise ConfigError(f"the file holds '{name}' as a pickle, which could run code. {ADVICE}")
        meta = payload["tensor_meta"]
        sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
        raw = bytearray(read(f"{folder}/{payload['path_name']}"))
        dtype = _SERIALIZE_TO_TORCH_DTYPE[meta["dtype"]]
        if math.prod(sizes) > max(len(raw), MAX_SHARED_ELEMENTS):
            raise ValueError(f"'{name}' has {math.prod(sizes):,} numbers in {len(raw):,} bytes")
        flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        tensor = flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
        tensors[name] = nn.Parameter(tensor, tensor.is_floating_point()) if payload["is_param"] else tensor
    return tensors


def _parse_step(node: Mapping[str, Any]) -> Step:
    call = _find_operator(node["target"])
    arguments = {each["name"]: _parse_argument(each["arg"]) for each in node["inputs"]}
    if not isinstance(call, torch._ops.OpOverload):
        args, kwargs = tuple(arguments.values()), {}
    else:
        declared = [each for each in call._schema.arguments if each.name in arguments]
        args = tuple(arguments[each.name] for each in declared if not each.kwarg_only)
        kwargs = {each.name: arguments[each.name] for each in declared if each.kwarg_only}
        positional = [each.name for each in call._schema.arguments if not each.kwarg_only]
        if [each.name for each in declared if not each.kwarg_only] != positional[: len(args)]:
            args, kwargs = (), arguments
    results = [_parse_result_names(each) for each in node["outputs"]]
    is_sequence = len(results) > 1 or (len(results) == 1 and "as_tensors" in node["outputs"][0])
    return Step(call, args, kwargs, tuple(name for names in results for name in names), is_sequence)


def _find_operator(target: str) -> Callable[..., Any]:
    """Return the operator that a node names.

    Raises ConfigError for anything but ATen's own operators, and for an operator that opens a file.
    """
    if target in SIZE_OPERATORS:
        size_operator: Callable[..., Any] = SIZE_OPERATORS[target]
        return size_operator
    match = ATEN.fullmatch(target)
    overload = getattr(getattr(torch.ops.aten, match[1], None), match[2], None) if match else None
    # Operators that TorchScript adds to this namespace, such as aten::save, have no kernel.
    if (
        not isinstance(overload, torch._ops.OpOverload)
        or not torch._C._dispatch_has_kernel(overload.name())  # type: ignore[no-untyped-call]
        or any(argument.name == "filename" for argument in overload._schema.arguments)
    ):
        raise ConfigError(f"the file calls '{target[:80]}', and only operators of ATen on tensors are run. {ADVICE}")
    return overload


def _parse_argument(argument: Mapping[str, Any]) -> Any:
    """Return an argument as plain data.

    Raises ConfigError for graphs, objects, operators and devices other than the CPU.
    """
    ((kind, content),) = argument.items()
    if kind == "as_none":
        return None
    if kind in LITERALS:
        return content
    if kind == "as_tensor":
        return Reference(content["name"])
    if kind in ("as_tensors", "as_optional_tensors"):
        return [_parse_argument({"as_tensor": each}) if "name" in each else _parse_argument(each) for each in content]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool", "as_optional_tensor"):
        ((inner_kind, value),) = content.items()
        return Reference(value) if inner_kind == "as_name" else _parse_argument({inner_kind: value})
    if kind == "as_sym_ints":
        return [_parse_argument({"as_sym_int": each}) for each in content]
    if kind == "as_scalar_type":
        return _SERIALIZE_TO_TORCH_DTYPE[content]
    if kind == "as_memory_format":
        return _SERIALIZE_TO_TORCH_MEMORY_FORMAT[content]
    if kind == "as_layout":
        return torch.strided
    if kind == "as_device" and content["type"] == "cpu":
        return torch.device("cpu")
    raise ConfigError(f"the file gives an operator an argument of kind '{kind[:40]}', which is not read. {ADVICE}")


def _parse_result_names(output: Mapping[str, Any]) -> list[str]:
    """Return the names under which later steps refer to an output of a node."""
    ((kind, content),) = output.items()
    if kind == "as_tensor":
        return [content["name"]]
    if kind == "as_tensors":
        return [each["name"] for each in content]
    return [content["as_name"]] if kind.startswith("as_sym") else [""]


def _resolve(argument: Any, values: Mapping[str, Any]) -> Any:
    """Replace every Reference in an argument by the value that it stands for."""
    if isinstance(argument, Reference):
        return values[argument.name]
    if isinstance(argument, Mapping):
        return {key: _resolve(each, values) for key, each in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_resolve(each, values) for each in argument)
    return argument


def _parse_spec(name: str, value: Mapping[str, Any]) -> TensorSpec:
    """Return the spec of a tensor of the graph. A symbolic size counts as open; its expression is not evaluated."""
    dtype = torch.empty(0, dtype=_SERIALIZE_TO_TORCH_DTYPE[value["dtype"]]).numpy().dtype
    return TensorSpec(name, tuple(size.get("as_int") for size in value["sizes"]), np.dtype(dtype).name)
