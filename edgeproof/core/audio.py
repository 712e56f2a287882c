"""Features of sounds in plain numpy: wav files, spectra, mel filters and the discrete cosine transform.

Tasks use these functions when data is prepared, and a device needs nothing else to compute the same features.
"""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

from edgeproof.core.errors import DataError

Array = np.ndarray[Any, Any]

FULL_SCALE = 32768  # of 16-bit samples

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1,000 Hz and logarithmic above.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def read_wav(content: bytes, name: str, sample_rate_hz: int) -> Array:
    """Return the samples of a mono wav file of 16 bits, int16 (N,).

    Raises DataError for anything else, or for another sample rate. `name` is for the message.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            layout = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            samples = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{name} is not a wav file ({error})") from error
    if layout != (1, 2, sample_rate_hz):
        raise DataError(
            f"{name} has {layout[0]} channel(s) of {8 * layout[1]} bits at {layout[2]} Hz; "
            f"needed: 1 channel of 16 bits at {sample_rate_hz} Hz"
        )
    return np.frombuffer(samples[: len(samples) // 2 * 2], "<i2").astype(np.int16)


def write_wav(samples: Array, sample_rate_hz: int) -> bytes:
    """Return the content of a mono wav file of int16 samples (N,)."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def cut_frames(samples: Array, length: int, step: int) -> Array:
    """Return the whole frames (N, frames, length) of samples (N, time), one every `step` samples.

    Raises DataError for samples that are shorter than one frame.
    """
    if samples.shape[-1] < length:
        raise DataError(f"a sound of {samples.shape[-1]} samples is shorter than one frame of {length}")
    frames: Array = np.lib.stride_tricks.sliding_window_view(samples, length, axis=-1)[:, ::step]
    return frames


def make_hann_window(length: int) -> Array:
    """Return the periodic Hann window, float64 (length,)."""
    window: Array = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return window


def convert_hz_to_mel_htk(frequency_hz: Array) -> Array:
    """Convert frequencies to the mel scale of HTK."""
    mel: Array = 1127.0 * np.log1p(np.asarray(frequency_hz, np.float64) / 700.0)
    return mel


def convert_hz_to_mel_slaney(frequency_hz: Array) -> Array:
    """Convert frequencies to Slaney's mel scale."""
    hz = np.asarray(frequency_hz, np.float64)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    mel: Array = np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)
    return mel


def convert_mel_to_hz_slaney(mel: Array) -> Array:
    """Convert values of Slaney's mel scale to frequencies."""
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    frequency_hz: Array = np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)
    return frequency_hz


def make_triangles(points: Array, edges: Array) -> Array:
    """Return triangular filters (len(points), len(edges) - 2) over points of an axis.

    Filter k rises from edges[k] to 1 at edges[k + 1] and falls to 0 at edges[k + 2].
    """
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (points[:, None] - lower) / (centre - lower)
    falling = (upper - points[:, None]) / (upper - centre)
    filters: Array = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def make_mel_filters_htk(bins: int, bands: int, sample_rate_hz: int, lowest_hz: float, highest_hz: float) -> Array:
    """Return the mel filters (bins, bands) of TensorFlow's `linear_to_mel_weight_matrix`.

    The sides of the triangles are straight on HTK's mel scale, and the bin of 0 Hz counts for no band.
    """
    frequencies_hz = np.linspace(0.0, sample_rate_hz / 2, bins)[1:]
    ends = convert_hz_to_mel_htk(np.array([lowest_hz, highest_hz]))
    edges = np.linspace(ends[0], ends[1], bands + 2)
    return np.pad(make_triangles(convert_hz_to_mel_htk(frequencies_hz), edges), ((1, 0), (0, 0)))


def make_mel_filters_slaney(bins: int, bands: int, sample_rate_hz: int) -> Array:
    """Return the mel filters (bins, bands) of librosa, from 0 Hz to half the sample rate.

    The sides of the triangles are straight in hertz, and each filter is divided by half its width in hertz.
    """
    frequencies_hz = np.linspace(0.0, sample_rate_hz / 2, bins)
    ends = convert_hz_to_mel_slaney(np.array([0.0, sample_rate_hz / 2]))
    edges_hz = convert_mel_to_hz_slaney(np.linspace(ends[0], ends[1], bands + 2))
    filters: Array = make_triangles(frequencies_hz, edges_hz) * (2.0 / (edges_hz[2:] - edges_hz[:-2]))
    return filters


def make_cosines(bands: int, coefficients: int) -> Array:
    """Return the matrix (bands, coefficients) of a type II cosine transform: 2 · cos(π k (2n + 1) / 2N)."""
    angles = np.pi * np.outer(2 * np.arange(bands) + 1, np.arange(coefficients)) / (2 * bands)
    cosines: Array = 2.0 * np.cos(angles)
    return cosines
