"""A study in a worktree finds the user's own data and weights by the same relative paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.config.params import Params
from edgeproof.study.own_files import link_own_files, list_own_paths


@pytest.fixture
def params(digits_study: Params) -> Params:
    teacher = digits_study.train["teacher"]
    inputs = teacher.inputs.model_copy(update={"parent": "own_data/teacher.pt"})
    return digits_study.model_copy(
        update={
            "task": digits_study.task.model_copy(update={"depends_on": "own_data/pictures"}),
            "train": {**digits_study.train, "teacher": teacher.model_copy(update={"inputs": inputs})},
        }
    )


def test_a_study_of_public_data_has_no_own_files(digits_study: Params) -> None:
    assert list_own_paths(digits_study) == []


def test_own_files_are_linked_and_files_that_are_there_are_kept(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list_own_paths(params) == [Path("own_data/pictures"), Path("own_data/teacher.pt")]
    Path("own_data/pictures").mkdir(parents=True)
    Path("own_data/pictures/a.png").write_bytes(b"a")
    Path("own_data/teacher.pt").write_bytes(b"ours")
    worktree = tmp_path / "worktree"
    (worktree / "own_data").mkdir(parents=True)
    (worktree / "own_data/teacher.pt").write_bytes(b"theirs")
    for _ in range(2):
        link_own_files(params, worktree)
        assert (worktree / "own_data/pictures/a.png").read_bytes() == b"a"
        assert (worktree / "own_data/teacher.pt").read_bytes() == b"theirs"
