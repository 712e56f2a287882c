"""The tasks of texts: tables, splits, classes, and files of another format."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import DataError
from edgeproof.tasks import banking77, sst2

VOCABULARY = b'[PAD]\n[UNK]\n[CLS]\n[SEP]\ngood\nbad\n"\n,\n'


def write(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def test_reviews_keep_their_labels_and_quotation_marks(tmp_path: Path) -> None:
    train = b'sentence\tlabel\n"good \t1\nbad \t0\n\t0\n'
    files = {"train.tsv": train, "dev.tsv": b"sentence\tlabel\ngood bad\t1\n", "vocab.txt": VOCABULARY}
    splits = sst2.data(write(tmp_path, files), validation_samples=1, seed=0)
    rows = [
        (x[x != 0].tolist(), int(y)) for name in ("train", "validation") for x, y in zip(*splits[name], strict=True)
    ]
    assert sorted(rows) == [([2, 3], 0), ([2, 5, 3], 0), ([2, 6, 4, 3], 1)]
    assert splits["test"][0][0, :5].tolist() == [2, 4, 5, 3, 0]
    assert splits["test"][1].tolist() == [1]


def test_equal_texts_are_in_one_split_only(tmp_path: Path) -> None:
    lines = [f"good {'bad ' * (number // 3)}\t1" for number in range(60)]
    train = "\n".join(["sentence\tlabel", *lines]).encode()
    files = {"train.tsv": train, "dev.tsv": b"sentence\tlabel\nbad\t0\n", "vocab.txt": VOCABULARY}
    splits = sst2.data(write(tmp_path, files), validation_samples=9, seed=1)
    train_texts, validation = ({tuple(row) for row in splits[name][0].tolist()} for name in ("train", "validation"))
    assert not train_texts & validation


def test_the_intents_are_sorted_by_name_and_quoted_questions_are_read(tmp_path: Path) -> None:
    files = banking77.fixture()
    paths = write(tmp_path, files)
    splits = banking77.data(paths, validation_samples=10, seed=0)
    names = sorted(f"about_card{number}" for number in range(77))
    texts, intents = banking77.read_table(paths["test.csv"])
    assert texts[3] == "when is my card3 ?"
    assert [names[label] for label in splits["test"][1]] == intents
    assert len(splits["train"][1]) == 144


def test_tables_with_other_intents_are_a_data_error(tmp_path: Path) -> None:
    files = banking77.fixture()
    for changed in ({"test.csv": b"text,category\r\nwho?,about_me\r\n"}, {"train.csv": files["test.csv"][:80]}):
        with pytest.raises(DataError, match=r"intents|no table"):
            banking77.data(write(tmp_path, files | changed), validation_samples=10, seed=0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"sentence\tlabel\n",
        b"text,category\na,b\n",
        b"sentence\tlabel\ngood\t2\n",
        b"sentence\tlabel\ngood\n",
        b"\xff",
    ],
)
def test_a_file_that_is_no_table_of_reviews_is_a_data_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(content)
    with pytest.raises(DataError, match="no table of SST-2"):
        sst2.read_table(tmp_path / "train.tsv")


@pytest.mark.parametrize("content", [b"", b"text,category\r\n", b"sentence\tlabel\n", b'text,category\r\n"a', b"\xff"])
def test_a_file_that_is_no_table_of_questions_is_a_data_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match="no table of BANKING77"):
        banking77.read_table(tmp_path / "train.csv")


@pytest.mark.parametrize("task", [sst2, banking77])
def test_numbers_that_are_no_word_pieces_are_refused(task: ModuleType) -> None:
    raw: Any = np.zeros((2, task.TOKENS), np.int32)
    assert task.preprocess(raw).dtype == np.int64
    for wrong in (-1, task.PIECES):
        raw[1, 3] = wrong
        with pytest.raises(DataError, match="vocabulary"):
            task.preprocess(raw)
