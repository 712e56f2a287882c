"""Tasks with raw inputs: their examples become what networks take, exactly as the data of the task did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeproof.core import audio, plugins, word_pieces
from edgeproof.core.raw_inputs import RawInputs
from edgeproof.tasks import banking77, detection, keyword_spotting, sst2

WITH_RAW_INPUTS = [name for name in plugins.list_names("tasks") if hasattr(plugins.load("tasks", name), "RAW_INPUTS")]


@pytest.mark.parametrize("name", WITH_RAW_INPUTS)
def test_raw_inputs_become_the_inputs_of_networks(name: str) -> None:
    task = plugins.load("tasks", name)
    raw_inputs: RawInputs = task.RAW_INPUTS
    examples, again = raw_inputs.make_examples(), raw_inputs.make_examples()
    assert len(examples) > 1
    for example, same in zip(examples, again, strict=True):
        (port,) = task.INPUTS
        inputs = raw_inputs.preprocess(example)
        assert isinstance(inputs, np.ndarray)
        assert (inputs.shape, inputs.dtype) == ((1, *port.shape), port.dtype)
        np.testing.assert_array_equal(inputs, raw_inputs.preprocess(same))
    assert "synthetic" in raw_inputs.description


def test_a_photograph_becomes_the_pixels_that_a_detector_was_trained_on() -> None:
    content = detection.RAW_INPUTS.make_examples()[0]
    expected = detection.preprocess(detection._read_picture(content)[None])
    np.testing.assert_array_equal(detection.RAW_INPUTS.preprocess(content), expected)


def test_a_clip_becomes_the_features_that_its_wav_file_has_in_the_data_set() -> None:
    clip = keyword_spotting.RAW_INPUTS.make_examples()[1]
    content = audio.write_wav(clip, keyword_spotting.SAMPLE_RATE_HZ)
    clips = keyword_spotting._compute_clips(iter([("yes/1.wav", content)]), [])
    expected = keyword_spotting.preprocess(clips.features)
    np.testing.assert_array_equal(keyword_spotting.RAW_INPUTS.preprocess(clip), expected)


@pytest.mark.parametrize("task", [sst2, banking77])
def test_a_text_becomes_the_word_pieces_of_the_same_vocabulary_in_a_file(task: object, tmp_path: Path) -> None:
    path = tmp_path / word_pieces.VOCABULARY_FILE
    path.write_text("\n".join(word_pieces.make_vocabulary(sst2.PIECES)))
    assert len(word_pieces.read_vocabulary(path)) == sst2.PIECES
    texts = sst2.RAW_INPUTS.make_examples()
    expected = word_pieces.encode_texts(texts, path, sst2.TOKENS)
    for text, row in zip(texts, expected, strict=True):
        np.testing.assert_array_equal(task.RAW_INPUTS.preprocess(text), row[None])  # type: ignore[attr-defined]
        # The words that are not in the vocabulary are split, and nothing is unknown or cut off.
        assert word_pieces.EXAMPLE_WORDS + 2 < np.count_nonzero(row) < sst2.TOKENS
        assert path.read_text().split("\n").index(word_pieces.UNKNOWN) not in row
