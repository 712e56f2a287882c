"""Anomaly detection: does a machine sound as it does in normal operation? (DCASE 2020 task 2, ToyADMOS, MLPerf Tiny).

Koizumi et al.: "Description and Discussion on DCASE2020 Challenge Task 2: Unsupervised Anomalous Sound Detection for
Machine Condition Monitoring" (2020), whose baseline the features and the score follow. A network learns to reproduce
windows of five frames of normal sounds. The score of a sound is the mean squared error over all of its windows.

Training uses the normal sounds in the folder 'train'. The sounds in 'test' are normal or anomalous, as their names say.
Some of them are the validation split, since no quality can be computed from normal sounds alone.
"""

from __future__ import annotations

import io
import itertools
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core import audio
from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

WINDOW_FRAMES, MEL_BANDS = 5, 128

INPUTS = (Port("log_mel", (WINDOW_FRAMES * MEL_BANDS,)),)
OUTPUTS = (Port("reconstruction", INPUTS[0].shape),)
METRICS = ("auc",)
VIEWS = 1

ARCHIVE = "dev_data_ToyCar.zip"
NORMAL, ANOMALOUS = "normal", "anomaly"  # the beginnings of file names
SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES, STEP_SAMPLES = 1024, 512
# Frames of a sound that are used, as in MLPerf Tiny; of a shorter sound all are.
FIRST_FRAME, LAST_FRAME = 50, 250
# The baseline has a window for every frame. Without overlap there are a fifth as many, of the same frames.
WINDOW_STEP = WINDOW_FRAMES
# Shift and scale of the decibels, near the mean and the deviation of sounds of full scale.
MEAN_DB, DEVIATION_DB = -30.0, 20.0


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the official archive or a folder of wav files with the folders 'train' and 'test'.

    Returns windows of decibels, float32 (N, 640), and (N, 2) int64 with the number of the sound and whether it is
    anomalous. The validation split has sounds of 'test' in an order that `seed` draws, alternating between normal and
    anomalous. Raises DataError for a file of another format, and for too few sounds.
    """
    train: list[Array] = []
    normal: list[Array] = []
    anomalous: list[Array] = []
    for folder, name, content in _read_sounds(files):
        windows = cut_windows(compute_features(audio.read_wav(content, name, SAMPLE_RATE_HZ)))
        if folder == "train":
            train.append(windows)
        else:
            (anomalous if name.startswith(ANOMALOUS) else normal).append(windows)
    generator = np.random.default_rng(seed)
    tested = _alternate(
        [normal[n] for n in generator.permutation(len(normal))],
        [anomalous[n] for n in generator.permutation(len(anomalous))],
    )
    # As many sounds as have enough windows together.
    count = int(np.searchsorted(np.cumsum([len(windows) for windows, _ in tested]), validation_samples)) + 1
    if not train or len({is_anomalous for _, is_anomalous in tested[count:]}) < 2:
        raise DataError(
            f"{len(train)} sounds to train on, {len(normal)} normal and {len(anomalous)} anomalous ones to test on are "
            f"too few for {validation_samples} validation windows. Files are called train/normal_….wav, "
            "test/normal_….wav and test/anomaly_….wav."
        )
    inputs, targets = _join(tested[:count])
    return {
        "train": _join([(windows, False) for windows in train]),
        "validation": (inputs[:validation_samples], targets[:validation_samples]),
        "test": _join(tested[count:]),
    }


def preprocess(raw: Array) -> Array:
    """Shift and scale decibels (N, 640) to about -1..1, float32."""
    return (raw - np.float32(MEAN_DB)) / np.float32(DEVIATION_DB)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return view k of windows (N, 640), of which there is only the window itself."""
    return x


