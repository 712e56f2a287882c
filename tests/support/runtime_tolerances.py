"""Tolerances for outputs of runtimes, by scheme."""

from __future__ import annotations

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
}
