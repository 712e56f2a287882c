"""Conversion of torch modules to OpenVINO IR, and quantization with NNCF."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

# Operators whose second input is a weight.
LAYERS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul")

_fp32_models: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def convert(model: nn.Module, samples: tuple[Array, ...]) -> Any:
    """Convert a module to an OpenVINO model with a batch of one.

    The result is cached while the module lives, because every scheme starts from it. Returns a copy.
    """
    import openvino as ov
    import torch

    if model not in _fp32_models:
        with torch.no_grad(), _leave_out_tensorflow():
            examples = tuple(torch.from_numpy(array[:1]) for array in samples)
            converted = ov.convert_model(torch.export.export(model, examples))
        converted.reshape({index: [1, *array.shape[1:]] for index, array in enumerate(samples)})
        _fp32_models[model] = converted
    return _fp32_models[model].clone()


@contextlib.contextmanager
def _leave_out_tensorflow() -> Iterator[None]:
    """Let OpenVINO not ask whether a model is one of TensorFlow's.

    If TensorFlow is loaded it asks that first, and fails since Python 3.13: its `exec("del tensorflow")` relies on
    local variables that exec() could change before PEP 667.
    """
    from openvino.tools.ovc import convert_impl

    before = convert_impl.tf_frontend_with_python_bindings_installed
    convert_impl.tf_frontend_with_python_bindings_installed = False
    try:
        yield
    finally:
        convert_impl.tf_frontend_with_python_bindings_installed = before


def round_to_bf16(model: Any) -> Any:
    """Round every fp32 constant to bfloat16. The Session then computes in that precision."""
    import openvino as ov
    import torch
    from openvino import opset13

    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Constant" and operation.get_output_element_type(0).get_type_name() == "f32":
            # torch does the rounding: OpenVINO's own conversion rounds a quarter of all values to the wrong neighbour.
            rounded = torch.from_numpy(operation.data.copy()).to(torch.bfloat16).to(torch.float32)
            half = opset13.constant(rounded.numpy(), dtype=ov.Type.bf16)
            single = opset13.convert(half, "f32")
            for reader in operation.output(0).get_target_inputs():
                reader.replace_source_output(single.output(0))
    return model


def compress_weights(model: Any, bits: int) -> Any:
    """Store weights in 8 or 4 bits with one scale for each output channel. All arithmetic stays fp32.

    Raises Unsupported when 4 bits are requested and NNCF keeps most layers' weights at 8.
    """
    import nncf

    nncf.set_log_level("ERROR")
    if bits == 8:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    options = {"all_layers": True, "group_size": -1, "backup_mode": nncf.BackupMode.INT8_SYM}
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, **options)
    layers = count_layers(compressed)
    wider = sum(count for (_, element_type), count in layers.items() if element_type != "i4")
    if 2 * wider > layers.total():
        raise Unsupported(
            "NNCF compresses only fully connected layers to 4 bits, and keeps the weights of "
            f"{wider} of this model's {layers.total()} layers at 8"
        )
    return compressed


def quantize(
    model: Any, samples: tuple[Array, ...], *, ranges: str | None = None, per_channel: bool | None = None
) -> Any:
    """Quantize weights and activations to int8 with NNCF, calibrated on all samples.

    `ranges` names NNCF's estimator for the ranges of activations. The default averages the minimum and maximum of each
    sample. MINMAX takes the extremes of all samples. MEAN_QUANTILE averages the quantiles of each sample (0.01% of the
    values outside on either side). HISTOGRAM minimizes the squared error over a histogram of all samples, with the
    search of PyTorch's HistogramObserver.
    `per_channel=False` gives each weight one scale; by default each output channel has its own.
    """
    import nncf
    from nncf.quantization import advanced_parameters, range_estimator

    nncf.set_log_level("ERROR")
    rows = [tuple(array[i : i + 1] for array in samples) for i in range(len(samples[0]))]
    batches = [row[0] if len(row) == 1 else row for row in rows]
    weights = advanced_parameters.QuantizationParameters(per_channel=per_channel)
    advanced = nncf.AdvancedQuantizationParameters(weights_quantization_params=weights)
    if ranges is not None:
        advanced.activations_range_estimator_params = getattr(range_estimator.RangeEstimatorParametersSet, ranges)
    # The preset means asymmetric activations. Both it and the full bias correction are explained in docs/decisions.md.
    preset = nncf.QuantizationPreset.MIXED
    options: dict[str, Any] = {"preset": preset, "fast_bias_correction": False, "subset_size": len(batches)}
    if any(array.dtype.kind in "iu" for array in samples):
        # A network of texts: NNCF smooths the outliers of its activations, and keeps the sums of attention scores.
        options["model_type"] = nncf.ModelType.TRANSFORMER
    return nncf.quantize(model, nncf.Dataset(batches), **options, advanced_parameters=advanced)


def save(model: Any, path: Path, *, compress_to_fp16: bool = False) -> None:
    """Write a model as path (.xml) and its .bin, with the same bytes in every process and on every machine."""
    import openvino as ov

    # OpenVINO's own names contain a count of all operations that the process has made so far.
    model.set_friendly_name("model")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
    ov.save_model(model, path, compress_to_fp16=compress_to_fp16)
    # Conversion settings (rt_info) hold library versions and paths. They and the indentation are no part of the model.
    xml = path.read_text(encoding="utf-8")
    xml = re.sub(r"<rt_info>.*?</rt_info>|<rt_info ?/>", "", xml, flags=re.DOTALL)
    path.write_text(re.sub(r">\s+<", "><", xml), encoding="utf-8")


def check_loadable(path: Path) -> None:
    """Raise Unsupported if OpenVINO's CPU plugin cannot load a network with trained integers, such as a GRU."""
    import openvino as ov

    core = ov.Core()
    try:
        core.compile_model(core.read_model(path), "CPU").create_infer_request()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise Unsupported(f"OpenVINO's CPU plugin can't load this network's trained integers: {reason}") from error


def count_layers(model: Any) -> Counter[tuple[str, str]]:
    """Count the layers by operator type and by the element type in which their weights are stored."""
    counts: Counter[tuple[str, str]] = Counter()
    for operation in model.get_ops():
        if operation.get_type_name() not in LAYERS:
            continue
        source = operation.input_value(1).get_node()
        while source.get_input_size():
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant":
            counts[operation.get_type_name(), source.get_output_element_type(0).get_type_name()] += 1
    return counts
