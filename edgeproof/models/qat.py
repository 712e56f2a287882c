"""Quantization-aware training (QAT): networks with fake quantization, as one runtime will compute them in integers.

    fake(x) = s · (clip(round(x / s) + z, q_min, q_max) − z),   with gradient 1 inside the clipping range, 0 outside

after every convolution, linear layer, addition and pooling, and on every weight: Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), section 3. Weights are quantized
symmetrically in each output channel. Activations are affine, and their ranges are moving averages over the training
batches.

PT2E (torchao) inserts the fake quantization into the exported graph. Before that, batch normalizations are folded into
their convolutions: static folding of Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 4.2.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import nn

from edgeproof.core.errors import Unsupported
from edgeproof.core.ports import Port
from edgeproof.models.training_task import Inputs, make_examples

SCHEME = "int8-qat"
Runtime = Literal["executorch", "onnx", "openvino", "tflite"]
# The type for which each runtime has its fastest kernels. LiteRT and XNNPACK have no unsigned activations.
ACTIVATION_DTYPES: dict[Runtime, torch.dtype] = {
    "executorch": torch.int8,
    "onnx": torch.uint8,
    "openvino": torch.uint8,
    "tflite": torch.int8,
}
# The smallest scale, for example of a channel of zeros. A bias is an integer in units of the input's scale times the
# weight's scale; a smaller scale would let it overflow.
MIN_SCALE = 2**-16
_aten = torch.ops.aten
CLIPPING_OPS = [_aten.relu.default, _aten.relu_.default, _aten.hardtanh.default, _aten.hardtanh_.default]


class FakeQuantizedModule(nn.Module):
    """A network with fake quantization for one runtime. Only training mode changes the quantization ranges.

    `original_shapes` and `original_parameter_count` describe the network that it was made from, before its batch
    normalizations were folded.
    """

    def __init__(self, graph: torch.fx.GraphModule, runtime: Runtime, network: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.runtime = runtime
        self.original_shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        self.original_parameter_count = sum(p.numel() for p in network.parameters())

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.graph(*inputs)

    def train(self, mode: bool = True) -> Self:
        """Update the ranges in training mode and freeze them in evaluation mode.

        The modes differ in nothing else, because the graph was exported in evaluation mode.
        """
        from torchao.quantization.pt2e import disable_observer, enable_observer

        self.training = mode
        self.graph.apply(enable_observer if mode else disable_observer)
        return self

    @torch.no_grad()
    def calibrate(self, batches: Sequence[Inputs]) -> None:
        """Set the initial ranges from the values that the network computes for `batches` without fake quantization."""
        from torchao.quantization.pt2e import disable_fake_quant, enable_fake_quant

        self.graph.apply(disable_fake_quant)
        self.train()
        for batch in batches:
            self.graph(*batch)
        self.graph.apply(enable_fake_quant)
        self.eval()

    @torch.no_grad()
    def round_weights(self) -> None:
        """Replace every weight by its quantized value, so that zeros and distinct values can be counted."""
        self.eval()
        weights = dict(self.graph.named_parameters())
        for node in self.graph.graph.nodes:
            if node.op == "call_module" and node.args[0].op == "get_attr" and node.args[0].target in weights:
                weight = weights[node.args[0].target]
                weight.copy_(self.graph.get_submodule(node.target)(weight))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load tensors unchanged.

        torchao takes a state without versions for an old one and replaces its smallest scale, so add the versions.
        """
        versioned = OrderedDict(state_dict)
        versioned._metadata = self.state_dict()._metadata  # type: ignore[attr-defined]
        return super().load_state_dict(versioned, strict, assign)

    def inference_state(self) -> dict[str, torch.Tensor]:
        """Return the part of the state that inference needs: weights, biases and scales, without observed ranges."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.endswith((".min_val", ".max_val", ".eps"))
        }


def prepare(network: nn.Module, runtime: Runtime, inputs: Sequence[Port]) -> FakeQuantizedModule:
    """Return a copy of `network` with fake quantization wherever `runtime` computes in integers.

    `inputs` are those of the network.
    """
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    examples = make_examples(inputs, 2)
    network = copy.deepcopy(network).eval()
    program = torch.export.export(network, examples, dynamic_shapes=({0: torch.export.Dim.AUTO},) * len(examples))
    # The quantizer prints every pattern that it skips.
    with contextlib.redirect_stdout(io.StringIO()):
        graph = prepare_pt2e(program.module(check_guards=False), _build_quantizer(runtime))
    graph.requires_grad_(True)  # folding creates biases that require no gradient
    return FakeQuantizedModule(graph, runtime, network).eval()


def select_for_export(model: nn.Module, runtime: str, scheme: str) -> nn.Module:
    """Return the module that `runtime` exports for `scheme`.

    This is the model itself, or for int8-qat the model with integer operations in place of its fake quantization.
    Raises Unsupported when the model was not trained for this runtime and scheme. A runtime that no model can be
    trained for refuses int8-qat itself.
    """
    if not isinstance(model, FakeQuantizedModule):
        if scheme == SCHEME and runtime in ACTIVATION_DTYPES:
            raise Unsupported(f"{SCHEME} needs a model trained by the method quantize_aware for {runtime}")
        return model
    if scheme != SCHEME:
        raise Unsupported(f"trained with fake quantization for {model.runtime}: {SCHEME} is its only scheme")
    if model.runtime != runtime:
        raise Unsupported(f"its quantization was trained for {model.runtime}, not for {runtime}")
    return _convert(model)


def _convert(prepared: FakeQuantizedModule) -> nn.Module:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    # ONNX and ExecuTorch store integer weights. The other converters need float weights in front of their quantization.
    folds = prepared.runtime in ("executorch", "onnx")
    converted: nn.Module = convert_pt2e(copy.deepcopy(prepared.graph), fold_quantize=folds)
    converted.training = False  # torchao forbids eval(), and the exporters warn about a model in training mode
    return converted


def _build_quantizer(runtime: Runtime) -> Any:
    """Return LiteRT's quantizer with our own number formats. The other runtimes quantize the same operations."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer
    from litert_torch.quantize.pt2e_quantizer_utils import QuantizationConfig, propagate_annotation
    from torchao.quantization.pt2e import FakeQuantize, MovingAverageMinMaxObserver
    from torchao.quantization.pt2e.observer import MovingAveragePerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    limits = torch.iinfo(ACTIVATION_DTYPES[runtime])
    activation = QuantizationSpec(
        dtype=ACTIVATION_DTYPES[runtime],
        quant_min=limits.min,
        quant_max=limits.max,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, eps=MIN_SCALE),
    )
    # The fused FakeQuantize is not used, because its scales differ from those that the conversion computes.
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(
            observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=MIN_SCALE
        ),
    )

    class Quantizer(PT2EQuantizer):  # type: ignore[misc]
        """Skip the output of an operation that the runtime fuses with the clipping after it."""

        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            super().annotate(model)
            _round_after_clipping(model)
            propagate_annotation(model)
            return model

    return Quantizer().set_global(QuantizationConfig(activation, activation, weight, None, None))


def _round_after_clipping(graph: torch.fx.GraphModule) -> None:
    """Move the rounding before a ReLU to after it. Before it, levels would be wasted on values that are clipped."""
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec

    for node in graph.graph.nodes:
        if node.target not in CLIPPING_OPS or len(node.args[0].users) > 1:
            continue
        before = node.args[0].meta.get("quantization_annotation")
        if before is not None and isinstance(before.output_qspec, QuantizationSpec):
            after = QuantizationAnnotation(output_qspec=before.output_qspec, _annotated=True)
            node.meta["quantization_annotation"] = after
            before.output_qspec = None
