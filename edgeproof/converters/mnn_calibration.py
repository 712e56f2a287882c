"""Choose the scales of activations in an .mnn file that MNN's quantizer has written.

MNN's quantizer chooses the scales by ADMM, and small changes of the samples change them by half: with other images the
accuracy of a residual network changed from 92% to 84%. Here the end of a symmetric range is the largest absolute value
of a sample, averaged over the samples, like the ranges of other quantizers.

The scales are at the places that MNN's schema names (schema/default/MNN.fbs and Tensor.fbs in MNN's repository):
Net.extraTensorDescribe[].index and .quantInfo.scale.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flatbuffers import encode, number_types
from flatbuffers.table import Table

from edgeproof.converters.onnx import name_ports

Array = np.ndarray[Any, Any]

LARGEST_INT8 = 127
# Offsets of fields in a table of flatbuffers: 4 bytes, and 2 for each field before it.
TENSORS, INDEX, QUANTIZATION, SCALE = 6, 6, 12, 4


class _Operator(NamedTuple):
    """The indexes of the tensors that an operator reads and writes."""

    reads: list[int]
    writes: list[int]


def replace_scales(quantized: Path, fp32: Path, samples: tuple[Array, ...]) -> None:
    """Write other scales of activations into the file `quantized`, beside which is the quantizer's report.

    `samples` have an array (N, *shape) for each input of the network, whose file before quantization is `fp32`. A
    tensor that the engine does not show keeps MNN's scale.
    """
    operators = _read_report(Path(f"{quantized}.json"))
    limits = _measure_limits(operators, fp32, samples)
    for operator in operators.values():  # those that don't run only move numbers
        if len(operator.reads) == len(operator.writes) == 1 and operator.reads[0] in limits:
            limits.setdefault(operator.writes[0], limits[operator.reads[0]])
    content = bytearray(quantized.read_bytes())
    scales = list(_find_scales(content))
    # MNN gives tensors of the same numbers the same scale, also where the engine shows one of them only.
    equals = {scale: limits[index] for index, _, scale in scales if index in limits}
    for index, position, scale in scales:
        if limit := limits.get(index) or equals.get(scale):
            encode.Write(number_types.Float32Flags.packer_type, content, position, limit / LARGEST_INT8)
    quantized.write_bytes(bytes(content))


def _read_report(path: Path) -> dict[str, _Operator]:
    """Return the operators that the quantizer's report lists, by name and in their order."""
    return {
        entry["name"]: _Operator(
            *([tensor["tensorIndex"] for tensor in entry.get(side, [])] for side in ("inputs", "outputs"))
        )
        for entry in json.loads(path.read_text(encoding="utf-8"))
    }


def _measure_limits(operators: Mapping[str, _Operator], fp32: Path, samples: tuple[Array, ...]) -> dict[int, float]:
    """Return the largest absolute value of each tensor in a sample, averaged over the samples, by its index."""
    maxima: defaultdict[int, list[float]] = defaultdict(list)
    for name, array in zip(name_ports("input", len(samples)), samples, strict=True):
        for index in operators[name].writes:
            maxima[index] = [float(np.abs(sample).max()) for sample in array]
    for name, inputs, outputs in _run(fp32, samples):
        if (operator := operators.get(name)) is not None:
            shown = [*zip(operator.reads, inputs, strict=False), *zip(operator.writes, outputs, strict=False)]
            for index, tensor in shown:
                maxima[index].append(float(np.abs(tensor).max()))
    return {index: float(np.mean(values)) for index, values in maxima.items()}


def _run(path: Path, samples: tuple[Array, ...]) -> Iterator[tuple[str, list[Array], list[Array]]]:
    """Run a network on each sample, and yield the name, the inputs and the outputs of every operator that ran."""
    import MNN

    engine = MNN.Interpreter(str(path))
    session = engine.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
    ports = engine.getSessionInputAll(session)
    inputs: list[list[Array]] = []
    ran: list[tuple[str, list[Array], list[Array]]] = []

    def begin(tensors: list[Any], operator: Any) -> bool:
        inputs.append([_read(tensor) for tensor in tensors])
        return True

    def end(tensors: list[Any], operator: Any) -> bool:
        ran.append((operator.getName(), inputs.pop(), [_read(tensor) for tensor in tensors]))
        return True

    for row in range(len(samples[0])):
        for name, array in zip(name_ports("input", len(samples)), samples, strict=True):
            ports[name].copyFrom(_make_host_tensor(ports[name], array[row : row + 1]))
        engine.runSessionWithCallBackInfo(session, begin, end)
        yield from ran
        ran.clear()


def _read(tensor: Any) -> Array:
    """Return the values of a tensor of a session."""
    host = _make_host_tensor(tensor, np.zeros(tensor.getShape()))
    tensor.copyToHostTensor(host)
    values: Array = host.getNumpyData().copy()
    return values


def _make_host_tensor(tensor: Any, values: Array) -> Any:
    """Return a tensor in the host's memory with these values, in the type of a tensor of a session."""
    import MNN

    typed = np.ascontiguousarray(values, tensor.getNumpyData().dtype)
    return MNN.Tensor(tuple(tensor.getShape()), tensor.getDataType(), typed, MNN.Tensor_DimensionType_Caffe)


def _find_scales(content: bytearray) -> Iterator[tuple[int, int, float]]:
    """Yield the index of each tensor with a scale, the position of the scale in the file, and the scale."""
    net = Table(content, encode.Get(number_types.UOffsetTFlags.packer_type, content, 0))
    field = net.Offset(TENSORS)
    for number in range(net.VectorLen(field) if field else 0):
        tensor = Table(content, net.Indirect(net.Vector(field) + 4 * number))
        described, place = tensor.Offset(INDEX), tensor.Offset(QUANTIZATION)
        if place:
            index = tensor.Get(number_types.Int32Flags, tensor.Pos + described) if described else 0
            quantization = Table(content, tensor.Indirect(tensor.Pos + place))
            if offset := quantization.Offset(SCALE):
                position = quantization.Pos + offset
                yield index, position, quantization.Get(number_types.Float32Flags, position)
