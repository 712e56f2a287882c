"""BANKING77: questions of customers to an online bank, with 77 intents.

Casanueva et al., "Efficient Intent Detection with Dual Sentence Encoders" (2020). The classes are the names of the
intents in the order of their characters' codes, so capitals come first.
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

INTENTS = 77
TOKENS = 48
PIECES = 30522
INPUTS = (Port("tokens", (TOKENS,), "int64"),)
OUTPUTS = (Port("logits", (INTENTS,)),)
METRICS = ("accuracy", "macro_f1")
VIEWS = 1

TRAIN_FILE, TEST_FILE = "train.csv", "test.csv"
HEADER = ["text", "category"]


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the two tables and split validation samples off the training samples by `seed`. Equal texts stay together.

    Returns word pieces (N, 48) and intents (N,) of train, validation and test. Raises DataError for a file of another
    format.
    """
    texts, names = read_table(files[TRAIN_FILE])
    test_texts, test_names = read_table(files[TEST_FILE])
    intents = sorted(set(names))
    if len(intents) != INTENTS or not set(test_names) <= set(intents):
        raise DataError(
            f"{files[TRAIN_FILE]} has {len(intents)} intents, or {TEST_FILE} has others; expected {INTENTS}"
        )
    vocabulary = files[word_pieces.VOCABULARY_FILE]
    tokens, test = (word_pieces.encode_texts(part, vocabulary, TOKENS) for part in (texts, test_texts))
    labels, test_labels = (np.searchsorted(intents, part).astype(np.int64) for part in (names, test_names))
    train, validation = split_groups(np.array(texts), validation_samples, seed)
    return {
        "train": (tokens[train], labels[train]),
        "validation": (tokens[validation], labels[validation]),
        "test": (test, test_labels),
    }


def read_table(path: Path) -> tuple[list[str], list[str]]:
    """Read the texts and the names of their intents. Raises DataError for a file of another format."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        if rows[0] != HEADER or not rows[1:] or any(len(row) != 2 for row in rows[1:]):
            raise ValueError("expected the columns text and category")
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise DataError(f"{path} is no table of BANKING77 ({error})") from error
    return [row[0] for row in rows[1:]], [row[1] for row in rows[1:]]


def preprocess(raw: Array) -> Array:
    """Return word pieces (N, 48) as int64. Raises DataError for numbers that are no word pieces."""
    word_pieces.check_tokens(raw, PIECES)
    return raw.astype(np.int64)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the word pieces themselves, which are the only view."""
    return x


def fixture() -> dict[str, bytes]:
    """Return tables of two and one questions for each of 77 intents, with a vocabulary of their words."""
    numbers = [f"card{number}" for number in range(INTENTS)]
    words = ["where", "how", "when", "is", "my", "?", *numbers]
    vocabulary = [word_pieces.PADDING, word_pieces.UNKNOWN, word_pieces.START, word_pieces.END, *words]

    def make_table(*questions: str) -> bytes:
        rows = [f'"{question} is my {number} ?",about_{number}' for question in questions for number in numbers]
        return "\r\n".join([",".join(HEADER), *rows, ""]).encode()

    return {
        TRAIN_FILE: make_table("where", "how"),
        TEST_FILE: make_table("when"),
        word_pieces.VOCABULARY_FILE: "\n".join(vocabulary).encode(),
    }


RAW_INPUTS = word_pieces.make_raw_inputs(PIECES, TOKENS, preprocess)
