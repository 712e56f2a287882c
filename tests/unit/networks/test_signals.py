"""ds_cnn, cnn_1d, ds_cnn_1d and autoencoder against published counts, counts by hand and plain numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.core.ports import Port
from edgeproof.models import frameworks
from edgeproof.networks import autoencoder, cnn_1d, ds_cnn, ds_cnn_1d
from tests.support.training_tasks import make_ports

DS_CNN = {"width": 64, "blocks": 4, "stem_kernel": (10, 4), "stem_stride": 2, "dropout": 0.2}
CNN_1D = {"widths": (8, 12), "kernel": 5, "dropout": 0.0}
DS_CNN_1D = {"width": 8, "blocks": 2, "kernel": 9, "stem_kernel": 5, "stem_stride": 2, "dropout": 0.0}


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- DS-CNN --------------------------------------------------------------------------------------------------------


def test_ds_cnn_has_the_size_of_the_network_of_mlperf_tiny() -> None:
    inputs, outputs = make_ports((1, 49, 10), 12)
    module = ds_cnn.build(inputs, outputs, **DS_CNN)
    weights = [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sum(w.numel() for w in weights) == 10 * 4 * 64 + 4 * (9 * 64 + 64 * 64) + 64 * 12 == 22_016
    # MLPerf Tiny's Keras model has 24,908 parameters. It counts the statistics of normalizations, two a channel, and
    # has a bias before each normalization.
    assert count_parameters(module) == 22_016 + 9 * 2 * 64 + 12 == 24_908 - 9 * 3 * 64
    assert module.stem(torch.zeros(1, 1, 49, 10)).shape == (1, 64, 25, 5)
    macs = 25 * 5 * (10 * 4 * 64 + 4 * (9 * 64 + 64 * 64)) + 64 * 12
    assert frameworks.compute_facts(module, inputs).macs == macs == 2_656_768


@given(st.integers(1, 60), st.integers(1, 12), st.integers(2, 4))
def test_the_first_convolution_of_ds_cnn_divides_the_size_like_tensorflow(size: int, kernel: int, stride: int) -> None:
    padding = ds_cnn.compute_padding(size, kernel, stride)
    if size + 2 * padding >= kernel:
        outputs = (size + 2 * padding - kernel) // stride + 1
        assert outputs == -(-size // stride)


def test_dropout_of_ds_cnn_acts_in_training_alone() -> None:
    module = ds_cnn.build(*make_ports((1, 49, 10), 12), **DS_CNN | {"dropout": 0.5})
    x = torch.rand(2, 1, 49, 10)
    assert torch.equal(module.eval()(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))


# --- CNN over time -------------------------------------------------------------------------------------------------


def test_cnn_1d_equals_one_dimensional_convolutions() -> None:
    torch.manual_seed(0)
    module = cnn_1d.build((Port("signal", (6, 128)),), (Port("logits", (5,)),), **CNN_1D).eval()
    signals = torch.randn(3, 6, 128)
    x = signals
    for layer in module.convolutions:
        conv, norm = layer[0], layer[1]
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        x = nn.functional.conv1d(x, conv.weight.squeeze(3), padding=2)
        x = nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        x = nn.functional.max_pool1d(x.relu(), 2)
    expected = module.classifier(x.mean(2))
    torch.testing.assert_close(module(signals), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(module(signals[..., None]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 5, 128, 131])
def test_cnn_1d_takes_signals_of_any_length(steps: int) -> None:
    for shape in ((3, steps), (3, steps, 1), (3, steps, 4)):
        module = cnn_1d.build((Port("signal", shape),), (Port("logits", (5,)),), **CNN_1D).eval()
        assert module(torch.rand(2, *shape)).shape == (2, 5)


def test_parameters_of_cnn_1d_equal_the_count_by_hand() -> None:
    module = cnn_1d.build((Port("signal", (6, 128)),), (Port("logits", (5,)),), widths=(8, 12), kernel=5, dropout=0.1)
    assert count_parameters(module) == 5 * 6 * 8 + 2 * 8 + 5 * 8 * 12 + 2 * 12 + 12 * 5 + 5


# --- DS-CNN over time ----------------------------------------------------------------------------------------------


def test_ds_cnn_1d_equals_one_dimensional_convolutions() -> None:
    torch.manual_seed(0)
    module = ds_cnn_1d.build(*make_ports((1, 49, 10), 12), **DS_CNN_1D).eval()
    clips = torch.randn(3, 1, 49, 10)
    x = normalize(
        nn.functional.conv1d(clips[:, 0].mT, module.stem[0].weight.squeeze(3), stride=2, padding=2), module.stem[1]
    )
    assert x.shape == (3, 8, 25)
    x = x.relu()
    for depthwise, norm, pointwise, last_norm, _ in module.blocks:
        x = normalize(nn.functional.conv1d(x, depthwise.weight.squeeze(3), padding=4, groups=8), norm)
        x = normalize(nn.functional.conv1d(x, pointwise.weight.squeeze(3)), last_norm).relu()
    torch.testing.assert_close(module(clips), module.classifier(x.mean(2)), atol=1e-5, rtol=1e-4)


def normalize(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Give a batch normalization random statistics, and apply it to (N, C, T)."""
    nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_values_of_a_step_are_channels_of_ds_cnn_1d(channels: int, features: int) -> None:
    torch.manual_seed(0)
    signals = torch.randn(2, channels, 16, features)
    module = ds_cnn_1d.build(*make_ports((channels, 16, features), 5), **DS_CNN_1D).eval()
    # Row c·F + f of the flat signal is feature f of channel c.
    rows = [divmod(row, features) for row in range(channels * features)]
    flat = torch.stack([signals[:, channel, :, feature] for channel, feature in rows], dim=1)
    assert torch.equal(module(signals), module(flat))


