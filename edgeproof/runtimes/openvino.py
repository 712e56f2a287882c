"""OpenVINO: convert_model from ONNX, NNCF post-training quantization, and a session with tensors set once."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.errors import ConfigError, Unsupported
from edgeproof.core.profiles import Operator, Profile, call_repeatedly
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.xml"
ADOPTS = (".xml", ".onnx")
UNPROFILED, PROFILED = 10, 200  # inferences before the profile, and those of it
# Operators with weights as their second input.
LAYERS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul")
REFUSED = {
    "int8-dynamic": (
        "OpenVINO's CPU plugin quantizes activations at run time only in fully connected layers, not in convolutions"
    ),
    "int8-static-entropy": "NNCF estimates ranges by extremes, quantiles or squared error, not by entropy",
}

_float_models: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> ExportResult:
    """Lower to OpenVINO IR; integers through NNCF. `samples` is (N, *input_shape) float32."""
    import openvino as ov

    from edgeproof.models import qat

    if scheme in REFUSED:
        raise Unsupported(REFUSED[scheme])
    model = qat.select_for_export(model, "openvino", scheme)
    ways: dict[str, Callable[[Any], Any]] = {
        "fp32": lambda lowered: lowered,
        "fp16": lambda lowered: lowered,  # rounded when saved
        "bf16": _with_bf16_constants,
        "int8-weights": lambda lowered: _compressed(lowered, 8),
        "int4-weights": lambda lowered: _compressed(lowered, 4),
        "int8-static": lambda lowered: _quantized(lowered, samples),
        "int8-static-minmax": lambda lowered: _quantized(lowered, samples, ranges="MINMAX"),
        "int8-static-percentile": lambda lowered: _quantized(lowered, samples, ranges="MEAN_QUANTILE"),
        "int8-static-mse": lambda lowered: _quantized(lowered, samples, ranges="HISTOGRAM"),
        "int8-static-tensor": lambda lowered: _quantized(lowered, samples, per_channel=False),
        qat.SCHEME: lambda lowered: lowered,  # integers already
    }
    if scheme not in ways:
        raise Unsupported(f"the openvino runtime has no scheme '{scheme}'")
    lowered = ways[scheme](_converted(model, samples))
    _name_canonically(lowered)
    ov.save_model(lowered, out_dir / FILE, compress_to_fp16=scheme == "fp16")
    _strip(out_dir / FILE)
    if scheme == qat.SCHEME:
        _refuse_unloadable(out_dir / FILE)
    return ExportResult(notes=_remarks(lowered, scheme))


def _refuse_unloadable(path: Path) -> None:
    """Raise Unsupported where OpenVINO's CPU plugin can't take integers that were trained for it, as a GRU's."""
    import openvino as ov

    try:
        ov.Core().compile_model(_read(path), "CPU").create_infer_request()
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1].strip()
        raise Unsupported(f"OpenVINO's CPU plugin can't load this network's trained integers: {said}") from error


def read_interface(path: Path) -> ModelInterface:
    """What an OpenVINO or .onnx file takes and answers."""
    model = _read(path)
    return ModelInterface(tuple(map(_port, model.inputs)), tuple(map(_port, model.outputs)))


def adopt(path: Path, out_dir: Path, *, input_shape: Sequence[int], output: int) -> ExportResult:
    """Take an OpenVINO file as it is; convert an .onnx file, and close what either leaves open: a batch of one.

    Another output than the first is moved to the front, and all are still computed.
    """
    import openvino as ov

    model = _read(path)
    if path.suffix != ".onnx" and output == 0 and not model.is_dynamic():
        shutil.copyfile(path, out_dir / FILE)
        shutil.copyfile(path.with_suffix(".bin"), (out_dir / FILE).with_suffix(".bin"))
        return ExportResult()
    results = list(model.get_results())
    results.insert(0, results.pop(output))
    model = ov.Model(results, model.get_sinks(), model.get_parameters(), "model")
    model.reshape(list(input_shape))
    _name_canonically(model)
    ov.save_model(model, out_dir / FILE, compress_to_fp16=False)
    _strip(out_dir / FILE)
    return ExportResult(("converted from ONNX",) if path.suffix == ".onnx" else ())


