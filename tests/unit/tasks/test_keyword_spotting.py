"""Keyword spotting: the features of MLPerf Tiny, and no test clip or speaker of one in the training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from edgeproof.core.errors import DataError
from edgeproof.tasks import keyword_spotting as task

SPEAKERS = [f"{number:08x}" for number in range(16)]
TEST_SPEAKERS, KWS01_SPEAKER = SPEAKERS[:4], SPEAKERS[5]


def draw_clips(count: int) -> np.ndarray:
    """Return clips of tones and noise with different levels, int16."""
    generator = np.random.default_rng(0)
    time_s = np.arange(16_000) / 16_000
    tones = np.sin(2 * np.pi * generator.uniform(100, 3900, (count, 1)) * time_s)
    clips = 10 ** generator.uniform(1, 4, (count, 1)) * (tones + 0.2 * generator.normal(size=(count, 16_000)))
    return clips.astype(np.int16)


# --- features ------------------------------------------------------------------------------------------------------


def test_the_features_equal_the_formulas_of_mlperf_tiny_in_scipy() -> None:
    """Frames of 480 every 320, spectrum of 512, 40 bands of HTK's mel scale from 20 to 4000 Hz, log, DCT-II."""
    clips = draw_clips(3)
    window = scipy.signal.get_window("hann", 480)
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), 42)
    mel = 2595 * np.log10(1 + np.arange(257) * 16_000 / 512 / 700)
    for clip, features in zip(clips, task.compute_features(clips), strict=True):
        wave = clip / clip.max()
        for frame in range(49):
            spectrum = np.abs(scipy.fft.rfft(wave[320 * frame : 320 * frame + 480] * window, 512))
            bands = [
                spectrum @ np.interp(mel, edges[band : band + 3], [0, 1, 0], left=0, right=0) for band in range(40)
            ]
            expected = scipy.fft.dct(np.log(np.array(bands) + 1e-6), type=2)[:10] * np.sqrt(1 / 80)
            np.testing.assert_allclose(features[frame], expected, atol=1e-9)


def test_the_features_equal_those_of_tensorflow() -> None:
    import tensorflow as tf

    clips = draw_clips(4)
    waves = tf.constant(clips / clips.max(1, keepdims=True), tf.float32)
    spectra = tf.abs(tf.signal.stft(waves, frame_length=480, frame_step=320))
    filters = tf.signal.linear_to_mel_weight_matrix(40, spectra.shape[-1], 16_000, 20.0, 4000.0)
    expected = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(tf.matmul(spectra, filters) + 1e-6))[..., :10]
    np.testing.assert_allclose(task.compute_features(clips), expected.numpy(), atol=2e-3)


def test_silence_has_finite_features() -> None:
    assert np.isfinite(task.compute_features(np.zeros((1, 16_000), np.int16))).all()


def test_quantized_features_are_truncated_and_clipped() -> None:
    scale = task.SCALE
    values = scale * np.array([0.0, 0.9, -0.9, 43.9, 44.1, 1000.0, -84.5, -1000.0])
    assert task.quantize_features(values).tolist() == [83, 83, 82, 126, 127, 127, -1, -128]


def test_preprocessing_inverts_the_quantization() -> None:
    stored = np.random.default_rng(0).integers(-128, 128, (2, 49, 10)).astype(np.int8)
    inputs = task.preprocess(stored)
    assert (inputs.shape, inputs.dtype) == ((2, 1, 49, 10), np.float32)
    np.testing.assert_allclose(inputs[:, 0], (stored.astype(float) - 83) * 0.5847029089927673, rtol=1e-6)


# --- augmentation --------------------------------------------------------------------------------------------------


def test_a_warp_moves_a_peak_of_the_mel_spectrum() -> None:
    bands = np.arange(40)
    warps = task.make_warps()
    cosines = scipy.fft.dct(np.eye(40), type=2)[:, :10] / np.sqrt(80)
    for centre in (15.0, 20.0, 25.0):
        features = np.exp(-(((bands - centre) / 8) ** 2)) @ cosines
        factors = [0.85, 1.0, 1.18]
        for warp, factor in zip(warps[[0, 10, 20]], factors, strict=True):
            spectrum = features @ warp @ np.linalg.pinv(cosines)
            assert spectrum.argmax() == pytest.approx(centre / factor, abs=1.6)
    np.testing.assert_allclose(warps[10], np.eye(10), atol=0.05)  # the factor in the middle is nearly 1


