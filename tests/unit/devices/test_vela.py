"""Estimates of Vela: the parser reads the compiler's own files and refuses invalid ones."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeproof.bench.verdict import judge_estimate
from edgeproof.core.errors import DeviceError, Unsupported
from edgeproof.devices import vela
from edgeproof.transports.local import Transport

# The columns that are read from a summary of Vela 5.2.0.
SUMMARY = {
    "system_config": "Ethos_U55_High_End_Embedded", "memory_mode": "Shared_Sram", "core_clock": "500000000.0",
    "inference_time": "0.000122226", "sram_memory_used": "10.5", "dram_memory_used": "0.0",
    "on_chip_flash_memory_used": "0.0", "off_chip_flash_memory_used": "37.046875", "cycles_npu": "41773",
    "cycles_total": "61113",
}  # fmt: skip
PRINTED = "Network summary for model\n\nCPU operators = 0 (0.0%)\nNPU operators = 15 (100.0%)\n"


def write_summary(directory: Path, **changes: str) -> Path:
    line = {**SUMMARY, **changes}
    text = f"{','.join(line)}\n{','.join(line.values())}\n"
    (directory / "model_summary_Ethos_U55_High_End_Embedded.csv").write_text(text)
    return directory


def test_a_summary_is_converted_to_bytes_and_nanoseconds(tmp_path: Path) -> None:
    estimate = vela.parse_estimate(write_summary(tmp_path), PRINTED, npu="ethos-u55-128")
    assert dataclasses.asdict(estimate) == {
        "tool": "ethos-u-vela",
        "cycles": 61113,
        "npu_cycles": 41773,
        "inference_ns": 122226,
        "clock_hz": 500_000_000,
        "sram_bytes": 10752,
        "dram_bytes": 0,
        "flash_bytes": 37936,
        "system_config": "Ethos_U55_High_End_Embedded",
        "memory_mode": "Shared_Sram",
        "npu": "ethos-u55-128",
        "npu_operators": 15,
        "cpu_operators": 0,
    }
    assert estimate.inference_ns == pytest.approx(estimate.cycles / estimate.clock_hz * 1e9)


def test_a_model_without_an_operator_on_the_npu_is_unsupported(tmp_path: Path) -> None:
    printed = "CPU operators = 17 (100.0%)\nNPU operators = 0 (0.0%)\n"
    with pytest.raises(Unsupported, match="no operator on the NPU"):
        vela.parse_estimate(write_summary(tmp_path), printed, npu="ethos-u55-128")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cycles_total": "nan"}, "cycles_total is nan"),
        ({"inference_time": "-1"}, "inference_time is -1"),
        ({"sram_memory_used": "much"}, "much"),
        ({"cycles_total": "0"}, "no time"),
        ({"core_clock": "1,2"}, "lines instead of one|can't be read"),
    ],
)
def test_a_summary_with_invalid_figures_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        vela.parse_estimate(write_summary(tmp_path, **changes), PRINTED, npu="ethos-u55-128")


def test_a_missing_summary_and_missing_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="left 0 summaries"):
        vela.parse_estimate(tmp_path, PRINTED, npu="ethos-u55-128")
    with pytest.raises(DeviceError, match="how many operators run on the NPU"):
        vela.parse_estimate(write_summary(tmp_path), "hello", npu="ethos-u55-128")


def test_an_estimate_with_operators_on_a_processor_is_invalid(tmp_path: Path) -> None:
    class Device:
        def push(self, path: Path, name: str) -> None:
            pass

        def run(self, argv: list[str], timeout_s: float) -> tuple[int, str]:
            return 0, "5.2.0\n" if argv[-1] == "--version" else PRINTED.replace(
                "CPU operators = 0", "CPU operators = 2"
            )

        def pull(self, name: str, path: Path) -> None:
            write_summary(path)

        def remove(self, name: str) -> None:
            pass

    estimate = vela.estimate(Device(), "python3", "m.tflite", npu="ethos-u55-128", timeout_s=60)
    judged = judge_estimate(estimate.cpu_operators)
    assert judged.verdict == "invalid"
    assert judged.reasons == ["Vela leaves 2 operator(s) to a processor, whose time it does not estimate"]
    assert estimate.tool == "ethos-u-vela 5.2.0"


def test_a_device_without_vela_is_unsupported_with_the_command_that_installs_it(tmp_path: Path) -> None:
    device: Any = Transport(tmp_path)
    # -I -S: an interpreter that sees no installed package.
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(Unsupported, match=r"is not installed; .*-m pip install ethos-u-vela==5\.2\.0"):
        vela.estimate(device, str(bare), "m.tflite", npu="ethos-u55-128", timeout_s=60)


@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="needs 'pip install edgeproof[npu]'")
def test_vela_estimates_an_int8_model_and_refuses_a_float_model(tmp_path: Path) -> None:
    import litert_torch
    import numpy as np
    import torch
    from ai_edge_quantizer import quantizer, recipe

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 4))
    samples = np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype(np.float32)
    litert_torch.convert(model.eval(), (torch.from_numpy(samples[:1]),)).export(str(tmp_path / "float.tflite"))
    engine = quantizer.Quantizer(str(tmp_path / "float.tflite"), recipe.static_wi8_ai8())
    calibration = engine.calibrate({"serving_default": [{"args_0": samples[i : i + 1]} for i in range(8)]})
    (tmp_path / "int8.tflite").write_bytes(engine.quantize(calibration).quantized_model)
    device: Any = Transport(tmp_path)
    how: dict[str, Any] = {"npu": "ethos-u55-128", "timeout_s": 120}
    first = vela.estimate(device, sys.executable, "int8.tflite", **how)
    assert judge_estimate(first.cpu_operators).verdict == "valid"
    assert first.cycles > 288 * 4 / 128  # the accelerator computes at most 128 products a cycle
    assert first.cpu_operators == 0
    assert vela.estimate(device, sys.executable, "int8.tflite", **how) == first
    smaller = vela.estimate(device, sys.executable, "int8.tflite", npu="ethos-u55-32", timeout_s=120)
    assert smaller.npu_cycles >= first.npu_cycles
    with pytest.raises(Unsupported, match="8-bit and 16-bit integers"):
        vela.estimate(device, sys.executable, "float.tflite", **how)
    assert list((tmp_path / "jobs").glob("*")) == []
