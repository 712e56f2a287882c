"""LiteRT for Microcontrollers: its output from C is captured, its arena is read, and its refusals are reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeproof.core.errors import Unsupported
from edgeproof.runtimes import tflite, tflm
from tests.support.absent_runtimes import is_absent

# As the recording allocator printed it for MLPerf Tiny's keyword spotting model in int8.
PRINTED = """\
[RecordingMicroAllocator] Arena allocation total 24272 bytes
[RecordingMicroAllocator] Arena allocation head 16000 bytes
[RecordingMicroAllocator] Arena allocation tail 8272 bytes
[RecordingMicroAllocator] 'TfLiteEvalTensor data' used 840 bytes with alignment overhead (requested 840 bytes for 35 allocations)
"""  # noqa: E501
SAMPLES = (np.random.default_rng(0).standard_normal((16, 1, 8, 8)).astype(np.float32),)


def build_module() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5)]
    return torch.nn.Sequential(*layers).eval()


def test_the_arena_is_read_as_the_allocator_prints_it() -> None:
    arena = tflm._parse_arena(PRINTED)
    assert arena == {"total": 24272, "head": 16000, "tail": 8272, "TfLiteEvalTensor data": 840}
    assert arena["head"] + arena["tail"] == arena["total"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Didn't find op for builtin opcode 'ATAN2'\nFailed to get registration", "no operator ATAN2"),
        ("conv_common.cc Hybrid models are not supported\nNode CONV_2D failed", "Hybrid models are not supported"),
        ("", "it gives no reason"),
    ],
)
def test_a_refusal_names_the_operator_or_the_first_line_of_the_engine(text: str, reason: str) -> None:
    assert reason in tflm._explain_failure(text)


@pytest.mark.parametrize("scheme", ["fp32", "int8-static", "int4-static"])
def test_outputs_are_those_of_litert_and_the_arena_holds_the_largest_activations(scheme: str, tmp_path: Path) -> None:
    if is_absent("tflm"):
        return
    tflm.export(build_module(), SAMPLES, scheme, tmp_path)
    micro, full = tflm.Session(tmp_path, threads=1), tflite.Session(tmp_path, threads=1)
    ours, theirs = (
        np.concatenate([session(SAMPLES[0][index : index + 1])[0].copy() for index in range(16)])
        for session in (micro, full)
    )
    step = 1e-5 if scheme == "fp32" else float(full._interpreter.get_output_details()[0]["quantization"][0])
    largest = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= max(1.01 * step, 1e-5 * largest)
    plan = micro.measure_memory_plan()
    assert plan["total"] == plan["head"] + plan["tail"]
    # The input of the last layer, 144 elements, and the input of the first, 64, are never free at the same time.
    assert plan["total"] > (144 + 64) * (4 if scheme == "fp32" else 1)


def test_weights_of_8_bits_with_floating_point_activations_are_refused_when_loaded(tmp_path: Path) -> None:
    if is_absent("tflm"):
        return
    tflite.export(build_module(), SAMPLES, "int8-dynamic", tmp_path)
    with pytest.raises(Unsupported, match="LiteRT for Microcontrollers can't load this model"):
        tflm.Session(tmp_path, threads=1)
