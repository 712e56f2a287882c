"""Other schemes to try for an artifact that is less accurate or slower than expected."""

from __future__ import annotations

from edgeproof.core import plugins

# For each scheme, the schemes with less noise, and how they differ.
MORE_ACCURATE = {
    "int8-static-tensor": {"int8-static": "each output channel of the weights has its own scale"},
    "int8-static": {
        "int8-static-percentile": "outliers do not widen the ranges of activations",
        "int8-static-mse": "ranges have the least squared error",
        "int8-static-entropy": "ranges lose the least information",
    },
    "int4-weights": {"int8-weights": "weights have 8 bits instead of 4"},
    "int4-static": {"int8-static": "weights have 8 bits instead of 4"},
    "int8-dynamic": {"int8-weights": "activations stay in float"},
    "int8-weights": {"fp16": "weights stay in float"},
    "fp16": {"fp32": "nothing is rounded"},
    "bf16": {"fp16": "numbers have 10 bits behind the leading one instead of 7", "fp32": "nothing is rounded"},
}
# For all schemes with fixed ranges of activations.
STATIC = {
    "int8-dynamic": "ranges of activations are measured in each inference",
    "int8-qat": "the model is trained with the rounding (method quantize_aware)",
    "int8-weights": "every layer is computed in float; no scheme keeps a single layer in float",
}
FASTER = {
    "int4-static": {"int8-static": "no weights have to be unpacked in each inference"},
    "int8-dynamic": {"int8-static": "ranges of activations are fixed, so no inference measures them"},
    "int8-weights": {"int8-static": "layers are computed in integers"},
}


def suggest_more_accurate(runtime: str, scheme: str) -> dict[str, str]:
    """Return schemes that the runtime has and that round less, with the difference in words."""
    options = MORE_ACCURATE.get(scheme, {})
    if scheme.startswith("int8-static"):
        options = {**(options or MORE_ACCURATE["int8-static"]), **STATIC}
    return _select(runtime, scheme, options)


def suggest_faster(runtime: str, scheme: str) -> dict[str, str]:
    """Return schemes that the runtime has and that may be faster, with the difference in words."""
    return _select(runtime, scheme, FASTER.get(scheme, {}))


def _select(runtime: str, scheme: str, options: dict[str, str]) -> dict[str, str]:
    unsupported = getattr(plugins.load("runtimes", runtime), "UNSUPPORTED_SCHEMES", {})
    return {name: text for name, text in options.items() if name not in unsupported and name != scheme}
