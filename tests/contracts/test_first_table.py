"""The tutorial docs/first_table.md: its commands and files make a project whose models reach the task's target."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeproof.artifacts import export
from edgeproof.cli import main
from edgeproof.config import compose
from edgeproof.core import plugins
from edgeproof.data import own_data, preparation
from edgeproof.models import build
from tests.support.command_blocks import CommandBlock, find_block
from tests.support.project import ROOT

PAGE = (ROOT / "docs/first_table.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
PROJECT = find_block("first_table.md", "edgeproof init")
PICTURES = find_block("first_table.md", "load_digits")
RUN = find_block("first_table.md", "edgeproof repro")


def run_block(block: CommandBlock) -> None:
    """Run a block in the shell with this environment's programs. Raises AssertionError if a command fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euc", block.text], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Follow the tutorial up to its last step; the project is the working directory."""
    monkeypatch.chdir(tmp_path)
    (words,) = PROJECT.list_edgeproof_arguments()
    assert main.run(words) == 0
    monkeypatch.chdir(PROJECT.list_commands()[1].removeprefix("cd "))
    run_block(PICTURES)
    for name, content in FILES.items():
        Path(name).write_text(content, encoding="utf-8")
    return Path.cwd()


def test_a_reader_types_at_most_30_lines() -> None:
    typed = [
        *PROJECT.list_commands(),
        *RUN.list_commands(),
        *(line for text in FILES.values() for line in text.split("\n")),
    ]
    assert 20 < len([line for line in typed if line.strip()]) <= 30


@pytest.mark.usefixtures("restore_torch_settings")
def test_the_models_of_the_tutorial_reach_its_target_and_the_small_one_is_smaller(project: Path) -> None:
    assert RUN.list_edgeproof_arguments() == [["repro"]]
    params = compose.compose()
    assert params.task.depends_on == "own_data/pictures"
    assert Path(params.train["large"].plugins.files["network"]) == Path("plugins/networks/tiny.py")
    own_data.prepare(params.task)
    (pictures,), digits = preparation.load_split("pictures", "test")
    sizes = {}
    for model, scheme in (("large", "fp32"), ("small", "int8-static")):
        build.build(model, params)
        export.export(params.export[f"{model}_onnx"], "pictures")
        place = Path("artifacts/onnx", model, scheme)
        session = plugins.load("runtimes", "onnx").Session(place, threads=1)
        answers = [int(np.argmax(session(pictures[i : i + 1])[0])) for i in range(len(pictures))]
        assert np.mean(np.array(answers) == digits) > params.task.quality_target, model
        sizes[model] = json.loads((place / "meta.json").read_text())["size_bytes"]
    assert sizes["small"] < sizes["large"] / 2
