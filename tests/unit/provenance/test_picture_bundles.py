"""Bundles of detectors: boxes of a photograph are printed and drawn at the right places."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeproof.cli import main
from edgeproof.core import photographs
from edgeproof.core.errors import DataError
from edgeproof.tasks import detection
from tests.support import spot_detector

SPOT_COLOR = (0x00, 0x72, 0xB2)


def make_picture(width: int, height: int, spot: tuple[int, int, int, int]) -> Image.Image:
    """Return a black picture with a white rectangle."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[spot[1] : spot[3], spot[0] : spot[2]] = 255
    return Image.fromarray(pixels)


def encode(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    return stream.getvalue()


# --- placing a photograph -------------------------------------------------------------------------------------------


def test_a_photograph_of_the_data_set_becomes_the_pixels_that_the_network_was_trained_on(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    content = encode(Image.fromarray(noise))
    picture = photographs.read_picture(content)
    raw, placement = photographs.fit_picture(picture, detection.WIDTH, detection.HEIGHT, detection.PICTURES)
    np.testing.assert_array_equal(raw, detection._read_picture(content))
    assert placement == photographs.Placement((0.4, 0.4), (0, 0), (640, 480))


@pytest.mark.parametrize(
    ("size", "how", "scale", "offset"),
    [
        ((640, 320), "letterbox", (0.4, 0.4), (0, 32)),
        ((320, 480), "letterbox", (0.4, 0.4), (64, 0)),
        ((64, 48), "letterbox", (4.0, 4.0), (0, 0)),
        ((640, 320), "stretch", (0.4, 0.6), (0, 0)),
    ],
)
def test_a_picture_of_another_size_keeps_its_shape_unless_the_task_stretches(
    size: tuple[int, int], how: str, scale: tuple[float, float], offset: tuple[int, int]
) -> None:
    raw, placement = photographs.fit_picture(Image.new("RGB", size, "white"), 256, 192, how)
    assert placement == photographs.Placement(scale, offset, size)
    border = np.ones((192, 256), bool)
    border[offset[1] : 192 - offset[1], offset[0] : 256 - offset[0]] = False
    assert (raw[:, border] == photographs.GRAY).all()
    assert (raw[:, ~border] == 255).all()


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["letterbox", "stretch"]))
def test_the_box_of_the_whole_photograph_is_restored_from_the_input(width: int, height: int, how: str) -> None:
    _, placement = photographs.fit_picture(Image.new("L", (width, height)).convert("RGB"), 32, 24, how)
    low = np.array(placement.offset)
    inner = np.array(placement.scale) * placement.size
    box = np.concatenate([low, low + inner])[None]
    np.testing.assert_allclose(placement.restore(box), [[0, 0, width, height]], atol=1e-6)
    larger = box + np.array([-99, -99, 99, 99])
    np.testing.assert_allclose(placement.restore(larger), [[0, 0, width, height]])


def test_a_task_that_fits_pictures_in_an_unknown_way_is_refused() -> None:
    with pytest.raises(DataError, match="'crop'"):
        photographs.fit_picture(Image.new("RGB", (4, 4)), 4, 4, "crop")


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match="11×10 pixels, at most 100"):
        photographs.read_picture(encode(Image.new("RGB", (11, 10))))


def test_a_missing_pillow_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"needs Pillow: python3 -m pip install -r requirements\.txt"):
        photographs.read_picture(b"")


# --- a bundle -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the bundle of a detector of bright spots: out/m."""
    root = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        plugin_root = root / "plugins"
        plugin_root.mkdir()
        patch.setenv("EDGEPROOF_PLUGINS", str(plugin_root))
        patch.chdir(root)
        spot_detector.write_project(root, plugin_root)
        assert main.run(["bundle", "m/fp32", "--out", "out/m"]) == 0
    return root


def run(board: Path, *arguments: str | Path, content: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", str(board / "out/m/run.pyz"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, input=content, check=False)


def test_the_box_of_a_known_picture_is_printed_and_drawn_at_its_place(board: Path, tmp_path: Path) -> None:
    # 32 times the network's input in width; in height 8 of its 12 rows, below and above 2 gray ones.
    picture = make_picture(512, 256, (128, 64, 320, 192))
    (tmp_path / "photo.jpg").write_bytes(encode(picture))
    done = run(board, tmp_path / "photo.jpg", "--out", tmp_path / "boxes.png")
    assert (done.returncode, done.stdout) == (0, b"spot 0.75 128 64 320 192\n"), done.stderr
    drawn = np.asarray(Image.open(tmp_path / "boxes.png")).astype(int)
    assert drawn.shape == (256, 512, 3)
    for x, y in ((128, 130), (320, 130), (200, 192), (300, 64)):  # the four sides
        assert tuple(drawn[y, x]) == SPOT_COLOR
    original = np.asarray(Image.open(tmp_path / "photo.jpg")).astype(int)
    for x, y in ((60, 30), (250, 150), (400, 220)):
        assert tuple(drawn[y, x]) == tuple(original[y, x])
    assert (tmp_path / "photo.jpg").read_bytes() == encode(picture)


def test_a_picture_from_standard_input_is_detected_and_boxes_of_a_lower_score_are_left_out(board: Path) -> None:
    content = encode(make_picture(32, 24, (8, 8, 24, 16)))
    assert run(board, "-", content=content).stdout == b"spot 0.75 8 8 24 16\n"
    done = run(board, "-", "--min-score", "0.8", content=content)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"0 boxes with a score of at least 0.8\n")


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "png", "missing"])
def test_a_damaged_picture_is_refused_with_one_message_and_writes_nothing(
    board: Path, tmp_path: Path, damage: str
) -> None:
    whole = encode(make_picture(64, 48, (8, 8, 40, 40)))
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    contents = {"cut": whole[: len(whole) // 2], "text": b"no picture", "empty": b"", "png": png.getvalue()}
    if damage != "missing":
        (tmp_path / "photo.jpg").write_bytes(contents[damage])
    done = run(board, tmp_path / "photo.jpg", "--out", tmp_path / "boxes.jpg")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "boxes.jpg").exists()


@pytest.mark.parametrize(("name", "problem"), [("photo.jpg", b"is the picture itself"), ("boxes.gif", b".jpeg, .png")])
def test_an_output_that_cannot_be_written_is_refused(board: Path, tmp_path: Path, name: str, problem: bytes) -> None:
    content = encode(make_picture(16, 12, (2, 2, 8, 8)))
    (tmp_path / "photo.jpg").write_bytes(content)
    done = run(board, tmp_path / "photo.jpg", "--out", tmp_path / name)
    assert done.returncode == 2
    assert problem in done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]


def test_the_requirements_name_pillow_and_the_card_tells_the_command(board: Path) -> None:
    lines = (board / "out/m/requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in lines] == ["numpy", "pillow"]
    assert "run.pyz ../photo.jpg --out ../boxes.jpg" in (board / "out/m/MODEL_CARD.md").read_text()
    assert run(board, "--check").stdout == b"verified; 2 of 2 answers agree with the reference model\n"
