"""From a wheel, in an empty directory: a new project runs, and repeats only what a change touches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.support.project_clones import ROOT, clone_project

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]

SMALL = {
    "teacher": {"method": "my_method", "network": "my_network", "network_options": {"widths": [4, 8]}}
    | {"options": {"epochs": 2}, "runtimes": ["onnx"], "schemes": ["fp32"]}
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, as pip does."""
    directory = tmp_path_factory.mktemp("wheel")
    clone_project(directory / "sources")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(directory), str(directory / "sources")], check=True)
    return next(directory.glob("edgeproof-*.whl"))


def test_the_wheel_holds_what_a_project_needs_in_one_package(wheel: Path) -> None:
    assert f"pip install {wheel.name}\n" in (ROOT / "docs/install.md").read_text(encoding="utf-8")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"edgeproof"}
    packed = {name.removeprefix("edgeproof/") for name in names}
    conf = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    stages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")}
    package = {
        path.relative_to(ROOT / "edgeproof").as_posix()
        for path in (ROOT / "edgeproof").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert (conf | stages | package | {"dvc.yaml"}) - packed == set()


def test_a_new_project_runs_and_repeats_only_what_changed(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True)
    project = tmp_path / "project"

    def run(*arguments: str, cwd: Path = project) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, "-m", "edgeproof.cli", *arguments]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("init", "project", cwd=tmp_path)
    study = project / "conf/study/my_study.yaml"
    content = yaml.safe_load(study.read_text())
    content |= {"models": SMALL, "bench": {**content["bench"], "runtimes": ["onnx"]}}
    study.write_text("# @package _global_\n" + yaml.safe_dump(content))

    first = run("repro")
    assert list_run_stages(first) == ["prepare", "train@teacher", "export@teacher_onnx", "bench@local_onnx", "report"]
    assert "teacher" in (project / "results/tables/table.md").read_text()

    method = project / "plugins/methods/my_method.py"
    method.write_text(method.read_text() + "\n# An edit of the user's own method.\n")
    # The weights are the same, so nothing is exported or measured again.
    assert list_run_stages(run("repro")) == ["train@teacher"]

    installed = site / "edgeproof/report/tables.py"
    installed.write_text(installed.read_text() + "\n# An upgrade that changes the report.\n")
    assert list_run_stages(run("repro")) == ["report"]


def list_run_stages(output: str) -> list[str]:
    return re.findall(r"^\[\d+/\d+\] (\S+)", output, re.MULTILINE)