class Session(InferenceSession):
    """Runs model.xml with the input tensor shared and set once; integers and halves are cast inside the call.

    Raises Unsupported for bf16 without a processor that computes it.
    """

    def __init__(self, artifact_dir: Path, *, threads: int, profile: bool = False) -> None:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(artifact_dir / FILE)
        precision = "bf16" if _holds_bf16(model) else "f32"
        # Left alone, the CPU plugin computes fp32 models in bfloat16 where the processor can, and quantizes the
        # inputs of fully connected layers whose weights are compressed: another accuracy.
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": profile,
        }
        compiled = core.compile_model(model, "CPU", options)
        if precision == "bf16":
            _refuse_without_bf16(core, compiled)
        self._input = np.zeros(list(compiled.input(0).shape), compiled.input(0).element_type.to_dtype())
        request = compiled.create_infer_request()
        request.set_input_tensor(0, ov.Tensor(self._input, shared_memory=True))
        self._answer = request.get_output_tensor(0).data
        self._output = self._answer if self._answer.dtype == np.float32 else self._answer.astype(np.float32)
        # The binding's own call, without the Python wrapper around it, which dispatches and wraps for 3 µs.
        self._infer = super(type(request), request).infer  # type: ignore[misc]
        self._compiled = compiled
        self.counters = request.get_profiling_info

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


def profile(artifact_dir: Path, x: Array, *, threads: int) -> Profile:
    """Each executed node's time by OpenVINO's performance counters, which tell the mean of all inferences so far."""
    session = Session(artifact_dir, threads=threads, profile=True)
    # The first inferences compile kernels, for longer than all others take.
    warm = call_repeatedly(lambda: session(x), UNPROFILED)
    before = [_microseconds(counter) for counter in session.counters()]
    count = call_repeatedly(lambda: session(x), PROFILED)
    operators = []
    for counter, first in zip(session.counters(), before, strict=True):
        if counter.status == counter.Status.EXECUTED:
            took = ((warm + count) * _microseconds(counter) - warm * first) / count
            operators.append(Operator(counter.node_name, counter.node_type, counter.exec_type, 1000 * max(0.0, took)))
    return Profile("OpenVINO's performance counters: mean, from whole microseconds", count, operators)


def _microseconds(counter: Any) -> float:
    return float(counter.real_time.total_seconds() * 1e6)


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import openvino as ov

    return {"build": ov.get_version()}


def _read(path: Path) -> Any:
    import openvino as ov

    if path.suffix != ".onnx" and not path.with_suffix(".bin").is_file():
        raise ConfigError(f"{path} has no {path.with_suffix('.bin').name} beside it, which holds its weights.")
    return ov.Core().read_model(path)


def _port(port: Any) -> TensorSpec:
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        raise ValueError(f"'{port}' has no shape")
    return TensorSpec(
        name=port.any_name if port.names else port.get_node().get_friendly_name(),
        shape=tuple(None if size.is_dynamic else size.get_length() for size in shape),
        dtype=np.dtype(port.element_type.to_dtype()).name,
    )


def _holds_bf16(model: Any) -> bool:
    return any(_is_constant(operation, "bf16") for operation in model.get_ops())


def _is_constant(operation: Any, kind: str) -> bool:
    return operation.get_type_name() == "Constant" and bool(
        operation.get_output_element_type(0).get_type_name() == kind
    )


def _refuse_without_bf16(core: Any, compiled: Any) -> None:
    """The plugin computes in another precision, or emulates this one, where the processor hasn't got it."""
    computed = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if computed != "bf16" or "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        name = core.get_property("CPU", "FULL_DEVICE_NAME")
        raise Unsupported(f"this processor ({name}) has no bfloat16 arithmetic that OpenVINO uses")


def _converted(model: nn.Module, samples: Array) -> Any:
    """An OpenVINO model with a static batch of one: a copy of what is remembered for as long as the module lives."""
    import openvino as ov
    import torch

    if model not in _float_models:
        with torch.no_grad():
            converted = ov.convert_model(torch.export.export(model, (torch.from_numpy(samples[:1]),)))
        converted.reshape([1, *samples.shape[1:]])
        _float_models[model] = converted
    return _float_models[model].clone()


