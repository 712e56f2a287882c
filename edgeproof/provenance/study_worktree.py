"""A clean git worktree in which the stages of a study are run again.

The stages are plain commands. They run here without DVC and its cache, so nothing that was built before is reused. Raw
data is copied from this project if it is here; the stage checks its sha256 as always.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeproof import entry
from edgeproof.config import compose, params_file
from edgeproof.config.params import MODEL_STAGES, Params
from edgeproof.config.params_file import PARAMS, read_params
from edgeproof.core.directories import read_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import ARTIFACTS, DATA, RECORDS, WORK, name_artifact
from edgeproof.provenance.cells import CellAddress
from edgeproof.provenance.lineage import load_study_params
from edgeproof.records.record_parts import Commit
from edgeproof.study import git
from edgeproof.study.own_files import link_own_files

WORKTREES = WORK / "reproduce"
SHOWN_ERROR_LINES = 8


class StudyWorktree:
    """A worktree at one commit, set up for one study. Each stage runs at most once in it.

    Attributes:
        root: the directory of the worktree.
        notes: the differences from the time when the records were made, one sentence each.
    """

    def __init__(self, study: str, commit: str, recorded_commit: Commit | None) -> None:
        """Create the worktree.

        Args:
            study: the study to run.
            commit: the commit to check out.
            recorded_commit: the commit that the records name, with the files that had uncommitted changes.
        """
        self.root = WORKTREES / f"{study}-{commit[:12]}"
        self._finished: set[str] = set()
        _check_out(self.root, commit)
        self.notes = _copy_uncommitted(self.root, recorded_commit)
        self._params = self._read_params(study, recorded_commit)
        source = DATA / self._params.task.name / "source"
        if source.is_dir():
            shutil.copytree(source, self.root / source)
        link_own_files(self._params, self.root)

    def get_seeds(self, cell: CellAddress) -> Sequence[int]:
        """Return the training seeds of the cell's artifacts."""
        return self._params.export[f"{cell.model}_{cell.runtime}"].seeds

    def build_artifact(self, cell: CellAddress, seed: int) -> dict[str, Any]:
        """Build the cell's artifact of a training seed, and all that it is made from. Return its meta.json.

        Raises EdgeproofError when the study does not export it, or when a stage fails.
        """
        export = f"{cell.model}_{cell.runtime}"
        if export not in self._params.export:
            raise EdgeproofError(
                f"study '{self._params.study}' doesn't export '{cell.model}' to {cell.runtime} any more."
            )
        models = [(stage, [name]) for stage, name in _list_ancestors(self._params, cell.model)]
        for stage, arguments in [("prepare", []), *models, ("export", [export])]:
            name = " ".join([stage, *arguments])
            if name not in self._finished:
                print(f"building: {name}", file=sys.stderr, flush=True)
                self._run_stage(stage, arguments)
                self._finished.add(name)
        directory = self.root / ARTIFACTS / cell.runtime / cell.model
        return read_meta(directory / name_artifact(cell.scheme, self.get_seeds(cell), seed))

    def measure(self, cell: CellAddress) -> Path | None:
        """Measure the cell's artifact alone under the study's settings. Return the directory of its records.

        Returns None when the study has no session for its device and runtime. Raises EdgeproofError when the session
        fails.
        """
        key = f"{cell.device}_{cell.runtime}"
        if key not in self._params.bench:
            return None
        session = self._params.bench[key]
        changes = {"artifacts": {cell.model: [cell.scheme]}, "final": {}, "all": session.every}
        single = self._params.model_copy(update={"bench": {key: session.model_copy(update=changes)}})
        self._write_params(single)
        try:
            print(f"measuring: {cell}", file=sys.stderr, flush=True)
            self._run_stage("bench", [key])
        finally:
            self._write_params(self._params)
        return self.root / RECORDS / key / cell.runtime / f"{cell.model}.{cell.scheme}"

    def _read_params(self, study: str, recorded_commit: Commit | None) -> Params:
        """Return the commit's params.yaml if it is of this study, or else those of the study's last run here."""
        path = self.root / PARAMS
        was_changed = recorded_commit is not None and PARAMS.name in recorded_commit.modified
        if not was_changed and read_params(path).study == study:
            return read_params(path)
        params = load_study_params(study)
        if params is None:
            params = compose.compose(study)
            self.notes.append(f"the parameters are those of conf/study/{study}.yaml as it is now")
        params_file.write_params(params, f"study={study}", path)
        return read_params(path)

    def _write_params(self, params: Params) -> None:
        params_file.write_params(params, f"study={params.study}", self.root / PARAMS)

    def _run_stage(self, stage: str, arguments: Sequence[str]) -> None:
        environment = {**os.environ, **entry.QUIET_ENVIRONMENT, "PYTHONPATH": str(self.root.resolve())}
        command = [sys.executable, "-m", self._find_stage_module(stage), *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            tail = "\n".join((done.stderr or done.stdout).splitlines()[-SHOWN_ERROR_LINES:])
            raise EdgeproofError(f"'{' '.join([stage, *arguments])}' failed in {self.root}:\n{tail}")

    def _find_stage_module(self, stage: str) -> str:
        """Return the module that runs a stage. Older commits have one module for each stage of models."""
        is_model = stage in MODEL_STAGES and (self.root / "stages" / "model.py").is_file()
        return "stages.model" if is_model else f"stages.{stage}"


def _list_ancestors(params: Params, model: str) -> list[tuple[str, str]]:
    """Return the models that a model is made from, and then itself, as (stage, name), each after its own parents."""
    item = params.find_model(model)
    stage = next(stage for stage in MODEL_STAGES if model in getattr(params, stage))
    sources = [source for source in (item.parent, *item.teachers) if source is not None]
    ancestors = [step for source in sources for step in _list_ancestors(params, source)]
    return list(dict.fromkeys([*ancestors, (stage, model)]))


def _check_out(directory: Path, commit: str) -> None:
    if directory.exists():
        shutil.rmtree(directory)
    git.run_git("worktree", "prune")
    directory.parent.mkdir(parents=True, exist_ok=True)
    git.run_git("worktree", "add", "--quiet", "--detach", str(directory), commit)


def _copy_uncommitted(root: Path, commit: Commit | None) -> list[str]:
    """Copy files with recorded uncommitted changes as they are now. Return what may therefore differ, in words."""
    if commit is None:
        return ["the record doesn't say which commit measured: built with the one that is checked out"]
    if git.resolve_commit(commit.id) is None:
        return [f"commit {commit.id[:12]} is not in this repository: built with the one that is checked out"]
    names = [name for name in commit.modified if name != PARAMS.name]
    for name in names:
        if Path(name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, root / name)
        else:
            (root / name).unlink(missing_ok=True)
    return [f"measured with uncommitted changes in {', '.join(names)}: copied as they are now"] if names else []
