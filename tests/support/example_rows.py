"""Example rows for tests of tables."""

from __future__ import annotations

from typing import Any

from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import ACCURACY, ACCURACY_NAME

CONDITIONS = {"cpu": "A Processor", "kernel": "6.1", "threads": 1, "preset": "standard", "settings": {"min": 1}}

# A valid row of one artifact.
PLAIN = Row(
    device="local",
    runtime="onnx",
    model="teacher",
    scheme="fp32",
    method="train",
    parent=None,
    teacher=None,
    verdict="valid",
    reasons=(),
    parameters=1234567,
    macs=2000,
    weight_sparsity=0.125,
    artifact_sha256="0" * 64,
    size_bytes=1536,
    gzip_bytes=512,
    metric_name=ACCURACY_NAME,
    metric=ACCURACY,
    quality=Estimate(0.5, 0.25, 0.75),
    p50_ns=Estimate(123456.0, 120000.0, 126000.0),
    threads=1,
    processes=3,
    session=4,
    measured_at="2026-01-02",
    cpu="A Processor",
    versions={"numpy": "2.0"},
)


def about(value: float, share: float = 0.05) -> Estimate:
    """Return a value with an interval around it."""
    return Estimate(value, value * (1 - share), value * (1 + share))


def row(model: str = "teacher", scheme: str = "fp32", runtime: str = "onnx", device: str = "local", **more: Any) -> Row:
    """Return a valid row with an accuracy and latencies."""
    fields: dict[str, Any] = {
        "method": "train",
        "parent": None,
        "teacher": None,
        "verdict": "valid",
        "reasons": (),
        "parameters": 1000,
        "macs": 2000,
        "weight_sparsity": 0.125,
        "artifact_sha256": "0" * 64,
        "size_bytes": 1536,
        "metric_name": ACCURACY_NAME,
        "metric": ACCURACY,
        "quality": Estimate(0.9, 0.88, 0.92),
        "p50_ns": about(100_000.0),
        "p99_ns": about(200_000.0),
        "conditions": CONDITIONS,
        "versions": {runtime: "1.0"},
        "processes": 3,
        "measured_at": "2026-01-02T03:04:05+00:00",
        **more,
    }
    return Row(device=device, runtime=runtime, model=model, scheme=scheme, **fields)


REFUSED = ("single_stream 2: LoadGen: too short", "server 0: late")


def several() -> list[Row]:
    """Return six rows: valid ones, one with a refused latency, an unsupported one, and one of another device."""
    return [
        row(),
        row("student", quality=Estimate(0.8, 0.78, 0.82), p50_ns=about(20_000.0), speed_up=about(5.0), size_bytes=512),
        row("student", "int8-static", quality=Estimate(0.7, 0.68, 0.72), p50_ns=about(30_000.0)),
        row("student", "fp32", "tflite", p50_ns=None, p99_ns=None, verdict="invalid", reasons=REFUSED),
        row(
            "teacher",
            "int8-dynamic",
            verdict="unsupported",
            reasons=("no kernels",),
            quality=None,
            p50_ns=None,
            p99_ns=None,
            size_bytes=None,
            conditions=None,
            versions=None,
        ),
        row(device="board", p50_ns=about(900_000.0), conditions={**CONDITIONS, "kernel": "5.4"}),
    ]