def _with_bf16_constants(model: Any) -> Any:
    """Round every float constant to bfloat16, as save_model does for float16; Session computes in what it finds."""
    import openvino as ov
    import torch
    from openvino import opset13

    for operation in model.get_ordered_ops():
        if _is_constant(operation, "f32"):
            # Rounded by torch: OpenVINO's own conversion takes a quarter of all values to the wrong neighbour.
            rounded = torch.from_numpy(operation.data.copy()).to(torch.bfloat16).to(torch.float32)
            half = opset13.constant(rounded.numpy(), dtype=ov.Type.bf16)
            whole = opset13.convert(half, "f32")
            for reader in operation.output(0).get_target_inputs():
                reader.replace_source_output(whole.output(0))
    return model


def _compressed(model: Any, bits: int) -> Any:
    """Weights as integers with a scale an output channel, by NNCF; arithmetic stays fp32.

    Raises Unsupported where NNCF keeps most layers' weights at 8 bits although 4 are asked for.
    """
    import nncf

    nncf.set_log_level("ERROR")
    if bits == 8:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    options = {"all_layers": True, "group_size": -1, "backup_mode": nncf.BackupMode.INT8_SYM}
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, **options)
    layers = _layers(compressed)
    kept = sum(count for (_, kind), count in layers.items() if kind != "i4")
    if 2 * kept > layers.total():
        raise Unsupported(
            "NNCF compresses fully connected layers alone to 4 bits, and keeps the weights of "
            f"{kept} of this model's {layers.total()} layers at 8"
        )
    return compressed


def _quantized(model: Any, samples: Array, *, ranges: str | None = None, per_channel: bool | None = None) -> Any:
    """Post-training quantization with NNCF, calibrated on all samples.

    `ranges` names NNCF's way to estimate the ranges of activations: by default it averages each sample's minimum and
    maximum. MINMAX takes those of all samples, MEAN_QUANTILE averages each sample's quantiles (0.01% outside on either
    side), HISTOGRAM finds the least squared error over a histogram of all samples, by the search of PyTorch's
    HistogramObserver.
    """
    import nncf
    from nncf.quantization import advanced_parameters, range_estimator

    nncf.set_log_level("ERROR")
    batches = [samples[i : i + 1] for i in range(len(samples))]
    weights = advanced_parameters.QuantizationParameters(per_channel=per_channel)
    advanced = nncf.AdvancedQuantizationParameters(weights_quantization_params=weights)
    if ranges is not None:
        advanced.activations_range_estimator_params = getattr(range_estimator.RangeEstimatorParametersSet, ranges)
    # Asymmetric activations and the full bias correction: see docs/decisions.md.
    preset = nncf.QuantizationPreset.MIXED
    options = {"preset": preset, "fast_bias_correction": False, "subset_size": len(batches)}
    return nncf.quantize(model, nncf.Dataset(batches), **options, advanced_parameters=advanced)


def _remarks(model: Any, scheme: str) -> tuple[str, ...]:
    """Which layers hold weights in more bits than the scheme says, for the table."""
    if not scheme.startswith("int"):
        return ()
    called = {"f32": "left in fp32", "f16": "left in fp16"}
    if scheme.startswith("int4"):
        called |= {"i8": "kept in int8"}
    found = sorted(_layers(model).items())
    return tuple(f"weights of {count} {layer} {called[kind]}" for (layer, kind), count in found if kind in called)


def _layers(model: Any) -> Counter[tuple[str, str]]:
    """How many layers there are of each operator whose weights are stored in each type."""
    found: Counter[tuple[str, str]] = Counter()
    for operation in model.get_ops():
        if operation.get_type_name() not in LAYERS:
            continue
        source = operation.input_value(1).get_node()
        while source.get_input_size():
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant":
            found[operation.get_type_name(), source.get_output_element_type(0).get_type_name()] += 1
    return found


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
