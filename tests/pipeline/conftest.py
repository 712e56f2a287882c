"""Fixtures of the pipeline tests: fresh clones of the working tree, and the quick study run in one of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.command_blocks import find_block
from tests.support.project_clones import ProjectClone, clone_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectClone:
    """Return a clone in which the quick study has run by the command of README.md and install.md."""
    clone = clone_project(tmp_path_factory.mktemp("first"))
    environment = Path(sys.executable).parents[1]
    # The clone's own edgeproof and this environment, which must not be set up again.
    options = ("-o", f"{environment}/.ready", f"VENV={environment}")
    (command,) = find_block("install.md", "make repro STUDY").list_commands()
    make, *targets = command.partition("#")[0].split()
    done = clone.run("env", f"PYTHONPATH={clone.path}", make, *options, *targets)
    (clone.path / "printed.txt").write_text(done.stdout, encoding="utf-8")
    return clone


@pytest.fixture(scope="session")
def study(project: ProjectClone) -> ProjectClone:
    """Return the worktree in which the quick study ran."""
    return ProjectClone(project.path / ".edgeproof" / "studies" / "digits")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> ProjectClone:
    """Return a second clone, at another path, with the quick study built but not measured."""
    clone = clone_project(tmp_path_factory.mktemp("second") / "at" / "another" / "path")
    clone.edgeproof("compose", "study=digits")
    clone.run("dvc", "repro", "export")
    return clone
