"""Keyword spotting: ten words, silence and other words in one second of sound (Speech Commands v0.02, MLPerf Tiny).

Warden: "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition" (2018). Banbury et al.: "MLPerf Tiny
Benchmark" (2021), whose front end `compute_features` follows. Two sets of files are accepted:

- the official archives, one to train on and one to test on;
- features: sc12_mfcc_int8.npz has the clips of the official test archive, split by speaker, and
  sc_v001_bed_cat_happy_mfcc_int8.npz has further words, which count as unknown.

In both, neither a speaker of a test clip nor a clip of MLPerf Tiny's own test set (kws01) is in the training data.
"""

from __future__ import annotations

import functools
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core import audio
from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port
from edgeproof.core.raw_inputs import RawInputs
from edgeproof.core.splits import split_groups

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
CLASSES = (*WORDS, "_silence_", "_unknown_")
SILENCE, UNKNOWN = CLASSES.index("_silence_"), CLASSES.index("_unknown_")
FRAMES, COEFFICIENTS = 49, 10

INPUTS = (Port("mfcc", (1, FRAMES, COEFFICIENTS)),)
OUTPUTS = (Port("logits", (len(CLASSES),)),)
METRICS = ("accuracy",)
VIEWS = 1  # variation comes from augment()
# Synthetic clips on which preprocessing is timed.
EXAMPLES = 4

SAMPLE_RATE_HZ = CLIP_SAMPLES = 16_000
FRAME_SAMPLES, STEP_SAMPLES, FFT_SAMPLES = 480, 320, 512
MEL_BANDS, LOWEST_HZ, HIGHEST_HZ = 40, 20.0, 4000.0
# The input quantization of MLPerf Tiny's reference model.
SCALE, ZERO_POINT = 0.5847029089927673, 83

TRAIN_ARCHIVE, TEST_ARCHIVE = "speech_commands_v0.02.tar.gz", "speech_commands_test_set_v0.02.tar.gz"
FEATURES, OTHER_WORDS = "sc12_mfcc_int8.npz", "sc_v001_bed_cat_happy_mfcc_int8.npz"
TEST_SPLIT = 2
BACKGROUND, TESTING_LIST = "_background_noise_", "testing_list.txt"
# The number of unknown words to train on, as a multiple of the number of clips of one keyword.
UNKNOWN_SHARE = 3.0
# Limits of augment(): the shift in frames of 20 ms, the logarithm of the rate, the number of masks, and the length of a
# mask in frames (below this limit).
MAX_SHIFT, MAX_LOG_RATE, MASKS, MAX_MASK = 5.0, 0.15, 2, 6
LEVEL_FACTOR = 4.0  # the first coefficient is the level and varies more than the others
_BATCH = 1000
_SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_")


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips: int8 features (N, 49, 10), labels (N,), speakers (N,), and names (N,) such as 'yes/0a7c2a8d_nohash_0.wav'.

    A recording of background noise is a speaker of its own.
    """

    features: Array
    labels: Array
    speakers: Array
    names: Array

    def select(self, rows: Array) -> Clips:
        """Return the clips with the given indices, or those that a mask selects."""
        return Clips(self.features[rows], self.labels[rows], self.speakers[rows], self.names[rows])

    def join(self, other: Clips) -> Clips:
        """Return these clips and the other ones."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Clips(*(np.concatenate(pair) for pair in pairs))


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, ...]]:
    """Read one of the two sets of files, and split validation clips off the training clips by speaker and `seed`.

    Returns int8 features (N, 49, 10) and labels (N,) of train, validation and test, for train with the speakers (N,).
    Raises DataError for a file of another format.
    """
    known, test, banned = _read_features(files) if FEATURES in files else _read_archives(files)
    allowed = limit_unknown(known.select(find_allowed(known, test, banned)), seed)
    train, validation = split_groups(allowed.speakers, validation_samples, seed)
    parts = {"train": allowed.select(train), "validation": allowed.select(validation), "test": test}
    splits: dict[str, tuple[Array, ...]] = {name: (part.features, part.labels) for name, part in parts.items()}
    return splits | {"train": (*splits["train"], parts["train"].speakers)}


