"""Word pieces: turn texts into the numbers that BERT reads.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (2019): a text is
cleaned of control characters, lowercased, stripped of accents, and split at spaces, punctuation and Chinese characters.
Each word then becomes the longest pieces that the vocabulary has, from left to right; '##' marks a piece that continues
a word.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.raw_inputs import RawInputs

Array = np.ndarray[Any, Any]

VOCABULARY_FILE = "vocab.txt"
PADDING, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
PADDING_ID = 0
# Texts that are encoded at once, which bounds the memory.
_BATCH = 4096

# The synthetic texts, and the letters of their words.
EXAMPLES, EXAMPLE_WORDS = 4, 20
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def encode_texts(texts: Sequence[str], vocabulary: Path, length: int) -> Array:
    """Return the word pieces of texts (N, length), int32: [CLS], the pieces, [SEP], then padding.

    A longer text is cut off. An empty one has [CLS] and [SEP] only. Raises DataError for a damaged vocabulary.
    """
    pieces = read_vocabulary(vocabulary)
    tokenizer = _build_tokenizer(pieces, length)
    rows = np.zeros((len(texts), length), np.int32)
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        rows[start : start + _BATCH] = [encoding.ids for encoding in tokenizer.encode_batch(batch)]
    return rows


def check_tokens(tokens: Array, pieces: int) -> None:
    """Check that tokens are numbers of word pieces. Raises DataError: a network would read outside of its table."""
    if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < pieces:
        raise DataError(
            f"tokens go from {tokens.min()} to {tokens.max()}, and the vocabulary has the numbers 0 to {pieces - 1}"
        )


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read a vocabulary, one word piece in each line, numbered from 0. Raises DataError if BERT cannot use it."""
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no vocabulary of word pieces ({error})") from error
    pieces = {line: number for number, line in enumerate(lines)}
    missing = [name for name in (PADDING, UNKNOWN, START, END) if name not in pieces]
    if missing or pieces[PADDING] != PADDING_ID:
        problem = f"it has no {', '.join(missing)}" if missing else f"{PADDING} is not its first line"
        raise DataError(f"{path} is no vocabulary of word pieces: {problem}")
    if len(pieces) < len(lines):
        raise DataError(f"{path} has a word piece twice, so its numbers are ambiguous")
    return pieces


def make_raw_inputs(pieces: int, length: int, preprocess: Callable[[Array], Array]) -> RawInputs:
    """Return the raw inputs of a task of texts: each becomes `length` word pieces, which are then preprocessed.

    No device has the vocabulary of the data, so it is synthetic, with as many pieces.
    """

    @functools.cache
    def load_tokenizer() -> Any:
        return _build_tokenizer(make_vocabulary(pieces), length)

    def preprocess_text(text: str) -> Array:
        return preprocess(np.array([load_tokenizer().encode(text).ids], np.int32))

    return RawInputs(
        preprocess_text,
        functools.partial(make_texts, pieces),
        f"{EXAMPLES} synthetic texts of {EXAMPLE_WORDS} words, split by a synthetic vocabulary of {pieces:,} pieces",
        packages=("tokenizers",),
    )


def make_vocabulary(count: int) -> dict[str, int]:
    """Return a synthetic vocabulary of `count` pieces: the special ones, letters, random words and word ends."""
    random = np.random.default_rng(0)
    pieces = dict.fromkeys((PADDING, UNKNOWN, START, END, ".", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)))
    while len(pieces) < count:
        letters = random.choice(list(_LETTERS), int(random.integers(2, 9)))
        pieces["".join(("##" if random.random() < 0.2 else "", *letters))] = None
    return {piece: number for number, piece in enumerate(pieces)}


def make_texts(pieces: int) -> list[str]:
    """Return synthetic texts of words in such a vocabulary. Every fifth word has a further letter, so it is split."""
    words = [piece for piece in make_vocabulary(pieces) if piece.isalpha()]
    random = np.random.default_rng(1)
    texts = []
    for _ in range(EXAMPLES):
        chosen = random.choice(words, EXAMPLE_WORDS).tolist()
        chosen[::5] = [f"{word}q" for word in chosen[::5]]
        texts.append(" ".join(chosen).capitalize() + ".")
    return texts


def _build_tokenizer(pieces: dict[str, int], length: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing((END, pieces[END]), (START, pieces[START]))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=PADDING_ID, pad_token=PADDING)
    return tokenizer
