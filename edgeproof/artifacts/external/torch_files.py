"""torch.export's .pt2 files, read as the data they are and never by torch.export.load.

That function unpickles (example inputs, custom objects), evaluates text (symbolic sizes, guards) and calls whatever a
node names, torch.os.system among it. The format itself is a zip of JSON and raw tensors; here the graph is rebuilt from
these, with operators of ATen alone, and of these none that names a file. The rest of the archive is not looked at.
"""

from __future__ import annotations

import json
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
from torch._export.serde.serialize import (  # how the format numbers them
    _SERIALIZE_TO_TORCH_DTYPE,
    _SERIALIZE_TO_TORCH_MEMORY_FORMAT,
)

from edgeproof.core.artifacts import ModelInterface, TensorSpec
from edgeproof.core.errors import ConfigError

GRAPH = "models/model.json"
ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
SIZES = {f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv")}
LITERALS = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string")
CURE = "Convert it where you trust it, with torch.onnx.export(program, dynamo=True).save('model.onnx'), and bring that."


@dataclass(frozen=True)
class Value:
    """What an argument names: a tensor, or a size, that an earlier step has made."""

    name: str


@dataclass(frozen=True)
class Step:
    """One call: arguments are plain data in which Values stand for what is there by then."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[str, ...]
    unpacked: bool


class Program(nn.Module):
    """The graph as a module of one input. `outputs` are all that it can answer, `chosen` the one that it does."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], steps: Sequence[Step], given: str, outputs: list[str]):
        super().__init__()
        self._names = list(tensors)
        for number, tensor in enumerate(tensors.values()):
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(f"tensor_{number}", tensor)
            else:
                self.register_buffer(f"tensor_{number}", tensor)
        self._steps, self._given, self.outputs, self.chosen = steps, given, outputs, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run every step that the file has."""
        values: dict[str, Any] = {name: getattr(self, f"tensor_{n}") for n, name in enumerate(self._names)}
        values[self._given] = x
        for step in self._steps:
            result = step.call(*_filled(step.args, values), **_filled(step.kwargs, values))
            values.update(zip(step.results, result if step.unpacked else [result], strict=False))
        found: torch.Tensor = values[self.outputs[self.chosen]]
        return found


def load(path: Path) -> tuple[Program, ModelInterface]:
    """Rebuild the program. Raises ConfigError for what is more than operators of ATen over tensors."""
    with zipfile.ZipFile(path) as archive:
        read = _reader(archive)
        content = json.loads(read(GRAPH))["graph_module"]
        weights, constants = (_tensors(read, kind) for kind in ("weights", "constants"))
    graph, signature = content["graph"], content["signature"]
    held, given = {}, []
    for spec in signature["input_specs"]:
        ((kind, told),) = spec.items()
        if kind == "user_input" and "as_tensor" in told["arg"]:
            given.append(told["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            source = told.get("parameter_name") or told.get("buffer_name") or told.get("tensor_constant_name")
            held[told["arg"]["name"]] = weights[source] if source in weights else constants[source]
        elif kind != "constant_input":
            raise ConfigError(f"{path} takes an input that is no tensor ({kind}). {CURE}")
    produced = [
        told["arg"]["as_tensor"]["name"]
        for spec in signature["output_specs"]
        for kind, told in spec.items()
        if kind == "user_output" and "as_tensor" in told["arg"]
    ]
    steps = [_step(node) for node in graph["nodes"]]
    described = graph["tensor_values"]
    interface = ModelInterface(
        tuple(_port(name, described[name]) for name in given), tuple(_port(name, described[name]) for name in produced)
    )
    return Program(held, steps, given[0] if given else "", produced).eval(), interface


def _reader(archive: zipfile.ZipFile) -> Callable[[str], bytes]:
    """Reads a member by its name below the archive's one folder, and only what is stored as it is."""
    members = {info.filename.partition("/")[2]: info for info in archive.infolist()}

    def read(name: str) -> bytes:
        if name not in members:
            raise ValueError(f"it holds no {name}")
        if members[name].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed, as torch never does")
        return archive.read(members[name])

    return read


def _tensors(read: Callable[[str], bytes], kind: str) -> dict[str, torch.Tensor]:
    """The archive's weights or constants by name, from their raw bytes."""
    folder = f"data/{kind}"
    found = {}
    for name, payload in json.loads(read(f"{folder}/model_{kind}_config.json"))["config"].items():
        if payload["use_pickle"] or payload["tensor_meta"] is None:
            raise ConfigError(f"the file holds '{name}' as a pickle, which could run code. {CURE}")
        told = payload["tensor_meta"]
        sizes, strides = ([size["as_int"] for size in told[key]] for key in ("sizes", "strides"))
        raw = bytearray(read(f"{folder}/{payload['path_name']}"))
        dtype = _SERIALIZE_TO_TORCH_DTYPE[told["dtype"]]
        flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        tensor = flat.as_strided(sizes, strides, told["storage_offset"]["as_int"])
        found[name] = nn.Parameter(tensor, tensor.is_floating_point()) if payload["is_param"] else tensor
    return found


def _step(node: Mapping[str, Any]) -> Step:
    call = _callable(node["target"])
    given = {each["name"]: _argument(each["arg"]) for each in node["inputs"]}
    if not isinstance(call, torch._ops.OpOverload):
        args, kwargs = tuple(given.values()), {}
    else:
        declared = [each for each in call._schema.arguments if each.name in given]
        args = tuple(given[each.name] for each in declared if not each.kwarg_only)
        kwargs = {each.name: given[each.name] for each in declared if each.kwarg_only}
        positional = [each.name for each in call._schema.arguments if not each.kwarg_only]
        if [each.name for each in declared if not each.kwarg_only] != positional[: len(args)]:
            args, kwargs = (), given
    results = [_results(each) for each in node["outputs"]]
    unpacked = len(results) > 1 or (len(results) == 1 and "as_tensors" in node["outputs"][0])
    return Step(call, args, kwargs, tuple(name for names in results for name in names), unpacked)


def _callable(target: str) -> Callable[..., Any]:
    """The operator that a node names. Raises ConfigError for all but ATen's own, and for any that opens a file."""
    if target in SIZES:
        call: Callable[..., Any] = SIZES[target]
        return call
    match = ATEN.fullmatch(target)
    found = getattr(getattr(torch.ops.aten, match[1], None), match[2], None) if match else None
    # TorchScript's own operators, such as aten::save, have no kernel.
    if (
        not isinstance(found, torch._ops.OpOverload)
        or not torch._C._dispatch_has_kernel(found.name())  # type: ignore[no-untyped-call]
        or any(argument.name == "filename" for argument in found._schema.arguments)
    ):
        raise ConfigError(f"the file calls '{target[:80]}', and only operators of ATen on tensors are run. {CURE}")
    return found


def _argument(told: Mapping[str, Any]) -> Any:
    """An argument as plain data. Raises ConfigError for graphs, objects, operators and devices other than the CPU."""
    ((kind, content),) = told.items()
    if kind == "as_none":
        return None
    if kind in LITERALS:
        return content
    if kind == "as_tensor":
        return Value(content["name"])
    if kind in ("as_tensors", "as_optional_tensors"):
        return [_argument({"as_tensor": each}) if "name" in each else _argument(each) for each in content]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool", "as_optional_tensor"):
        ((which, value),) = content.items()
        return Value(value) if which == "as_name" else _argument({which: value})
    if kind == "as_sym_ints":
        return [_argument({"as_sym_int": each}) for each in content]
    if kind == "as_scalar_type":
        return _SERIALIZE_TO_TORCH_DTYPE[content]
    if kind == "as_memory_format":
        return _SERIALIZE_TO_TORCH_MEMORY_FORMAT[content]
    if kind == "as_layout":
        return torch.strided
    if kind == "as_device" and content["type"] == "cpu":
        return torch.device("cpu")
    raise ConfigError(f"the file gives an operator an argument of kind '{kind[:40]}', which is not read. {CURE}")


def _results(told: Mapping[str, Any]) -> list[str]:
    """The names under which later steps know an output."""
    ((kind, content),) = told.items()
    if kind == "as_tensor":
        return [content["name"]]
    if kind == "as_tensors":
        return [each["name"] for each in content]
    return [content["as_name"]] if kind.startswith("as_sym") else [""]


def _filled(held: Any, values: Mapping[str, Any]) -> Any:
    """Arguments with every Value replaced by what it names."""
    if isinstance(held, Value):
        return values[held.name]
    if isinstance(held, Mapping):
        return {key: _filled(each, values) for key, each in held.items()}
    if isinstance(held, list | tuple):
        return type(held)(_filled(each, values) for each in held)
    return held


def _port(name: str, told: Mapping[str, Any]) -> TensorSpec:
    """A tensor of the graph; a symbolic size counts as open and its expression is not evaluated."""
    dtype = torch.empty(0, dtype=_SERIALIZE_TO_TORCH_DTYPE[told["dtype"]]).numpy().dtype
    return TensorSpec(name, tuple(size.get("as_int") for size in told["sizes"]), np.dtype(dtype).name)