def find_allowed(known: Clips, test: Clips, banned: Clips) -> Array:
    """Return a mask (N,) of the known clips that may be trained on.

    Clips with the speaker, name or content of a test clip are excluded, and those with the name or content of a banned
    clip.
    """
    excluded = test.join(banned)
    contents = {features.tobytes() for features in excluded.features}
    repeated = np.array([features.tobytes() in contents for features in known.features], bool)
    allowed: Array = ~(repeated | np.isin(known.speakers, test.speakers) | np.isin(known.names, excluded.names))
    return allowed


def limit_unknown(clips: Clips, seed: int) -> Clips:
    """Keep at most UNKNOWN_SHARE times as many unknown words as a keyword has clips on average."""
    rows = np.flatnonzero(clips.labels == UNKNOWN)
    limit = round(UNKNOWN_SHARE * float((clips.labels < len(WORDS)).sum()) / len(WORDS))
    removed = np.random.default_rng(seed).permutation(rows)[limit:]
    return clips.select(np.setdiff1d(np.arange(len(clips.labels)), removed))


def preprocess(raw: Array) -> Array:
    """Dequantize int8 features (N, 49, 10) to MFCC, float32 (N, 1, 49, 10)."""
    return ((raw.astype(np.float32) - np.float32(ZERO_POINT)) * np.float32(SCALE))[:, None]


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the features (N, 1, 49, 10): they have one view only."""
    return x


def augment(x: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Change the timing, pitch and timbre of each clip at random, then mask two spans of time.

    A clip is shifted by up to 100 ms, as in MLPerf Tiny, and played up to 16% faster or slower. Its mel bands are
    moved, as by a longer or shorter vocal tract (Jaitly, Hinton: "Vocal Tract Length Perturbation (VTLP) improves
    speech recognition", 2013). A constant is added to each coefficient, as by another microphone. A mask is the mean
    over time (after Park et al.: "SpecAugment", 2019).
    """
    import torch

    count, frames = len(x), x.shape[2]

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator)

    steps = torch.arange(float(frames))[None]
    rates = torch.exp(MAX_LOG_RATE * (2 * draw(1) - 1))
    places = ((steps - frames // 2) * rates + frames // 2 + MAX_SHIFT * (2 * draw(1) - 1)).clamp(0, frames - 1)
    before, after = places.floor().long(), places.ceil().long()
    share = (places - places.floor())[..., None]
    rows = torch.arange(count)[:, None]
    features = x[rows, 0, before] * (1 - share) + x[rows, 0, after] * share
    warps = torch.from_numpy(make_warps())
    features = features @ warps[torch.randint(len(warps), (count,), generator=generator)]
    colours = torch.randn(count, 1, x.shape[3], generator=generator) * (draw(1, 1) - 0.5)
    colours[..., 0] *= LEVEL_FACTOR
    features = features + colours
    for _ in range(MASKS):
        lengths = (draw(1) * MAX_MASK).floor()
        starts = (draw(1) * (frames - lengths)).floor()
        masked = ((steps >= starts) & (steps < starts + lengths))[..., None]
        features = torch.where(masked, features.mean(1, keepdim=True), features)
    return features[:, None], targets


@functools.cache
def make_warps() -> Array:
    """Return matrices (21, 10, 10) that move the mel bands behind MFCC (frames, 10) by factors from 0.85 to 1.18.

    Band n of the result is band n · factor. The bands are those of the ten coefficients, without finer structure.
    """
    cosines = audio.make_cosines(MEL_BANDS, COEFFICIENTS) / np.sqrt(2 * MEL_BANDS)
    bands = np.arange(MEL_BANDS)
    moved = [np.clip(bands * factor, 0, MEL_BANDS - 1) for factor in np.geomspace(0.85, 1.18, 21)]
    interpolations = [np.maximum(0.0, 1 - np.abs(bands[:, None] - place)) for place in moved]
    warps = [np.linalg.pinv(cosines) @ interpolation @ cosines for interpolation in interpolations]
    return np.stack(warps).astype(np.float32)


def compute_features(clips: Array) -> Array:
    """Return the MFCC of clips (N, 16000) at any scale as MLPerf Tiny computes them, float64 (N, 49, 10)."""
    waves = clips.astype(np.float64)
    peaks = waves.max(axis=1, keepdims=True)
    waves /= np.where(peaks > 0, peaks, 1.0)
    window, filters, cosines = make_front_end()
    spectra = np.abs(np.fft.rfft(audio.cut_frames(waves, FRAME_SAMPLES, STEP_SAMPLES) * window, FFT_SAMPLES))
    features: Array = np.log(spectra @ filters + 1e-6) @ cosines
    return features


@functools.cache
def make_front_end() -> tuple[Array, Array, Array]:
    """Return the constants of the features: the window (480,), the mel filters (257, 40) and the cosines (40, 10)."""
    bins = FFT_SAMPLES // 2 + 1
    filters = audio.make_mel_filters_htk(bins, MEL_BANDS, SAMPLE_RATE_HZ, LOWEST_HZ, HIGHEST_HZ)
    cosines = audio.make_cosines(MEL_BANDS, COEFFICIENTS) / np.sqrt(2 * MEL_BANDS)
    return audio.make_hann_window(FRAME_SAMPLES), filters, cosines


def quantize_features(features: Array) -> Array:
    """Return MFCC as MLPerf Tiny's int8 features: truncated, and clipped where its own tool wraps around."""
    return np.clip(np.trunc(features / SCALE + ZERO_POINT), -128, 127).astype(np.int8)


def _read_features(files: Mapping[str, Path]) -> tuple[Clips, Clips, Clips]:
    """Return the known clips, the test clips and the clips of kws01 in feature files."""
    with np.load(files[FEATURES], allow_pickle=False) as content:
        clips = Clips(content["mfcc"], content["label"].astype(np.int64), content["speaker"], content["name"])
        is_test, banned = content["split"] == TEST_SPLIT, clips.select(content["kws01_index"])
    known = clips.select(~is_test)
    if OTHER_WORDS in files:
        with np.load(files[OTHER_WORDS], allow_pickle=False) as content:
            features, names = content["mfcc"], content["name"]
        speakers = np.array([find_speaker(name) for name in names.tolist()])
        known = known.join(Clips(features, np.full(len(names), UNKNOWN), speakers, names))
    return known, clips.select(is_test), banned


def _read_archives(files: Mapping[str, Path]) -> tuple[Clips, Clips, Clips]:
    """Return the known clips, the test clips and the clips of the official list of test clips in both archives.

    The clips of kws01 are test clips.
    """
    listed: list[str] = []
    known = _compute_clips(read_archive(files[TRAIN_ARCHIVE]), listed)
    return known, _compute_clips(read_archive(files[TEST_ARCHIVE]), []), known.select(np.isin(known.names, listed))


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the folder and name, such as 'yes/1.wav', and the content of each file in a tar archive.

    Nothing is unpacked onto the disk, so no name can lead out of a folder. Raises DataError for a damaged archive.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield "/".join(PurePosixPath(member.name).parts[-2:]), content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path.name} is a damaged archive ({error})") from error


def _compute_clips(contents: Iterator[tuple[str, bytes]], listed: list[str]) -> Clips:
    """Compute the features of all sounds, and add the names in the list of test clips to `listed`."""
    waves: list[Array] = []
    names: list[str] = []
    batches: list[Array] = []
    for name, content in contents:
        if name.endswith(TESTING_LIST):
            listed += content.decode().split()
        if not name.endswith(".wav"):
            continue
        pieces = cut_clips(audio.read_wav(content, name, SAMPLE_RATE_HZ), is_noise=name.startswith(BACKGROUND))
        waves += pieces
        names += [name] * len(pieces)
        if len(waves) >= _BATCH:
            batches.append(quantize_features(compute_features(np.stack(waves))))
            waves.clear()
    if waves:
        batches.append(quantize_features(compute_features(np.stack(waves))))
    if not batches:
        raise DataError("an archive of Speech Commands has no wav files")
    labels = np.array([find_label(name) for name in names])
    return Clips(np.concatenate(batches), labels, np.array([find_speaker(name) for name in names]), np.array(names))


def cut_clips(samples: Array, *, is_noise: bool) -> list[Array]:
    """Return a recording as one clip of one second, or a long recording of noise as a clip every half second."""
    if is_noise:
        starts = range(0, len(samples) - CLIP_SAMPLES + 1, CLIP_SAMPLES // 2)
        return [samples[start : start + CLIP_SAMPLES] for start in starts]
    return [np.pad(samples[:CLIP_SAMPLES], (0, max(CLIP_SAMPLES - len(samples), 0)))]


def find_label(name: str) -> int:
    """Return the class of a clip by its folder."""
    folder = name.split("/", maxsplit=1)[0]
    if folder == BACKGROUND:
        return SILENCE
    return CLASSES.index(folder) if folder in CLASSES else UNKNOWN


def find_speaker(name: str) -> str:
    """Return the speaker in the name of a clip, or the whole name of a clip without one."""
    match = _SPEAKER.search(name)
    return match[1] if match else name


def fixture() -> dict[str, bytes]:
    """Return small archives of the official layout, with three words of 14 speakers, noise and silence."""
    generator = np.random.default_rng(0)
    speakers = [f"{number:08x}" for number in range(14)]
    words = ("yes", "no", "bed")
    known = [f"{word}/{speaker}_nohash_0.wav" for word in words for speaker in speakers]
    listed = [name for name in known if find_speaker(name) in speakers[:4]]
    tested = [name if name.split("/")[0] in WORDS else f"_unknown_/{name.replace('/', '_')}" for name in listed]
    contents = {name: audio.write_wav(_draw_noise(generator, CLIP_SAMPLES), SAMPLE_RATE_HZ) for name in known}
    noise = audio.write_wav(_draw_noise(generator, 2 * CLIP_SAMPLES), SAMPLE_RATE_HZ)
    silence = audio.write_wav(_draw_noise(generator, CLIP_SAMPLES), SAMPLE_RATE_HZ)
    train = contents | {f"{BACKGROUND}/tap.wav": noise, TESTING_LIST: "\n".join(listed).encode()}
    test = {new: contents[name] for name, new in zip(listed, tested, strict=True)} | {"_silence_/1.wav": silence}
    return {TRAIN_ARCHIVE: _write_archive(train), TEST_ARCHIVE: _write_archive(test)}


def preprocess_clip(clip: Array) -> Array:
    """Return the coefficients of one clip (16000,) at any scale, float32 (1, 1, 49, 10), as networks are trained on."""
    return preprocess(quantize_features(compute_features(clip[None])))


def make_clips() -> list[Array]:
    """Return clips of synthetic noise, int16 (16000,). The cost of features does not depend on the sound."""
    generator = np.random.default_rng(0)
    return [_draw_noise(generator, CLIP_SAMPLES) for _ in range(EXAMPLES)]


def _draw_noise(generator: np.random.Generator, count: int) -> Array:
    return generator.integers(-3000, 3000, count).astype(np.int16)


def _write_archive(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


RAW_INPUTS = RawInputs(
    preprocess_clip,
    make_clips,
    f"{EXAMPLES} clips of synthetic noise, 1 s at 16 kHz with 16 bits; features computed by numpy",
)
