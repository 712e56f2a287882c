"""Activity recognition: units, windows, persons that are in one split only, and turns of the sensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from edgeproof.core.errors import DataError
from edgeproof.tasks import activity as task


@pytest.fixture
def archive(tmp_path: Path) -> dict[str, Path]:
    for name, content in task.fixture().items():
        (tmp_path / name).write_bytes(content)
    return {task.ARCHIVE: tmp_path / task.ARCHIVE}


@pytest.fixture
def signals(tmp_path: Path) -> dict[str, Path]:
    """Write raw signals of four persons, of whom 2 and 24 are test persons. Counts tell the row and the channel."""
    steps = 4 * 512
    counts = np.arange(steps) + 3000 * np.arange(6)[:, None]
    starts = np.arange(0, steps - 127, 64)
    persons = np.array([1, 2, 3, 24])[starts * 4 // steps]
    activities = np.arange(len(starts)) % 7 + 1  # 7 is a transition between postures
    windows = np.stack([starts, activities, persons, np.zeros(len(starts), int)], axis=1)
    np.savez(tmp_path / task.SIGNALS, signal_t=counts.astype(np.int16), windows=windows.astype(np.int32))
    return {task.SIGNALS: tmp_path / task.SIGNALS}


def test_raw_counts_become_g_and_radians_per_second(signals: dict[str, Path]) -> None:
    splits = task.data(signals, validation_samples=3, seed=0)
    units = np.array([1 / 720] * 3 + [0.0175 * np.pi / 180] * 3)
    for x, y, *_ in splits.values():
        counts = x / units[:, None]
        starts = np.rint(counts[:, 0, 0]).astype(int)
        expected = starts[:, None, None] + np.arange(128) + 3000 * np.arange(6)[:, None]
        np.testing.assert_allclose(counts, expected, rtol=1e-4)
        assert (starts % 64 == 0).all()
        assert (starts // 64 % 7).tolist() == y.tolist()
        assert y.max() < 6
    found_persons = {
        name: set((np.rint(x[:, 0, 0] * 720).astype(int) // 512).tolist()) for name, (x, *_) in splits.items()
    }
    assert found_persons["test"] == {1, 3}  # the second and the fourth person: 2 and 24
    assert {frozenset(found_persons["train"]), frozenset(found_persons["validation"])} == {
        frozenset({0}),
        frozenset({2}),
    }


def test_the_official_archive_is_split_by_person(archive: dict[str, Path]) -> None:
    splits = task.data(archive, validation_samples=7, seed=0)
    # Six persons with five windows each; seven validation windows take two of them.
    assert {name: len(y) for name, (_, y, *_) in splits.items()} == {"train": 20, "validation": 7, "test": 20}
    for x, y, *_ in splits.values():
        assert x.shape[1:] == (6, 128)
        assert 0 <= y.min() <= y.max() < 6
    # Whose samples a client of a federation holds: four persons with five windows each.
    assert np.unique(splits["train"][2], return_counts=True)[1].tolist() == [5] * 4


def test_the_archive_is_read_in_the_order_of_the_axes(archive: dict[str, Path]) -> None:
    import zipfile

    with zipfile.ZipFile(archive[task.ARCHIVE]) as content:
        text = content.read("UCI HAR Dataset/test/Inertial Signals/body_gyro_y_test.txt").decode()
    table = np.array([[float(value) for value in line.split()] for line in text.splitlines()])
    x, _ = task.data(archive, validation_samples=5, seed=0)["test"]
    np.testing.assert_allclose(x[:, 4], table, rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>not the archive</html>"])
def test_another_file_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.zip is not the archive"):
        task.data({task.ARCHIVE: tmp_path / "x.zip"}, validation_samples=5, seed=0)


def test_preprocessing_scales_the_gyroscope_alone() -> None:
    raw = np.ones((2, 6, 128), np.float32)
    inputs = task.preprocess(raw)
    assert (inputs.shape, inputs.dtype) == ((2, 6, 128, 1), np.float32)
    assert inputs[0, :, 0, 0].tolist() == [1, 1, 1, 0.5, 0.5, 0.5]


def test_turns_are_the_rotations_of_scipy() -> None:
    angles = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    expected = Rotation.from_euler("XYZ", angles.numpy()).as_matrix()
    np.testing.assert_allclose(task.make_rotations(angles).numpy(), expected, atol=1e-6)


def test_augmentation_turns_both_sensors_alike_and_scales_the_motion_alone() -> None:
    x = torch.randn(8, 6, 128, 1, generator=torch.Generator().manual_seed(0))
    x[:, 3:] = x[:, :3]  # both sensors measure the same, so they must after the turn
    labels = torch.arange(8) % 6
    changed, new_labels = task.augment(x, labels, torch.Generator().manual_seed(1))
    assert torch.equal(new_labels, labels)
    torch.testing.assert_close(changed[:, 3:], changed[:, :3])
    # A turn keeps lengths: the mean (gravity) stays as long, and the motion around it changes by up to 10%.
    torch.testing.assert_close(changed[:, :3].mean(2).norm(dim=1), x[:, :3].mean(2).norm(dim=1))
    gains = (changed - changed.mean(2, keepdim=True)).flatten(1).norm(dim=1)
    gains = gains / (x - x.mean(2, keepdim=True)).flatten(1).norm(dim=1)
    assert 0.9 <= float(gains.min()) < float(gains.max()) <= 1.1
    assert not torch.equal(changed, x)
