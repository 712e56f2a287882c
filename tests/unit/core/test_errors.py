"""An error about a name says what exists, what was probably meant, and where to add one."""

from __future__ import annotations

import pytest

from edgeproof.core import errors


def test_an_unknown_name_lists_what_exists_and_suggests_the_nearest() -> None:
    error = errors.UnknownName("runtime", "onx", {"tflite", "onnx"}, "To add one: here.")
    assert str(error) == "unknown runtime 'onx'. Did you mean 'onnx'? Known: onnx, tflite. To add one: here."


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    assert errors.suggest_nearest("zzz", ["onnx", "tflite"]) == ""


def test_where_nothing_is_known_the_message_says_so() -> None:
    assert "Known: none." in str(errors.UnknownName("device", "x", [], "Add one."))


@pytest.mark.parametrize(
    "kind",
    [
        errors.ConfigError,
        errors.UnknownName,
        errors.DataError,
        errors.ArtifactError,
        errors.Unsupported,
        errors.DeviceError,
    ],
)
def test_every_error_on_purpose_can_be_caught_as_one(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.EdgeproofError)