def test_augmentation_without_randomness_returns_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_SHIFT", "MAX_LOG_RATE", "MASKS"):
        monkeypatch.setattr(task, name, 0)
    monkeypatch.setattr(task, "make_warps", lambda: np.eye(10, dtype=np.float32)[None])
    x = torch.randn(6, 1, 49, 10)
    changed, _ = task.augment(x, torch.zeros(6), torch.Generator().manual_seed(0))
    offsets = changed - x  # a constant for each coefficient of each clip
    torch.testing.assert_close(offsets, offsets[:, :, :1].expand_as(offsets), atol=1e-5, rtol=0)


def test_augmentation_shifts_by_at_most_five_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_LOG_RATE", "MASKS"):
        monkeypatch.setattr(task, name, 0)
    x = torch.zeros(500, 1, 49, 10)
    x[:, :, 24, 1] = 100.0
    changed, _ = task.augment(x, torch.zeros(500), torch.Generator().manual_seed(0))
    places = changed[:, 0, :, 1].argmax(1)
    assert set(range(20, 29)) <= set(places.tolist()) <= set(range(19, 30))


def test_augmentation_is_reproducible_and_keeps_labels_and_shapes() -> None:
    x, labels = torch.randn(16, 1, 49, 10), torch.arange(16) % 12
    first, again, other = (task.augment(x, labels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first[0].shape == x.shape
    assert torch.equal(first[1], labels)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[0].isfinite().all()


# --- the training data ---------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write feature files in which the features of each clip are unlike those of all others.

    Speaker 5 has a clip in kws01 and others that may be trained on. One further word is of a test speaker, one repeats
    the features of a test clip, and one those of a clip of kws01.
    """
    generator = np.random.default_rng(0)
    names, labels, speakers = [], [], []
    for speaker in SPEAKERS:
        for label, word in enumerate(task.WORDS):
            names.append(f"{word}/{speaker}_nohash_0.wav")
            labels.append(label)
            speakers.append(speaker)
    features = generator.integers(-128, 128, (len(names), 49, 10)).astype(np.int8)
    split = np.where(np.isin(speakers, TEST_SPEAKERS), 2, np.arange(len(names)) % 2).astype(np.uint8)
    kws01 = np.array([names.index(f"yes/{KWS01_SPEAKER}_nohash_0.wav"), names.index(f"go/{SPEAKERS[0]}_nohash_0.wav")])
    np.savez(
        tmp_path / task.FEATURES,
        mfcc=features,
        label=np.array(labels, np.uint8),
        name=np.array(names),
        speaker=np.array(speakers),
        split=split,
        kws01_index=kws01,
    )
    further = [f"bed/{speaker}_nohash_1.wav" for speaker in (SPEAKERS[1], *(f"ab{n:06x}" for n in range(9)))]
    other = generator.integers(-128, 128, (len(further), 49, 10)).astype(np.int8)
    other[1], other[2] = features[split == 2][0], features[kws01[0]]
    np.savez(tmp_path / task.OTHER_WORDS, mfcc=other, name=np.array(further), split=np.zeros(len(further), np.uint8))
    return {name: tmp_path / name for name in (task.FEATURES, task.OTHER_WORDS)}


def describe_clips(files: dict[str, Path], clips: tuple[np.ndarray, ...]) -> list[tuple[str, int]]:
    """Return the name and the label of each clip, which its features tell."""
    known: dict[bytes, str] = {}
    for path in reversed(files.values()):
        with np.load(path) as content:
            known |= {x.tobytes(): name for x, name in zip(content["mfcc"], content["name"].tolist(), strict=True)}
    return [(known[x.tobytes()], int(y)) for x, y in zip(*clips[:2], strict=True)]


def test_no_speaker_of_a_test_clip_is_trained_on_and_no_clip_of_kws01(files: dict[str, Path]) -> None:
    splits = {
        name: describe_clips(files, clips) for name, clips in task.data(files, validation_samples=20, seed=0).items()
    }
    assert {task.find_speaker(name) for name, _ in splits["test"]} == set(TEST_SPEAKERS)
    assert len(splits["test"]) == len(TEST_SPEAKERS) * len(task.WORDS)
    used = splits["train"] + splits["validation"]
    names = [name for name, _ in used]
    assert not {task.find_speaker(name) for name in names} & set(TEST_SPEAKERS)
    assert f"yes/{KWS01_SPEAKER}_nohash_0.wav" not in names
    assert f"no/{KWS01_SPEAKER}_nohash_0.wav" in names
    assert all(label == task.find_label(name) for name, label in used)
    speakers = [{task.find_speaker(name) for name, _ in splits[split]} for split in ("train", "validation")]
    assert not speakers[0] & speakers[1]


def test_the_speakers_of_the_training_clips_are_known(files: dict[str, Path]) -> None:
    clips = task.data(files, validation_samples=20, seed=0)["train"]
    names = [task.find_speaker(name) for name, _ in describe_clips(files, clips)]
    assert len(set(names)) == len(set(clips[2])) == len(set(zip(names, clips[2], strict=True))) > 1


def test_further_words_are_unknown_unless_they_repeat_a_test_clip(files: dict[str, Path]) -> None:
    everything = task.data(files, validation_samples=1, seed=0)
    clips = describe_clips(files, everything["train"]) + describe_clips(files, everything["validation"])
    beds = {name for name, label in clips if name.startswith("bed/")}
    assert beds <= {f"bed/ab{n:06x}_nohash_1.wav" for n in range(2, 9)}
    assert len(beds) >= 6  # one may be the rest of the validation speaker
    assert {label for name, label in clips if name in beds} == {task.UNKNOWN}
    without = task.data({task.FEATURES: files[task.FEATURES]}, validation_samples=1, seed=0)
    assert task.UNKNOWN not in without["train"][1]


def test_unknown_words_are_limited_to_a_multiple_of_a_keyword() -> None:
    labels = np.array([label for label in range(10) for _ in range(2)] + [task.UNKNOWN] * 50)
    clips = task.Clips(np.zeros((70, 49, 10), np.int8), labels, np.arange(70), np.arange(70))
    assert np.bincount(task.limit_unknown(clips, 0).labels, minlength=12).tolist() == [2] * 10 + [0, 6]


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    for name, content in task.fixture().items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in (task.TRAIN_ARCHIVE, task.TEST_ARCHIVE)}


def test_the_official_archives_give_no_listed_clip_to_train_on(archives: dict[str, Path]) -> None:
    splits = task.data(archives, validation_samples=10, seed=0)
    contents: dict[str, Any] = {}
    for name, content in task.read_archive(archives[task.TRAIN_ARCHIVE]):
        contents[name] = content
    listed = contents[task.TESTING_LIST].decode().split()
    assert len(listed) == 12
    waves = np.stack([np.frombuffer(contents[name][44:], "<i2") for name in listed])
    tested = {x.tobytes() for x in task.quantize_features(task.compute_features(waves))}
    used = {x.tobytes() for split in ("train", "validation") for x in splits[split][0]}
    assert not used & tested
    assert tested <= {x.tobytes() for x in splits["test"][0]}
    # Two seconds of background noise give three clips of silence.
    assert int((splits["train"][1] == task.SILENCE).sum() + (splits["validation"][1] == task.SILENCE).sum()) == 3


def test_short_clips_are_filled_with_silence_and_noise_is_cut() -> None:
    (short,) = task.cut_clips(np.ones(12_000, np.int16), is_noise=False)
    assert (len(short), int(short.sum())) == (16_000, 12_000)
    pieces = task.cut_clips(np.arange(32_000), is_noise=True)
    assert [piece[0] for piece in pieces] == [0, 8_000, 16_000]


@pytest.mark.parametrize("size", [0, 10, 5_000, 200_000])
def test_a_damaged_archive_is_a_data_error(archives: dict[str, Path], size: int) -> None:
    path = archives[task.TEST_ARCHIVE]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"test_set|wav"):
        task.data(archives, validation_samples=10, seed=0)


@pytest.mark.parametrize(
    ("name", "label", "speaker"),
    [
        ("yes/0a7c2a8d_nohash_0.wav", 9, "0a7c2a8d"),
        ("marvin/0a7c2a8d_nohash_3.wav", 11, "0a7c2a8d"),
        ("_unknown_/bird_0a7c2a8d_nohash_0.wav.wav", 11, "0a7c2a8d"),
        ("_silence_/17.wav", 10, "_silence_/17.wav"),
        ("_background_noise_/running_tap.wav", 10, "_background_noise_/running_tap.wav"),
    ],
)
def test_the_name_of_a_clip_tells_its_class_and_speaker(name: str, label: int, speaker: str) -> None:
    assert (task.find_label(name), task.find_speaker(name)) == (label, speaker)
