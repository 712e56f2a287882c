"""The pipeline of a new project is the one of the repository, with parameters in place of the files of edgeproof."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from edgeproof.config.params import CodeParams
from edgeproof.project.init import TEMPLATE
from tests.support.project import ROOT

OURS = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
THEIRS = yaml.safe_load((TEMPLATE / "pipeline.yaml").read_text(encoding="utf-8"))["stages"]


def read_stage(stages: dict[str, Any], name: str) -> dict[str, Any]:
    return stages[name].get("do", stages[name])


def test_both_pipelines_have_the_same_stages() -> None:
    assert list(THEIRS) == list(OURS)


@pytest.mark.parametrize("name", OURS)
def test_a_stage_runs_the_same_command_and_writes_the_same_files(name: str) -> None:
    ours, theirs = read_stage(OURS, name), read_stage(THEIRS, name)
    assert theirs["cmd"] == ours["cmd"].replace("python -m stages.", "python -m edgeproof.stages.")
    assert {key: theirs.get(key) for key in ("outs", "metrics", "plots")} == {
        key: ours.get(key) for key in ("outs", "metrics", "plots")
    }
    assert THEIRS[name].get("foreach") == OURS[name].get("foreach")


@pytest.mark.parametrize("name", OURS)
def test_a_stage_depends_on_the_same_files_plugins_and_parameters(name: str) -> None:
    ours, theirs = read_stage(OURS, name), read_stage(THEIRS, name)
    kinds = {match[1] for dep in ours["deps"] if (match := re.fullmatch(r"edgeproof/(\w+)s/\$\{.*\}\.py", dep))}
    roles = {match[1] for dep in theirs["deps"] if (match := re.fullmatch(r"\$\{\w+\.plugins\.files\.(\w+)\}", dep))}
    assert roles == kinds - {"task_kind"}
    own = [dep for dep in ours["deps"] if not dep.startswith(("edgeproof/", "stages/"))]
    assert set(own) <= set(theirs["deps"])
    code = [param for param in theirs["params"] if param.startswith("code.")]
    assert [param for param in theirs["params"] if param not in code] == ours["params"]
    assert len(code) == 1
    assert code[0].removeprefix("code.") in CodeParams.model_fields
