"""Word pieces: texts become the same numbers as with the algorithm that Devlin et al. published with BERT."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core import word_pieces
from edgeproof.core.errors import DataError

PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("un", "##aff", "##able", "##ab", "##le", "run", "##ning", "runs", "cafe", "naive", "the", "a", "##a", "##b"),
    *(
        "b",
        "!",
        ",",
        ".",
        "'",
        "-",
        "$",
        "電",
        "車",
        "s",
        "t",
        "##s",
        "##t",
        "straße",
        "2",
        "##0",
        "##1",
        "i",
        "ü",
        "u",
    ),
]
# Words of more characters are unknown.
LONGEST_WORD = 100


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / word_pieces.VOCABULARY_FILE
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return path


def encode_by_hand(text: str, length: int) -> list[int]:
    """Encode a text with the basic tokenization and the greedy longest match of Devlin et al."""
    cleaned = ""
    for character in text:
        if character in "\0\ufffd" or (unicodedata.category(character)[0] == "C" and character not in "\t\n\r"):
            continue
        is_space = character in "\t\n\r" or unicodedata.category(character) == "Zs"
        cleaned += " " if is_space else f" {character} " if is_chinese(character) else character
    decomposed = unicodedata.normalize("NFD", cleaned)
    plain = "".join(character for character in decomposed if unicodedata.category(character) != "Mn").lower()
    spaced = "".join(f" {character} " if is_punctuation(character) else character for character in plain)
    pieces = [piece for word in spaced.split() for piece in split_word(word)]
    numbers = [PIECES.index(piece) for piece in ["[CLS]", *pieces[: length - 2], "[SEP]"]]
    return numbers + [0] * (length - len(numbers))


def is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff" or "\u3400" <= character <= "\u4dbf" or "\uf900" <= character <= "\ufaff"


def is_punctuation(character: str) -> bool:
    is_ascii_mark = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return is_ascii_mark or unicodedata.category(character)[0] == "P"


def split_word(word: str) -> list[str]:
    pieces: list[str] = []
    start = 0
    while start < len(word) and len(word) <= LONGEST_WORD:
        ends = range(len(word), start, -1)
        fitting = [(end, piece) for end in ends if (piece := "##" * bool(start) + word[start:end]) in PIECES]
        if not fitting:
            return ["[UNK]"]
        start = fitting[0][0]
        pieces.append(fitting[0][1])
    return pieces or ["[UNK]"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n ",
        "Unaffable, RUNNING runs!",
        "the café's naïve",
        "電車a電",
        "a\u00a0b\u2003a",
        "\0a\ufffdb\u200bs",
        "don't-stop $2011.",
        "Straße ÜBER über",
        "¿a? «b» …",
        "a" * 100,
        "a" * 101,
        "zzz unaffablez the",
        "the " * 500,
        "😀 a",
    ],
)
def test_texts_become_the_pieces_of_the_published_algorithm(text: str, vocabulary: Path) -> None:
    assert word_pieces.encode_texts([text], vocabulary, 12).tolist() == [encode_by_hand(text, 12)]


def test_a_text_cannot_forge_a_mark_because_its_brackets_are_punctuation(vocabulary: Path) -> None:
    assert word_pieces.encode_texts(["[SEP]"], vocabulary, 6).tolist() == [[2, 1, 1, 1, 3, 0]]


@given(st.text("abstunrig 01.,'!-éüÀ電車\t", max_size=60))
def test_random_texts_become_the_pieces_of_the_published_algorithm(vocabulary: Path, text: str) -> None:
    assert word_pieces.encode_texts([text], vocabulary, 16).tolist() == [encode_by_hand(text, 16)]


def test_many_texts_are_encoded_one_by_one(vocabulary: Path) -> None:
    texts = ["a", "b", "the runs"] * 2000
    rows = word_pieces.encode_texts(texts, vocabulary, 6)
    assert (rows.shape, rows.dtype) == ((6000, 6), np.int32)
    assert rows.tolist() == [encode_by_hand(text, 6) for text in texts]
    assert word_pieces.encode_texts([], vocabulary, 6).shape == (0, 6)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no"),
        (b"[UNK]\n[PAD]\n[CLS]\n[SEP]\n", "first line"),
        (b"[PAD]\n[UNK]\n[CLS]\n", r"no \[SEP\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n", "twice"),
        (b"\xff\xfe\x00", "no vocabulary"),
    ],
)
def test_a_damaged_vocabulary_is_a_data_error(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        word_pieces.encode_texts(["a"], tmp_path / "vocab.txt", 6)


@pytest.mark.parametrize("wrong", [-1, 8])
def test_tokens_out_of_range_are_a_data_error(wrong: int) -> None:
    word_pieces.check_tokens(np.array([[0, 7]]), 8)
    with pytest.raises(DataError, match="0 to 7"):
        word_pieces.check_tokens(np.array([[0, wrong]]), 8)