def loss(outputs: torch.Tensor, targets: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error between the outputs and the inputs (N, 640)."""
    return (outputs - inputs).square().mean()


def distillation_loss(outputs: torch.Tensor, teacher_outputs: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error between a student's and a teacher's outputs (N, 640)."""
    return (outputs - teacher_outputs).square().mean()


def collect_evidence(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> dict[str, Array]:
    """Return for each sound its mean reconstruction error, and whether it is anomalous."""
    errors = np.square(outputs[0].astype(np.float64) - inputs[0]).mean(axis=1)
    _, first, numbers, windows = np.unique(targets[:, 0], return_index=True, return_inverse=True, return_counts=True)
    return {"scores": np.bincount(numbers, errors) / windows, "positive": targets[first, 1].astype(bool)}


def compute_features(samples: Array) -> Array:
    """Return the decibels of the mel bands of a sound (time,) of 16 bits, float32 (frames, 128).

    A frame is centred every 512 samples. Before the first and after the last sample is silence.
    """
    padded = np.pad(samples.astype(np.float64) / audio.FULL_SCALE, FRAME_SAMPLES // 2)
    frames = audio.cut_frames(padded[None], FRAME_SAMPLES, STEP_SAMPLES)[0]
    if len(frames) >= LAST_FRAME:
        frames = frames[FIRST_FRAME:LAST_FRAME]
    powers = np.square(np.abs(np.fft.rfft(frames * audio.make_hann_window(FRAME_SAMPLES))))
    bands = powers @ audio.make_mel_filters_slaney(powers.shape[-1], MEL_BANDS, SAMPLE_RATE_HZ)
    features: Array = (10 * np.log10(bands + np.finfo(np.float64).eps)).astype(np.float32)
    return features


def cut_windows(features: Array) -> Array:
    """Return windows (N, 640) of features (frames, 128): the bands of five frames, frame after frame.

    Raises DataError for a sound of fewer frames.
    """
    windows = audio.cut_frames(features.T, WINDOW_FRAMES, WINDOW_STEP)
    return np.ascontiguousarray(windows.transpose(1, 2, 0)).reshape(-1, *INPUTS[0].shape)


def _alternate(normal: list[Array], anomalous: list[Array]) -> list[tuple[Array, bool]]:
    """Return the windows of each sound with 'is anomalous', the two kinds in turn for as long as both last."""
    pairs = itertools.zip_longest(((windows, False) for windows in normal), ((windows, True) for windows in anomalous))
    return [sound for pair in pairs for sound in pair if sound is not None]


def _join(sounds: list[tuple[Array, bool]]) -> tuple[Array, Array]:
    """Return the windows of all sounds, with the number of their sound and whether it is anomalous."""
    targets = [np.tile([n, positive], (len(windows), 1)) for n, (windows, positive) in enumerate(sounds)]
    return np.concatenate([windows for windows, _ in sounds]), np.concatenate(targets).astype(np.int64)


def _read_sounds(files: Mapping[str, Path]) -> Iterator[tuple[str, str, bytes]]:
    """Yield the folder, the name and the content of each wav file, sorted. Raises DataError for a damaged archive."""
    if ARCHIVE not in files:
        for name, path in sorted(files.items()):
            if name.endswith(".wav"):
                yield path.parent.name, path.name, path.read_bytes()
        return
    try:
        with zipfile.ZipFile(files[ARCHIVE]) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".wav"):
                    yield PurePosixPath(name).parent.name, PurePosixPath(name).name, archive.read(name)
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise DataError(f"{ARCHIVE} is a damaged archive ({error})") from error


def fixture() -> dict[str, bytes]:
    """Return a small archive of the official layout: noisy hums of two pitches, the anomalous ones with a whine."""
    generator = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for folder, kind, count in (("train", NORMAL, 12), ("test", NORMAL, 6), ("test", ANOMALOUS, 6)):
            for number in range(count):
                samples = _make_sound(generator, is_anomalous=kind == ANOMALOUS)
                archive.writestr(
                    f"ToyCar/{folder}/{kind}_id_01_{number:08}.wav", audio.write_wav(samples, SAMPLE_RATE_HZ)
                )
    return {ARCHIVE: buffer.getvalue()}


def _make_sound(generator: np.random.Generator, *, is_anomalous: bool) -> Array:
    """Return half a second of sound."""
    time_s = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    sound = np.sin(2 * np.pi * generator.choice([110.0, 165.0]) * time_s) + 0.1 * generator.normal(size=len(time_s))
    if is_anomalous:
        sound += 0.5 * np.sin(2 * np.pi * 3000.0 * time_s)
    samples: Array = (4000 * sound).astype(np.int16)
    return samples
