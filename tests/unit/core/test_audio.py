"""Spectra, mel filters and the cosine transform against TensorFlow, scipy and published values."""

from __future__ import annotations

import io
import math
import wave

import numpy as np
import pytest
import scipy.fft
import scipy.signal

from edgeproof.core import audio
from edgeproof.core.errors import DataError


def make_wav(samples: np.ndarray, *, channels: int = 1, width: int = 2, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def test_a_wav_file_is_read_and_written_without_a_change() -> None:
    samples = np.array([0, 1, -1, 32767, -32768], "<i2")
    np.testing.assert_array_equal(audio.read_wav(make_wav(samples), "a.wav", 16_000), samples)
    assert audio.write_wav(samples, 16_000) == make_wav(samples)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a wav file"),
        (b"RIFF1234WAVEfmt ", "not a wav file"),
        (b"ID3 a song", "not a wav file"),
        (make_wav(np.zeros(8, "<i2"), rate=8000), "1 channel.s. of 16 bits at 8000 Hz"),
        (make_wav(np.zeros(8, "<i2"), channels=2), "2 channel"),
        (make_wav(np.zeros(8, "u1"), width=1), "8 bits"),
    ],
    ids=["empty", "cut", "another format", "another rate", "stereo", "8 bits"],
)
def test_another_file_is_a_data_error_with_the_name_of_the_file(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"a.wav.*{message}"):
        audio.read_wav(content, "a.wav", 16_000)


def test_frames_overlap_and_an_incomplete_one_is_left_out() -> None:
    frames = audio.cut_frames(np.arange(20).reshape(2, 10), 4, 3)
    np.testing.assert_array_equal(frames[0], [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])
    assert audio.cut_frames(np.zeros((1, 11)), 4, 3).shape == (1, 3, 4)
    with pytest.raises(DataError, match="3 samples is shorter than one frame of 4"):
        audio.cut_frames(np.zeros((1, 3)), 4, 3)


@pytest.mark.parametrize("length", [8, 480, 1024])
def test_the_window_is_the_periodic_one_of_scipy(length: int) -> None:
    np.testing.assert_allclose(audio.make_hann_window(length), scipy.signal.get_window("hann", length), atol=1e-15)


@pytest.mark.parametrize(("bands", "coefficients"), [(40, 10), (5, 5)])
def test_the_cosine_transform_is_type_2_of_scipy(bands: int, coefficients: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, bands))
    expected = scipy.fft.dct(x, type=2)[:, :coefficients]
    np.testing.assert_allclose(x @ audio.make_cosines(bands, coefficients), expected, atol=1e-12)


def test_the_mel_filters_of_htk_are_those_of_tensorflow() -> None:
    import tensorflow as tf

    expected = tf.signal.linear_to_mel_weight_matrix(40, 257, 16_000, 20.0, 4000.0).numpy()
    np.testing.assert_allclose(audio.make_mel_filters_htk(257, 40, 16_000, 20.0, 4000.0), expected, atol=1e-5)


def test_the_mel_scale_of_slaney_has_the_values_in_the_documentation_of_librosa() -> None:
    """Check against librosa.mel_frequencies(n_mels=40), every sixth value."""
    published_hz = [0.0, 511.904, 1024.856, 1737.532, 2945.799, 4994.285, 8467.272]
    mel = np.linspace(0.0, float(audio.convert_hz_to_mel_slaney(np.array(11_025.0))), 40)[::6]
    np.testing.assert_allclose(audio.convert_mel_to_hz_slaney(mel), published_hz, atol=1e-3)
    np.testing.assert_allclose(audio.convert_hz_to_mel_slaney(audio.convert_mel_to_hz_slaney(mel)), mel, rtol=1e-12)


def test_a_slaney_filter_is_a_triangle_of_unit_area_in_hertz() -> None:
    def to_mel(hz: float) -> float:
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)

    def to_hz(mel: float) -> float:
        return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    bands, bins, rate = 32, 2049, 16_000
    edges = [to_hz(to_mel(rate / 2) * place / (bands + 1)) for place in range(bands + 2)]
    filters = audio.make_mel_filters_slaney(bins, bands, rate)
    assert filters.shape == (bins, bands)
    for band in range(bands):
        low, centre, high = edges[band : band + 3]
        height = 2 / (high - low)  # so that the area is 1
        for number in range(0, bins, 7):
            hz = rate / 2 * number / (bins - 1)
            side = (hz - low) / (centre - low) if hz < centre else (high - hz) / (high - centre)
            assert filters[number, band] == pytest.approx(height * max(side, 0.0), abs=1e-9)
