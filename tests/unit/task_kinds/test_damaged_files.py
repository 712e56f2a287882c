"""Any damage to a user's file gives data or a DataError, and never another exception."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeproof.core.errors import DataError
from edgeproof.data.pictures import decode_picture
from tests.support.own_data import read_kind

X = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
TABLE = "a,b,y\n" + "".join(f"{a:.3f},{b:.3f},{number % 2}\n" for number, (a, b) in enumerate(X))


def encode_arrays() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=X, y=np.arange(12) % 2)
    return stream.getvalue()


def encode_picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, kind)
    return stream.getvalue()


ARRAYS = encode_arrays()
PICTURES = {kind: encode_picture(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")}


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the content with some bytes changed, removed or added."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(damaged)))
        damaged[start : start + draw(st.integers(0, 6))] = draw(st.binary(max_size=6))
    return bytes(damaged[: draw(st.integers(0, len(damaged)))] if draw(st.booleans()) else damaged)


@given(damage(ARRAYS))
def test_damaged_arrays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with contextlib.suppress(DataError):
        read_kind("arrays", tmp_path / "a.npz")


@given(damage(TABLE.encode()))
def test_damaged_tables(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with contextlib.suppress(DataError):
        read_kind("csv", tmp_path / "a.csv", target="y")


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures(kind: str, tmp_path: Path) -> None:
    @given(damage(PICTURES[kind]))
    def check(content: bytes) -> None:
        path = tmp_path / f"a.{kind.lower()}"
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            assert decode_picture(path, (4, 5), 3).shape == (3, 4, 5)

    check()
