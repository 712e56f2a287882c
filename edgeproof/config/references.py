"""What an artifact is compared with: its control's, or itself without the scheme."""

from __future__ import annotations

# Which of a control's schemes stands beside one that only the technique has.
CALIBRATED = {"int8-qat": "int8-static"}


def find_reference(model: str, scheme: str, control: str | None) -> tuple[str, str]:
    """Model and scheme of the artifact that this one stands against in its family, on the same device and runtime.

    The control's in the same scheme, calibrated integers beside those that a model was trained for; a model without a
    control stands against its own fp32 artifact.
    """
    return (control, CALIBRATED.get(scheme, scheme)) if control else (model, "fp32")
