"""Remarks about layers whose weights have more bits than the scheme says."""

from __future__ import annotations

from collections.abc import Mapping


def describe_wide_layers(counts: Mapping[tuple[str, str], int], scheme: str) -> tuple[str, ...]:
    """Describe the layers whose weights have more bits than the scheme says, one remark for each operator type.

    Args:
        counts: number of layers by operator type and by the element type of their weights: f32, f16, i8 or another.
    """
    if not scheme.startswith("int"):
        return ()
    remarks = {"f32": "left in fp32", "f16": "left in fp16"}
    if scheme.startswith("int4"):
        remarks["i8"] = "kept in int8"
    return tuple(
        f"weights of {count} {kind} {remarks[element_type]}"
        for (kind, element_type), count in sorted(counts.items())
        if element_type in remarks
    )
