"""Choose the artifact that another one is compared with."""

from __future__ import annotations

# The scheme of the control that a scheme of quantization-aware training is compared with.
CALIBRATED = {"int8-qat": "int8-static"}


def find_reference(model: str, scheme: str, control: str | None) -> tuple[str, str]:
    """Return the model and scheme of the artifact to compare with, on the same device and runtime.

    It is the control's in the same scheme, or in its calibrated scheme for quantization-aware training. Without a
    control it is the model's own fp32 artifact.
    """
    return (control, CALIBRATED.get(scheme, scheme)) if control else (model, "fp32")
