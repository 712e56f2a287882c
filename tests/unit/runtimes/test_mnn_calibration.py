"""The scales in a quantized file for MNN are those of the samples' largest absolute values."""

from __future__ import annotations

import json
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import torch

from edgeproof.converters import mnn, mnn_calibration
from tests.support.absent_runtimes import is_absent

SCALES = {0: 0.5, 3: 0.25, 7: 0.25}


def write_quantized_file(path: Path, scales: dict[int, float]) -> None:
    """Write a file by MNN's schema with the scales alone, and a tensor without a scale before them."""
    builder = flatbuffers.Builder()
    tensors = [_add_tensor(builder, 1, None), *(_add_tensor(builder, *item) for item in scales.items())]
    builder.StartVector(4, len(tensors), 4)
    for tensor in reversed(tensors):
        builder.PrependUOffsetTRelative(tensor)
    vector = builder.EndVector()
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)  # Net.extraTensorDescribe
    builder.Finish(builder.EndObject())
    path.write_bytes(bytes(builder.Output()))


def _add_tensor(builder: flatbuffers.Builder, index: int, scale: float | None) -> int:
    quantization = None
    if scale is not None:
        builder.StartObject(5)
        builder.PrependFloat32Slot(0, scale, 0.0)  # TensorQuantInfo.scale
        quantization = builder.EndObject()
    builder.StartObject(5)
    builder.PrependInt32Slot(1, index, 0)  # TensorDescribe.index, which is left out for 0
    if quantization is not None:
        builder.PrependUOffsetTRelativeSlot(4, quantization, 0)  # TensorDescribe.quantInfo
    return builder.EndObject()


def read_scales(path: Path) -> dict[int, float]:
    return {index: scale for index, _, scale in mnn_calibration._find_scales(bytearray(path.read_bytes()))}


def test_scales_are_replaced_in_place_and_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensor 0 is the input, the operator that ran writes 3, 7 has the same numbers as 3, and 9 is unknown."""
    path = tmp_path / "model.mnn"
    write_quantized_file(path, SCALES | {9: 0.125})
    report = [
        {"name": "input", "outputs": [{"tensorIndex": 0}]},
        {"name": "add", "inputs": [{"tensorIndex": 0}], "outputs": [{"tensorIndex": 3}]},
    ]
    Path(f"{path}.json").write_text(json.dumps(report))
    samples = (np.array([[127.0, -1.0], [0.0, -254.0]], np.float32),)
    outputs = [np.array([[1.0]]), np.array([[-3.0]])]
    monkeypatch.setattr(mnn_calibration, "_run", lambda path, samples: [("add", [], [array]) for array in outputs])
    before = path.read_bytes()
    mnn_calibration.replace_scales(path, tmp_path / "fp32.mnn", samples)
    assert read_scales(path) == pytest.approx({0: 1.5, 3: 2 / 127, 7: 2 / 127, 9: 0.125})
    assert sum(a != b for a, b in zip(before, path.read_bytes(), strict=True)) <= 12


def test_a_file_without_scales_has_none(tmp_path: Path) -> None:
    write_quantized_file(tmp_path / "model.mnn", {})
    assert read_scales(tmp_path / "model.mnn") == {}


def test_the_scales_of_a_convolution_are_those_of_torch(tmp_path: Path) -> None:
    if is_absent("mnn"):
        return
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
    images = np.random.default_rng(0).standard_normal((32, 3, 9, 9)).astype(np.float32)
    mnn.write_int8_static(module, (images,), tmp_path / "model.mnn")
    with torch.no_grad():
        hidden = module[1](module[0](torch.from_numpy(images)))
        tensors = [torch.from_numpy(images), hidden, module[2](hidden)]
    expected = {float(tensor.abs().amax(dim=(1, 2, 3)).mean()) / 127 for tensor in tensors}
    scales = set(read_scales(tmp_path / "model.mnn").values())
    assert len(scales) == len(expected)
    assert sorted(scales) == pytest.approx(sorted(expected), rel=1e-5)
