"""Quantization in feed() and dequantization in fetch() of LiteRT's Session: bit-identical to the textbook formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.runtimes import tflite
from tests.support.tflite_files import write_quantized_copy

DTYPES = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8, "int16": schema.TensorType.INT16}
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=True)


def quantize(x: np.ndarray, scale: float, zero: int, dtype: str) -> np.ndarray:
    """Round half to even, then saturate."""
    limits = np.iinfo(dtype)
    with np.errstate(over="ignore"):
        rounded = np.rint(x / np.float32(scale)) + np.float32(zero)
    return np.clip(rounded, limits.min, limits.max).astype(dtype)


def dequantize(q: np.ndarray, scale: float, zero: int) -> np.ndarray:
    return (q.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def open_session(directory: Path, dtype: str, scale: float, zero: int, size: int) -> tflite.Session:
    write_quantized_copy(directory / tflite.FILE, DTYPES[dtype], scale=scale, zero=zero, size=size)
    return tflite.Session(directory, threads=1)


def expect_textbook(session: tflite.Session, x: np.ndarray, dtype: str, scale: float, zero: int) -> None:
    session.feed(x)
    expected = quantize(x, scale, zero, dtype)
    interpreter = session._interpreter
    fed = interpreter.get_tensor(interpreter.get_input_details()[0]["index"])
    np.testing.assert_array_equal(fed, expected)
    session.invoke()
    np.testing.assert_array_equal(session.fetch()[0], dequantize(expected, scale, zero))


@pytest.mark.parametrize(("dtype", "zero"), [("int8", 0), ("int8", -128), ("int8", 83), ("uint8", 128), ("int16", 0)])
@pytest.mark.parametrize("scale", [0.5, 2**-7, 0.5847029089927673, 0.0039215686])
def test_every_tie_and_every_saturated_number_is_rounded_as_in_the_textbook(
    tmp_path: Path, dtype: str, zero: int, scale: float
) -> None:
    halves = np.arange(-700, 700, dtype=np.float32) / 2 * np.float32(scale)
    neighbours = [np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))]
    extremes = np.array([0, -0.0, 1e30, -1e30, np.inf, -np.inf, 1e-45, 3.4e38], np.float32)
    x = np.concatenate([halves, *neighbours, extremes])[None]
    expect_textbook(open_session(tmp_path, dtype, scale, zero, x.size), x, dtype, scale, zero)


@given(
    st.sampled_from([("int8", -128, 127), ("uint8", 0, 255)]),
    st.floats(2**-20, 1000, width=32),
    st.lists(FLOATS, min_size=7, max_size=7),
    st.data(),
)
def test_any_numbers_are_quantized_and_dequantized_as_in_the_textbook(
    tmp_path_factory: pytest.TempPathFactory,
    kind: tuple[str, int, int],
    scale: float,
    numbers: list[float],
    data: st.DataObject,
) -> None:
    dtype, lowest, highest = kind
    zero = data.draw(st.integers(lowest, highest))
    session = open_session(tmp_path_factory.mktemp("artifact"), dtype, scale, zero, len(numbers))
    expect_textbook(session, np.array([numbers], np.float32), dtype, scale, zero)