@pytest.mark.parametrize("steps", [1, 2, 5, 49, 128])
def test_ds_cnn_1d_takes_signals_of_any_length(steps: int) -> None:
    for shape in ((3, steps), (3, steps, 4)):
        module = ds_cnn_1d.build(*make_ports(shape, 5), **DS_CNN_1D).eval()
        assert module(torch.rand(2, *shape)).shape == (2, 5)
        assert module.blocks(module.stem(torch.rand(2, math.prod(shape) // steps, steps, 1))).shape[2] == -(-steps // 2)


def test_counts_of_ds_cnn_1d_equal_those_by_hand() -> None:
    inputs, outputs = make_ports((1, 49, 10), 12)
    module = ds_cnn_1d.build(inputs, outputs, **DS_CNN_1D)
    block = 9 * 8 + 8 * 8
    assert count_parameters(module) == 5 * 10 * 8 + 2 * block + 5 * 2 * 8 + 8 * 12 + 12
    assert frameworks.compute_facts(module, inputs).macs == 25 * (5 * 10 * 8 + 2 * block) + 8 * 12


# --- autoencoder ---------------------------------------------------------------------------------------------------

FEATURES = Port("features", (640,))


def test_the_autoencoder_has_the_layers_of_mlperf_tiny() -> None:
    module = autoencoder.build((FEATURES,), (FEATURES,), hidden=(128,) * 4, code=8)
    sizes = [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    assert sizes == list(itertools.pairwise(widths))
    weights = sum(one * two for one, two in sizes)
    assert frameworks.compute_facts(module, (FEATURES,)).macs == weights == 264_192
    # 269,992 parameters in MLPerf Tiny's Keras model, of which 2,064 are statistics of the normalizations.
    assert count_parameters(module) == weights + sum(widths[1:]) + 2 * sum(widths[1:-1]) == 267_928


def test_an_autoencoder_equals_its_formula_in_numpy() -> None:
    torch.manual_seed(0)
    port = Port("picture", (2, 3, 4))
    module = autoencoder.build((port,), (port,), hidden=(7, 5), code=2).eval()
    x = np.random.default_rng(0).normal(size=(6, 2, 3, 4)).astype(np.float32)
    values = x.reshape(6, -1)
    for layer in module.layers:
        linear, norm = layer[0], layer[1]
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        values = values @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        values = (values - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + norm.eps)
        values = np.maximum(values, 0)
    values = values @ module.output.weight.detach().numpy().T + module.output.bias.detach().numpy()
    outputs = module(torch.from_numpy(x)).detach().numpy()
    assert outputs.shape == x.shape
    np.testing.assert_allclose(outputs, values.reshape(x.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (ds_cnn, DS_CNN | {"width": 0}),
        (ds_cnn, DS_CNN | {"stem_kernel": [10]}),
        (ds_cnn, DS_CNN | {"dropout": 1.0}),
        (ds_cnn, DS_CNN | {"padding": 1}),
        (ds_cnn_1d, DS_CNN_1D | {"kernel": 8}),
        (ds_cnn_1d, DS_CNN_1D | {"stem_kernel": 0}),
        (cnn_1d, CNN_1D | {"widths": []}),
        (cnn_1d, CNN_1D | {"kernel": 0}),
        (autoencoder, {"hidden": [0], "code": 8}),
        (autoencoder, {"hidden": [128]}),
    ],
)
def test_options_that_build_no_network_are_refused(network: object, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        network.Options.model_validate(options)  # type: ignore[attr-defined]
