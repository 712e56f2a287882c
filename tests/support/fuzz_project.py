"""The valid project that fuzzing starts from: configuration, records, a signed session, models, a bundle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support import bundle_project, external_files, record_trees, submission_trees, tflite_files
from tests.support.committed_tables import list_tables
from tests.support.external_project import write_project
from tests.support.project import ROOT

RECORDS = Path("results/records")
KERAS = """
import sys, keras
given = keras.Input((4,))
keras.Model(given, keras.layers.Dense(3)(given)).save(sys.argv[1])
"""
PT2 = """
import sys, torch
program = torch.export.export(torch.nn.Linear(4, 3).eval(), (torch.zeros(1, 4),))
torch.export.save(program, sys.argv[1])
"""


def write_seeds(root: Path, model_suffixes: Sequence[str]) -> None:
    """Write project/ with records and a table, bundle/ with a bundle and its project, models/, and submission/."""
    project = root / "project"
    project.mkdir(parents=True)
    write_project(project)
    shutil.copyfile(ROOT / "params.yaml", project / "params.yaml")
    (project / "table.json").write_text(list_tables(ROOT)[0], encoding="utf-8")
    _write_records(project / RECORDS)
    models = root / "models"
    models.mkdir()
    for suffix in model_suffixes:
        _write_model(models / f"m{suffix}")
    external_files.write_data(models / "data.npz")
    submission_trees.write_tree(root / "submission", submission_trees.copy_records(root / "official"))
    bundle_project.write_project(root / "bundle", root / "bundle" / "plugins")
    environment = {**os.environ, "EDGEPROOF_PLUGINS": str(root / "bundle/plugins")}
    edgeproof = [sys.executable, "-m", "edgeproof.cli"]
    bundle = [*edgeproof, "bundle", "m/fp32", "--out", "out/m", "--key", "key"]
    _run(bundle, root / "bundle", environment)
    signing = {**os.environ, "EDGEPROOF_SIGNING_KEY": str(root / "bundle/key")}
    _run([*edgeproof, "sign", str(RECORDS)], project, signing)


def _write_records(root: Path) -> None:
    durations = np.random.default_rng(0).integers(4_000, 6_000, 200)
    for model in ("teacher", "student"):
        for process in range(3):
            record_trees.write(root, model=model, process=process, call_ns=durations + process)
        record_trees.write(root, "accuracy", model=model, correct=[True] * 90 + [False] * 10)
    record_trees.write_unsupported(root, "no kernels", model="other", scheme="int4-weights")


def _write_model(path: Path) -> None:
    if path.suffix == ".onnx":
        external_files.write_onnx(path)
    elif path.suffix == ".xml":
        external_files.write_openvino(path)
    elif path.suffix == ".tflite":
        tflite_files.write_cast(path, 0)
    else:
        _run(
            [sys.executable, "-c", KERAS if path.suffix == ".keras" else PT2, str(path)], path.parent, dict(os.environ)
        )


def _run(command: Sequence[str], directory: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
