"""SST-2: sentences and phrases of film reviews, negative or positive.

Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank" (2013), in the form of
GLUE: Wang et al. (2019). The test split is GLUE's development set of 872 sentences, because the labels of its test set
are not public. The training set has the phrases of each sentence too, so the quality on the validation split, which is
a part of it, is higher than that on the test split.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core import word_pieces
from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port
from edgeproof.core.splits import split_groups

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

CLASSES = ("negative", "positive")
TOKENS = 48
PIECES = 30522
INPUTS = (Port("tokens", (TOKENS,), "int64"),)
OUTPUTS = (Port("logits", (len(CLASSES),)),)
METRICS = ("accuracy",)
VIEWS = 1

TRAIN_FILE, TEST_FILE = "train.tsv", "dev.tsv"
HEADER = ["sentence", "label"]


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read GLUE's files and split validation samples off the training samples by `seed`. Equal texts stay together.

    Returns word pieces (N, 48) and labels (N,) of train, validation and test. Raises DataError for a file of another
    format.
    """
    texts, labels = read_table(files[TRAIN_FILE])
    test_texts, test_labels = read_table(files[TEST_FILE])
    tokens, test = (
        word_pieces.encode_texts(t, files[word_pieces.VOCABULARY_FILE], TOKENS) for t in (texts, test_texts)
    )
    train, validation = split_groups(np.array(texts), validation_samples, seed)
    return {
        "train": (tokens[train], labels[train]),
        "validation": (tokens[validation], labels[validation]),
        "test": (test, test_labels),
    }


def read_table(path: Path) -> tuple[list[str], Array]:
    """Read the texts and labels of a file of GLUE. Raises DataError for a file of another format."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            # A quotation mark is a part of its sentence.
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        if rows[0] != HEADER or not rows[1:] or any(len(row) != 2 or row[1] not in ("0", "1") for row in rows[1:]):
            raise ValueError("expected the columns sentence and label, with labels 0 and 1")
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise DataError(f"{path} is no table of SST-2 ({error})") from error
    return [row[0] for row in rows[1:]], np.array([int(row[1]) for row in rows[1:]], np.int64)


def preprocess(raw: Array) -> Array:
    """Return word pieces (N, 48) as int64. Raises DataError for numbers that are no word pieces."""
    word_pieces.check_tokens(raw, PIECES)
    return raw.astype(np.int64)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the word pieces themselves, which are the only view."""
    return x


def fixture() -> dict[str, bytes]:
    """Return tables of 60 and 12 short reviews with a vocabulary of their words."""
    words = ["film", "plot", "cast", "good", "fine", "bad", "dull", "is", "the", "a", "very", "not", "so", "and", "."]
    vocabulary = [word_pieces.PADDING, word_pieces.UNKNOWN, word_pieces.START, word_pieces.END, *words]
    random = np.random.default_rng(0)

    def make_table(rows: int, judged: str) -> bytes:
        lines = ["\t".join(HEADER)]
        for number in range(rows):
            filler = " ".join(random.choice(words[8:], 6))
            label = number % 2
            lines.append(f"the {judged} is {words[3 + label] if label else words[5]} {filler} \t{label}")
        return ("\n".join(lines) + "\n").encode()

    return {
        TRAIN_FILE: make_table(60, "film"),
        TEST_FILE: make_table(12, "plot"),
        word_pieces.VOCABULARY_FILE: "\n".join(vocabulary).encode(),
    }


RAW_INPUTS = word_pieces.make_raw_inputs(PIECES, TOKENS, preprocess)
