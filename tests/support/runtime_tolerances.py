"""Tolerances for outputs of runtimes, by scheme."""

from __future__ import annotations

from pathlib import Path

# Largest difference to the output of torch that a number format explains, relative to the largest output.
TOLERANCE = {
    "fp32": 1e-4,
    "fp16": 5e-3,
    "bf16": 0.01,  # eight bits of mantissa in each product
    "int8-weights": 0.01,
    "int4-weights": 0.15,  # fifteen levels in each channel
    "int8-dynamic": 0.08,
    "int8-static": 0.12,
    "int8-static-minmax": 0.12,
    "int8-static-percentile": 0.12,
    "int8-static-mse": 0.12,
    "int8-static-entropy": 0.15,  # clips rare activations
    "int8-static-tensor": 0.12,
    "int4-static": 0.2,  # as int4-weights, with the error of int8-static
}

# x86 processors without VNNI add pairs of products of 8-bit integers in 16 bits, which saturates. ONNX Runtime and
# OpenVINO use these instructions for int8-static, so the outputs of linear layers are far from those of torch there: up
# to 61% of the largest output was seen in a GRU, where LiteRT differs by 1%.
SATURATED_TOLERANCE = 0.8
SATURATING_RUNTIMES = ("onnx", "openvino")


def find_tolerance(runtime: str, scheme: str) -> float:
    """Return the tolerance of a scheme in a runtime on this processor."""
    saturates = runtime in SATURATING_RUNTIMES and scheme.startswith("int8-static") and not has_exact_products()
    return SATURATED_TOLERANCE if saturates else TOLERANCE[scheme]


def has_exact_products() -> bool:
    """Return False for x86 processors without VNNI, by the flags that Linux lists."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return not flags or "avx512_vnni" in flags or "avx_vnni" in flags
