"""Making a cell again: its artifact from the data up in a clean worktree, and its latency measured anew.

The stages are plain commands, so they run here without DVC and without its cache: nothing that was built before is
taken for built. The raw data is copied where it lies on this machine, and checked by its sha256 as always.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof import entry
from edgeproof.config import compose, params_file
from edgeproof.config.params import FAMILIES, Params
from edgeproof.config.params_file import PARAMS, read_params
from edgeproof.core.directories import content_sha256, read_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import ARTIFACTS, DATA, RECORDS, WORK, artifact_name, model_dir
from edgeproof.provenance import artifact_comparison, lineage
from edgeproof.provenance.cells import CellAddress, CellRecords
from edgeproof.records import record_files
from edgeproof.statistics.comparison import list_differences
from edgeproof.study import git

WORKTREES = WORK / "reproduce"
IDENTICAL, DIFFERENT, UNSUPPORTED = "identical", "different", "unsupported, as before"


@dataclass(frozen=True)
class Reproduction:
    """What became of a cell: whether its artifact has the recorded sha256, why not, and how its latency compares."""

    cell: CellAddress
    artifact: str
    reasons: list[str] = field(default_factory=list)
    latency: str | None = None

    @property
    def same(self) -> bool:
        """Whether the artifact is the recorded one to the bit."""
        return self.artifact != DIFFERENT

    def __str__(self) -> str:
        lines = [f"{self.cell}: artifact {self.artifact}", *(f"  {reason}" for reason in self.reasons)]
        return "\n".join(
            [*lines, *([] if self.latency is None else [f"  {line}" for line in self.latency.splitlines()])]
        )


def reproduce(cells: Sequence[CellRecords], *, measure: bool) -> Iterator[Reproduction]:
    """Build and compare every cell's artifact, and measure it again where that was asked for. Raises EdgeproofError.

    Cells of one study and commit share a worktree, in which each model is built once.
    """
    rooms: dict[tuple[str, str], StudyWorktree] = {}
    for found in cells:
        content = _first(found)
        if content["artifact"]["model"]["method"] == record_files.EXTERNAL_METHOD:
            raise EdgeproofError(f"{found.cell} came as a file that no study makes; measure it again: edgeproof bench")
        study, commit = str(content["study"]), _commit_to_take(content)
        if (study, commit) not in rooms:
            rooms[study, commit] = StudyWorktree(study, commit, content)
        yield rooms[study, commit].outcome(found, measure=measure)


class StudyWorktree:
    """A clean worktree at one commit, set up for one study; what was built in it is not built again."""

    def __init__(self, study: str, commit: str, content: Mapping[str, Any]) -> None:
        self._root = WORKTREES / f"{study}-{commit[:12]}"
        self._built: set[str] = set()
        _clean_worktree(self._root, commit)
        self._notes = _overlaid(self._root, content.get("commit"))
        self._params = self._parameters(study, content)
        source = DATA / self._params.task.name / "source"
        if source.is_dir():
            shutil.copytree(source, self._root / source)

    def _parameters(self, study: str, content: Mapping[str, Any]) -> Params:
        """The commit's own params.yaml where it ran this study, else those that the study last ran with here."""
        path = self._root / PARAMS
        changed = PARAMS.name in (content.get("commit") or {"modified": []})["modified"]
        if not changed and read_params(path).study == study:
            return read_params(path)
        params = lineage.load_study_params(study)
        if params is None:
            params = compose.compose(study)
            self._notes.append(f"the parameters are those of conf/study/{study}.yaml as it is now")
        params_file.write_params(params, f"study={study}", path)
        return read_params(path)

    def outcome(self, found: CellRecords, *, measure: bool) -> Reproduction:
        """Build the cell's artifact and say how it compares with the recorded one."""
        cell, content = found.cell, _first(found)
        artifact = content["artifact"]
        seed = artifact["model"]["seed"]
        export = f"{cell.model}_{cell.runtime}"
        if export not in self._params.export:
            raise EdgeproofError(
                f"study '{self._params.study}' doesn't export '{cell.model}' to {cell.runtime} any more."
            )
        self._build(cell.model, export)
        seeds = self._params.export[export].seeds
        place = self._root / ARTIFACTS / cell.runtime / cell.model / artifact_name(cell.scheme, seeds, seed)
        meta = read_meta(place)
        if content_sha256(meta) != artifact["sha256"]:
            return Reproduction(cell, DIFFERENT, [*self._why(artifact, meta, seeds), *self._notes])
        told = UNSUPPORTED if "unsupported" in meta else IDENTICAL
        latency = self._measured_again(found) if measure and told == IDENTICAL else None
        return Reproduction(cell, told, [*self._notes], latency)

    def _build(self, model: str, export: str) -> None:
        stages = [("prepare", []), *((family, [name]) for family, name in _lineage(self._params, model))]
        for stage, arguments in [*stages, ("export", [export])]:
            name = " ".join([stage, *arguments])
            if name not in self._built:
                print(f"building: {name}", file=sys.stderr, flush=True)
                self._run(stage, arguments)
                self._built.add(name)

    def _run(self, stage: str, arguments: Sequence[str]) -> None:
        environment = {**os.environ, **entry.QUIET, "PYTHONPATH": str(self._root.resolve())}
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        done = subprocess.run(command, cwd=self._root, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = "\n".join((done.stderr or done.stdout).splitlines()[-8:])
            raise EdgeproofError(f"'{' '.join([stage, *arguments])}' failed in {self._root}:\n{tail}")

    def _why(self, artifact: Mapping[str, Any], meta: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
        """The first thing upstream that differs, or what is left where nothing that was recorded does."""
        model = artifact["model"]
        built = read_meta(self._root / model_dir(model["name"], seeds, model["seed"]))
        data = content_sha256(read_meta(self._root / DATA / model["task"] / "build", verify=False))
        if data != model.get("data_sha256", data):
            return [f"the data differs: {model['data_sha256'][:12]} → {data[:12]}"]
        differences = _differing(model, built, ("task", "method", "options", "seed", "network"))
        for role, source in model["lineage"].items():
            ours = built["lineage"].get(role, {"name": "none", "sha256": ""})
            if ours["sha256"] != source["sha256"]:
                differences.append(
                    f"{role} {source['name']} differs: {source['sha256'][:12]} → {ours['sha256'][:12]} ({ours['name']})"
                )
        if differences:
            return [f"{model['name']}: {difference}" for difference in differences]
        if content_sha256(built) != model["sha256"]:
            return [
                f"{model['name']} has other weights ({model['sha256'][:12]} → {content_sha256(built)[:12]}) from the same "
                "data, options and parents: another kind of processor, thread count or package, or code that the "
                "record's commit does not hold"
            ]
        differences = _differing(artifact, meta, ("packages", "lowered", "size_bytes", "notes", "unsupported"))
        return [f"the artifact of the same model: {difference}" for difference in differences] or [
            "the artifact of the same model and packages has other bytes: another kind of processor or code"
        ]

    def _measured_again(self, found: CellRecords) -> str:
        """Measure the artifact alone under the same settings and compare its latency with the recorded one."""
        cell = found.cell
        key = f"{cell.device}_{cell.runtime}"
        if key not in self._params.bench:
            return f"not measured: the study has no session '{key}' any more"
        item = self._params.bench[key]
        alone = item.model_copy(update={"artifacts": {cell.model: [cell.scheme]}, "final": {}, "all": item.every})
        params_file.write_params(
            self._params.model_copy(update={"bench": {key: alone}}), f"study={self._params.study}", self._root / PARAMS
        )
        try:
            print(f"measuring: {cell}", file=sys.stderr, flush=True)
            self._run("bench", [key])
        finally:
            params_file.write_params(self._params, f"study={self._params.study}", self._root / PARAMS)
        again = self._root / RECORDS / key / cell.runtime / f"{cell.model}.{cell.scheme}"
        try:
            return artifact_comparison.compare_artifacts(found.records[0].directory.parent, again, allow_unlike=True)
        except EdgeproofError as error:
            return f"latency not compared: {error}"


def _first(found: CellRecords) -> Mapping[str, Any]:
    """The record whose artifact the cell stands for: the first seed's."""
    mine = (
        r for r in found.records if not (r.content["scenario"] == record_files.ACCURACY and r.content["process"] > 0)
    )
    return next(mine, found.records[0]).content


def _lineage(params: Params, model: str) -> list[tuple[str, str]]:
    """The models that a model is made from and then itself, each as (family, name) after what it needs."""
    item = params.model(model)
    family = next(family for family in FAMILIES if model in getattr(params, family))
    needed = [source for source in (item.parent, *item.teachers) if source is not None]
    before = [step for source in needed for step in _lineage(params, source)]
    return list(dict.fromkeys([*before, (family, model)]))


def _commit_to_take(content: Mapping[str, Any]) -> str:
    """The commit that measured, where this repository has it; else the one that is checked out."""
    told = content.get("commit")
    known = git.known(told["id"]) if told else None
    head = git.known("HEAD")
    if head is None:
        raise EdgeproofError("reproducing needs a git checkout with at least one commit.")
    return known or head


def _clean_worktree(directory: Path, commit: str) -> None:
    if directory.exists():
        shutil.rmtree(directory)
    git.git("worktree", "prune")
    directory.parent.mkdir(parents=True, exist_ok=True)
    git.git("worktree", "add", "--quiet", "--detach", str(directory), commit)


def _overlaid(root: Path, commit: Mapping[str, Any] | None) -> list[str]:
    """Bring files that had uncommitted changes over as they are now; what may therefore differ, in words."""
    if commit is None:
        return ["the record doesn't say which commit measured: built with the one that is checked out"]
    if git.known(commit["id"]) is None:
        return [f"commit {commit['id'][:12]} is not in this repository: built with the one that is checked out"]
    brought = [name for name in commit["modified"] if name != PARAMS.name]
    for name in brought:
        if Path(name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, root / name)
        else:
            (root / name).unlink(missing_ok=True)
    return [f"measured with uncommitted changes in {', '.join(brought)}: taken as they are now"] if brought else []


def _differing(told: Mapping[str, Any], made: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return list_differences(
        {key: told[key] for key in keys if key in told}, {key: made[key] for key in keys if key in made and key in told}
    )
