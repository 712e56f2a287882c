"""Anomaly detection: the features of the DCASE baseline, a score for each sound, and anomalies that can be found."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from edgeproof.core import audio
from edgeproof.core.errors import DataError
from edgeproof.metrics import auc
from edgeproof.tasks import anomaly_detection as task


@pytest.fixture
def archive(tmp_path: Path) -> dict[str, Path]:
    for name, content in task.fixture().items():
        (tmp_path / name).write_bytes(content)
    return {task.ARCHIVE: tmp_path / task.ARCHIVE}


def read_archive(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_features_equal_the_formula_of_librosa_in_scipy() -> None:
    """Check decibels of a power spectrum of 1024 every 512 samples, centred, in 128 bands of Slaney's mel scale."""
    sound = np.random.default_rng(0).integers(-9000, 9000, 5000).astype(np.int16)
    padded = np.concatenate([np.zeros(512), sound / 32768, np.zeros(512)])
    window = scipy.signal.get_window("hann", 1024)
    limit = 15 + 27 * math.log(8, 6.4)
    mel = np.arange(130) * limit / 129
    edges = np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))
    bins_hz = np.arange(513) * 16_000 / 1024
    features = task.compute_features(sound)
    assert features.shape == (1 + 5000 // 512, 128)
    for frame in (0, 3, 9):
        power = np.abs(scipy.fft.rfft(padded[512 * frame : 512 * frame + 1024] * window)) ** 2
        for band in (0, 17, 64, 127):
            low, centre, high = edges[band : band + 3]
            weights = np.interp(bins_hz, [low, centre, high], [0, 1, 0], left=0, right=0) * 2 / (high - low)
            expected = 10 * np.log10(power @ weights + np.finfo(float).eps)
            assert features[frame, band] == pytest.approx(expected, abs=1e-4)


def test_the_features_of_a_long_sound_are_those_of_the_frames_50_to_249() -> None:
    sound = np.random.default_rng(0).integers(-9000, 9000, 160_000).astype(np.int16)
    features = task.compute_features(sound)
    assert features.shape == (200, 128)
    alone = task.compute_features(sound[50 * 512 - 512 : 50 * 512 + 512])  # its second frame is centred at 512
    np.testing.assert_allclose(features[0], alone[1], atol=1e-4)


def test_a_window_has_the_bands_of_five_frames_one_after_another() -> None:
    features = np.arange(12 * 128, dtype=np.float32).reshape(12, 128)
    windows = task.cut_windows(features)
    assert windows.shape == (2, 640)
    np.testing.assert_array_equal(windows[1], features[5:10].ravel())
    with pytest.raises(DataError, match="shorter than one frame of 5"):
        task.cut_windows(features[:4])


def test_training_data_is_normal_and_the_other_splits_have_both_kinds(archive: dict[str, Path]) -> None:
    splits = task.data(archive, validation_samples=10, seed=0)
    sounds = {name: np.unique(y, axis=0) for name, (_, y) in splits.items()}
    assert not splits["train"][1][:, 1].any()
    assert len(sounds["train"]) == 12
    assert np.bincount(sounds["validation"][:, 1]).tolist() == [2, 2]
    assert np.bincount(sounds["test"][:, 1]).tolist() == [4, 4]
    assert len(splits["validation"][0]) == 10


def test_windows_and_labels_are_those_of_the_files(archive: dict[str, Path]) -> None:
    labels = {}
    for name, content in read_archive(archive[task.ARCHIVE]).items():
        for window in task.cut_windows(task.compute_features(audio.read_wav(content, name, 16_000))):
            labels[window.tobytes()] = name
    splits = task.data(archive, validation_samples=10, seed=0)
    names = {}
    for split, (x, y) in splits.items():
        names[split] = {labels[window.tobytes()] for window in x}
        assert [("anomaly" in labels[window.tobytes()]) for window in x] == y[:, 1].astype(bool).tolist()
        assert len(names[split]) == len(np.unique(y[:, 0]))
    assert all(name.startswith("ToyCar/train/") for name in names["train"])
    assert not names["validation"] & names["test"]


def test_a_folder_of_wav_files_gives_the_same_as_the_archive(archive: dict[str, Path], tmp_path: Path) -> None:
    files = {}
    for name, content in read_archive(archive[task.ARCHIVE]).items():
        files[name] = tmp_path / "folder" / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_bytes(content)
    (tmp_path / "folder/readme.txt").write_text("no sound")
    files["readme.txt"] = tmp_path / "folder/readme.txt"
    packed, plain = (task.data(given, validation_samples=10, seed=1) for given in (archive, files))
    for name in packed:
        for one, two in zip(packed[name], plain[name], strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_evidence_is_the_mean_error_of_each_sound() -> None:
    generator = np.random.default_rng(0)
    targets = np.array([[7, 0], [3, 1], [7, 0], [3, 1], [5, 0], [3, 1]])
    inputs, outputs = generator.normal(size=(6, 640)), generator.normal(size=(6, 640))
    evidence = task.collect_evidence((inputs,), (outputs,), targets)
    expected = [np.mean([np.mean((inputs[n] - outputs[n]) ** 2) for n in rows]) for rows in ([1, 3, 5], [4], [0, 2])]
    np.testing.assert_allclose(evidence["scores"], expected)
    assert evidence["positive"].tolist() == [True, False, False]
    assert 0 <= auc.compute(evidence) <= 1


def test_a_linear_code_of_normal_sounds_finds_the_whine(archive: dict[str, Path]) -> None:
    """Reproduce windows by their first principal components, the best linear autoencoder."""
    splits = task.data(archive, validation_samples=10, seed=0)
    train = task.preprocess(splits["train"][0])
    mean = train.mean(axis=0)
    _, _, components = np.linalg.svd(train - mean, full_matrices=False)
    x, y = task.preprocess(splits["test"][0]), splits["test"][1]
    outputs = mean + (x - mean) @ components[:8].T @ components[:8]
    assert auc.compute(task.collect_evidence((x,), (outputs,), y)) == 1.0


def test_the_loss_is_the_mean_squared_error_to_the_input() -> None:
    inputs, outputs = torch.rand(4, 640), torch.rand(4, 640)
    loss = task.loss(outputs, torch.zeros(4, 2), inputs)
    assert float(loss) == pytest.approx(float(((inputs - outputs) ** 2).sum()) / (4 * 640))
    assert float(task.distillation_loss(outputs, inputs)) == pytest.approx(float(loss))


def test_too_few_sounds_are_a_data_error(archive: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="too few for 40 validation windows"):
        task.data(archive, validation_samples=40, seed=0)
    with pytest.raises(DataError, match="test/anomaly_"):
        task.data({}, validation_samples=1, seed=0)


def test_a_damaged_archive_is_a_data_error(archive: dict[str, Path]) -> None:
    path = archive[task.ARCHIVE]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"dev_data_ToyCar\.zip is a damaged archive"):
        task.data(archive, validation_samples=10, seed=0)


def test_a_sound_of_another_rate_is_a_data_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("train/normal_1.wav", audio.write_wav(np.zeros(9000, np.int16), 44_100))
    (tmp_path / task.ARCHIVE).write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="44100 Hz"):
        task.data({task.ARCHIVE: tmp_path / task.ARCHIVE}, validation_samples=10, seed=0)
